"""Depthwise convolution on cores with the DSP extension.

3x3 kernels work on four channels at a time: a strip of lines is widened to int16 planes with the
padding in place (`tinyaot_dsp_planes_*`), then each channel is computed by two lines and two
columns, with its nine weights in registers (`tinyaot_dsp_depthwise_3x3_*`). A line is a row of the
image or a column, whichever takes fewer instructions.

Any other kernel is computed by four channels and pairs of taps, which are read from the input or,
where there is padding, from a window (`tinyaot_dsp_depthwise_double` and `_single`).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import (
    WHOLE_RANGE,
    Buffer,
    Expr,
    at,
    bytes_word,
    call,
    fill,
    halfwords_word,
)
from tinyaot.schedules.cortex_m.dsp_window import window_loader, window_of
from tinyaot.schedules.cortex_m.requantize import (
    Channels,
    fold_channels,
    reference_rounding,
    solve_high_word,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, UnsuitableError, rule
from tinyaot.schedules.workload import DepthwiseConv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_depthwise.h")

# Bytes of a plane line and fractions of `solve_high_word` for which there are kernels.
_PITCHES = (16, 32, 56)
_FRACTIONS = (12, 10)

# Channels of a group of planes.
_QUAD = 4

# Bytes of planes that are not worth saving, the share of the input above it, and the number of
# strips that is enough for it.
_SMALL_PLANES, _SHARE = 2048, 4
_MOST_STRIPS = 16


@dataclass(frozen=True)
class _Lines:
    """An image as lines of pixels along one of its axes, in input and output.

    Attributes:
        vertical: whether lines are columns of the image.
        pixels, lines: of the input.
        columns, out_lines: pixels and lines of the output.
        before: padding before a line's first pixel.
        above: padding before the first line.
        stride: of the kernel along both axes.
        pixel_stride, line_stride: bytes in the input.
        column_stride, out_line_stride: bytes in the output.
    """

    vertical: bool
    pixels: int
    lines: int
    columns: int
    out_lines: int
    before: int
    above: int
    stride: int
    pixel_stride: int
    line_stride: int
    column_stride: int
    out_line_stride: int

    @property
    def blocks(self) -> int:
        """Parts of a line that have planes of their own, all but the last of `block` columns."""
        longest = (_PITCHES[-1] // 2 - 4) // self.stride
        return 1 if self._pitch(self.columns) else math.ceil(self.columns / (longest // 2 * 2))

    @property
    def block(self) -> int:
        """Columns of a block."""
        if self.blocks == 1:
            return self.columns
        return 2 * math.ceil(self.columns / (2 * self.blocks))

    @property
    def span(self) -> int:
        """Entries of a plane line that the columns of a block need."""
        return (self.block - 1) * self.stride + 3

    @property
    def pitch(self) -> int:
        """Bytes of a plane line."""
        return self._pitch(self.block)

    def _pitch(self, columns: int) -> int:
        """The shortest plane line that holds a number of columns; 0 if none does.

        Its last entry stays free for what `tinyaot_dsp_planes_*` writes after the pixels.
        """
        read = columns * self.stride + 2 + (columns % 2 if self.stride == 1 else 0)
        span = (columns - 1) * self.stride + 3
        staged = min(span, self.before + self.pixels)
        return next((p for p in _PITCHES if read <= p // 2 and staged < p // 2), 0)

    @property
    def fits(self) -> bool:
        """Whether the kernels can compute lines of this kind."""
        after = (self.columns - 1) * self.stride + 3 - self.before - self.pixels
        last = self.columns - (self.blocks - 1) * self.block
        return (
            self.before <= 1
            and after <= 1
            and self.columns >= 2
            and last >= 2
            and (self.before == 0 or self.pixels >= 3)
        )

    def strip(self, count: int) -> int:
        """Output lines of a strip if there are to be `count` of them; the kernels want pairs."""
        return min(2 * math.ceil(self.out_lines / count / 2), self.out_lines)

    def planes(self, strip: int) -> int:
        """Plane lines for a strip of output lines."""
        return (strip - 1) * self.stride + 3

    def plane_bytes(self, strip: int) -> int:
        """Bytes of the planes for a strip of output lines."""
        return self.blocks * self.planes(strip) * _QUAD * self.pitch

    @property
    def cost(self) -> int:
        """Instructions for a channel, about: the kernels' and a quarter of the widening."""
        pairs, odd = divmod(self.columns, 2)
        widening = self.planes(self.out_lines) * (self.pixels // 4 + 1) * 6
        if self.stride == 2:
            return widening + self.out_lines * (34 * pairs + 18 * odd + 12)
        turns, single = divmod(self.out_lines, 2)
        return widening + turns * (48 * pairs + 34 * odd + 14) + single * (27 * pairs + 20 * odd)


def _ways(workload: DepthwiseConv2D) -> list[_Lines]:
    """The ways to cut the image into lines that the 3x3 kernels can compute, the best first."""
    _, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    stride = workload.strides[0]
    if (
        workload.kernel != (3, 3)
        or workload.dilation != (1, 1)
        or workload.strides not in ((1, 1), (2, 2))
        or workload.depth_multiplier != 1
        or channels % _QUAD != 0
    ):
        return []
    top, left, _, _ = workload.padding
    row, out_row = width * channels, out_width * channels
    strides = channels, row, channels, out_row
    flipped = row, channels, out_row, channels
    ways = [
        _Lines(False, width, height, out_width, out_height, left, top, stride, *strides),
        _Lines(True, height, width, out_height, out_width, top, left, stride, *flipped),
    ]
    return sorted((way for way in ways if way.fits), key=lambda way: way.cost)


def _applies(workload: DepthwiseConv2D) -> bool:
    return bool(_ways(workload))


def _space(workload: DepthwiseConv2D) -> Space:
    """Which way lines run, 0 being the one with the lower cost, and in how many strips."""
    ways = _ways(workload)
    limit = max(_SMALL_PLANES, math.prod(workload.input_shape) // _SHARE)
    counts = range(1, _MOST_STRIPS + 1)
    small = (n for n in counts if ways[0].plane_bytes(ways[0].strip(n)) <= limit)
    default = next(small, _MOST_STRIPS)
    strips = (default, *(count for count in counts if count != default))
    return {"way": tuple(range(len(ways))), "strips": strips}


def _fold(workload: DepthwiseConv2D, constants: Constants) -> Channels:
    weight = constants["weight"]
    return fold_channels(
        weight.reshape(-1, weight.shape[-1]).T,
        constants,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )


def _derive(workload: DepthwiseConv2D, constants: Constants) -> dict[str, int]:
    if not constants:
        raise UnsuitableError("the form of requantization depends on the constants")
    channels = _fold(workload, constants)
    for fraction in _FRACTIONS:
        if solve_high_word(channels, fraction) is not None:
            return {"fraction": fraction}
    raise UnsuitableError("no exact form of requantization")


def _pack(
    workload: DepthwiseConv2D, vertical: bool, fraction: int, constants: Constants
) -> Constants:
    """For each four channels their weights, then {256 * bias, multiplier, addend} of each."""
    channels = _fold(workload, constants)
    finish = solve_high_word(channels, fraction)
    assert finish is not None, "_derive has found one"
    weight = channels.weight.reshape(-1, 3, 3)
    weight = weight.transpose(0, 2, 1) if vertical else weight
    weights = np.ascontiguousarray(weight, np.int8).reshape(-1, _QUAD * 9).view(np.int32)
    words = np.concatenate([256 * channels.bias[:, None], finish], axis=1)
    words = words.astype(np.int32).reshape(len(weights), -1)
    return {"stream": np.concatenate([weights, words], axis=1).reshape(-1)}


def _first_channels(channels: int) -> list[int]:
    """Where groups of four channels begin: the last one overlaps another if it has to."""
    return [min(first, channels - _QUAD) for first in range(0, channels, _QUAD)]


def _any_applies(workload: DepthwiseConv2D) -> bool:
    return workload.depth_multiplier == 1 and workload.input_shape[3] >= _QUAD


def _any_space(workload: DepthwiseConv2D) -> Space:
    """Output rows computed from one window."""
    window = window_of(workload, copied=False)
    height = window.out_height
    if not window.copied:
        return {"strip_rows": (height,)}
    limit = max(_SMALL_PLANES, window.image // _SHARE)
    strips = sorted({math.ceil(height / count) for count in range(1, height + 1)}, reverse=True)
    default = next((strip for strip in strips if window.size_for(strip) <= limit), 1)
    return {"strip_rows": (default, *(strip for strip in strips if strip != default))}


def _any_derive(workload: DepthwiseConv2D, constants: Constants) -> dict[str, int]:
    if not constants:
        raise UnsuitableError("whether requantization is exact depends on the constants")
    channels = _fold(workload, constants)
    if reference_rounding(channels, constants, workload.output_zero_point) is None:
        raise UnsuitableError("no exact form of requantization")
    return {}


def _any_pack(workload: DepthwiseConv2D, constants: Constants) -> Constants:
    """For each four channels biases, weights by pairs of taps, and requantization constants; and
    where the taps are."""
    window = window_of(workload, copied=False)
    channels = _fold(workload, constants)
    finish = reference_rounding(channels, constants, workload.output_zero_point)
    assert finish is not None, "_any_derive has found one"
    rows, columns = np.indices(workload.kernel).reshape(2, -1)
    offsets = rows * workload.dilation[0] * window.pitch
    offsets += columns * workload.dilation[1] * window.channels
    odd = len(offsets) % 2
    # The missing tap of the last pair is the last one again, without a weight.
    offsets = np.pad(offsets, (0, odd), mode="edge")
    weight = np.pad(channels.weight, ((0, 0), (0, odd))).astype(np.int8)
    parts = []
    for first in _first_channels(window.channels):
        quad = slice(first, first + _QUAD)
        pairs = weight[quad].reshape(2, 2, -1, 2).transpose(2, 0, 3, 1)
        parts += [
            channels.bias[quad].astype(np.int32),
            np.ascontiguousarray(pairs).reshape(-1).view(np.int32),
            finish[quad].reshape(-1),
        ]
    return {"stream": np.concatenate(parts), "offsets": offsets.astype(np.int32)}


@rule(DepthwiseConv2D, features={"dsp"}, applies=_any_applies, space=_any_space, derive=_any_derive)
def depthwise_any(workload: DepthwiseConv2D, decisions: Decisions) -> Kernel:
    """Four channels at a time, two taps at a time, along rows or columns of the output."""
    window = window_of(workload, copied=False)
    strip_rows = decisions["strip_rows"]
    batch, channels, copied = window.batch, window.channels, window.copied
    out_width, out_height = window.out_width, window.out_height
    strips = math.ceil(out_height / strip_rows)
    load = window_loader(window, strip_rows, workload.input_zero_point)
    window_size = window.size_for(strip_rows) if copied else 0
    output_size = batch * window.pixels * channels
    clamped = workload.clamp != WHOLE_RANGE
    pairs = math.ceil(math.prod(workload.kernel) / 2)
    quads = len(_first_channels(channels))
    quad_words = _QUAD + 2 * pairs + 3 * _QUAD
    # One call computes a row of the output, or a column of the strip if that is longer.
    by_rows = out_width >= strip_rows
    out_row = out_width * channels
    name = f"tinyaot_dsp_depthwise_{workload.rounding}"

    def compute(
        source: Buffer, base: Expr, stream: Buffer, offsets: Buffer, y: Buffer, to: Expr,
        q: Expr, line: Expr, rows: Expr,
    ) -> Expr:  # fmt: skip
        """Line `line` of a strip of `rows` rows, which begins at `base` and `to`."""
        first = T.min(q * _QUAD, channels - _QUAD)
        x_line, x_pixel = (window.down, window.right) if by_rows else (window.right, window.down)
        y_line, y_pixel = (out_row, channels) if by_rows else (channels, out_row)
        return call(
            name,
            at(source, base + line * x_line + first),
            at(y, to + line * y_line + first),
            at(stream, q * quad_words),
            at(offsets),
            pairs,
            out_width if by_rows else rows,
            x_pixel,
            y_pixel,
        )

    @T.prim_func
    def depthwise_any(
        x: T.Buffer((batch * window.image,), "int8"),
        stream: T.Buffer((quads * quad_words,), "int32"),
        offsets: T.Buffer((2 * pairs,), "int32"),
        y: T.Buffer((output_size,), "int8"),
    ):
        if copied:
            source = T.alloc_buffer((window_size,), "int8")
            fill(at(source), bytes_word(workload.input_zero_point), window_size)
        else:
            source = T.meta_var(x)
        for n, s in T.grid(batch, strips):
            base: T.let[T.int32] = window.begin if copied else n * window.image
            to: T.let[T.int32] = (n * out_height + s * strip_rows) * out_row
            rows: T.let[T.int32] = T.min(strip_rows, out_height - s * strip_rows)
            if copied:
                load(source, x, n, s)
            for q in T.serial(quads):
                for line in T.serial(rows if by_rows else out_width):
                    compute(source, base, stream, offsets, y, to, q, line, rows)
        if clamped:
            call("tinyaot_dsp_clamp", at(y), output_size, *workload.clamp)

    overlays = window.strips_may_overlay(strip_rows)
    pack = functools.partial(_any_pack, workload)
    return Kernel(depthwise_any, pack, _HEADERS, (0,) if overlays else ())


@rule(DepthwiseConv2D, features={"dsp"}, applies=_applies, space=_space, derive=_derive)
def depthwise_3x3(workload: DepthwiseConv2D, decisions: Decisions) -> Kernel:
    """Four channels at a time on widened planes; the output may overlay an input of its shape."""
    lines = _ways(workload)[decisions["way"]]
    strip, fraction = lines.strip(decisions["strips"]), decisions["fraction"]
    batch, height, width, channels = workload.input_shape
    image = height * width * channels
    out_image = math.prod(workload.output_shape[1:])
    quads = channels // _QUAD
    strips = math.ceil(lines.out_lines / strip)
    quad_words = (_QUAD * 9 + _QUAD * 12) // 4
    # In int16 entries.
    plane_line = _QUAD * lines.pitch // 2
    plane_lines = lines.planes(strip)
    block_size = plane_lines * plane_line
    advance = strip * lines.stride
    kept = max(plane_lines - advance, 0)
    keeps = strips > 1 and kept > 0
    zero_point = workload.input_zero_point
    variant = f"{lines.pitch}_{fraction}"
    widen = f"tinyaot_dsp_planes_{lines.pitch}"
    compute = f"tinyaot_dsp_depthwise_3x3{'_stride_2' if lines.stride == 2 else ''}_{variant}"
    clamped = workload.clamp != WHOLE_RANGE

    @T.inline
    def stage(planes, x, begin, r, b, line):
        """Plane line r of block b: the input line `line`, or padding."""
        if T.And(line >= 0, line < lines.lines):
            first: T.let[T.int32] = T.max(b * (lines.block * lines.stride) - lines.before, 0)
            lead: T.let[T.int32] = T.if_then_else(b == 0, lines.before, 0)
            call(
                widen,
                at(planes, b * block_size + r * plane_line),
                at(x, begin + line * lines.line_stride + first * lines.pixel_stride),
                lines.pixel_stride,
                T.min(lines.pixels - first, lines.span - lead),
                bytes_word(zero_point),
                lead,
            )
        else:
            fill(
                at(planes, b * block_size + r * plane_line),
                halfwords_word(zero_point),
                2 * plane_line,
            )

    @T.prim_func
    def depthwise_3x3(
        x: T.Buffer((batch * image,), "int8"),
        stream: T.Buffer((quads * quad_words,), "int32"),
        y: T.Buffer((batch * out_image,), "int8"),
    ):
        planes = T.alloc_buffer((lines.blocks * block_size,), "int16")
        for n, q, s in T.grid(batch, quads, strips):
            count: T.let[T.int32] = T.min(strip, lines.out_lines - s * strip)
            if keeps:  # noqa: SIM102, decided when the kernel is built
                if s > 0:
                    for b in T.serial(lines.blocks):
                        call(
                            "tinyaot_dsp_copy",
                            at(planes, b * block_size),
                            at(planes, b * block_size + advance * plane_line),
                            kept * plane_line * 2,
                        )
            for r in T.serial(T.if_then_else(s == 0, 0, kept), (count - 1) * lines.stride + 3):
                for b in T.serial(lines.blocks):
                    stage(planes, x, n * image + q * _QUAD, r, b, s * advance - lines.above + r)
            for b in T.serial(lines.blocks):
                call(
                    compute,
                    at(planes, b * block_size),
                    at(
                        y,
                        n * out_image
                        + q * _QUAD
                        + s * (strip * lines.out_line_stride)
                        + b * (lines.block * lines.column_stride),
                    ),
                    at(stream, q * quad_words),
                    T.min(lines.block, lines.columns - b * lines.block),
                    count,
                    lines.column_stride,
                    lines.out_line_stride,
                )
        if clamped:
            call("tinyaot_dsp_clamp", at(y), batch * out_image, *workload.clamp)

    return Kernel(
        depthwise_3x3,
        functools.partial(_pack, workload, lines.vertical, fraction),
        _HEADERS,
        (0,) if workload.input_shape == workload.output_shape else (),
    )
