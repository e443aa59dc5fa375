"""Operators that only move data, for any core."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from tvm.script import tirx as T

from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Pad, Transpose


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _offset(indices: Sequence[object], strides: list[int]) -> object:
    offset: object = 0
    for index, stride in zip(indices, strides, strict=True):
        offset = offset + index * stride  # type: ignore[operator]
    return offset


@rule(Pad)
def pad(workload: Pad, decisions: Decisions) -> Kernel:
    """Constant padding in at most six axes: one pass over the output."""
    missing = 6 - len(workload.input_shape)
    in_shape = (1,) * missing + workload.input_shape
    out_shape = (1,) * missing + workload.output_shape
    before = [0] * missing + [pair[0] for pair in workload.padding]
    in_strides, out_strides = _strides(in_shape), _strides(out_shape)
    value, dtype = workload.value, workload.dtype
    padded = [axis for axis in range(6) if in_shape[axis] != out_shape[axis]]

    def inside(indices: list[object]) -> object:
        terms = [
            term
            for axis in padded
            for term in (
                indices[axis] >= before[axis],  # type: ignore[operator]
                indices[axis] < before[axis] + in_shape[axis],  # type: ignore[operator]
            )
        ]
        return functools.reduce(T.And, terms) if terms else T.bool(True)

    def source(indices: list[object]) -> object:
        shifted = [index - first for index, first in zip(indices, before, strict=True)]  # type: ignore[operator]
        return _offset(shifted, in_strides)

    @T.prim_func
    def pad(
        x: T.Buffer((math.prod(in_shape),), dtype),
        y: T.Buffer((math.prod(out_shape),), dtype),
    ):
        for a, b, c, d, e, f in T.grid(*out_shape):
            y[_offset([a, b, c, d, e, f], out_strides)] = T.if_then_else(
                inside([a, b, c, d, e, f]),
                x[source([a, b, c, d, e, f])],
                T.cast(T.int32(value), dtype),
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
