"""Operators that only move data, for any core."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import Expr, intrinsic
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Gather, GatherNd, ResizeBilinear, Transpose


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _offset(indices: Sequence[object], strides: list[int]) -> object:
    offset: object = 0
    for index, stride in zip(indices, strides, strict=True):
        offset = offset + index * stride  # type: ignore[operator]
    return offset


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


@rule(GatherNd)
def gather_nd(workload: GatherNd, decisions: Decisions) -> Kernel:
    """A block at a time; an index out of range cannot read beyond the input."""
    sizes, block, count = workload.sizes, workload.block, workload.count
    depth = len(sizes)
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(depth)]

    def row(indices: Expr, k: Expr) -> Expr:
        place: Expr = 0
        for axis, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
            index = intrinsic("tinyaot_clamp", indices[k * depth + axis], 0, size - 1)
            place = place + index * stride
        return place

    @T.prim_func
    def gather_nd(
        x: T.Buffer((math.prod(sizes) * block,), workload.dtype),
        indices: T.Buffer((count * depth,), "int32"),
        y: T.Buffer((count * block,), workload.dtype),
    ):
        for k in T.serial(count):
            start: T.let[T.int32] = row(indices, k) * block
            for i in T.serial(block):
                y[k * block + i] = x[start + i]

    return Kernel(gather_nd)


@rule(ResizeBilinear)
def resize_bilinear(workload: ResizeBilinear, decisions: Decisions) -> Kernel:
    """Four products an element, in 32 bits for int8."""
    batch, height, width, channels = workload.input_shape
    _, rows, columns, _ = workload.output_shape
    dtype = workload.dtype

    def blended(upper: Expr, lower: Expr, down: Expr) -> Expr:
        if dtype == "int16":
            return intrinsic("tinyaot_blend", upper, lower, down)
        total = upper * (1024 - down) + lower * down
        return intrinsic("tinyaot_rounding_divide", total, 1 << 20)

    @T.prim_func
    def resize_bilinear(
        x: T.Buffer((batch * height * width * channels,), dtype),
        row_low: T.Buffer((rows,), "int32"),
        row_high: T.Buffer((rows,), "int32"),
        row_part: T.Buffer((rows,), "int32"),
        column_low: T.Buffer((columns,), "int32"),
        column_high: T.Buffer((columns,), "int32"),
        column_part: T.Buffer((columns,), "int32"),
        y: T.Buffer((batch * rows * columns * channels,), dtype),
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
                        blended(upper, lower, down), dtype
                    )

    return Kernel(resize_bilinear, headers=("tinyaot_fixed_point.h", "tinyaot_wide.h"))


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
