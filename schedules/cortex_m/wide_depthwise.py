"""Depthwise convolution on int16 on cores with the DSP extension and on Helium.

Outputs are computed line by line: a row of them, or a column where the image has one. All channels
of a tap lie side by side; where the taps of an output are comes from a table. Where there is
padding the input is copied into a window first.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import Buffer, Expr, at, call, fill
from tinyaot.schedules.cortex_m.dsp_window import Window, strip_space, window_loader, window_of
from tinyaot.schedules.cortex_m.mve_calls import as_words
from tinyaot.schedules.cortex_m.wide_layer import (
    BYTES,
    FULL_RANGE,
    RELU_RANGE,
    SMALL_WINDOW,
    half_word_multipliers,
    high_word_multipliers,
    in_bytes,
    in_rows,
    matrix,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, UnsuitableError, rule
from tinyaot.schedules.workload_wide import WideConv2D

_DSP_HEADERS: tuple[str, ...] = (
    "tinyaot_fixed_point.h",
    "tinyaot_dsp.h",
    "tinyaot_dsp_wide_depthwise.h",
)
_MVE_HEADERS: tuple[str, ...] = (
    *("tinyaot_fixed_point.h", "tinyaot_dsp.h"),
    *("tinyaot_mve.h", "tinyaot_mve_wide_depthwise.h"),
)

# Channels at a time.
_QUAD, _LANES = 4, 8

Multipliers = Callable[[NDArray[np.int64], Constants, str], NDArray[np.int32] | None]


def _is_depthwise(workload: WideConv2D) -> bool:
    return workload.groups == workload.input_shape[3] == workload.output_shape[3]


def _has_quads(workload: WideConv2D) -> bool:
    channels = workload.input_shape[3]
    return _is_depthwise(workload) and channels >= _QUAD and channels % 2 == 0


def _window(workload: WideConv2D) -> Window:
    return window_of(in_bytes(workload), copied=False)


def _space(workload: WideConv2D) -> Space:
    """Output rows computed from one window."""
    return strip_space(_window(in_rows(workload)), 1, SMALL_WINDOW)


def _checks(multipliers: Multipliers) -> Callable[[WideConv2D, Constants], dict[str, int]]:
    """Outputs must follow from sums in 32 bits by one multiplication."""

    def derive(workload: WideConv2D, constants: Constants) -> dict[str, int]:
        if multipliers(matrix(constants), constants, workload.rounding) is None:
            raise UnsuitableError("sums need 64 bits or another rounding")
        return {}

    return derive


def _offsets(workload: WideConv2D) -> NDArray[np.int32]:
    """Bytes from an output's first tap to each of them."""
    window = _window(workload)
    rows, columns = (np.arange(size) for size in workload.kernel)
    down, across = workload.dilation
    places = rows[:, None] * (down * window.pitch) + columns * (across * window.channels)
    return places.reshape(-1).astype(np.int32)


def _kernel(
    workload: WideConv2D,
    decisions: Decisions,
    stream_words: int,
    blocks: int,
    compute: Callable[..., Expr],
    clamp: str,
    headers: tuple[str, ...],
    pack: Callable[[Constants], NDArray[np.int32]],
) -> Kernel:
    """Outputs line by line and by blocks of channels.

    Args:
        workload: of one layer.
        decisions: for its knobs.
        stream_words: size of what `pack` returns.
        blocks: of channels, for each of which a line is computed.
        compute: a call that computes a block of a line of given source, place in it, output, place
            in it, stream, offsets, block, number of pixels, and bytes between their taps.
        clamp: the function that limits the output afterwards, or empty.
        headers: what `compute` needs.
        pack: makes the stream of the constants.
    """
    workload = in_rows(workload)
    window, strip_rows = _window(workload), decisions["strip_rows"]
    batch, copied, taps = window.batch, window.copied, math.prod(workload.kernel)
    out_height, out_width = window.out_height, window.out_width
    strips = math.ceil(out_height / strip_rows)
    load = window_loader(window, strip_rows, 0)
    window_size = window.size_for(strip_rows) if copied else 0
    row_size = out_width * window.out_channels
    output_size = batch * out_height * row_size
    # A line is a row, or a column where the image has one.
    upright = out_width == 1
    clamped = clamp != ""

    @T.prim_func
    def wide_depthwise(
        x: T.Buffer((batch * window.image,), "int8"),
        stream: T.Buffer((stream_words,), "int32"),
        offsets: T.Buffer((taps,), "int32"),
        y: T.Buffer((output_size,), "int8"),
    ):
        if not copied:
            source = T.meta_var(x)
        if copied:
            source = T.alloc_buffer((window_size,), "int8")
            fill(at(source), 0, window_size)
        for n, s in T.grid(batch, strips):
            base: T.let[T.int32] = window.begin if copied else n * window.image
            if copied:
                load(source, x, n, s)
            rows: T.let[T.int32] = T.min(strip_rows, out_height - s * strip_rows)
            place: T.let[T.int32] = (n * out_height + s * strip_rows) * row_size
            for line in T.serial(1 if upright else rows):
                for block in T.serial(blocks):
                    compute(
                        source,
                        base + line * window.down,
                        y,
                        place + line * row_size,
                        stream,
                        offsets,
                        block,
                        rows if upright else out_width,
                        window.down if upright else window.right,
                    )
        if clamped:
            call(clamp, at(y), output_size // BYTES, *workload.clamp)

    def packed(constants: Constants) -> Constants:
        return {"stream": pack(constants), "offsets": _offsets(workload)}

    in_place = (0,) if window.strips_may_overlay(strip_rows) else ()
    return Kernel(wide_depthwise, packed, headers, in_place)


def _quad_begins(channels: int) -> NDArray[np.int64]:
    """The first channel of each four; the last ones overlap those before where they must."""
    return np.minimum(np.arange(0, channels, _QUAD), channels - _QUAD)


def _pack_quads(workload: WideConv2D, constants: Constants) -> NDArray[np.int32]:
    weight = matrix(constants)
    multiplier = high_word_multipliers(weight, constants, workload.rounding)
    assert multiplier is not None, "it has been found before"
    parts = []
    for begin in _quad_begins(len(weight)):
        four = slice(begin, begin + _QUAD)
        weights = weight[four][[0, 2, 1, 3]].T.astype(np.int8)
        parts += [constants["bias"][four].astype(np.int32), as_words(weights), multiplier[four]]
    return np.concatenate(parts)


@rule(
    WideConv2D,
    features={"dsp"},
    applies=_has_quads,
    space=_space,
    derive=_checks(high_word_multipliers),
)
def dsp_depthwise(workload: WideConv2D, decisions: Decisions) -> Kernel:
    """Four channels by one tap at a time."""
    channels, taps = workload.input_shape[3], math.prod(workload.kernel)
    quads, words = math.ceil(channels / _QUAD), taps + 2 * _QUAD
    form = "_relu" if workload.clamp == RELU_RANGE else ""

    def compute(
        source: Buffer,
        x: Expr,
        y: Buffer,
        place: Expr,
        stream: Buffer,
        offsets: Buffer,
        quad: Expr,
        pixels: Expr,
        stride: int,
    ) -> Expr:
        begin = T.min(quad * _QUAD, channels - _QUAD) * BYTES
        to, constants = at(y, place + begin), at(stream, quad * words)
        places = at(source, x + begin), to, constants, at(offsets)
        sizes = taps, pixels, stride, channels * BYTES
        return call(f"tinyaot_dsp_wide_depthwise{form}", *places, *sizes)

    pack = functools.partial(_pack_quads, workload)
    limited = workload.clamp not in (FULL_RANGE, RELU_RANGE)
    clamp = "tinyaot_dsp_wide_clamp" if limited else ""
    headers = _DSP_HEADERS + (("tinyaot_dsp_wide.h",) if limited else ())
    return _kernel(workload, decisions, quads * words, quads, compute, clamp, headers, pack)


def _pack_eights(workload: WideConv2D, constants: Constants) -> NDArray[np.int32]:
    weight = matrix(constants)
    multiplier = half_word_multipliers(weight, constants, workload.rounding)
    assert multiplier is not None, "it has been found before"
    missing = -len(weight) % _LANES
    scaling = np.stack([constants["bias"].astype(np.int32), multiplier])
    # Biases and multipliers of the even lanes, then of the odd ones.
    lanes = np.pad(scaling, ((0, 0), (0, missing))).reshape(2, -1, _QUAD, 2).transpose(1, 3, 0, 2)
    parts = []
    for block, begin in enumerate(range(0, len(weight), _LANES)):
        weights = weight[begin : begin + _LANES].T.astype(np.int8)
        parts += [as_words(weights), lanes[block].reshape(-1)]
    return np.concatenate(parts)


@rule(
    WideConv2D,
    features={"dsp", "mve"},
    applies=_is_depthwise,
    space=_space,
    derive=_checks(half_word_multipliers),
)
def mve_depthwise(workload: WideConv2D, decisions: Decisions) -> Kernel:
    """Eight channels of two pixels at a time."""
    channels, taps = workload.input_shape[3], math.prod(workload.kernel)
    blocks, rest = divmod(channels, _LANES)
    words = blocks * (2 * taps + 2 * _LANES)
    words += math.ceil(rest * taps / 4) + 2 * _LANES if rest else 0

    def compute(
        source: Buffer,
        x: Expr,
        y: Buffer,
        place: Expr,
        stream: Buffer,
        offsets: Buffer,
        block: Expr,
        pixels: Expr,
        stride: int,
    ) -> Expr:
        places = at(source, x), at(y, place), at(stream), at(offsets)
        sizes = taps, pixels, stride, channels * BYTES, channels
        return call("tinyaot_mve_wide_depthwise", *places, *sizes)

    pack = functools.partial(_pack_eights, workload)
    limited = workload.clamp != FULL_RANGE
    clamp = "tinyaot_mve_wide_clamp" if limited else ""
    headers = _MVE_HEADERS + (("tinyaot_mve_wide.h",) if limited else ())
    return _kernel(workload, decisions, words, 1, compute, clamp, headers, pack)
