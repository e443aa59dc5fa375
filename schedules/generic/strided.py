"""Reductions over any axes and matrix products with any strides, for any core."""

from __future__ import annotations

import math

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import Expr, clamped, intrinsic, requantized
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload_reduction import (
    L2Normalization,
    LogSoftmax,
    Reduce,
    ReduceExtreme,
    SoftmaxInt16,
    StridedMatMul,
)

_AXES = 4
_WIDE = ("tinyaot_fixed_point.h", "tinyaot_wide.h")


def _padded(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    return (fill,) * (_AXES - len(values)) + values


def _place(indices: list[Expr], steps: tuple[int, ...]) -> Expr:
    place: Expr = 0
    for index, step in zip(indices, _padded(steps, 0), strict=True):
        place = place + index * step
    return place


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@rule(Reduce)
def reduce(workload: Reduce, decisions: Decisions) -> Kernel:
    """A sum for each element of the output."""
    kept, reduced = _padded(workload.kept, 1), _padded(workload.reduced, 1)
    count, size = math.prod(reduced), math.prod(kept)
    offset = count * workload.input_zero_point
    strides = _strides(workload.kept)
    dtype = workload.dtype

    @T.prim_func
    def reduce(x: T.Buffer((size * count,), dtype), y: T.Buffer((size,), dtype)):
        for a, b, c, d in T.grid(*kept):
            acc = T.alloc_buffer((1,), "int32", scope="local")
            acc[0] = 0
            for e, f, g, h in T.grid(*reduced):
                acc[0] = acc[0] + T.cast(
                    x[
                        _place([a, b, c, d], workload.kept_steps)
                        + _place([e, f, g, h], workload.reduced_steps)
                    ],
                    "int32",
                )
            y[_place([a, b, c, d], strides)] = T.cast(
                clamped(
                    requantized(acc[0] - offset, *workload.factor, "double")
                    + workload.output_zero_point,
                    *workload.clamp,
                ),
                dtype,
            )

    return Kernel(reduce)


def _finds_value(workload: ReduceExtreme) -> bool:
    return not workload.argument


def _finds_place(workload: ReduceExtreme) -> bool:
    return workload.argument


@rule(ReduceExtreme, applies=_finds_value)
def reduce_extreme(workload: ReduceExtreme, decisions: Decisions) -> Kernel:
    """A search for each element of the output."""
    kept, reduced = _padded(workload.kept, 1), _padded(workload.reduced, 1)
    strides = _strides(workload.kept)
    dtype, limits = workload.dtype, np.iinfo(workload.dtype)
    largest = workload.mode == "max"

    def better(value: Expr, best: Expr) -> Expr:
        return T.max(best, value) if largest else T.min(best, value)

    @T.prim_func
    def reduce_extreme(
        x: T.Buffer((math.prod(kept) * math.prod(reduced),), dtype),
        y: T.Buffer((math.prod(kept),), dtype),
    ):
        for a, b, c, d in T.grid(*kept):
            best = T.alloc_buffer((1,), "int32", scope="local")
            best[0] = int(limits.min if largest else limits.max)
            for e, f, g, h in T.grid(*reduced):
                best[0] = better(
                    T.cast(
                        x[
                            _place([a, b, c, d], workload.kept_steps)
                            + _place([e, f, g, h], workload.reduced_steps)
                        ],
                        "int32",
                    ),
                    best[0],
                )
            y[_place([a, b, c, d], strides)] = T.cast(best[0], dtype)

    return Kernel(reduce_extreme)


@rule(ReduceExtreme, applies=_finds_place)
def find_extreme(workload: ReduceExtreme, decisions: Decisions) -> Kernel:
    """A search for each element of the output; the first of equals wins."""
    kept, (size,), (step,) = _padded(workload.kept, 1), workload.reduced, workload.reduced_steps
    strides = _strides(workload.kept)
    largest = workload.mode == "max"

    def better(value: Expr, best: Expr) -> Expr:
        return value > best if largest else value < best

    @T.prim_func
    def find_extreme(
        x: T.Buffer((math.prod(kept) * size,), workload.dtype),
        y: T.Buffer((math.prod(kept),), "int32"),
    ):
        for a, b, c, d in T.grid(*kept):
            best = T.alloc_buffer((1,), "int32", scope="local")
            place = T.alloc_buffer((1,), "int32", scope="local")
            best[0] = T.cast(x[_place([a, b, c, d], workload.kept_steps)], "int32")
            place[0] = 0
            for i in T.serial(1, size):
                value: T.let[T.int32] = T.cast(
                    x[_place([a, b, c, d], workload.kept_steps) + i * step], "int32"
                )
                if better(value, best[0]):
                    best[0] = value
                    place[0] = i
            y[_place([a, b, c, d], strides)] = place[0]

    return Kernel(find_extreme)


@rule(StridedMatMul)
def strided_matmul(workload: StridedMatMul, decisions: Decisions) -> Kernel:
    """One sum of products an output element."""
    batch = _padded(workload.batch, 1)
    rows, depth, columns = workload.rows, workload.depth, workload.columns
    (a_row, a_depth), (b_depth, b_column) = workload.matrix_steps
    a_steps, b_steps = workload.batch_steps
    zero_point_a, zero_point_b = workload.input_zero_points
    dtype = workload.dtype
    accumulator = "int64" if dtype == "int16" else "int32"
    strides = _strides((*workload.batch, rows, columns))[:-2]

    def extent(steps: tuple[int, ...], *matrix: tuple[int, int]) -> int:
        axes = [*zip(workload.batch, steps, strict=True), *matrix]
        return 1 + sum((size - 1) * step for size, step in axes)

    def scaled(acc: Expr) -> Expr:
        if dtype == "int16":
            return intrinsic("tinyaot_requantize_wide", acc, *workload.factor)
        return requantized(acc, *workload.factor, "double")

    @T.prim_func
    def strided_matmul(
        x: T.Buffer((extent(a_steps, (rows, a_row), (depth, a_depth)),), dtype),
        z: T.Buffer((extent(b_steps, (depth, b_depth), (columns, b_column)),), dtype),
        y: T.Buffer((math.prod(batch) * rows * columns,), dtype),
    ):
        for a, b, c, d in T.grid(*batch):
            for i, j in T.grid(rows, columns):
                acc = T.alloc_buffer((1,), accumulator, scope="local")
                acc[0] = T.cast(0, accumulator)
                for k in T.serial(depth):
                    left: T.let[T.int32] = (
                        T.cast(x[_place([a, b, c, d], a_steps) + i * a_row + k * a_depth], "int32")
                        - zero_point_a
                    )
                    right: T.let[T.int32] = (
                        T.cast(
                            z[_place([a, b, c, d], b_steps) + k * b_depth + j * b_column], "int32"
                        )
                        - zero_point_b
                    )
                    acc[0] = acc[0] + T.cast(left * right, accumulator)
                y[_place([a, b, c, d], strides) + i * columns + j] = T.cast(
                    clamped(scaled(acc[0]) + workload.output_zero_point, *workload.clamp), dtype
                )

    return Kernel(strided_matmul, headers=_WIDE)


@rule(L2Normalization)
def l2_normalization(workload: L2Normalization, decisions: Decisions) -> Kernel:
    """A sum of squares, then one requantization an element; the output may overlay the input."""
    rows, depth, zero_point = workload.rows, workload.depth, workload.input_zero_point

    @T.prim_func
    def l2_normalization(
        x: T.Buffer((rows * depth,), "int8"),
        y: T.Buffer((rows * depth,), "int8"),
    ):
        for n in T.serial(rows):
            total = T.alloc_buffer((1,), "int32", scope="local")
            shift = T.alloc_buffer((1,), "int32", scope="local")
            total[0] = 0
            for i in T.serial(depth):
                value: T.let[T.int32] = T.cast(x[n * depth + i], "int32") - zero_point
                total[0] = total[0] + value * value
            shift[0] = 0
            factor: T.let[T.int32] = T.call_extern(
                "int32", "tinyaot_inverse_sqrt", total[0], T.address_of(shift[0])
            )
            for i in T.serial(depth):
                y[n * depth + i] = T.cast(
                    clamped(
                        requantized(
                            T.cast(x[n * depth + i], "int32") - zero_point,
                            factor,
                            shift[0] + 7,
                            "double",
                        ),
                        -128,
                        127,
                    ),
                    "int8",
                )

    return Kernel(
        l2_normalization,
        headers=("tinyaot_fixed_point.h", "tinyaot_roots.h"),
        in_place_inputs=(0,),
    )


@rule(LogSoftmax)
def log_softmax(workload: LogSoftmax, decisions: Decisions) -> Kernel:
    """One logarithm a row; the output may overlay the input."""
    rows, depth = workload.rows, workload.depth

    @T.prim_func
    def log_softmax(
        x: T.Buffer((rows * depth,), "int8"),
        exponential: T.Buffer((256,), "int32"),
        scaled: T.Buffer((256,), "int32"),
        y: T.Buffer((rows * depth,), "int8"),
    ):
        for n in T.serial(rows):
            largest = T.alloc_buffer((1,), "int32", scope="local")
            total = T.alloc_buffer((1,), "int32", scope="local")
            largest[0] = -128
            for i in T.serial(depth):
                largest[0] = T.max(largest[0], T.cast(x[n * depth + i], "int32"))
            total[0] = 0
            for i in T.serial(depth):
                total[0] = total[0] + intrinsic(
                    "tinyaot_rounding_shift_right",
                    exponential[largest[0] - T.cast(x[n * depth + i], "int32")],
                    12,
                )
            logarithm: T.let[T.int32] = intrinsic("tinyaot_logarithm", total[0])
            limit: T.let[T.int32] = T.max(
                workload.smallest - 1,
                requantized(logarithm - 2147483647 - 1, *workload.reverse, "double"),
            )
            for i in T.serial(depth):
                place: T.let[T.int32] = largest[0] - T.cast(x[n * depth + i], "int32")
                if 0 - place > limit:
                    y[n * depth + i] = T.cast(
                        clamped(
                            intrinsic("tinyaot_rounding_shift_right", scaled[place] - logarithm, 22)
                            + 127,
                            -128,
                            127,
                        ),
                        "int8",
                    )
                else:
                    y[n * depth + i] = T.int8(-128)

    return Kernel(
        log_softmax,
        headers=(
            "tinyaot_fixed_point.h",
            "tinyaot_elementwise.h",
            "tinyaot_roots.h",
            "tinyaot_logarithm.h",
        ),
        in_place_inputs=(0,),
    )


@rule(SoftmaxInt16)
def softmax_int16(workload: SoftmaxInt16, decisions: Decisions) -> Kernel:
    """As `softmax` of int8, with 16 bits left of each quotient."""
    rows, depth = workload.rows, workload.depth

    @T.prim_func
    def softmax_int16(
        x: T.Buffer((rows * depth,), "int8"),
        table: T.Buffer((256,), "int32"),
        y: T.Buffer((rows * depth,), "int16"),
    ):
        for n in T.serial(rows):
            largest = T.alloc_buffer((1,), "int32", scope="local")
            total = T.alloc_buffer((1,), "int32", scope="local")
            largest[0] = -128
            for i in T.serial(depth):
                largest[0] = T.max(largest[0], T.cast(x[n * depth + i], "int32"))
            total[0] = 0
            for i in T.serial(depth):
                total[0] = total[0] + intrinsic(
                    "tinyaot_rounding_shift_right",
                    table[largest[0] - T.cast(x[n * depth + i], "int32")],
                    12,
                )
            reciprocal: T.let[T.int32] = intrinsic("tinyaot_softmax_reciprocal", total[0])
            for i in T.serial(depth):
                y[n * depth + i] = T.cast(
                    intrinsic(
                        "tinyaot_softmax_output_int16",
                        table[largest[0] - T.cast(x[n * depth + i], "int32")],
                        reciprocal,
                        total[0],
                    ),
                    "int16",
                )

    return Kernel(softmax_int16, headers=_WIDE)
