"""Convolution on Helium: four pixels at a time for a block of output channels.

`tinyaot_mve_matmul_*` multiplies the taps of four pixels with the weights of all channels of the
block, `tinyaot_mve_requantize4_*` finishes them. Pixels are counted through the rows of a tile; the
last four overlap those before where their number is no multiple of four. Where taps come from:

- 1x1 without padding: from the input as it is.
- Few taps: a tile of the input is copied with its padding to a band, from which the taps are
  gathered by a table of byte offsets.
- Else each pixel's taps are copied, from the band if there is padding, to lie one after another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import (
    VECTOR,
    Buffer,
    Expr,
    as_words,
    at,
    call,
    round_up,
)
from tinyaot.schedules.cortex_m.mve_requantize import Vector, form, is_signed, solve_vector
from tinyaot.schedules.cortex_m.requantize import Channels, fold_channels
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, UnsuitableError, rule
from tinyaot.schedules.workload import Conv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_convolution.h")

# Pixels at a time.
_PIXELS = 4
# Entries of a gather's table are bytes.
_LARGEST_OFFSET = 255
# By default the sums of a block of channels take up to 2 KiB, a band up to 1 KiB.
_LARGEST_BLOCK = 128
_LARGEST_BAND = 1024


@dataclass(frozen=True)
class _Plan:
    """A convolution in tiles of `rows` by `columns` output pixels and blocks of channels."""

    workload: Conv2D
    rows: int
    columns: int
    block: int

    @property
    def taps(self) -> int:
        """Weights of an output channel."""
        return math.prod(self.workload.kernel) * self.workload.input_shape[3]

    @property
    def pixels(self) -> int:
        """Output pixels of a tile."""
        return self.rows * self.columns

    @property
    def turns(self) -> int:
        """Groups of four pixels of a tile."""
        return math.ceil(self.pixels / _PIXELS)

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles of an image."""
        _, height, width, _ = self.workload.output_shape
        return math.ceil(height / self.rows), math.ceil(width / self.columns)

    @property
    def padded(self) -> bool:
        """Whether there is anything but the input around a tile."""
        return any(self.workload.padding)

    @property
    def band(self) -> tuple[int, int]:
        """Rows and columns of the input that a tile reads."""
        rows, columns = (
            (size - 1) * stride + (kernel - 1) * dilation + 1
            for size, stride, kernel, dilation in zip(
                (self.rows, self.columns),
                self.workload.strides,
                self.workload.kernel,
                self.workload.dilation,
                strict=True,
            )
        )
        return rows, columns

    @property
    def band_bytes(self) -> int:
        """Size of a tile's input."""
        return math.prod(self.band) * self.workload.input_shape[3]

    @property
    def gathered(self) -> bool:
        """Whether a table reaches all taps of a pixel in the band."""
        largest = self._offsets(self.band[1] * self.workload.input_shape[3]).max()
        return bool(largest <= _LARGEST_OFFSET)

    @property
    def banded(self) -> bool:
        """Whether taps are read from a band."""
        return self.padded or self.gathered

    @property
    def pitch(self) -> int:
        """Bytes from row to row of what taps are read from."""
        columns = self.band[1] if self.banded else self.workload.input_shape[2]
        return columns * self.workload.input_shape[3]

    @property
    def table(self) -> NDArray[np.uint8]:
        """For each tap the place behind a pixel's first one; filled up to whole vectors."""
        offsets = self._offsets(self.pitch)
        return np.pad(offsets, (0, -len(offsets) % VECTOR)).astype(np.uint8)

    def _offsets(self, pitch: int) -> NDArray[np.int64]:
        kernel_height, kernel_width = self.workload.kernel
        dilation_h, dilation_w = self.workload.dilation
        channels = self.workload.input_shape[3]
        rows = np.arange(kernel_height)[:, None, None] * (dilation_h * pitch)
        columns = np.arange(kernel_width)[:, None] * (dilation_w * channels)
        offsets: NDArray[np.int64] = rows + columns + np.arange(channels)
        return offsets.reshape(-1)

    @property
    def instructions(self) -> float:
        """About what an image takes: to choose a tile."""
        chunks = math.ceil(self.taps / VECTOR)
        kernel_height, kernel_width = self.workload.kernel
        runs = kernel_height * (1 if self.workload.dilation[1] == 1 else kernel_width)
        load = 4 * runs * (8 + 3 * math.ceil(self.taps / runs / VECTOR))
        load = 12 * chunks if self.gathered else load
        turn = 100 + load + self.workload.output_shape[3] * (6.5 * chunks + 5.5)
        copy = self.band[0] * (14 + 3 * math.ceil(self.pitch / VECTOR)) if self.banded else 0
        return math.prod(self.tiles) * (self.turns * turn + copy)


def _is_pointwise(workload: Conv2D) -> bool:
    return workload.kernel == (1, 1) and not any(workload.padding) and workload.groups == 1


def _is_window(workload: Conv2D) -> bool:
    return workload.groups == 1


def _block_space(workload: Conv2D) -> tuple[int, ...]:
    channels = round_up(workload.output_shape[3], 4)
    blocks = [size for size in range(channels, 3, -4) if channels % size == 0]
    return tuple(sorted(blocks, key=lambda size: (size > _LARGEST_BLOCK, -size)))


def _pointwise_space(workload: Conv2D) -> Space:
    return {"channel_block": _block_space(workload)}


def _window_space(workload: Conv2D) -> Space:
    """Tiles of whole rows, or of columns in whole groups of four; the cheapest first."""
    _, height, width, _ = workload.output_shape
    # No tile has less than four pixels unless the image has.
    rows = range(min(height, math.ceil(_PIXELS / width)), height + 1)
    columns = [*range(_PIXELS, width, _PIXELS), width] if width > _PIXELS else [width]

    def cost(size: tuple[int, int]) -> tuple[bool, float]:
        plan = _Plan(workload, *size, _LARGEST_BLOCK)
        return plan.banded and plan.band_bytes > _LARGEST_BAND, plan.instructions

    best = min(product(rows, columns), key=cost)
    return {
        "tile_rows": (best[0], *(size for size in rows if size != best[0])),
        "tile_columns": (best[1], *(size for size in columns if size != best[1])),
        "channel_block": _block_space(workload),
    }


def _fold(workload: Conv2D, constants: Constants) -> Channels:
    if not constants:
        raise UnsuitableError("the form of requantization depends on the constants")
    return fold_channels(
        constants["weight"].reshape(workload.output_shape[3], -1),
        constants,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )


def _solve(workload: Conv2D, channels: Channels) -> Vector:
    signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
    return solve_vector(channels, workload.output_zero_point if signed else None)


def _derive(workload: Conv2D, constants: Constants) -> dict[str, int]:
    return {"fraction": _solve(workload, _fold(workload, constants)).fraction}


def _pack(plan: _Plan, constants: Constants) -> Constants:
    """For each block of channels its weights in chunks of taps, then what `requantize4` reads; in
    front of all the table of a gather."""
    workload = plan.workload
    channels = _fold(workload, constants)
    found = _solve(workload, channels)
    missing = -len(channels.bias) % 4
    weight = np.pad(channels.weight, ((0, missing), (0, 0))).astype(np.int8)
    requantization = np.pad(found.rows(channels.bias), ((0, missing), (0, 0)))
    whole = plan.taps // VECTOR * VECTOR
    parts = [as_words(plan.table)] if plan.gathered and not _is_pointwise(workload) else []
    for first in range(0, len(weight), plan.block):
        block = slice(first, first + plan.block)
        chunks = weight[block, :whole].reshape(plan.block, -1, VECTOR).transpose(1, 0, 2)
        parts += [as_words(chunks), as_words(weight[block, whole:])]
        parts += [found.head(workload.clamp), requantization[block].reshape(-1)]
    return {"stream": np.concatenate(parts)}


class _Finish:
    """The last steps of a convolution: sums to outputs, four pixels by a block of channels.

    Sums lie in a buffer of words. Outputs are written in words and for four pixels; where these do
    not fit the tensor they are staged behind the sums.
    """

    def __init__(self, workload: Conv2D, block: int, fraction: int, pixels: int) -> None:
        signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
        self._function = f"requantize4{form(signed, workload.clamp, fraction)}"
        self._channels = workload.output_shape[3]
        self._block = block
        self.pixels = min(pixels, _PIXELS)
        self.staged = self._channels % 4 != 0 or pixels < _PIXELS
        self.padded = round_up(self._channels, 4)
        self.constants = 4 + (3 if signed else 2) * block
        self.scratch_words = _PIXELS * block + (self.padded if self.staged else 0)

    def finish(self, acc: Buffer, k: Expr, y: Buffer, pixel: Expr, first: Expr) -> Expr:
        """Outputs of the pixels from `pixel` and the channels from `first` on."""
        place = at(y, pixel * self._channels + first)
        if self.staged:
            place = at(acc, _PIXELS * self._block + first // 4)
        stride = self.padded if self.staged else self._channels
        return call(self._function, at(acc), k, place, stride, self._block // 4)

    def unstage(self, acc: Buffer, y: Buffer, pixel: Expr, j: Expr) -> Expr:
        """Copies the j-th pixel of those staged to its place."""
        staging = at(acc, _PIXELS * self._block + j * (self.padded // 4))
        return call("copy", at(y, (pixel + j) * self._channels), staging, self._channels)


@rule(
    Conv2D,
    features={"dsp", "mve"},
    applies=_is_window,
    space=_window_space,
    derive=_derive,
)
def conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """Any window, from a band of the input or from copied taps."""
    plan = _Plan(
        workload, decisions["tile_rows"], decisions["tile_columns"], decisions["channel_block"]
    )
    finish = _Finish(workload, plan.block, decisions["fraction"], plan.pixels)
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    dilation_h, dilation_w = workload.dilation
    top, left, _, _ = workload.padding
    zero_point = workload.input_zero_point
    tiles_h, tiles_w = plan.tiles
    rows, columns, pixels, turns = plan.rows, plan.columns, plan.pixels, plan.turns
    band_rows, band_columns = plan.band
    pitch, banded, gathered, taps = plan.pitch, plan.banded, plan.gathered, plan.taps
    whole, tail = divmod(taps, VECTOR)
    blocks = finish.padded // plan.block
    weight_words = plan.block * taps // 4
    table_words = len(plan.table) // 4 if gathered else 0
    block_words = weight_words + finish.constants
    runs = 1 if dilation_w == 1 else kernel_width
    run = kernel_width // runs * channels
    patch_begin = plan.band_bytes if banded else 0

    def begin(pixel: Expr) -> Expr:
        """Where the taps of a tile's pixel begin."""
        pixel = pixel if pixels >= _PIXELS else T.min(pixel, pixels - 1)
        return pixel // columns * (stride_h * pitch) + pixel % columns * (stride_w * channels)

    def constants(stream: Buffer, cb: Expr) -> Expr:
        """Where the requantization of a block of channels begins."""
        return at(stream, table_words + cb * block_words + weight_words)

    def multiply(acc: Buffer, stream: Buffer, cb: Expr, scratch: Buffer, o: Expr) -> Expr:
        """Multiplies the taps of a tile's four pixels, from the o-th on, with a block's weights."""
        weights = at(stream, table_words + cb * block_words)
        if gathered:
            vectors = [at(scratch, begin(o + j)) for j in range(_PIXELS)]
            name, table = f"matmul_gather_{tail}", [at(stream)]
        else:
            vectors = [at(scratch, patch_begin + j * taps) for j in range(_PIXELS)]
            name, table = f"matmul_{tail}", []
        return call(name, at(acc), weights, *vectors, *table, whole, plan.block // 2)

    def copy_run(scratch: Buffer, source: Buffer, base: Expr, pixel: Expr, j: int, r: Expr) -> Expr:
        """Copies the r-th run of contiguous taps of a tile's pixel to the j-th patch."""
        place = r // runs * (dilation_h * pitch) + r % runs * (dilation_w * channels)
        to = at(scratch, patch_begin + j * taps + r * run)
        return call("copy", to, at(source, base + begin(pixel + j) + place), run)

    @T.inline
    def fill_band(band, x, n, row, column):
        """Copies the input from a row and column on; what is outside becomes the zero point."""
        skip: T.let[T.int32] = T.max(0, -column)
        count: T.let[T.int32] = T.min(band_columns, width - column) - skip
        for r in T.serial(band_rows):
            if T.And(T.And(row + r >= 0, row + r < height), count > 0):
                if count < band_columns:
                    call("fill", at(band, r * pitch), zero_point, pitch)
                call(
                    "copy",
                    at(band, r * pitch + skip * channels),
                    at(x, ((n * height + row + r) * width + column + skip) * channels),
                    count * channels,
                )
            else:
                call("fill", at(band, r * pitch), zero_point, pitch)

    @T.inline
    def copy_patches(scratch, source, base, o):
        """Copies the taps of a tile's four pixels, from the o-th on."""
        for r in T.serial(kernel_height * runs):
            copy_run(scratch, source, base, o, 0, r)
            copy_run(scratch, source, base, o, 1, r)
            copy_run(scratch, source, base, o, 2, r)
            copy_run(scratch, source, base, o, 3, r)

    @T.prim_func
    def conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        stream: T.Buffer((table_words + blocks * block_words,), "int32"),
        y: T.Buffer((batch * out_height * out_width * out_channels,), "int8"),
    ):
        acc = T.alloc_buffer((finish.scratch_words,), "int32")
        scratch = T.alloc_buffer((patch_begin + (0 if gathered else _PIXELS * taps),), "int8")
        for n, th, tw in T.grid(batch, tiles_h, tiles_w):
            oh: T.let[T.int32] = T.min(th * rows, out_height - rows)
            ow: T.let[T.int32] = T.min(tw * columns, out_width - columns)
            row: T.let[T.int32] = oh * stride_h - top
            column: T.let[T.int32] = ow * stride_w - left
            if banded:
                fill_band(scratch, x, n, row, column)
            for group in T.serial(turns):
                o: T.let[T.int32] = T.min(group * _PIXELS, max(pixels - _PIXELS, 0))
                pixel: T.let[T.int32] = (
                    (n * out_height + oh + o // columns) * out_width + ow + o % columns
                )
                if banded and not gathered:
                    copy_patches(scratch, scratch, 0, o)
                if not banded:
                    copy_patches(scratch, x, ((n * height + row) * width + column) * channels, o)
                for cb in T.serial(blocks):
                    multiply(acc, stream, cb, scratch, o)
                    finish.finish(acc, constants(stream, cb), y, pixel, cb * plan.block)
                if finish.staged:
                    for j in T.serial(finish.pixels):
                        finish.unstage(acc, y, pixel, j)

    return Kernel(conv2d, lambda constants: _pack(plan, constants), _HEADERS)


@rule(
    Conv2D,
    features={"dsp", "mve"},
    applies=_is_pointwise,
    space=_pointwise_space,
    derive=_derive,
)
def pointwise_conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """1x1 windows without padding, read where they are."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    stride_h, stride_w = workload.strides
    pixels = batch * out_height * out_width
    block = decisions["channel_block"]
    plan = _Plan(workload, 1, pixels, block)
    finish = _Finish(workload, block, decisions["fraction"], pixels)
    whole, tail = divmod(channels, VECTOR)
    blocks = finish.padded // block
    weight_words = block * channels // 4
    block_words = weight_words + finish.constants

    def begin(pixel: Expr) -> Expr:
        """Where an output pixel's taps begin."""
        pixel = pixel if pixels >= _PIXELS else T.min(pixel, pixels - 1)
        if workload.strides == (1, 1):
            return pixel * channels
        row = (
            pixel // (out_height * out_width) * height + pixel // out_width % out_height * stride_h
        )
        return (row * width + pixel % out_width * stride_w) * channels

    def constants(stream: Buffer, cb: Expr) -> Expr:
        """Where the requantization of a block of channels begins."""
        return at(stream, cb * block_words + weight_words)

    def multiply(acc: Buffer, stream: Buffer, cb: Expr, x: Buffer, pixel: Expr) -> Expr:
        vectors = [at(x, begin(pixel + j)) for j in range(_PIXELS)]
        weights = at(stream, cb * block_words)
        return call(f"matmul_{tail}", at(acc), weights, *vectors, whole, block // 2)

    @T.prim_func
    def conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        stream: T.Buffer((blocks * block_words,), "int32"),
        y: T.Buffer((pixels * out_channels,), "int8"),
    ):
        acc = T.alloc_buffer((finish.scratch_words,), "int32")
        for group in T.serial(plan.turns):
            pixel: T.let[T.int32] = T.min(group * _PIXELS, max(pixels - _PIXELS, 0))
            for cb in T.serial(blocks):
                multiply(acc, stream, cb, x, pixel)
                finish.finish(
                    acc, at(stream, cb * block_words + weight_words), y, pixel, cb * block
                )
            if finish.staged:
                for j in T.serial(finish.pixels):
                    finish.unstage(acc, y, pixel, j)

    return Kernel(conv2d, lambda constants: _pack(plan, constants), _HEADERS)
