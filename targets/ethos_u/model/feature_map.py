"""Feature maps as the NPU addresses them: four tiles, rows of pixels or bricks of 16 channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.ethos_u.model.ranges import Ranges, merge

BRICK = 16
"""Channels that lie together in the layout NHCWB16."""

Box = tuple[int, int, int, int, int, int]
"""First and end row, first and end column, first and end channel."""


@dataclass(frozen=True)
class FeatureMap:
    """A tensor in a region.

    Attributes:
        name: `IFM`, `IFM2` or `OFM`.
        region: number of the base pointer that addresses count from.
        bases: addresses of the tiles: at the top left, top right, bottom left, bottom right.
        heights: rows of the tiles on the left and on the right that are at the top.
        width: columns of the tiles on the left.
        shape: height, width and depth.
        strides: bytes from row to row, column to column, and brick to brick.
        bricks: whether the layout is NHCWB16; there, columns are one brick apart.
        dtype: of the elements, little-endian.
        zero_point: what stands for zero.
    """

    name: str
    region: int
    bases: tuple[int, int, int, int]
    heights: tuple[int, int]
    width: int
    shape: tuple[int, int, int]
    strides: tuple[int, int, int]
    bricks: bool
    dtype: np.dtype[np.signedinteger] | np.dtype[np.unsignedinteger]
    zero_point: int

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def used_tiles(self) -> tuple[int, ...]:
        """Which tiles hold a part of the tensor."""
        height, width, _ = self.shape
        right = width > self.width
        return tuple(
            tile
            for tile, used in enumerate(
                (True, right, height > self.heights[0], right and height > self.heights[1])
            )
            if used
        )

    def pixels(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
        """Addresses of the first channel of each pixel, (rows, columns)."""
        y_stride = self.strides[0]
        x_stride = BRICK * self.itemsize if self.bricks else self.strides[1]
        bases = np.asarray(self.bases, np.int64)

        def row(side: int) -> NDArray[np.int64]:
            low = y >= self.heights[side]
            base = np.where(low, bases[2 + side], bases[side])
            return np.asarray(base + np.where(low, y - self.heights[side], y) * y_stride)

        left = row(0)[:, None] + (x * x_stride)[None, :]
        if not (x >= self.width).any():
            return left
        right = row(1)[:, None] + ((x - self.width) * x_stride)[None, :]
        return np.where((x >= self.width)[None, :], right, left)

    def addresses(self) -> NDArray[np.int64]:
        """Addresses of all elements, with the tensor's shape."""
        height, width, depth = self.shape
        channel = np.arange(depth)
        if self.bricks:
            offset = channel // BRICK * self.strides[2] + channel % BRICK * self.itemsize
        else:
            offset = channel * self.itemsize
        return self.pixels(np.arange(height), np.arange(width))[:, :, None] + offset

    def ranges(self, box: Box | None = None) -> Ranges:
        """The bytes of a part of the tensor, of all of it if None; none for what lies outside."""
        height, width, depth = self.shape
        y0, y1, x0, x1, c0, c1 = (0, height, 0, width, 0, depth) if box is None else box
        y = np.arange(max(y0, 0), min(y1, height))
        x = np.arange(max(x0, 0), min(x1, width))
        c0, c1 = max(c0, 0), min(c1, depth)
        if c0 >= c1:
            return merge(np.empty(0, np.int64), np.empty(0, np.int64))
        pixels = self.pixels(y, x).reshape(-1)
        if not self.bricks:
            starts = pixels + c0 * self.itemsize
            return merge(starts, starts + (c1 - c0) * self.itemsize)
        brick = np.arange(c0 // BRICK, (c1 - 1) // BRICK + 1)
        first = np.maximum(c0 - brick * BRICK, 0) * self.itemsize
        end = np.minimum(c1 - brick * BRICK, BRICK) * self.itemsize
        corner = pixels[:, None] + brick * self.strides[2]
        return merge((corner + first).reshape(-1), (corner + end).reshape(-1))
