"""Convolution on cores with the DSP extension: columns of three pixels times pairs of channels.

The taps of three output pixels are gathered and widened to int16 once, into a column buffer; then
`tinyaot_dsp_matmul_*` multiplies them with all output channels, two at a time; weights, biases and
requantization constants come as one stream (see `tinyaot_dsp_matmul.h`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import (
    WHOLE_RANGE,
    Buffer,
    Expr,
    at,
    bytes_word,
    call,
    copy,
    fill,
)
from tinyaot.schedules.cortex_m.dsp_window import Window, strip_space, window_loader, window_of
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
class _Taps:
    """How the taps of a pixel are gathered into a column.

    Attributes:
        rows: calls that gather them, each for a row of the kernel or one for all.
        across: whether a call gathers one row.
        runs: runs of contiguous bytes that a call gathers.
        run: bytes of a run.
        is_3x9: whether there is a special way, as for 3x3 kernels on three channels.
    """

    rows: int
    across: bool
    runs: int
    run: int
    is_3x9: bool

    @property
    def run_taps(self) -> int:
        """Taps of a run in the column: whole words are read, the surplus has no weight."""
        return math.ceil(self.run / 4) * 4

    @property
    def count(self) -> int:
        """Taps of a column."""
        return 28 if self.is_3x9 else self.rows * self.runs * self.run_taps

    @property
    def order(self) -> NDArray[np.int64]:
        """For each tap of a column the position of its weight in a channel; -1 for none."""
        runs = self.rows * self.runs
        taps = np.arange(runs * self.run).reshape(runs, self.run)
        if self.is_3x9:
            ninths = np.array([taps[0, 8], taps[1, 8], taps[2, 8], -1])
            eights = taps[:, :8].reshape(-1, 4)[:, [0, 2, 1, 3]]
            return np.concatenate([eights.reshape(-1), ninths])
        taps = np.pad(taps, ((0, 0), (0, self.run_taps - self.run)), constant_values=-1)
        return taps.reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(-1)


def _taps(workload: Conv2D) -> _Taps:
    kernel_height, kernel_width = workload.kernel
    channels = workload.input_shape[3]
    if workload.dilation[1] != 1:
        return _Taps(kernel_height, True, kernel_width, channels, False)
    run = kernel_width * channels
    return _Taps(1, False, kernel_height, run, kernel_height == 3 and run == 9)


def _window(workload: Conv2D) -> Window:
    taps = _taps(workload)
    surplus = 0 if taps.is_3x9 else taps.run_taps - taps.run
    window = window_of(workload, copied=surplus > 0, surplus=surplus)
    if workload.kernel == (1, 1) == workload.strides and not window.copied:
        pixels = window.batch * window.height * window.width
        return replace(window, batch=1, height=1, width=pixels, out_height=1, out_width=pixels)
    return window


def _applies(workload: Conv2D) -> bool:
    return workload.groups == 1


def space(workload: Conv2D) -> Space:
    """Output rows computed from one window."""
    return strip_space(_window(workload), _TILE, _SMALL_WINDOW)


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
    check_pairs(channels.weight)
    return channels


def check_pairs(weight: NDArray[np.int64]) -> None:
    """Raises `UnsuitableError` if the weights of two channels do not fit into shared halfwords."""
    odd = weight[1::2]
    if np.any((odd == -128) & (weight[0::2][: len(odd)] < 0)):
        raise UnsuitableError("weights of -128 do not fit into shared halfwords")


def _finish(
    workload: Conv2D, fraction: int, channels: Channels, constants: Constants
) -> NDArray[np.int32] | None:
    if fraction != _REFERENCE:
        return solve_high_word(channels, fraction)
    return reference_rounding(channels, constants, workload.output_zero_point)


def derive(workload: Conv2D, constants: Constants) -> dict[str, int]:
    """The fraction of the first form of requantization that is exact."""
    if not constants:
        raise UnsuitableError("the form of requantization depends on the constants")
    channels = _fold(workload, constants)
    for fraction in _FRACTIONS:
        if _finish(workload, fraction, channels, constants) is not None:
            return {"fraction": fraction}
    raise UnsuitableError("no exact form of requantization")


def _pack(workload: Conv2D, fraction: int, constants: Constants) -> Constants:
    """The stream: biases, weights and requantization constants of each pair of channels."""
    channels = _fold(workload, constants)
    finish = _finish(workload, fraction, channels, constants)
    assert finish is not None, "derive has found one"
    order = _taps(workload).order
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


@rule(Conv2D, features={"dsp"}, applies=_applies, space=space, derive=derive)
def conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """Three pixels by two channels a tile; taps are widened once for all channels."""
    window, taps = _window(workload), _taps(workload)
    strip_rows, fraction = decisions["strip_rows"], decisions["fraction"]
    batch, pixels, out_channels = window.batch, window.pixels, window.out_channels
    copied = window.copied
    strips = math.ceil(window.out_height / strip_rows)
    strip_pixels = strip_rows * window.out_width
    load = window_loader(window, strip_rows, workload.input_zero_point)
    window_size = window.size_for(strip_rows) if copied else 0
    output_size = batch * pixels * out_channels
    clamped = workload.clamp != WHOLE_RANGE

    pairs = math.ceil(out_channels / 2)
    stream_size = pairs * (taps.count // 2 + (6 if fraction else 8))
    matmul = f"tinyaot_dsp_matmul_{fraction or workload.rounding}"
    # Results that are no whole tile of whole pairs go through a staging buffer.
    odd = out_channels % 2 == 1
    rest = pixels % _TILE
    staged = 2 * pairs
    # The last pixels have no whole tile: the last of them takes the missing places.
    rest_begin = pixels - (strips - 1) * strip_pixels - rest
    rest_tile = [rest_begin + min(p, rest - 1) for p in range(_TILE)]

    def gather(columns: Buffer, source: Buffer, base: Expr, row: Expr, tile: list[Expr]) -> Expr:
        """Widens the taps of a tile that one call gathers."""
        row_pitch = workload.dilation[0] * window.pitch
        base = base + row * row_pitch
        begins = [at(source, base + window.offset(pixel)) for pixel in tile]
        if taps.is_3x9:
            return call("tinyaot_dsp_columns_3x9", at(columns), *begins, row_pitch)
        words = window.channels % 4 == 0 and taps.run % 8 == 0
        return call(
            "tinyaot_dsp_columns_words" if words else "tinyaot_dsp_columns",
            at(columns, row * (taps.runs * taps.run_taps * _TILE)),
            *begins,
            workload.dilation[1] * window.channels if taps.across else row_pitch,
            taps.runs,
            taps.run_taps,
        )

    def multiply(columns: Buffer, stream: Buffer, to: Expr, pixel_stride: int) -> Expr:
        return call(matmul, at(columns), at(stream), to, pixel_stride, taps.count, pairs)

    def unstage(y: Buffer, pixel: Expr, staging: Buffer, p: Expr) -> Expr:
        to = at(y, (pixel + p) * out_channels)
        return copy(to, at(staging, p * staged), out_channels, words=False)

    @T.prim_func
    def conv2d(
        x: T.Buffer((batch * window.image,), "int8"),
        stream: T.Buffer((stream_size,), "int32"),
        y: T.Buffer((output_size,), "int8"),
    ):
        columns = T.alloc_buffer((_TILE * taps.count,), "int16")
        if odd or rest > 0:
            staging = T.alloc_buffer((_TILE * staged,), "int8")
        if copied:
            source = T.alloc_buffer((window_size,), "int8")
            fill(at(source), bytes_word(workload.input_zero_point), window_size)
        else:
            source = T.meta_var(x)
        for n in T.serial(batch):
            base: T.let[T.int32] = window.begin if copied else n * window.image
            for s in T.serial(strips):
                if copied:
                    load(source, x, n, s)
                for t in T.serial(T.min(strip_pixels, pixels - s * strip_pixels) // _TILE):
                    for row in T.serial(taps.rows):
                        gather(columns, source, base, row, [t * _TILE + p for p in range(_TILE)])
                    pixel: T.let[T.int32] = n * pixels + s * strip_pixels + t * _TILE
                    if odd:
                        multiply(columns, stream, at(staging), staged)
                        for p in T.serial(_TILE):
                            unstage(y, pixel, staging, p)
                    else:
                        multiply(columns, stream, at(y, pixel * out_channels), out_channels)
            if rest > 0:
                for row in T.serial(taps.rows):
                    gather(columns, source, base, row, rest_tile)
                multiply(columns, stream, at(staging), staged)
                for p in T.serial(rest):
                    unstage(y, (n + 1) * pixels - rest, staging, p)
        if clamped:
            call("tinyaot_dsp_clamp", at(y), output_size, *workload.clamp)

    overlays = window.strips_may_overlay(strip_rows) or (
        not copied and window.pixels_may_overlay(_TILE)
    )
    pack = functools.partial(_pack, workload, fraction)
    return Kernel(conv2d, pack, _HEADERS, (0,) if overlays else ())
