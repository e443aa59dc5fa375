"""Operators that only move data, for any core."""

from __future__ import annotations

import math

from tvm.script import tirx as T

from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Pad, Transpose


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _offset(indices: list[object], strides: list[int]) -> object:
    offset: object = 0
    for index, stride in zip(indices, strides, strict=True):
        offset = offset + index * stride  # type: ignore[operator]
    return offset


@rule(Pad)
def pad(workload: Pad, decisions: Decisions) -> Kernel:
    """Constant padding in at most four axes: one pass over the output."""
    missing = 4 - len(workload.input_shape)
    in_shape = (1,) * missing + workload.input_shape
    out_shape = (1,) * missing + workload.output_shape
    before = [0] * missing + [pair[0] for pair in workload.padding]
    in_strides, out_strides = _strides(in_shape), _strides(out_shape)
    value = workload.value

    @T.prim_func
    def pad(
        x: T.Buffer((math.prod(in_shape),), "int8"),
        y: T.Buffer((math.prod(out_shape),), "int8"),
    ):
        for a, b, c, d in T.grid(*out_shape):
            inside: T.let[T.bool] = T.And(
                T.And(
                    T.And(a >= before[0], a < before[0] + in_shape[0]),
                    T.And(b >= before[1], b < before[1] + in_shape[1]),
                ),
                T.And(
                    T.And(c >= before[2], c < before[2] + in_shape[2]),
                    T.And(d >= before[3], d < before[3] + in_shape[3]),
                ),
            )
            y[_offset([a, b, c, d], out_strides)] = T.if_then_else(
                inside,
                x[
                    _offset(
                        [a - before[0], b - before[1], c - before[2], d - before[3]], in_strides
                    )
                ],
                T.int8(value),
            )

    return Kernel(pad)


@rule(Transpose)
def transpose(workload: Transpose, decisions: Decisions) -> Kernel:
    """Permutation of at most six axes: one pass over the output."""
    missing = 6 - len(workload.output_shape)
    out_shape = (1,) * missing + workload.output_shape
    strides = _strides(workload.input_shape)
    read_strides = [0] * missing + [strides[axis] for axis in workload.axes]
    write_strides = _strides(out_shape)
    size = math.prod(out_shape)

    @T.prim_func
    def transpose(x: T.Buffer((size,), "int8"), y: T.Buffer((size,), "int8")):
        for a, b, c, d, e, f in T.grid(*out_shape):
            y[_offset([a, b, c, d, e, f], write_strides)] = x[
                _offset([a, b, c, d, e, f], read_strides)
            ]

    return Kernel(transpose)
