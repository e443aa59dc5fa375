"""Convolution, depthwise convolution and dense layers for any core.

Padding is never copied: the loops over the kernel window are clipped to the input. Several
output channels are computed at once so that an activation is loaded once for all of them.
"""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, Space, rule
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, FullyConnected


def _channel_blocks(channels: int) -> tuple[int, ...]:
    return tuple(block for block in (4, 2, 1) if channels % block == 0)


def _conv_space(workload: Conv2D) -> Space:
    return {"channel_block": _channel_blocks(workload.output_shape[3] // workload.groups)}


@rule(Conv2D, space=_conv_space)
def conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """Direct convolution: a block of output channels per pass over the window."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    dilation_h, dilation_w = workload.dilation
    top, left, _, _ = workload.padding
    group_in = channels // workload.groups
    group_out = out_channels // workload.groups
    block = decisions["channel_block"]
    window = kernel_height * kernel_width * group_in
    zero_point = workload.input_zero_point

    @T.prim_func
    def conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        weight: T.Buffer((out_channels * window,), "int8"),
        bias: T.Buffer((out_channels,), "int32"),
        multiplier: T.Buffer((out_channels,), "int32"),
        shift: T.Buffer((out_channels,), "int32"),
        y: T.Buffer((batch * out_height * out_width * out_channels,), "int8"),
    ):
        for n, oh, ow, ob in T.grid(batch, out_height, out_width, out_channels // block):
            acc = T.alloc_buffer((block,), "int32", scope="local")
            for o in T.unroll(block):
                acc[o] = bias[ob * block + o]
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
                            - zero_point
                        )
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
                            acc[o],
                            multiplier[ob * block + o],
                            shift[ob * block + o],
                            workload.rounding,
                        ),
                        workload.output_zero_point,
                        workload.clamp,
                    )
                )

    return Kernel(conv2d)


def _depthwise_space(workload: DepthwiseConv2D) -> Space:
    return {"channel_block": _channel_blocks(workload.depth_multiplier)}


@rule(DepthwiseConv2D, space=_depthwise_space)
def depthwise_conv2d(workload: DepthwiseConv2D, decisions: Decisions) -> Kernel:
    """Direct depthwise convolution: one input channel per pass over the window."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    dilation_h, dilation_w = workload.dilation
    top, left, _, _ = workload.padding
    block = decisions["channel_block"]
    per_input = workload.depth_multiplier
    zero_point = workload.input_zero_point

    @T.prim_func
    def depthwise_conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        weight: T.Buffer((kernel_height * kernel_width * out_channels,), "int8"),
        bias: T.Buffer((out_channels,), "int32"),
        multiplier: T.Buffer((out_channels,), "int32"),
        shift: T.Buffer((out_channels,), "int32"),
        y: T.Buffer((batch * out_height * out_width * out_channels,), "int8"),
    ):
        for n, oh, ow in T.grid(batch, out_height, out_width):
            kh_begin: T.let[T.int32] = T.max(0, T.ceildiv(top - oh * stride_h, dilation_h))
            kh_end: T.let[T.int32] = T.min(
                kernel_height, T.ceildiv(height + top - oh * stride_h, dilation_h)
            )
            kw_begin: T.let[T.int32] = T.max(0, T.ceildiv(left - ow * stride_w, dilation_w))
            kw_end: T.let[T.int32] = T.min(
                kernel_width, T.ceildiv(width + left - ow * stride_w, dilation_w)
            )
            for c, ob in T.grid(channels, per_input // block):
                first: T.let[T.int32] = c * per_input + ob * block
                acc = T.alloc_buffer((block,), "int32", scope="local")
                for o in T.unroll(block):
                    acc[o] = bias[first + o]
                for kh in T.serial(kh_begin, kh_end):
                    for kw in T.serial(kw_begin, kw_end):
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
                                    + c
                                ],
                                "int32",
                            )
                            - zero_point
                        )
                        for o in T.unroll(block):
                            acc[o] = acc[o] + value * T.cast(
                                weight[(kh * kernel_width + kw) * out_channels + first + o],
                                "int32",
                            )
                for o in T.unroll(block):
                    y[((n * out_height + oh) * out_width + ow) * out_channels + first + o] = (
                        store_int8(
                            requantized(
                                acc[o],
                                multiplier[first + o],
                                shift[first + o],
                                workload.rounding,
                            ),
                            workload.output_zero_point,
                            workload.clamp,
                        )
                    )

    return Kernel(depthwise_conv2d)


def _dense_space(workload: FullyConnected) -> Space:
    return {"channel_block": _channel_blocks(workload.output_size)}


@rule(FullyConnected, space=_dense_space)
def fully_connected(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """Matrix-vector product: a block of outputs per pass over the input."""
    batch, inputs, outputs = workload.batch, workload.input_size, workload.output_size
    block = decisions["channel_block"]
    zero_point = workload.input_zero_point

    @T.prim_func
    def fully_connected(
        x: T.Buffer((batch * inputs,), "int8"),
        weight: T.Buffer((outputs * inputs,), "int8"),
        bias: T.Buffer((outputs,), "int32"),
        multiplier: T.Buffer((outputs,), "int32"),
        shift: T.Buffer((outputs,), "int32"),
        y: T.Buffer((batch * outputs,), "int8"),
    ):
        for n, ob in T.grid(batch, outputs // block):
            acc = T.alloc_buffer((block,), "int32", scope="local")
            for o in T.unroll(block):
                acc[o] = bias[ob * block + o]
            for i in T.serial(inputs):
                value: T.let[T.int32] = T.cast(x[n * inputs + i], "int32") - zero_point
                for o in T.unroll(block):
                    acc[o] = acc[o] + value * T.cast(weight[(ob * block + o) * inputs + i], "int32")
            for o in T.unroll(block):
                y[n * outputs + ob * block + o] = store_int8(
                    requantized(
                        acc[o],
                        multiplier[ob * block + o],
                        shift[ob * block + o],
                        workload.rounding,
                    ),
                    workload.output_zero_point,
                    workload.clamp,
                )

    return Kernel(fully_connected)
