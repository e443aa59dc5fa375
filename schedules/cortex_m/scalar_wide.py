"""Convolutions and dense layers on int16 on cores without the DSP extension, pixel by pixel.

The taps of an output pixel, where they do not lie one after another, are copied to do so, with
zeros for the padding; then all channels read them, four at a time (`tinyaot_scalar_wide.h`).
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.calls import Buffer, Expr, at, call
from tinyaot.schedules.cortex_m.dsp_window import window_of
from tinyaot.schedules.cortex_m.wide_layer import (
    BYTES,
    always_zero,
    high_word_multipliers,
    in_bytes,
    in_rows,
    matrix,
    scaling_words,
    segment_taps,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload_wide import WideConv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_scalar.h", "tinyaot_scalar_wide.h")
_FINISH_HEADERS = (*_HEADERS, "tinyaot_wide.h", "tinyaot_wide_layer.h")

_QUAD = 4


def _is_depthwise(workload: WideConv2D) -> bool:
    return 1 < workload.groups == workload.input_shape[3] == workload.output_shape[3]


def _applies(workload: WideConv2D) -> bool:
    return workload.groups == 1 or (_is_depthwise(workload) and workload.groups % _QUAD == 0)


def _words(
    weight: NDArray[np.int64], constants: Constants, rounding: str
) -> NDArray[np.int32] | None:
    """What `tinyaot_scalar_wide_finish` reads; None where its arithmetic is not exact."""
    if high_word_multipliers(weight, constants, rounding) is None:
        return None
    gone = always_zero(constants)
    shift = np.where(gone, 1, constants["shift"].astype(np.int64) - 16)
    if shift.min() < 1:
        return None
    factors = np.where(gone, 0, constants["multiplier"].astype(np.int64)) + (shift << 16)
    return np.stack([constants["bias"], factors], axis=1).astype(np.int32)


def _derive(workload: WideConv2D, constants: Constants) -> dict[str, int]:
    """Whether sums are `narrow`: outputs follow from 32 bits; else the taps of a `segment`."""
    weight = matrix(constants)
    if _words(weight, constants, workload.rounding) is not None:
        return {"narrow": 1, "segment": weight.shape[1]}
    if workload.groups > 1:
        raise UnsuitableError("sums need 64 bits or another rounding")
    return {"narrow": 0, "segment": min(segment_taps(weight, 1), weight.shape[1])}


def _pack(workload: WideConv2D, narrow: bool, segment: int, constants: Constants) -> Constants:
    """Weights in pairs of channels, segment by segment, or channels side by side; and what finishes
    the sums."""
    weight = matrix(constants)
    scaling = _words(weight, constants, workload.rounding) if narrow else scaling_words(constants)
    assert scaling is not None, "_derive has found it"
    if workload.groups > 1:
        ordered = weight.T
    else:
        pairs = np.pad(weight, ((0, len(weight) % 2), (0, 0))).reshape(-1, 2, weight.shape[1])
        begins = range(0, weight.shape[1], segment)
        parts = [pairs[:, :, i : i + segment].transpose(0, 2, 1).reshape(-1) for i in begins]
        ordered = np.concatenate(parts)
    return {"weight": ordered.astype(np.int8).reshape(-1), "scaling": scaling.reshape(-1)}


@rule(WideConv2D, applies=_applies, derive=_derive)
def wide_conv2d(workload: WideConv2D, decisions: Decisions) -> Kernel:
    """One pixel by four channels."""
    narrow, segment = decisions["narrow"] == 1, decisions["segment"]
    workload = in_rows(workload)
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    dilation_h, dilation_w = workload.dilation
    top, left, _, _ = workload.padding
    padded, depthwise = any(workload.padding), workload.groups > 1
    pixel_size, row_size = channels * BYTES, width * channels * BYTES

    # Runs of taps that lie one after another: rows of the kernel, or all of it.
    split = padded or (dilation_w > 1 and kernel_width > 1)
    runs_across = kernel_width if split else 1
    run = pixel_size * (1 if split else kernel_width)
    whole = not split and (kernel_height == 1 or dilation_h * row_size == run)
    taps = math.prod(workload.kernel) * channels
    pairs = math.ceil(out_channels / 2)
    segments = math.ceil(taps / segment) if not depthwise else 1
    sums_size = out_channels if depthwise else 2 * (pairs + pairs % 2)
    weight_size = taps if depthwise else 2 * pairs * taps
    scaling_size = (2 if narrow else 4) * out_channels

    def begin(n: Expr, row: Expr, column: Expr) -> Expr:
        """Where an input pixel begins."""
        return ((n * height + row) * width + column) * pixel_size

    def copy_run(columns: Buffer, x: Buffer, i: Expr, j: Expr, place: Expr) -> Expr:
        to = at(columns, (i * runs_across + j) * run)
        return call("tinyaot_scalar_wide_copy", to, at(x, place), run)

    def clear_run(columns: Buffer, i: Expr, j: Expr) -> Expr:
        return call("tinyaot_scalar_wide_clear", at(columns, (i * runs_across + j) * run), run)

    def add_up(values: Expr, weight: Buffer, sums: Buffer, s: Expr) -> Expr:
        """The sums of a segment."""
        if depthwise:
            sizes = math.prod(workload.kernel), channels
            return call("tinyaot_scalar_wide_depthwise", values, at(weight), at(sums), *sizes)
        size = T.min(segment, taps - s * segment)
        weights, to = at(weight, s * (2 * pairs * segment)), at(sums, s * sums_size)
        return call("tinyaot_scalar_wide_sums", values, weights, to, size, pairs)

    def finish(sums: Buffer, scaling: Buffer, to: Expr) -> Expr:
        if narrow:
            places = at(sums), at(scaling), to
            return call("tinyaot_scalar_wide_finish", *places, out_channels, *workload.clamp)
        sizes = 1, 1, out_channels, segments, sums_size
        name = f"tinyaot_wide_finish_{workload.rounding}"
        return call(name, at(sums), at(scaling), to, *sizes, *workload.clamp)

    @T.prim_func
    def wide_conv2d(
        x: T.Buffer((batch * height * row_size,), "int8"),
        weight: T.Buffer((weight_size,), "int8"),
        scaling: T.Buffer((scaling_size,), "int32"),
        y: T.Buffer((batch * out_height * out_width * out_channels * BYTES,), "int8"),
    ):
        sums = T.alloc_buffer((segments * sums_size,), "int32")
        if not whole:
            columns = T.alloc_buffer((taps * BYTES,), "int8")
        for n, oh, ow in T.grid(batch, out_height, out_width):
            row: T.let[T.int32] = oh * stride_h - top
            column: T.let[T.int32] = ow * stride_w - left
            if not whole:
                for i, j in T.grid(kernel_height, runs_across):
                    ih: T.let[T.int32] = row + i * dilation_h
                    iw: T.let[T.int32] = column + j * dilation_w
                    if padded:
                        if T.And(T.And(ih >= 0, ih < height), T.And(iw >= 0, iw < width)):
                            copy_run(columns, x, i, j, begin(n, ih, iw))
                        else:
                            clear_run(columns, i, j)
                    else:
                        copy_run(columns, x, i, j, begin(n, ih, iw))
            for s in T.serial(segments):
                offset = T.meta_var(s * (segment * BYTES))
                if whole:
                    add_up(at(x, begin(n, row, column) + offset), weight, sums, s)
                else:
                    add_up(at(columns, offset), weight, sums, s)
            place: T.let[T.int32] = ((n * out_height + oh) * out_width + ow) * out_channels
            finish(sums, scaling, at(y, place * BYTES))

    # An output is written when all of its inputs have been read.
    overlays = not padded and window_of(in_bytes(workload), copied=False).pixels_may_overlay(1)
    pack = functools.partial(_pack, workload, narrow, segment)
    headers = _HEADERS if narrow else _FINISH_HEADERS
    return Kernel(wide_conv2d, pack, headers, (0,) if overlays else ())
