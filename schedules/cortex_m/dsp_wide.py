"""Convolutions and dense layers on int16 on cores with the DSP extension.

The taps of two output pixels are gathered into a column buffer, which is multiplied with all output
channels, two at a time; the last pixels are computed one by one, see `tinyaot_dsp_wide.h`. Where
sums with the bias fit 32 bits and one multiplication scales them, weights and constants come as one
stream; else sums are finished apart (`wide_layer.py`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import Buffer, Expr, at, call, copy, fill
from tinyaot.schedules.cortex_m.dsp_convolution import check_pairs
from tinyaot.schedules.cortex_m.dsp_window import Window, strip_space, window_loader, window_of
from tinyaot.schedules.cortex_m.wide_layer import (
    BYTES,
    FULL_RANGE,
    RELU_RANGE,
    SMALL_WINDOW,
    double_rounding,
    high_word_multipliers,
    in_bytes,
    in_rows,
    matrix,
    scaling_words,
    segment_taps,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, rule
from tinyaot.schedules.workload_wide import WideConv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_wide.h")
_FINISH_HEADERS = (*_HEADERS, "tinyaot_wide.h", "tinyaot_wide_layer.h")

# Pixels of a tile.
_TILE = 2
# Taps of the kernels' steps.
_STEP = 4


@dataclass(frozen=True)
class _Taps:
    """How the taps of a pixel are gathered.

    Attributes:
        calls: calls that gather them, `call_pitch` bytes apart.
        runs: runs of contiguous taps that a call gathers, `pitch` bytes apart.
        run: taps of a run.
    """

    calls: int
    call_pitch: int
    runs: int
    pitch: int
    run: int

    @property
    def padded(self) -> int:
        """Taps of a run in a column."""
        return math.ceil(self.run / _STEP) * _STEP

    @property
    def is_column(self) -> bool:
        """Whether the taps of a pixel lie as they do in a column."""
        return self.calls == self.runs == 1 and self.run == self.padded

    @property
    def count(self) -> int:
        """Taps of a column."""
        return self.calls * self.runs * self.padded


def _taps(workload: WideConv2D, window: Window) -> _Taps:
    kernel_height, kernel_width = workload.kernel
    channels = workload.input_shape[3]
    down = workload.dilation[0] * window.pitch
    if workload.dilation[1] != 1 and kernel_width > 1:
        across = workload.dilation[1] * channels * BYTES
        return _Taps(kernel_height, down, kernel_width, across, channels)
    run = kernel_width * channels
    if down == run * BYTES or kernel_height == 1:
        return _Taps(1, 0, 1, run * kernel_height * BYTES, run * kernel_height)
    return _Taps(1, 0, kernel_height, down, run)


def _window(workload: WideConv2D) -> Window:
    window = window_of(in_bytes(workload), copied=False)
    if workload.kernel == (1, 1) == workload.strides and not window.copied:
        pixels = window.batch * window.height * window.width
        return replace(window, batch=1, height=1, width=pixels, out_height=1, out_width=pixels)
    return window


def _applies(workload: WideConv2D) -> bool:
    return workload.groups == 1


def _space(workload: WideConv2D) -> Space:
    """Output rows computed from one window."""
    return strip_space(_window(in_rows(workload)), _TILE, SMALL_WINDOW)


def _derive(workload: WideConv2D, constants: Constants) -> dict[str, int]:
    """Whether sums are `narrow`: outputs follow from 32 bits; else the taps of a `segment`."""
    weight = matrix(constants)
    check_pairs(weight)
    if _scaling(workload, weight, constants) is not None:
        return {"narrow": 1, "segment": 0}
    in_columns = _in_columns(in_rows(workload), weight)
    return {"narrow": 0, "segment": min(segment_taps(in_columns, 2 * _STEP), in_columns.shape[1])}


def _scaling(
    workload: WideConv2D, weight: NDArray[np.int64], constants: Constants
) -> NDArray[np.int32] | None:
    """(channels, words) behind the weights, if outputs follow from sums in 32 bits."""
    if workload.rounding == "double":
        return double_rounding(weight, constants, workload.rounding)
    found = high_word_multipliers(weight, constants, workload.rounding)
    return None if found is None else found[:, None]


def _in_columns(workload: WideConv2D, weight: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weights (channels, taps) in the order of a column, with zeros where runs are filled up."""
    taps = _taps(workload, _window(workload))
    runs = weight.reshape(len(weight), -1, taps.run)
    return np.pad(runs, ((0, 0), (0, 0), (0, taps.padded - taps.run))).reshape(len(weight), -1)


def _pack(workload: WideConv2D, narrow: bool, segment: int, constants: Constants) -> Constants:
    """The stream: biases, weights and multipliers of each pair of channels from the last to the
    first; or the weights of each segment, then what finishes the sums."""
    weight = matrix(constants)
    columns = _in_columns(workload, weight)
    missing = len(weight) % 2
    columns = np.pad(columns, ((0, missing), (0, 0)))
    halfwords = (256 * columns[1::2] + columns[0::2]).astype(np.int16)
    if not narrow:
        begins = range(0, halfwords.shape[1], segment)
        parts = [halfwords[:, begin : begin + segment].reshape(-1) for begin in begins]
        stream = np.concatenate(parts).view(np.int32)
        return {"stream": np.concatenate([stream, scaling_words(constants).reshape(-1)])}
    found = _scaling(workload, weight, constants)
    assert found is not None, "_derive has found it"
    bias = np.pad(constants["bias"].astype(np.int64), (0, missing))
    columns_of_words = [
        bias[0::2, None].astype(np.int32),
        (256 * bias[1::2] + bias[0::2]).view(np.int32).reshape(-1, 2),
        halfwords.view(np.int32),
        np.pad(found, ((0, missing), (0, 0))).reshape(len(halfwords), -1),
    ]
    return {"stream": np.concatenate(columns_of_words, axis=1)[::-1].reshape(-1)}


@rule(WideConv2D, features={"dsp"}, applies=_applies, space=_space, derive=_derive)
def wide_conv2d(workload: WideConv2D, decisions: Decisions) -> Kernel:
    """Two pixels by two channels a tile."""
    narrow, segment = decisions["narrow"] == 1, decisions["segment"]
    workload = in_rows(workload)
    window = _window(workload)
    taps = _taps(workload, window)
    strip_rows = decisions["strip_rows"]
    batch, pixels, copied = window.batch, window.pixels, window.copied
    out_channels = workload.output_shape[3]
    strips = math.ceil(window.out_height / strip_rows)
    strip_pixels = strip_rows * window.out_width
    load = window_loader(window, strip_rows, 0)
    window_size = window.size_for(strip_rows) if copied else 0
    double = workload.rounding == "double"
    form = "_double" if double else "_relu" if workload.clamp == RELU_RANGE else ""
    clamped = workload.clamp != FULL_RANGE and form != "_relu"

    pairs = math.ceil(out_channels / 2)
    last = 2 * (pairs - 1) * BYTES
    segments = 1 if narrow else math.ceil(taps.count / segment)
    weight_words = pairs * taps.count // 2
    stream_size = weight_words + ((9 if double else 5) * pairs if narrow else 4 * out_channels)
    # The kernels write a channel too much where there is an odd one. The next pixel repairs it, and
    # the last one is staged.
    staged = narrow and out_channels % 2 == 1
    tiled = (pixels - staged) // _TILE * _TILE
    direct = taps.is_column and not copied and batch * pixels == 1
    aligned = window.channels % 4 == 0
    row_size = out_channels * BYTES
    output_size = batch * pixels * row_size
    column_size = min(tiled + 1, _TILE) * taps.count * BYTES

    def gather(columns: Buffer, source: Buffer, base: Expr, group: Expr, pixel: Expr) -> Expr:
        """Gathers the taps of a tile that one call gathers."""
        base = base + group * taps.call_pitch
        words = aligned and taps.run % (2 * _STEP) == 0
        return call(
            "tinyaot_dsp_wide_columns_words" if words else "tinyaot_dsp_wide_columns",
            at(columns, group * (taps.runs * taps.padded * _TILE * BYTES)),
            *(at(source, base + window.offset(pixel + p)) for p in range(_TILE)),
            taps.pitch,
            taps.runs,
            taps.run * BYTES,
        )

    def copy_run(columns: Buffer, source: Buffer, base: Expr, run: Expr, pixel: Expr) -> Expr:
        """Copies a run of a single pixel's taps; what fills it up has no weight."""
        place = run // taps.runs * taps.call_pitch + run % taps.runs * taps.pitch
        to = at(columns, run * taps.padded * BYTES)
        taken = at(source, base + window.offset(pixel) + place)
        return copy(to, taken, taps.run * BYTES, words=aligned)

    def add_up(count: int, columns: Buffer, stream: Buffer, sums: Buffer, s: Expr) -> Expr:
        """The sums of a segment of one or two pixels."""
        begin, size = s * segment, T.min(segment, taps.count - s * segment)
        name = f"tinyaot_dsp_wide_{'sums' if count == _TILE else 'vector_sums'}"
        place = at(columns, begin * (count * BYTES))
        words, to = at(stream, begin // 2 * pairs), at(sums, s * (2 * pairs * count))
        return call(name, place, words, to, *([0] if count == _TILE else []), size, pairs)

    def finish(count: int, stream: Buffer, sums: Buffer, to: Expr) -> Expr:
        return call(
            f"tinyaot_wide_finish_{workload.rounding}",
            *(at(sums), at(stream, weight_words), to, count, count),
            *(out_channels, segments, 2 * pairs * count, *workload.clamp),
        )

    def multiply(columns: Buffer, stream: Buffer, to: Expr) -> Expr:
        arguments = at(columns), at(stream), to, row_size, taps.count, pairs
        return call(f"tinyaot_dsp_wide_matmul{form}", *arguments)

    def multiply_one(columns: Buffer, stream: Buffer, to: Expr) -> Expr:
        arguments = at(columns), at(stream), to, taps.count, pairs
        return call(f"tinyaot_dsp_wide_vector{form}", *arguments)

    @T.prim_func
    def wide_conv2d(
        x: T.Buffer((batch * window.image,), "int8"),
        stream: T.Buffer((stream_size,), "int32"),
        y: T.Buffer((output_size,), "int8"),
    ):
        if direct:
            columns = T.meta_var(x)
        if not direct:
            columns = T.alloc_buffer((column_size,), "int8")
        if not narrow:
            sums = T.alloc_buffer((segments * 2 * pairs * min(tiled + 1, _TILE),), "int32")
        if staged:
            staging = T.alloc_buffer((2 * pairs * BYTES,), "int8")
        if copied:
            source = T.alloc_buffer((window_size,), "int8")
            fill(at(source), 0, window_size)
        else:
            source = T.meta_var(x)
        for n in T.serial(batch):
            base: T.let[T.int32] = window.begin if copied else n * window.image
            for s in T.serial(strips):
                if copied:
                    load(source, x, n, s)
                for t in T.serial(T.min(strip_pixels, tiled - s * strip_pixels) // _TILE):
                    for group in T.serial(taps.calls):
                        gather(columns, source, base, group, t * _TILE)
                    first: T.let[T.int32] = (n * pixels + s * strip_pixels + t * _TILE) * row_size
                    if narrow:
                        multiply(columns, stream, at(y, first + last))
                    else:
                        for part in T.serial(segments):
                            add_up(_TILE, columns, stream, sums, part)
                        finish(_TILE, stream, sums, at(y, first))
            for p in T.serial(tiled, pixels):
                pixel: T.let[T.int32] = p - (strips - 1) * strip_pixels
                place: T.let[T.int32] = (n * pixels + p) * row_size
                if not direct:
                    for run in T.serial(taps.calls * taps.runs):
                        copy_run(columns, source, base, run, pixel)
                if not narrow:
                    for part in T.serial(segments):
                        add_up(1, columns, stream, sums, part)
                    finish(1, stream, sums, at(y, place))
                elif not staged:
                    multiply_one(columns, stream, at(y, place + last))
                else:
                    multiply_one(columns, stream, at(staging, last))
                    copy(at(y, place), at(staging), row_size, words=False)
        if narrow and clamped:
            call("tinyaot_dsp_wide_clamp", at(y), output_size // BYTES, *workload.clamp)

    overlays = window.strips_may_overlay(strip_rows) or (
        not copied and not direct and window.pixels_may_overlay(_TILE)
    )
    pack = functools.partial(_pack, workload, narrow, segment)
    headers = _HEADERS if narrow else _FINISH_HEADERS
    return Kernel(wide_conv2d, pack, headers, (0,) if overlays and not staged else ())
