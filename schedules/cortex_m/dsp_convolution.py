"""Convolution on cores with the DSP extension: columns of three pixels times pairs of channels.

The taps of three output pixels are gathered and widened to int16 once, into a column buffer; then
`tinyaot_dsp_matmul_*` multiplies them with all output channels, two at a time; weights, biases and
requantization constants come as one stream (see `tinyaot_dsp_matmul.h`).

Where there is padding, or where runs of taps are no whole words, the input rows that a strip of
output rows needs are first copied into a window with the padding in place, so that no loop has a
case for borders. The rows that the next strip needs again move to the front of the window.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import WHOLE_RANGE, Buffer, Expr, at, call, copy
from tinyaot.schedules.cortex_m.requantize import (
    Channels,
    fold_channels,
    reference_rounding,
    solve_high_word,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, UnsuitableError, rule
from tinyaot.schedules.workload import Conv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_matmul.h")

# The kernels' forms of requantization by the fraction of `solve_high_word`; the first two suit
# almost all layers, so that these share the code.
_REFERENCE = 0
_FRACTIONS = (12, _REFERENCE, 14, 10, 8, 6)

# Pixels of a tile.
_TILE = 3

# A window that holds the whole input is taken up to this size in bytes.
_SMALL_WINDOW = 1024


@dataclass(frozen=True)
class _Geometry:
    """A convolution as the kernel sees it: its sizes, and where its taps are.

    A kernel row is one run of contiguous taps, or one for each tap if they are dilated.
    """

    batch: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    top: int
    left: int
    padded: bool

    @property
    def runs(self) -> int:
        """Runs of taps in a kernel row."""
        return 1 if self.dilation[1] == 1 else self.kernel[1]

    @property
    def run(self) -> int:
        """Bytes of a run."""
        return self.kernel[1] // self.runs * self.channels

    @property
    def run_taps(self) -> int:
        """Taps of a run in the column buffer: whole words are read, the surplus has no weight."""
        return math.ceil(self.run / 4) * 4

    @property
    def is_3x9(self) -> bool:
        """Whether there is a special way to gather, as for 3x3 kernels on three channels."""
        return self.kernel[0] == 3 and self.runs == 1 and self.run == 9

    @property
    def taps(self) -> int:
        """Taps of a pixel in the column buffer."""
        return 28 if self.is_3x9 else self.kernel[0] * self.runs * self.run_taps

    @property
    def windowed(self) -> bool:
        """Whether the input is copied into a window."""
        return self.padded or (self.run != self.run_taps and not self.is_3x9)

    @property
    def reach(self) -> int:
        """Columns from the first tap of a row's first pixel to the last tap of its last."""
        across = (self.out_width - 1) * self.strides[1]
        return across + (self.kernel[1] - 1) * self.dilation[1] + 1

    @property
    def used_width(self) -> int:
        """Input columns, from the first on, that some output needs."""
        return max(min(self.width, self.reach - self.left), 0)

    @property
    def margin(self) -> int:
        """Bytes of a window row before the input: the padding, and what aligns the input."""
        return math.ceil(self.left * self.channels / 4) * 4

    @property
    def lead(self) -> int:
        """Bytes of a window row before the padding."""
        return self.margin - self.left * self.channels

    @property
    def pitch(self) -> int:
        """Bytes from row to row."""
        if not self.windowed:
            return self.width * self.channels
        columns = max(self.reach, self.left + self.used_width)
        return math.ceil((self.lead + columns * self.channels + self.run_taps - self.run) / 4) * 4

    @property
    def pixels(self) -> int:
        """Output pixels of an image."""
        return self.out_height * self.out_width

    def rows_for(self, out_rows: int) -> int:
        """Input rows, padding included, that output rows need."""
        return (out_rows - 1) * self.strides[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def begin(self, pixel: Expr) -> Expr:
        """Where the taps of an output pixel begin, in bytes from those of pixel 0."""
        row, column = pixel // self.out_width, pixel % self.out_width
        return row * (self.strides[0] * self.pitch) + column * (self.strides[1] * self.channels)


def _geometry(workload: Conv2D) -> _Geometry:
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    top, left, _, _ = workload.padding
    geometry = _Geometry(
        *(batch, height, width, channels),
        *(out_height, out_width, out_channels),
        workload.kernel,
        workload.strides,
        workload.dilation,
        top,
        left,
        any(workload.padding),
    )
    if workload.kernel == (1, 1) == workload.strides and not geometry.windowed:
        pixels = batch * height * width
        return replace(geometry, batch=1, height=1, width=pixels, out_height=1, out_width=pixels)
    return geometry


def _applies(workload: Conv2D) -> bool:
    return workload.groups == 1


def _space(workload: Conv2D) -> Space:
    """Output rows computed from one window, so many that whole tiles fill them."""
    geometry = _geometry(workload)
    height = geometry.out_height
    if not geometry.windowed:
        return {"strip_rows": (height,)}
    step = _TILE // math.gcd(geometry.out_width, _TILE)
    sizes = [*range(step, height, step), height]
    small = geometry.rows_for(height) * geometry.pitch <= _SMALL_WINDOW
    return {"strip_rows": tuple(reversed(sizes) if small else sizes)}


def _fold(workload: Conv2D, constants: Constants) -> Channels:
    weight = constants["weight"]
    channels = fold_channels(
        weight.reshape(weight.shape[0], -1),
        constants,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )
    odd = channels.weight[1::2]
    if np.any((odd == -128) & (channels.weight[0::2][: len(odd)] < 0)):
        raise UnsuitableError("weights of -128 do not fit into shared halfwords")
    return channels


def _derive(workload: Conv2D, constants: Constants) -> dict[str, int]:
    if not constants:
        raise UnsuitableError("the form of requantization depends on the constants")
    channels = _fold(workload, constants)
    for fraction in _FRACTIONS:
        if _finish(workload, fraction, channels, constants) is not None:
            return {"fraction": fraction}
    raise UnsuitableError("no exact form of requantization")


def _finish(
    workload: Conv2D, fraction: int, channels: Channels, constants: Constants
) -> NDArray[np.int32] | None:
    if fraction != _REFERENCE:
        return solve_high_word(channels, fraction)
    return reference_rounding(channels, constants, workload.output_zero_point)


def _tap_order(geometry: _Geometry) -> NDArray[np.int64]:
    """For each tap of a column the position of its weight in a channel; -1 for none."""
    runs = geometry.kernel[0] * geometry.runs
    taps = np.arange(runs * geometry.run).reshape(runs, geometry.run)
    if geometry.is_3x9:
        ninths = np.array([taps[0, 8], taps[1, 8], taps[2, 8], -1])
        eights = taps[:, :8].reshape(-1, 4)[:, [0, 2, 1, 3]]
        return np.concatenate([eights.reshape(-1), ninths])
    surplus = geometry.run_taps - geometry.run
    taps = np.pad(taps, ((0, 0), (0, surplus)), constant_values=-1)
    return taps.reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(-1)


def _pack(workload: Conv2D, fraction: int, constants: Constants) -> Constants:
    """The stream: biases, weights and requantization constants of each pair of channels."""
    channels = _fold(workload, constants)
    finish = _finish(workload, fraction, channels, constants)
    assert finish is not None, "_derive has found one"
    order = _tap_order(_geometry(workload))
    missing = len(channels.weight) % 2
    weight = np.pad(np.where(order >= 0, channels.weight[:, order], 0), ((0, missing), (0, 0)))
    bias = np.pad(channels.bias, (0, missing))
    halfwords = (256 * weight[1::2] + weight[0::2]).astype(np.int16, order="C")
    biases = np.stack([bias[0::2], 256 * bias[1::2] + bias[0::2]], axis=1)
    parts = [
        biases.astype(np.int32),
        halfwords.view(np.int32),
        np.pad(finish, ((0, missing), (0, 0))).reshape(len(biases), -1),
    ]
    return {"stream": np.concatenate(parts, axis=1).reshape(-1)}


def _may_overlay(geometry: _Geometry, strip_rows: int) -> bool:
    """Whether no output is written over an input that is still to be read."""
    in_row = geometry.width * geometry.channels
    out_row = geometry.out_width * geometry.out_channels
    if geometry.out_height * out_row > geometry.height * in_row:
        return False
    if not geometry.windowed:
        pixels = np.arange(geometry.pixels)
        written = pixels * geometry.out_channels
        return bool(np.all(written[_TILE:] <= geometry.begin(pixels)[_TILE:]))
    for first in range(0, geometry.out_height, strip_rows):
        rows = min(strip_rows, geometry.out_height - first)
        read = first * geometry.strides[0] - geometry.top + geometry.rows_for(rows)
        if (first + rows) * out_row > min(read, geometry.height) * in_row:
            return False
    return True


@rule(Conv2D, features={"dsp"}, applies=_applies, space=_space, derive=_derive)
def conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """Three pixels by two channels a tile; taps are widened once for all channels."""
    geometry = _geometry(workload)
    strip_rows, fraction = decisions["strip_rows"], decisions["fraction"]
    batch, height, out_height = geometry.batch, geometry.height, geometry.out_height
    out_channels, pixels = geometry.out_channels, geometry.pixels
    pitch, taps, margin = geometry.pitch, geometry.taps, geometry.margin
    windowed = geometry.windowed
    row = geometry.width * geometry.channels
    used = geometry.used_width * geometry.channels
    zero_point = workload.input_zero_point
    clamped = workload.clamp != WHOLE_RANGE

    pairs = math.ceil(out_channels / 2)
    staged = 2 * pairs
    odd = out_channels % 2 == 1
    rest = pixels % _TILE
    strips = math.ceil(out_height / strip_rows)
    strip_pixels = strip_rows * geometry.out_width
    # The last pixels have no whole tile: the last of them takes the missing places.
    rest_begin = pixels - (strips - 1) * strip_pixels - rest
    rest_tile = [rest_begin + min(p, rest - 1) for p in range(_TILE)]
    advance = strip_rows * geometry.strides[0]
    window_rows = geometry.rows_for(strip_rows)
    kept_rows = max(window_rows - advance, 0)
    keeps = kept_rows > 0 and strips > 1
    output_size = batch * pixels * out_channels
    matmul = f"tinyaot_dsp_matmul_{fraction or workload.rounding}"
    finish_words = 6 if fraction else 8
    stream_size = pairs * (taps // 2 + finish_words)

    row_pitch = geometry.dilation[0] * pitch
    gathers = 1 if geometry.runs == 1 else geometry.kernel[0]

    def gather(columns: Buffer, source: Buffer, base: Expr, kh: Expr, tile: list[Expr]) -> Expr:
        """Widens the taps of a tile: those of kernel row `kh`, or all of them."""
        base = base + kh * row_pitch
        begins = [at(source, base + geometry.begin(pixel)) for pixel in tile]
        if geometry.is_3x9:
            return call("tinyaot_dsp_columns_3x9", at(columns), *begins, row_pitch)
        to = at(columns, kh * (geometry.runs * geometry.run_taps * _TILE))
        words = geometry.channels % 4 == 0 and geometry.run % 8 == 0
        name = "tinyaot_dsp_columns_words" if words else "tinyaot_dsp_columns"
        if geometry.runs == 1:
            between, runs = row_pitch, geometry.kernel[0]
        else:
            between, runs = geometry.dilation[1] * geometry.channels, geometry.runs
        return call(name, to, *begins, between, runs, geometry.run_taps)

    def multiply(columns: Buffer, stream: Buffer, to: Expr, pixel_stride: int) -> Expr:
        return call(matmul, at(columns), at(stream), to, pixel_stride, taps, pairs)

    def unstage(y: Buffer, pixel: Expr, staging: Buffer, p: Expr) -> Expr:
        to = at(y, (pixel + p) * out_channels)
        return copy(to, at(staging, p * staged), out_channels, words=False)

    @T.inline
    def load_window(window, x, n, s):
        """Makes window row r input row s * advance - top + r."""
        if keeps:  # noqa: SIM102, decided when the kernel is built
            if s > 0:
                call("tinyaot_dsp_copy", at(window), at(window, advance * pitch), kept_rows * pitch)
        for r in T.serial(T.if_then_else(s == 0, 0, kept_rows), window_rows):
            ih: T.let[T.int32] = s * advance - geometry.top + r
            if T.And(ih >= 0, ih < height):
                copy(
                    at(window, r * pitch + margin),
                    at(x, (n * height + ih) * row),
                    used,
                    words=row % 4 == 0,
                )
            else:
                call("tinyaot_dsp_fill", at(window, r * pitch), zero_point, pitch)

    @T.prim_func
    def conv2d(
        x: T.Buffer((batch * height * row,), "int8"),
        stream: T.Buffer((stream_size,), "int32"),
        y: T.Buffer((output_size,), "int8"),
    ):
        columns = T.alloc_buffer((_TILE * taps,), "int16")
        if odd or rest > 0:
            staging = T.alloc_buffer((_TILE * staged,), "int8")
        if windowed:
            source = T.alloc_buffer((window_rows * pitch,), "int8")
            call("tinyaot_dsp_fill", at(source), zero_point, window_rows * pitch)
        else:
            source = T.meta_var(x)
        for n in T.serial(batch):
            base: T.let[T.int32] = geometry.lead if windowed else n * height * row
            for s in T.serial(strips):
                if windowed:
                    load_window(source, x, n, s)
                for t in T.serial(T.min(strip_pixels, pixels - s * strip_pixels) // _TILE):
                    for kh in T.serial(gathers):
                        gather(columns, source, base, kh, [t * _TILE + p for p in range(_TILE)])
                    pixel: T.let[T.int32] = n * pixels + s * strip_pixels + t * _TILE
                    if odd:
                        multiply(columns, stream, at(staging), staged)
                        for p in T.serial(_TILE):
                            unstage(y, pixel, staging, p)
                    else:
                        multiply(columns, stream, at(y, pixel * out_channels), out_channels)
            if rest > 0:
                for kh in T.serial(gathers):
                    gather(columns, source, base, kh, rest_tile)
                multiply(columns, stream, at(staging), staged)
                for p in T.serial(rest):
                    unstage(y, (n + 1) * pixels - rest, staging, p)
        if clamped:
            call("tinyaot_dsp_clamp", at(y), output_size, *workload.clamp)

    return Kernel(
        conv2d,
        functools.partial(_pack, workload, fraction),
        _HEADERS,
        (0,) if _may_overlay(geometry, strip_rows) else (),
    )
