"""Pools and means on cores with the DSP extension, four channels at a time.

Where the channels are no multiple of four, the last four overlap the ones before.
"""

from __future__ import annotations

import math

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import WHOLE_RANGE, Buffer, Expr, at, call
from tinyaot.schedules.generic.arithmetic import clamped, intrinsic, requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Mean, Pool2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_elementwise.h")

_QUAD = 4

# Pixels whose sum int16 holds.
_LONGEST_SUM = 256


def _is_max(workload: Pool2D) -> bool:
    return workload.mode == "max" and workload.input_shape[3] >= _QUAD


def _is_average(workload: Pool2D) -> bool:
    return workload.mode == "average" and workload.input_shape[3] >= _QUAD


def _is_mean(workload: Mean) -> bool:
    return workload.inner >= _QUAD


def _sum(sums: Buffer, x: Buffer, begin: Expr, stride: int, pixels: Expr) -> Expr:
    return call("tinyaot_dsp_sum", at(sums), at(x, begin), stride, pixels)


@rule(Pool2D, features={"dsp"}, applies=_is_average)
def average_pool2d(workload: Pool2D, decisions: Decisions) -> Kernel:
    """Average over the part of the window inside the input, ties away from zero."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    top, left, _, _ = workload.padding
    quads = math.ceil(channels / _QUAD)
    # Rows of a window that follow each other in memory are summed as one.
    joined = kernel_width >= width and left == 0 and out_width == 1

    longest = height * width if joined else min(kernel_width, width)
    short = longest <= _LONGEST_SUM

    @T.inline
    def add_run(sums, x, begin, pixels):
        if short:
            _sum(sums, x, begin, channels, pixels)
        else:
            for part in T.serial((pixels + _LONGEST_SUM - 1) // _LONGEST_SUM):
                _sum(
                    sums,
                    x,
                    begin + part * (_LONGEST_SUM * channels),
                    channels,
                    T.min(pixels - part * _LONGEST_SUM, _LONGEST_SUM),
                )

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
            for q in T.serial(quads):
                c: T.let[T.int32] = T.min(q * _QUAD, channels - _QUAD)
                sums = T.alloc_buffer((_QUAD,), "int32", scope="local")
                for i in T.unroll(_QUAD):
                    sums[i] = 0
                begin: T.let[T.int32] = ((n * height + ih_begin) * width + iw_begin) * channels + c
                if joined:
                    add_run(sums, x, begin, count)
                else:
                    for row in T.serial(ih_end - ih_begin):
                        add_run(sums, x, begin + row * (width * channels), iw_end - iw_begin)
                for i in T.unroll(_QUAD):
                    y[((n * out_height + oh) * out_width + ow) * channels + c + i] = T.cast(
                        clamped(
                            intrinsic("tinyaot_rounding_divide", sums[i], count), *workload.clamp
                        ),
                        "int8",
                    )

    return Kernel(average_pool2d, headers=_HEADERS)


@rule(Pool2D, features={"dsp"}, applies=_is_max)
def max_pool2d(workload: Pool2D, decisions: Decisions) -> Kernel:
    """Maximum over the part of the window inside the input."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    top, left, _, _ = workload.padding
    quads = math.ceil(channels / _QUAD)
    output_size = batch * out_height * out_width * channels
    limited = workload.clamp != WHOLE_RANGE

    @T.prim_func
    def max_pool2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        y: T.Buffer((output_size,), "int8"),
    ):
        for n, oh, ow in T.grid(batch, out_height, out_width):
            ih_begin: T.let[T.int32] = T.max(0, oh * stride_h - top)
            ih_end: T.let[T.int32] = T.min(height, oh * stride_h - top + kernel_height)
            iw_begin: T.let[T.int32] = T.max(0, ow * stride_w - left)
            iw_end: T.let[T.int32] = T.min(width, ow * stride_w - left + kernel_width)
            for q in T.serial(quads):
                c: T.let[T.int32] = T.min(q * _QUAD, channels - _QUAD)
                call(
                    "tinyaot_dsp_max",
                    at(y, ((n * out_height + oh) * out_width + ow) * channels + c),
                    at(x, ((n * height + ih_begin) * width + iw_begin) * channels + c),
                    width * channels,
                    ih_end - ih_begin,
                    channels,
                    iw_end - iw_begin,
                )
        if limited:
            call("tinyaot_dsp_clamp", at(y), output_size, *workload.clamp)

    return Kernel(max_pool2d, headers=_HEADERS)


@rule(Mean, features={"dsp"}, applies=_is_mean)
def mean(workload: Mean, decisions: Decisions) -> Kernel:
    """Sum of the reduced axis, then one requantization that holds the division."""
    outer, reduced, inner = workload.outer, workload.reduced, workload.inner
    offset = reduced * workload.input_zero_point
    quads = math.ceil(inner / _QUAD)
    parts = math.ceil(reduced / _LONGEST_SUM)

    @T.prim_func
    def mean(
        x: T.Buffer((outer * reduced * inner,), "int8"),
        y: T.Buffer((outer * inner,), "int8"),
    ):
        for n, q in T.grid(outer, quads):
            c: T.let[T.int32] = T.min(q * _QUAD, inner - _QUAD)
            sums = T.alloc_buffer((_QUAD,), "int32", scope="local")
            for i in T.unroll(_QUAD):
                sums[i] = -offset
            for part in T.serial(parts):
                _sum(
                    sums,
                    x,
                    (n * reduced + part * _LONGEST_SUM) * inner + c,
                    inner,
                    T.min(reduced - part * _LONGEST_SUM, _LONGEST_SUM),
                )
            for i in T.unroll(_QUAD):
                y[n * inner + c + i] = store_int8(
                    requantized(sums[i], workload.multiplier, workload.shift, workload.rounding),
                    workload.output_zero_point,
                    workload.clamp,
                )

    return Kernel(mean, headers=_HEADERS)
