"""Convolution by weights with a zero point, for any core."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload_real import OffsetConv2D


@rule(OffsetConv2D)
def offset_conv2d(workload: OffsetConv2D, decisions: Decisions) -> Kernel:
    """Sums products and activations: sum(x * (w - z)) = sum(x * w) - z * sum(x). A block of output
    channels shares the sum of activations."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    dilation_h, dilation_w = workload.dilation
    top, left, _, _ = workload.padding
    group_in = channels // workload.groups
    group_out = out_channels // workload.groups
    block = next(size for size in (4, 2, 1) if group_out % size == 0)
    window = kernel_height * kernel_width * group_in

    @T.prim_func
    def offset_conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        weight: T.Buffer((out_channels * window,), "int8"),
        weight_zero_point: T.Buffer((out_channels,), "int32"),
        bias: T.Buffer((out_channels,), "int32"),
        multiplier: T.Buffer((out_channels,), "int32"),
        shift: T.Buffer((out_channels,), "int32"),
        y: T.Buffer((batch * out_height * out_width * out_channels,), "int8"),
    ):
        for n, oh, ow, ob in T.grid(batch, out_height, out_width, out_channels // block):
            acc = T.alloc_buffer((block,), "int32", scope="local")
            total = T.alloc_buffer((1,), "int32", scope="local")
            for o in T.unroll(block):
                acc[o] = bias[ob * block + o]
            total[0] = 0
            kh_begin: T.let[T.int32] = T.max(0, T.ceildiv(top - oh * stride_h, dilation_h))
            kh_end: T.let[T.int32] = T.min(
                kernel_height, T.ceildiv(height + top - oh * stride_h, dilation_h)
            )
            kw_begin: T.let[T.int32] = T.max(0, T.ceildiv(left - ow * stride_w, dilation_w))
            kw_end: T.let[T.int32] = T.min(
                kernel_width, T.ceildiv(width + left - ow * stride_w, dilation_w)
            )
            for kh in T.serial(kh_begin, kh_end):
                for kw in T.serial(kw_begin, kw_end):
                    for c in T.serial(group_in):
                        value: T.let[T.int32] = (
                            T.cast(
                                x[
                                    (
                                        (n * height + oh * stride_h - top + kh * dilation_h) * width
                                        + ow * stride_w
                                        - left
                                        + kw * dilation_w
                                    )
                                    * channels
                                    + ob * block // group_out * group_in
                                    + c
                                ],
                                "int32",
                            )
                            - workload.input_zero_point
                        )
                        total[0] = total[0] + value
                        for o in T.unroll(block):
                            acc[o] = acc[o] + value * T.cast(
                                weight[
                                    (ob * block + o) * window
                                    + (kh * kernel_width + kw) * group_in
                                    + c
                                ],
                                "int32",
                            )
            for o in T.unroll(block):
                y[((n * out_height + oh) * out_width + ow) * out_channels + ob * block + o] = (
                    store_int8(
                        requantized(
                            acc[o] - total[0] * weight_zero_point[ob * block + o],
                            multiplier[ob * block + o],
                            shift[ob * block + o],
                            "single",
                        ),
                        workload.output_zero_point,
                        workload.clamp,
                    )
                )

    return Kernel(offset_conv2d)
