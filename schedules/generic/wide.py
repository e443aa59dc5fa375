"""Operators on int16 activations, for any core."""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import Expr, clamped, intrinsic, requantized
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, rule
from tinyaot.schedules.workload_wide import (
    WideConv2D,
    WideLookup,
    WidePool2D,
    WideRamp,
    WideRequantize,
    WideRsqrt,
    WideSigmoid,
    WideSoftmax,
)

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_wide.h")
_LARGEST_INPUT = 1 << 15


def _space(workload: WideConv2D) -> Space:
    per_group = workload.output_shape[3] // workload.groups
    return {"channel_block": tuple(block for block in (4, 2, 1) if per_group % block == 0)}


def _accumulator(workload: WideConv2D, constants: Constants) -> dict[str, int]:
    """32 bits where no input can make the sum of products overflow."""
    if workload.rounding == "double":
        return {"accumulator_bits": 32}
    if "weight" not in constants:
        return {"accumulator_bits": 64}
    weight = constants["weight"].astype(np.int64)
    largest = np.abs(weight).reshape(len(weight), -1).sum(axis=1).max() * _LARGEST_INPUT
    return {"accumulator_bits": 32 if largest < 2**31 else 64}


@rule(WideConv2D, space=_space, derive=_accumulator)
def wide_conv2d(workload: WideConv2D, decisions: Decisions) -> Kernel:
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
    wide = decisions["accumulator_bits"] == 64
    accumulator = "int64" if wide else "int32"
    reduced = workload.rounding == "reduced"
    bias_type, multiplier_type, shift_type = (
        ("int64", "int16", "int8") if reduced else ("int32", "int32", "int32")
    )

    def scaled(acc: Expr, bias: Expr, multiplier: Expr, shift: Expr) -> Expr:
        if reduced:
            total = T.cast(acc, "int64") + bias
            return intrinsic("tinyaot_requantize_wide", total, multiplier, shift)
        return requantized(acc + bias, multiplier, shift, workload.rounding)

    @T.prim_func
    def wide_conv2d(
        x: T.Buffer((batch * height * width * channels,), "int16"),
        weight: T.Buffer((out_channels * window,), "int8"),
        bias: T.Buffer((out_channels,), bias_type),
        multiplier: T.Buffer((out_channels,), multiplier_type),
        shift: T.Buffer((out_channels,), shift_type),
        y: T.Buffer((batch * out_height * out_width * out_channels,), "int16"),
    ):
        for n, oh, ow, ob in T.grid(batch, out_height, out_width, out_channels // block):
            acc = T.alloc_buffer((block,), accumulator, scope="local")
            for o in T.unroll(block):
                acc[o] = T.cast(0, accumulator)
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
                        value: T.let[T.int32] = T.cast(
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
                        for o in T.unroll(block):
                            acc[o] = acc[o] + T.cast(
                                value
                                * T.cast(
                                    weight[
                                        (ob * block + o) * window
                                        + (kh * kernel_width + kw) * group_in
                                        + c
                                    ],
                                    "int32",
                                ),
                                accumulator,
                            )
            for o in T.unroll(block):
                y[((n * out_height + oh) * out_width + ow) * out_channels + ob * block + o] = (
                    T.cast(
                        clamped(
                            scaled(
                                acc[o],
                                bias[ob * block + o],
                                T.cast(multiplier[ob * block + o], "int32"),
                                T.cast(shift[ob * block + o], "int32"),
                            ),
                            *workload.clamp,
                        ),
                        "int16",
                    )
                )

    return Kernel(wide_conv2d, headers=_HEADERS)


@rule(WidePool2D)
def wide_pool2d(workload: WidePool2D, decisions: Decisions) -> Kernel:
    """Maximum, or average with ties away from zero, of the part of the window inside the input."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    top, left, _, _ = workload.padding
    average = workload.mode == "average"

    def joined(acc: Expr, value: Expr) -> Expr:
        return acc + value if average else T.max(acc, value)

    def finished(acc: Expr, count: Expr) -> Expr:
        return intrinsic("tinyaot_rounding_divide", acc, count) if average else acc

    @T.prim_func
    def wide_pool2d(
        x: T.Buffer((batch * height * width * channels,), "int16"),
        y: T.Buffer((batch * out_height * out_width * channels,), "int16"),
    ):
        for n, oh, ow in T.grid(batch, out_height, out_width):
            ih_begin: T.let[T.int32] = T.max(0, oh * stride_h - top)
            ih_end: T.let[T.int32] = T.min(height, oh * stride_h - top + kernel_height)
            iw_begin: T.let[T.int32] = T.max(0, ow * stride_w - left)
            iw_end: T.let[T.int32] = T.min(width, ow * stride_w - left + kernel_width)
            count: T.let[T.int32] = (ih_end - ih_begin) * (iw_end - iw_begin)
            for c in T.serial(channels):
                acc = T.alloc_buffer((1,), "int32", scope="local")
                acc[0] = 0 if average else -32768
                for ih in T.serial(ih_begin, ih_end):
                    for iw in T.serial(iw_begin, iw_end):
                        acc[0] = joined(
                            acc[0],
                            T.cast(x[((n * height + ih) * width + iw) * channels + c], "int32"),
                        )
                y[((n * out_height + oh) * out_width + ow) * channels + c] = T.cast(
                    clamped(finished(acc[0], count), *workload.clamp), "int16"
                )

    return Kernel(wide_pool2d)


@rule(WideSoftmax)
def wide_softmax(workload: WideSoftmax, decisions: Decisions) -> Kernel:
    """Exponentials wait in the output for their sum; it may overlay the input."""
    rows, depth = workload.rows, workload.depth

    @T.prim_func
    def wide_softmax(
        x: T.Buffer((rows * depth,), "int16"),
        exponential: T.Buffer((513,), "int16"),
        reciprocal: T.Buffer((513,), "int16"),
        y: T.Buffer((rows * depth,), "int16"),
    ):
        for n in T.serial(rows):
            largest = T.alloc_buffer((1,), "int32", scope="local")
            total = T.alloc_buffer((1,), "int32", scope="local")
            largest[0] = -32768
            for i in T.serial(depth):
                largest[0] = T.max(largest[0], T.cast(x[n * depth + i], "int32"))
            total[0] = 0
            for i in T.serial(depth):
                scaled: T.let[T.int32] = requantized(
                    T.cast(x[n * depth + i], "int32") - largest[0],
                    workload.multiplier,
                    workload.shift,
                    "double",
                )
                power: T.let[T.int32] = T.call_pure_extern(
                    "int32",
                    "tinyaot_interpolate",
                    T.address_of(exponential[0]),
                    clamped(scaled + 32767, -32768, 32767),
                )
                y[n * depth + i] = T.cast(power, "int16")
                total[0] = total[0] + power
            factor: T.let[T.int32] = T.call_pure_extern(
                "int32", "tinyaot_wide_softmax_reciprocal", T.address_of(reciprocal[0]), total[0]
            )
            for i in T.serial(depth):
                y[n * depth + i] = T.cast(
                    intrinsic(
                        "tinyaot_wide_softmax_output",
                        T.cast(y[n * depth + i], "int32"),
                        factor,
                        total[0],
                    ),
                    "int16",
                )

    return Kernel(wide_softmax, headers=_HEADERS, in_place_inputs=(0,))


@rule(WideSigmoid)
def wide_sigmoid(workload: WideSigmoid, decisions: Decisions) -> Kernel:
    """Two loads from the table an element; the output may overlay the input."""
    size = workload.size

    @T.prim_func
    def wide_sigmoid(
        x: T.Buffer((size,), "int16"),
        table: T.Buffer((256,), "uint16"),
        y: T.Buffer((size,), "int16"),
    ):
        for i in T.serial(size):
            y[i] = T.cast(
                T.call_pure_extern(
                    "int32",
                    f"tinyaot_wide_{workload.function}",
                    T.address_of(table[0]),
                    intrinsic(
                        "tinyaot_scale_sigmoid_input",
                        T.cast(x[i], "int32"),
                        workload.multiplier,
                        workload.shift,
                    ),
                ),
                "int16",
            )

    return Kernel(wide_sigmoid, headers=_HEADERS, in_place_inputs=(0,))


@rule(WideLookup)
def wide_lookup(workload: WideLookup, decisions: Decisions) -> Kernel:
    """Two loads from the table an element; the output may overlay the input."""
    size = workload.size

    @T.prim_func
    def wide_lookup(
        x: T.Buffer((size,), "int16"),
        table: T.Buffer((513,), "int16"),
        y: T.Buffer((size,), "int16"),
    ):
        for i in T.serial(size):
            y[i] = T.cast(
                T.call_pure_extern(
                    "int32",
                    "tinyaot_interpolate",
                    T.address_of(table[0]),
                    T.cast(x[i], "int32"),
                ),
                "int16",
            )

    return Kernel(wide_lookup, headers=_HEADERS, in_place_inputs=(0,))


@rule(WideRamp)
def wide_ramp(workload: WideRamp, decisions: Decisions) -> Kernel:
    """One requantization an element; the output may overlay the input."""
    size = workload.size
    sign = -1 if workload.mirror else 1

    @T.prim_func
    def wide_ramp(x: T.Buffer((size,), "int16"), y: T.Buffer((size,), "int16")):
        for i in T.serial(size):
            value: T.let[T.int32] = T.cast(x[i], "int32")
            scaled: T.let[T.int32] = T.if_then_else(
                value >= 0,
                requantized(value, *workload.positive, "double"),
                requantized(value * sign, *workload.negative, "double"),
            )
            y[i] = T.cast(clamped(scaled, *workload.clamp), "int16")

    return Kernel(wide_ramp, in_place_inputs=(0,))


@rule(WideRsqrt)
def wide_rsqrt(workload: WideRsqrt, decisions: Decisions) -> Kernel:
    """A root an element; the output may overlay the input."""
    size = workload.size
    multiplier, shift_left = workload.factor

    @T.prim_func
    def wide_rsqrt(x: T.Buffer((size,), "int16"), y: T.Buffer((size,), "int16")):
        for i in T.serial(size):
            shift = T.alloc_buffer((1,), "int32", scope="local")
            shift[0] = 0
            root: T.let[T.int32] = T.call_extern(
                "int32", "tinyaot_inverse_sqrt", T.cast(x[i], "int32"), T.address_of(shift[0])
            )
            scaled: T.let[T.int32] = requantized(
                requantized(1, root, shift[0] + 20, "double"),
                multiplier,
                shift_left - 20,
                "double",
            )
            y[i] = T.cast(
                T.if_then_else(x[i] > T.int16(0), clamped(scaled, -32768, 32767), 32767), "int16"
            )

    return Kernel(
        wide_rsqrt, headers=("tinyaot_fixed_point.h", "tinyaot_roots.h"), in_place_inputs=(0,)
    )


@rule(WideRequantize)
def wide_requantize(workload: WideRequantize, decisions: Decisions) -> Kernel:
    """Change of scale, zero point or type; int32 wraps around next to the zero points."""
    size = workload.size

    @T.prim_func
    def wide_requantize(
        x: T.Buffer((size,), workload.input_dtype),
        y: T.Buffer((size,), workload.output_dtype),
    ):
        for i in T.serial(size):
            value: T.let[T.int32] = intrinsic(
                "tinyaot_wrapping_subtract", T.cast(x[i], "int32"), workload.input_zero_point
            )
            scaled: T.let[T.int32] = intrinsic(
                "tinyaot_wrapping_add",
                requantized(value, workload.multiplier, workload.shift, workload.rounding),
                workload.output_zero_point,
            )
            y[i] = T.cast(clamped(scaled, *workload.clamp), workload.output_dtype)

    headers = ("tinyaot_fixed_point.h", "tinyaot_elementwise.h")
    in_place = (0,) if workload.input_dtype == workload.output_dtype else ()
    return Kernel(wide_requantize, headers=headers, in_place_inputs=in_place)
