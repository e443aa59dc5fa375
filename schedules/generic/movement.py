"""Operators that only move data, for any core."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import intrinsic
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Gather, Pad, ResizeBilinear, Transpose


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


@rule(Gather)
def gather(workload: Gather, decisions: Decisions) -> Kernel:
    """A row at a time; an index out of range cannot read beyond the input."""
    outer, size, inner, count = workload.outer, workload.size, workload.inner, workload.count
    rows = outer if workload.batched else 1

    @T.prim_func
    def gather(
        x: T.Buffer((outer * size * inner,), workload.dtype),
        indices: T.Buffer((rows * count,), workload.index_dtype),
        y: T.Buffer((outer * count * inner,), workload.dtype),
    ):
        for n, k in T.grid(outer, count):
            row: T.let[T.int32] = intrinsic(
                "tinyaot_clamp",
                T.cast(indices[(n * count if workload.batched else 0) + k], "int32"),
                0,
                size - 1,
            )
            for i in T.serial(inner):
                y[(n * count + k) * inner + i] = x[(n * size + row) * inner + i]

    return Kernel(gather)


@rule(ResizeBilinear)
def resize_bilinear(workload: ResizeBilinear, decisions: Decisions) -> Kernel:
    """Four products an element in 32 bits."""
    batch, height, width, channels = workload.input_shape
    _, rows, columns, _ = workload.output_shape

    @T.prim_func
    def resize_bilinear(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        row_low: T.Buffer((rows,), "int32"),
        row_high: T.Buffer((rows,), "int32"),
        row_part: T.Buffer((rows,), "int32"),
        column_low: T.Buffer((columns,), "int32"),
        column_high: T.Buffer((columns,), "int32"),
        column_part: T.Buffer((columns,), "int32"),
        y: T.Buffer((batch * rows * columns * channels,), "int8"),
    ):
        for n, oh in T.grid(batch, rows):
            above: T.let[T.int32] = (n * height + row_low[oh]) * width
            below: T.let[T.int32] = (n * height + row_high[oh]) * width
            down: T.let[T.int32] = row_part[oh]
            for ow in T.serial(columns):
                left: T.let[T.int32] = column_low[ow]
                right: T.let[T.int32] = column_high[ow]
                across: T.let[T.int32] = column_part[ow]
                for c in T.serial(channels):
                    upper: T.let[T.int32] = (
                        T.cast(x[(above + left) * channels + c], "int32") * (1024 - across)
                        + T.cast(x[(above + right) * channels + c], "int32") * across
                    )
                    lower: T.let[T.int32] = (
                        T.cast(x[(below + left) * channels + c], "int32") * (1024 - across)
                        + T.cast(x[(below + right) * channels + c], "int32") * across
                    )
                    y[((n * rows + oh) * columns + ow) * channels + c] = T.cast(
                        intrinsic(
                            "tinyaot_rounding_divide",
                            upper * (1024 - down) + lower * down,
                            1 << 20,
                        ),
                        "int8",
                    )

    return Kernel(resize_bilinear)


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
