"""Pooling, mean and softmax for any core."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import clamped, intrinsic, requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Mean, Pool2D, ScaledSoftmax, Softmax


def _is_average(workload: Pool2D) -> bool:
    return workload.mode == "average"


def _is_max(workload: Pool2D) -> bool:
    return workload.mode == "max"


@rule(Pool2D, applies=_is_average)
def average_pool2d(workload: Pool2D, decisions: Decisions) -> Kernel:
    """Average over the part of the window inside the input, ties away from zero."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    top, left, _, _ = workload.padding

    @T.prim_func
    def average_pool2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        y: T.Buffer((batch * out_height * out_width * channels,), "int8"),
    ):
        for n, oh, ow in T.grid(batch, out_height, out_width):
            ih_begin: T.let[T.int32] = T.max(0, oh * stride_h - top)
            ih_end: T.let[T.int32] = T.min(height, oh * stride_h - top + kernel_height)
            iw_begin: T.let[T.int32] = T.max(0, ow * stride_w - left)
            iw_end: T.let[T.int32] = T.min(width, ow * stride_w - left + kernel_width)
            count: T.let[T.int32] = (ih_end - ih_begin) * (iw_end - iw_begin)
            for c in T.serial(channels):
                acc = T.alloc_buffer((1,), "int32", scope="local")
                acc[0] = 0
                for ih in T.serial(ih_begin, ih_end):
                    for iw in T.serial(iw_begin, iw_end):
                        acc[0] = acc[0] + T.cast(
                            x[((n * height + ih) * width + iw) * channels + c], "int32"
                        )
                y[((n * out_height + oh) * out_width + ow) * channels + c] = T.cast(
                    clamped(intrinsic("tinyaot_rounding_divide", acc[0], count), *workload.clamp),
                    "int8",
                )

    return Kernel(average_pool2d)


@rule(Pool2D, applies=_is_max)
def max_pool2d(workload: Pool2D, decisions: Decisions) -> Kernel:
    """Maximum over the part of the window inside the input."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    top, left, _, _ = workload.padding

    @T.prim_func
    def max_pool2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        y: T.Buffer((batch * out_height * out_width * channels,), "int8"),
    ):
        for n, oh, ow in T.grid(batch, out_height, out_width):
            ih_begin: T.let[T.int32] = T.max(0, oh * stride_h - top)
            ih_end: T.let[T.int32] = T.min(height, oh * stride_h - top + kernel_height)
            iw_begin: T.let[T.int32] = T.max(0, ow * stride_w - left)
            iw_end: T.let[T.int32] = T.min(width, ow * stride_w - left + kernel_width)
            for c in T.serial(channels):
                acc = T.alloc_buffer((1,), "int32", scope="local")
                acc[0] = -128
                for ih in T.serial(ih_begin, ih_end):
                    for iw in T.serial(iw_begin, iw_end):
                        acc[0] = T.max(
                            acc[0],
                            T.cast(x[((n * height + ih) * width + iw) * channels + c], "int32"),
                        )
                y[((n * out_height + oh) * out_width + ow) * channels + c] = T.cast(
                    clamped(acc[0], *workload.clamp), "int8"
                )

    return Kernel(max_pool2d)


@rule(Mean)
def mean(workload: Mean, decisions: Decisions) -> Kernel:
    """Sum of the reduced axis, then one requantization that holds the division."""
    outer, reduced, inner = workload.outer, workload.reduced, workload.inner
    offset = reduced * workload.input_zero_point

    @T.prim_func
    def mean(
        x: T.Buffer((outer * reduced * inner,), "int8"),
        y: T.Buffer((outer * inner,), "int8"),
    ):
        for n, c in T.grid(outer, inner):
            acc = T.alloc_buffer((1,), "int32", scope="local")
            acc[0] = 0
            for r in T.serial(reduced):
                acc[0] = acc[0] + T.cast(x[(n * reduced + r) * inner + c], "int32")
            y[n * inner + c] = store_int8(
                requantized(
                    acc[0] - offset, workload.multiplier, workload.shift, workload.rounding
                ),
                workload.output_zero_point,
                workload.clamp,
            )

    return Kernel(mean)


@rule(Softmax)
def softmax(workload: Softmax, decisions: Decisions) -> Kernel:
    """TFLite's int8 softmax; exponentials come from the table. The output may overlay the input."""
    rows, depth = workload.rows, workload.depth

    @T.prim_func
    def softmax(
        x: T.Buffer((rows * depth,), "int8"),
        table: T.Buffer((256,), "int32"),
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
                    table[largest[0] - T.cast(x[n * depth + i], "int32")],
                    12,
                )
            reciprocal: T.let[T.int32] = intrinsic("tinyaot_softmax_reciprocal", total[0])
            for i in T.serial(depth):
                y[n * depth + i] = T.cast(
                    intrinsic(
                        "tinyaot_softmax_output",
                        table[largest[0] - T.cast(x[n * depth + i], "int32")],
                        reciprocal,
                        total[0],
                    ),
                    "int8",
                )

    return Kernel(softmax, in_place_inputs=(0,))


@rule(ScaledSoftmax)
def scaled_softmax(workload: ScaledSoftmax, decisions: Decisions) -> Kernel:
    """One 64-bit division an element. The output may overlay the input."""
    rows, depth = workload.rows, workload.depth

    @T.prim_func
    def scaled_softmax(
        x: T.Buffer((rows * depth,), "int8"),
        table: T.Buffer((256,), "int32"),
        y: T.Buffer((rows * depth,), "int8"),
    ):
        for n in T.serial(rows):
            largest = T.alloc_buffer((1,), "int32", scope="local")
            total = T.alloc_buffer((1,), "int64", scope="local")
            largest[0] = -128
            for i in T.serial(depth):
                largest[0] = T.max(largest[0], T.cast(x[n * depth + i], "int32"))
            total[0] = T.int64(0)
            for i in T.serial(depth):
                total[0] = total[0] + T.cast(
                    table[largest[0] - T.cast(x[n * depth + i], "int32")], "int64"
                )
            for i in T.serial(depth):
                y[n * depth + i] = store_int8(
                    intrinsic(
                        "tinyaot_ratio",
                        table[largest[0] - T.cast(x[n * depth + i], "int32")],
                        workload.multiplier,
                        total[0],
                    ),
                    workload.output_zero_point,
                    workload.clamp,
                )

    return Kernel(scaled_softmax, in_place_inputs=(0,))
