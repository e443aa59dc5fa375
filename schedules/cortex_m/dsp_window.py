"""Convolution windows on cores with the DSP extension: where taps are, with or without a copy.

Where there is padding, the input rows that a strip of output rows needs are copied into a window
with the padding in place, so that no loop has a case for borders. The rows that the next strip
needs again move to the front of the window. Elsewhere the input is read directly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import Buffer, Expr, at, bytes_word, call, copy, fill
from tinyaot.schedules.registry import Space
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D
from tinyaot.schedules.workload_wide import WideConv2D


@dataclass(frozen=True)
class Window:
    """The shapes of a convolution, and the rows in which its kernel reads them.

    Attributes:
        batch, height, width, channels: of the input.
        out_height, out_width, out_channels: of the output.
        kernel, strides, dilation: as in the workload.
        top, left: padding.
        copied: whether the input is copied into a window.
        surplus: bytes that the kernel may read after a pixel's last tap.
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
    copied: bool
    surplus: int

    @property
    def row(self) -> int:
        """Bytes of an input row."""
        return self.width * self.channels

    @property
    def image(self) -> int:
        """Bytes of an input image."""
        return self.height * self.row

    @property
    def pixels(self) -> int:
        """Output pixels of an image."""
        return self.out_height * self.out_width

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
    def begin(self) -> int:
        """Bytes of a window row before the padding."""
        return self.margin - self.left * self.channels

    @property
    def pitch(self) -> int:
        """Bytes from row to row."""
        if not self.copied:
            return self.row
        columns = max(self.reach, self.left + self.used_width)
        return math.ceil((self.begin + columns * self.channels + self.surplus) / 4) * 4

    @property
    def down(self) -> int:
        """Bytes between the taps of an output pixel and of the one below."""
        return self.strides[0] * self.pitch

    @property
    def right(self) -> int:
        """Bytes between the taps of an output pixel and of the next one."""
        return self.strides[1] * self.channels

    def rows_for(self, out_rows: int) -> int:
        """Input rows, padding included, that output rows need."""
        return (out_rows - 1) * self.strides[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def size_for(self, out_rows: int) -> int:
        """Bytes of the window for a strip of output rows."""
        return self.rows_for(out_rows) * self.pitch

    def offset(self, pixel: Expr) -> Expr:
        """Where the taps of an output pixel begin, in bytes from those of pixel 0."""
        return pixel // self.out_width * self.down + pixel % self.out_width * self.right

    def strips_may_overlay(self, strip_rows: int) -> bool:
        """Whether a strip's outputs never lie on inputs that are not yet in the window."""
        out_row = self.out_width * self.out_channels
        if not self.copied or self.out_height * out_row > self.image:
            return False
        for first in range(0, self.out_height, strip_rows):
            rows = min(strip_rows, self.out_height - first)
            read = first * self.strides[0] - self.top + self.rows_for(rows)
            if (first + rows) * out_row > min(read, self.height) * self.row:
                return False
        return True

    def pixels_may_overlay(self, tile: int) -> bool:
        """Whether, without a window, a tile's outputs never lie on the inputs of later ones."""
        pixels = np.arange(self.pixels)[tile:]
        within = self.pixels * self.out_channels <= self.image
        return within and bool(np.all(pixels * self.out_channels <= self.offset(pixels)))


def window_of(
    workload: Conv2D | DepthwiseConv2D | WideConv2D, *, copied: bool, surplus: int = 0
) -> Window:
    """The window of a convolution, copied if asked for or if there is padding."""
    _, out_height, out_width, out_channels = workload.output_shape
    top, left, _, _ = workload.padding
    return Window(
        *workload.input_shape,
        *(out_height, out_width, out_channels),
        workload.kernel,
        workload.strides,
        workload.dilation,
        top,
        left,
        copied or any(workload.padding),
        surplus,
    )


def strip_space(window: Window, tile: int, small: int) -> Space:
    """The knob for the output rows computed from one window, so many that tiles of `tile` pixels
    fill them; all by default where the window is no larger than `small` bytes."""
    height = window.out_height
    if not window.copied:
        return {"strip_rows": (height,)}
    step = tile // math.gcd(window.out_width, tile)
    sizes = [*range(step, height, step), height]
    return {"strip_rows": tuple(sizes[::-1] if window.size_for(height) <= small else sizes)}


def window_loader(window: Window, strip_rows: int, zero_point: int) -> Callable[..., Any]:
    """A TIR statement `load(rows, x, n, s)`: fills `rows` for strip s of image n.

    Row r of the window becomes row s * strip_rows * stride - top + r of the input. The window is
    to be filled with the zero point before, for the padding at the sides.
    """
    advance = strip_rows * window.strides[0]
    count = window.rows_for(strip_rows)
    kept = max(count - advance, 0)
    keeps = kept > 0 and strip_rows < window.out_height
    pitch, margin, height, row = window.pitch, window.margin, window.height, window.row
    used = window.used_width * window.channels
    words = row % 4 == 0

    def move(rows: Buffer) -> Expr:
        return call("tinyaot_dsp_copy", at(rows), at(rows, advance * pitch), kept * pitch)

    def read(rows: Buffer, r: Expr, x: Buffer, n: Expr, ih: Expr) -> Expr:
        return copy(at(rows, r * pitch + margin), at(x, (n * height + ih) * row), used, words=words)

    def blank(rows: Buffer, r: Expr) -> Expr:
        return fill(at(rows, r * pitch), bytes_word(zero_point), pitch)

    @T.inline
    def load(rows: Buffer, x: Buffer, n: Expr, s: Expr) -> None:
        if keeps:  # noqa: SIM102, decided when the kernel is built
            if s > 0:
                move(rows)
        for r in T.serial(T.if_then_else(s == 0, 0, kept), count):
            ih: T.let[T.int32] = s * advance - window.top + r
            if T.And(ih >= 0, ih < height):
                read(rows, r, x, n, ih)
            else:
                blank(rows, r)

    statement: Callable[..., Any] = load
    return statement
