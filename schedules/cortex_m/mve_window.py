"""Windows over images in tiles of output pixels, four pixels at a time, for Helium.

Where windows reach beyond the input, a tile's part of it is copied to a band with the padding in
place, so that nothing else has a case for borders. Tiles at the end of an image overlap those
before. Pixels are counted through the rows of a tile; the last four overlap those before as well
where the number is no multiple of four.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import VECTOR, Buffer, Expr, at, call, round_up
from tinyaot.schedules.cortex_m.mve_requantize import Vector, form, is_signed, solve_vector
from tinyaot.schedules.cortex_m.requantize import Channels
from tinyaot.schedules.registry import Decisions, Space
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D

# Pixels at a time.
PIXELS = 4

# By default the sums of a block of channels take up to 2 KiB, a band up to 1 KiB.
_LARGEST_BLOCK = 128
_SMALLEST_BLOCK = 32
_LARGEST_BAND = 1024

# Of tiles that are less than an image.
_MOST_ROWS = 12


@dataclass(frozen=True)
class Window:
    """A convolution in tiles of `rows` by `columns` output pixels.

    Attributes:
        workload: the convolution.
        rows, columns: of a tile.
        banded: whether a tile's input is copied; always where there is padding.
    """

    workload: Conv2D | DepthwiseConv2D
    rows: int
    columns: int
    banded: bool

    @property
    def pixels(self) -> int:
        """Output pixels of a tile."""
        return self.rows * self.columns

    @property
    def turns(self) -> int:
        """Groups of four pixels of a tile."""
        return math.ceil(self.pixels / PIXELS)

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles of an image."""
        _, height, width, _ = self.workload.output_shape
        return math.ceil(height / self.rows), math.ceil(width / self.columns)

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
        """Size of a tile's band."""
        return math.prod(self.band) * self.workload.input_shape[3] if self.banded else 0

    @property
    def pitch(self) -> int:
        """Bytes from row to row of what windows are read from."""
        columns = self.band[1] if self.banded else self.workload.input_shape[2]
        return columns * self.workload.input_shape[3]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """For each place of the kernel that of channel 0 behind the window's begin."""
        kernel_height, kernel_width = self.workload.kernel
        dilation_h, dilation_w = self.workload.dilation
        rows = np.arange(kernel_height)[:, None] * (dilation_h * self.pitch)
        columns = np.arange(kernel_width) * (dilation_w * self.workload.input_shape[3])
        return (rows + columns).reshape(-1)

    @property
    def reach(self) -> int:
        """The largest offset of a window, that of its last channel."""
        return sum(
            (kernel - 1) * dilation * step
            for kernel, dilation, step in zip(
                self.workload.kernel,
                self.workload.dilation,
                (self.pitch, self.workload.input_shape[3]),
                strict=True,
            )
        ) + (self.workload.input_shape[3] - 1)

    @property
    def copying(self) -> float:
        """About the instructions for a tile's band."""
        return self.band[0] * (14 + 3 * math.ceil(self.pitch / VECTOR)) if self.banded else 0

    def begin(self, pixel: Expr) -> Expr:
        """Where the window of a tile's pixel begins in the band, or behind the tile's first."""
        pixel = pixel if self.pixels >= PIXELS else T.min(pixel, self.pixels - 1)
        row, column = pixel // self.columns, pixel % self.columns
        stride_h, stride_w = self.workload.strides
        return row * (stride_h * self.pitch) + column * (stride_w * self.workload.input_shape[3])

    def first_pixel(self, turn: Expr) -> Expr:
        """The first of a tile's four pixels."""
        return T.min(turn * PIXELS, max(self.pixels - PIXELS, 0))

    def source(self, n: Expr, oh: Expr, ow: Expr) -> Expr:
        """Where the window of an output pixel begins in an input without padding."""
        _, height, width, channels = self.workload.input_shape
        stride_h, stride_w = self.workload.strides
        return ((n * height + oh * stride_h) * width + ow * stride_w) * channels

    def output(self, n: Expr, oh: Expr, ow: Expr, pixel: Expr) -> Expr:
        """The place in the output of a pixel of the tile that begins at (oh, ow)."""
        _, height, width, _ = self.workload.output_shape
        row, column = oh + pixel // self.columns, ow + pixel % self.columns
        return (n * height + row) * width + column

    def fill_band(self) -> Any:
        """A macro that fills a buffer's begin with the band of the tile that begins at (oh, ow)."""
        _, height, width, channels = self.workload.input_shape
        top, left, _, _ = self.workload.padding
        stride_h, stride_w = self.workload.strides
        zero_point = self.workload.input_zero_point
        band_rows, band_columns = self.band
        pitch = self.pitch

        @T.inline
        def fill_band(band, x, n, oh, ow):
            row: T.let[T.int32] = oh * stride_h - top
            column: T.let[T.int32] = ow * stride_w - left
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

        return fill_band


def block_space(workload: Conv2D | DepthwiseConv2D) -> tuple[int, ...]:
    """Sizes for a block of output channels, filled up to fours."""
    channels = round_up(workload.output_shape[3], 4)
    blocks = [size for size in range(channels, 3, -4) if channels % size == 0]
    default = max(size for size in blocks if size <= _LARGEST_BLOCK)
    if default < _SMALLEST_BLOCK:
        # Few sizes divide the channels: a block of a few would load pixels again and again.
        larger = [size for size in blocks if _LARGEST_BLOCK < size <= 4 * _LARGEST_BLOCK]
        default = min(larger, default=default)
    rest = sorted(blocks, key=lambda size: (size > _LARGEST_BLOCK, -size))
    return tuple(dict.fromkeys([default, *rest]))


def tile_space(
    workload: Conv2D | DepthwiseConv2D,
    window: Callable[[int, int], Window],
    cost: Callable[[Window], float],
) -> Space:
    """Tiles of whole rows, or of columns in whole groups of four; the cheapest first.

    Args:
        workload: to be cut into tiles.
        window: makes one of rows and columns.
        cost: instructions for four pixels.
    """
    _, height, width, _ = workload.output_shape
    # No tile has less than four pixels unless the image has.
    rows = [*range(min(height, math.ceil(PIXELS / width)), min(height, _MOST_ROWS) + 1), height]
    columns = [*range(PIXELS, width, PIXELS), width] if width > PIXELS else [width]

    def whole_cost(size: tuple[int, int]) -> tuple[int, float]:
        tile = window(*size)
        instructions = math.prod(tile.tiles) * (tile.turns * cost(tile) + tile.copying)
        return max(tile.band_bytes, _LARGEST_BAND), instructions

    rows = list(dict.fromkeys(rows))
    best = min(product(rows, columns), key=whole_cost)
    return {
        "tile_rows": (best[0], *(size for size in rows if size != best[0])),
        "tile_columns": (best[1], *(size for size in columns if size != best[1])),
    }


def solve(workload: Conv2D | DepthwiseConv2D, channels: Channels) -> Vector:
    """Constants of a convolution's requantization; raises `UnsuitableError` if there are none."""
    signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
    return solve_vector(channels, workload.output_zero_point if signed else None)


class Finish:
    """The last steps of a convolution: sums to outputs, four pixels by a block of channels.

    Sums lie in a buffer of words. Outputs are written in words and for four pixels; where these do
    not fit the tensor they are staged behind the sums.
    """

    def __init__(
        self, workload: Conv2D | DepthwiseConv2D, decisions: Decisions, pixels: int
    ) -> None:
        signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
        self._function = f"requantize4{form(signed, workload.clamp, decisions['fraction'])}"
        self._channels = workload.output_shape[3]
        self.block = decisions["channel_block"]
        self.pixels = min(pixels, PIXELS)
        self.staged = self._channels % 4 != 0 or pixels < PIXELS
        self._padded = round_up(self._channels, 4)
        self.blocks = self._padded // self.block
        self.constants = 4 + (3 if signed else 2) * self.block
        self.sums = PIXELS * self.block + (self._padded if self.staged else 0)

    def finish(self, acc: Buffer, k: Expr, y: Buffer, pixel: Expr, block: Expr) -> Expr:
        """Outputs of the pixels from `pixel` on and a block of channels."""
        first = block * self.block
        place = at(y, pixel * self._channels + first)
        if self.staged:
            place = at(acc, PIXELS * self.block + block * (self.block // 4))
        stride = self._padded if self.staged else self._channels
        return call(self._function, at(acc), k, place, stride, self.block // 4)

    def unstage(self, acc: Buffer, y: Buffer, pixel: Expr, j: Expr) -> Expr:
        """Copies the j-th pixel of those staged to its place."""
        staging = at(acc, PIXELS * self.block + j * (self._padded // 4))
        return call("copy", at(y, (pixel + j) * self._channels), staging, self._channels)


def pack_blocks(
    block: int,
    weights: Callable[[NDArray[np.int8]], list[NDArray[np.int32]]],
    channels: Channels,
    found: Vector,
    clamp: tuple[int, int],
) -> NDArray[np.int32]:
    """For each block of channels its weights in a kernel's order, then what `requantize4` reads."""
    missing = -len(channels.bias) % 4
    weight = np.pad(channels.weight, ((0, missing), (0, 0))).astype(np.int8)
    rows = np.pad(found.rows(channels.bias), ((0, missing), (0, 0)))
    parts = []
    for first in range(0, len(weight), block):
        parts += weights(weight[first : first + block])
        parts += [found.head(clamp), rows[first : first + block].reshape(-1)]
    return np.concatenate(parts)
