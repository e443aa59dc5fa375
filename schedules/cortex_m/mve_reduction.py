"""Pooling, mean and softmax on Helium.

An average is a sum and a requantization: the division is a factor, solved for like any other (see
`mve_requantize`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import Buffer, Expr, at, call, round_up
from tinyaot.schedules.cortex_m.mve_requantize import Vector, form, is_signed, solve_vector
from tinyaot.schedules.cortex_m.requantize import Channels, output_steps
from tinyaot.schedules.registry import Constants, Decisions, Kernel, rule
from tinyaot.schedules.workload import Mean, Pool2D, Softmax

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_elementwise.h")
_SUM_HEADERS = (*_HEADERS, "tinyaot_mve_dense.h")

Int64 = NDArray[np.int64]


def _one_channel(
    low: int, high: int, steps: Int64, clamp: tuple[int, int], scale: float
) -> Channels:
    """What must be computed of sums from low to high."""
    none = np.zeros((1, 0), np.int64)
    bounds = np.array([low]), np.array([high])
    return Channels(none, np.zeros(1, np.int64), *bounds, steps, clamp[0] + 1, np.array([scale]))


def _solve_mean(workload: Mean) -> Vector:
    low, high = (workload.reduced * (bound - workload.input_zero_point) for bound in (-128, 127))
    zero_point, clamp = workload.output_zero_point, workload.clamp
    multiplier, shift = np.array([workload.multiplier]), np.array([workload.shift])
    steps = output_steps(multiplier, shift, zero_point, clamp, workload.rounding)
    scale = workload.multiplier * 2.0 ** (workload.shift - 31)
    signed = is_signed(zero_point, clamp, workload.rounding)
    channels = _one_channel(low, high, steps, clamp, scale)
    return solve_vector(channels, zero_point if signed else None)


def _derive_mean(workload: Mean, constants: Constants) -> dict[str, int]:
    return {"fraction": _solve_mean(workload).fraction}


def _fits(workload: Mean) -> bool:
    # The reference multiplies a sum less its zero point, perhaps shifted to the left.
    return workload.reduced * 255 << max(workload.shift, 0) < 2**31 and workload.multiplier > 0


@rule(Mean, features={"dsp", "mve"}, applies=_fits, derive=_derive_mean)
def mean(workload: Mean, decisions: Decisions) -> Kernel:
    """Sums of sixteen columns at a time."""
    outer, reduced, inner = workload.outer, workload.reduced, workload.inner
    signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
    requantize = f"requantize_flat{form(signed, workload.clamp, decisions['fraction'])}"
    sums = round_up(inner, 16)

    @T.prim_func
    def mean(
        x: T.Buffer((outer * reduced * inner,), "int8"),
        stream: T.Buffer((7,), "int32"),
        y: T.Buffer((outer * inner,), "int8"),
    ):
        acc = T.alloc_buffer((sums,), "int32")
        for n in T.serial(outer):
            call("sum", at(acc), at(x, n * reduced * inner), 1, reduced, 0, inner)
            call(requantize, at(acc), at(stream), at(y, n * inner), inner)

    def pack(constants: Constants) -> Constants:
        bias = -reduced * workload.input_zero_point
        return {"stream": _solve_mean(workload).flat(bias, workload.clamp)}

    return Kernel(mean, pack, _SUM_HEADERS)


def _average_steps(count: int, clamp: tuple[int, int]) -> Int64:
    """The least sums whose average, ties away from zero, is clamp[0] + 1, ..., clamp[1]."""
    y = np.arange(clamp[0] + 1, clamp[1] + 1)
    # Above zero (sum + count / 2) / count >= y, else (sum - count / 2) / count > y - 1, truncated.
    return np.where(y > 0, y * count - count // 2, (y - 1) * count + count // 2 + 1)[None, :]


def _solve_average(workload: Pool2D) -> Vector:
    count = workload.kernel[0] * workload.kernel[1]
    steps = _average_steps(count, workload.clamp)
    channels = _one_channel(-128 * count, 127 * count, steps, workload.clamp, 1 / count)
    return solve_vector(channels, 0 if workload.clamp[0] < 0 else None)


def _derive_average(workload: Pool2D, constants: Constants) -> dict[str, int]:
    return {"fraction": _solve_average(workload).fraction}


def _has_whole_windows(workload: Pool2D) -> bool:
    _, height, width, _ = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    reach = (
        (size - 1) * stride + kernel
        for size, stride, kernel in zip(
            (out_height, out_width), workload.strides, workload.kernel, strict=True
        )
    )
    return not any(workload.padding[:2]) and all(
        end <= size for end, size in zip(reach, (height, width), strict=True)
    )


def _is_average(workload: Pool2D) -> bool:
    return workload.mode == "average" and _has_whole_windows(workload)


def _is_max(workload: Pool2D) -> bool:
    return workload.mode == "max"


@rule(Pool2D, features={"dsp", "mve"}, applies=_is_average, derive=_derive_average)
def average_pool2d(workload: Pool2D, decisions: Decisions) -> Kernel:
    """The sum of a window, then its share."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    suffix = form(workload.clamp[0] < 0, workload.clamp, decisions["fraction"])
    requantize = f"requantize_flat{suffix}"
    # Rows that lie one after another are one.
    rows, columns = (
        (1, kernel_height * width) if kernel_width == width else (kernel_height, kernel_width)
    )
    sums = round_up(channels, 16)

    def add_up(acc: Buffer, x: Buffer, n: Expr, oh: Expr, ow: Expr) -> Expr:
        """The sums of a window."""
        begin = ((n * height + oh * stride_h) * width + ow * stride_w) * channels
        return call("sum", at(acc), at(x, begin), rows, columns, width * channels, channels)

    @T.prim_func
    def average_pool2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        stream: T.Buffer((7,), "int32"),
        y: T.Buffer((batch * out_height * out_width * channels,), "int8"),
    ):
        acc = T.alloc_buffer((sums,), "int32")
        for n, oh, ow in T.grid(batch, out_height, out_width):
            add_up(acc, x, n, oh, ow)
            call(
                requantize,
                at(acc),
                at(stream),
                at(y, ((n * out_height + oh) * out_width + ow) * channels),
                channels,
            )

    def pack(constants: Constants) -> Constants:
        return {"stream": _solve_average(workload).flat(0, workload.clamp)}

    return Kernel(average_pool2d, pack, _SUM_HEADERS)


@rule(Pool2D, features={"dsp", "mve"}, applies=_is_max)
def max_pool2d(workload: Pool2D, decisions: Decisions) -> Kernel:
    """Sixteen channels at a time, over the part of the window inside the input."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    top, left, _, _ = workload.padding
    low, high = workload.clamp

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
            call(
                "maximum",
                at(y, ((n * out_height + oh) * out_width + ow) * channels),
                at(x, ((n * height + ih_begin) * width + iw_begin) * channels),
                ih_end - ih_begin,
                iw_end - iw_begin,
                width * channels,
                channels,
                low,
                high,
            )

    return Kernel(max_pool2d, headers=_HEADERS)


@rule(Softmax, features={"dsp", "mve"})
def softmax(workload: Softmax, decisions: Decisions) -> Kernel:
    """Exponentials are gathered from the table. The output may overlay the input."""
    rows, depth = workload.rows, workload.depth

    @T.prim_func
    def softmax(
        x: T.Buffer((rows * depth,), "int8"),
        table: T.Buffer((256,), "int32"),
        y: T.Buffer((rows * depth,), "int8"),
    ):
        for n in T.serial(rows):
            call("softmax", at(x, n * depth), at(table), at(y, n * depth), depth)

    return Kernel(softmax, headers=_HEADERS, in_place_inputs=(0,))
