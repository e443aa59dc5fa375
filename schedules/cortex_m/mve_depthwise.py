"""Depthwise convolution on Helium, four pixels at a time.

Any window: `tinyaot_mve_taps_*` gathers a channel's taps into vectors of eight. The sums are those
of a convolution, and finished alike.

3x3 windows: rows of a block of channels are staged with four rows of a channel's column in a word,
so that a patch for four outputs comes with one gather (see `tinyaot_mve_depthwise.h`). Where a tile
is the whole image its channels are read before they are written: the output may take the input's
place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import Buffer, Expr, as_words, at, call, round_up
from tinyaot.schedules.cortex_m.mve_requantize import form, is_signed
from tinyaot.schedules.cortex_m.mve_window import (
    PIXELS,
    Finish,
    Window,
    block_space,
    pack_blocks,
    solve,
    tile_space,
)
from tinyaot.schedules.cortex_m.requantize import Channels, fold_channels
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, UnsuitableError, rule
from tinyaot.schedules.workload import DepthwiseConv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_depthwise.h")

# Taps of a vector, and vectors of a pass.
_TAPS, _VECTORS = 8, 3
# Entries of a gather's table are halfwords.
_LARGEST_OFFSET = 2**16 - 1
# Scratch memory that is taken whatever the size of the image.
_LARGEST_SCRATCH = 4096


def _window(workload: DepthwiseConv2D, rows: int, columns: int) -> Window:
    return Window(workload, rows, columns, any(workload.padding))


def _applies(workload: DepthwiseConv2D) -> bool:
    _, height, width, _ = workload.output_shape
    reach = _window(workload, height, width).reach
    return workload.depth_multiplier == 1 and reach <= _LARGEST_OFFSET


def _passes(workload: DepthwiseConv2D) -> list[slice]:
    """The taps in even parts that the vectors of a pass hold."""
    taps = int(math.prod(workload.kernel))
    vectors = math.ceil(taps / _TAPS)
    share = math.ceil(vectors / math.ceil(vectors / _VECTORS)) * _TAPS
    return [slice(first, min(first + share, taps)) for first in range(0, taps, share)]


def _vectors(taps: slice) -> int:
    count: int = taps.stop - taps.start
    return math.ceil(count / _TAPS)


def _space(workload: DepthwiseConv2D) -> Space:
    vectors = sum(_vectors(taps) for taps in _passes(workload))

    def cost(window: Window) -> float:
        return 80 + workload.output_shape[3] * (13 + 9 * vectors)

    tiles = tile_space(workload, lambda rows, columns: _window(workload, rows, columns), cost)
    return {**tiles, "channel_block": block_space(workload)}


def _fold(workload: DepthwiseConv2D, constants: Constants) -> Channels:
    if not constants:
        raise UnsuitableError("the form of requantization depends on the constants")
    return fold_channels(
        constants["weight"].reshape(-1, workload.output_shape[3]).T,
        constants,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )


def _derive(workload: DepthwiseConv2D, constants: Constants) -> dict[str, int]:
    return {"fraction": solve(workload, _fold(workload, constants)).fraction}


@rule(DepthwiseConv2D, features={"dsp", "mve"}, applies=_applies, space=_space, derive=_derive)
def depthwise_conv2d(workload: DepthwiseConv2D, decisions: Decisions) -> Kernel:
    """Any window, from the input or from a band of it."""
    window = _window(workload, decisions["tile_rows"], decisions["tile_columns"])
    finish = Finish(workload, decisions, window.pixels)
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    tiles_h, tiles_w = window.tiles
    rows, columns = window.rows, window.columns
    banded = window.banded
    block = finish.block
    passes = _passes(workload)
    offsets = [
        np.pad(window.offsets[taps], (0, _vectors(taps) * _TAPS - (taps.stop - taps.start)))
        for taps in passes
    ]
    table = as_words(np.concatenate(offsets).astype(np.uint16))
    weight_words = block * math.prod(workload.kernel) // 4
    block_words = weight_words + finish.constants
    stream_words = len(table) + finish.blocks * block_words
    fill_band = window.fill_band()

    def constants(stream: Buffer, cb: Expr) -> Expr:
        """Where the requantization of a block of channels begins."""
        return at(stream, len(table) + cb * block_words + weight_words)

    def multiply(
        acc: Buffer, stream: Buffer, cb: Expr, source: Buffer, base: Expr, pixel: Expr
    ) -> None:
        """Multiplies the taps of a tile's four pixels with a block's weights."""
        vectors = [at(source, base + cb * block + window.begin(pixel + j)) for j in range(PIXELS)]
        count = T.min(block, channels - cb * block)
        entries = 0
        for taps, part in zip(passes, offsets, strict=True):
            weights = at(stream, len(table) + cb * block_words + block * taps.start // 4)
            name = f"taps_add_{_vectors(taps)}" if taps.start else f"taps_{_vectors(taps)}"
            arguments = [at(acc), weights, *vectors, at(stream, entries)]
            T.evaluate(call(name, *arguments, taps.stop - taps.start, count))
            entries += len(part) // 2

    @T.inline
    def tile(acc, stream, source, base, y, n, oh, ow):
        """All pixels of the tile that begins at (oh, ow)."""
        for turn, cb in T.grid(window.turns, finish.blocks):
            pixel: T.let[T.int32] = window.first_pixel(turn)
            place: T.let[T.int32] = window.output(n, oh, ow, pixel)
            multiply(acc, stream, cb, source, base, pixel)
            finish.finish(acc, constants(stream, cb), y, place, cb)
            if finish.staged and cb == finish.blocks - 1:
                for j in T.serial(finish.pixels):
                    finish.unstage(acc, y, place, j)

    @T.prim_func
    def depthwise_conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        stream: T.Buffer((stream_words,), "int32"),
        y: T.Buffer((batch * out_height * out_width * channels,), "int8"),
    ):
        acc = T.alloc_buffer((finish.sums,), "int32")
        if banded:
            band = T.alloc_buffer((window.band_bytes,), "int8")
        for n, th, tw in T.grid(batch, tiles_h, tiles_w):
            oh: T.let[T.int32] = T.min(th * rows, out_height - rows)
            ow: T.let[T.int32] = T.min(tw * columns, out_width - columns)
            if banded:
                fill_band(band, x, n, oh, ow)
                tile(acc, stream, band, 0, y, n, oh, ow)
            else:
                tile(acc, stream, x, window.source(n, oh, ow), y, n, oh, ow)

    def pack(constants: Constants) -> Constants:
        def ordered(weight: NDArray[np.int8]) -> list[NDArray[np.int32]]:
            return [as_words(weight[:, taps]) for taps in passes]

        folded = _fold(workload, constants)
        found = solve(workload, folded)
        blocks = pack_blocks(block, ordered, folded, found, workload.clamp)
        return {"stream": np.concatenate([table, blocks])}

    return Kernel(depthwise_conv2d, pack, _HEADERS)


# Channels of a staged block, bytes of a channel in a column, and channels of a call.
_BLOCK, _WORD, _GROUP = 16, 4, 4


@dataclass(frozen=True)
class _Quads:
    """A 3x3 depthwise convolution in rows of quads: two rows of two outputs, or four of a row."""

    workload: DepthwiseConv2D

    @property
    def double(self) -> bool:
        """Whether a quad has two rows."""
        return self.workload.strides == (1, 1)

    @property
    def block(self) -> int:
        """Channels of a staged block."""
        return min(self.workload.input_shape[3], _BLOCK)

    @property
    def rows(self) -> int:
        """Rows of quads."""
        height = self.workload.output_shape[1]
        return math.ceil(height / 2) if self.double else height

    @property
    def quads(self) -> int:
        """Quads of a row, a partial one included."""
        return math.ceil(self.workload.output_shape[2] / (2 if self.double else 4))

    @property
    def mask(self) -> int:
        """The bytes of a row's partial quad that are stored; 0 if there is none."""
        width = self.workload.output_shape[2]
        if self.double:
            return 0x0F0F if width % 2 else 0
        return (1 << 4 * (width % 4)) - 1

    @property
    def staged(self) -> int:
        """Input columns that are staged: those that an output needs, in whole vectors."""
        channels = self.workload.input_shape[3]
        columns = 2 * self.quads + 2 if self.double else 8 * self.quads + 2
        needed = min(self.workload.input_shape[2], columns - self.workload.padding[1])
        return round_up(needed, _BLOCK // min(channels, _BLOCK))

    @property
    def row_bytes(self) -> int:
        """Size of a staged row of quads."""
        columns = 2 * self.quads + 2 if self.double else 8 * self.quads + 2
        return max(columns, self.workload.padding[1] + self.staged) * self.block * _WORD

    def scratch(self, rows: int) -> int:
        """Bytes of stage and sums for some rows of quads."""
        return rows * (self.row_bytes + self.quads * _GROUP * 16)

    def input_row(self, row: Expr) -> Expr:
        """The first input row of a row of quads."""
        top = self.workload.padding[0]
        return self.output_row(row) - top if self.double else 2 * row - top

    def output_row(self, row: Expr) -> Expr:
        """The first output row of a row of quads; the last of two rows overlap those before."""
        return T.min(2 * row, self.workload.output_shape[1] - 2) if self.double else row


def _is_3x3(workload: DepthwiseConv2D) -> bool:
    _, _, width, channels = workload.input_shape
    whole = (channels % 4 == 0 and channels >= _BLOCK) or (channels == 8 and width % 2 == 0)
    return (
        whole
        and workload.depth_multiplier == 1
        and workload.kernel == (3, 3)
        and workload.dilation == (1, 1)
        and workload.strides in ((1, 1), (2, 2))
        and max(workload.padding) <= 2
        and (workload.strides == (2, 2) or workload.output_shape[1] > 1)
    )


def _rows_space(workload: DepthwiseConv2D) -> Space:
    """Rows of quads of a tile: all if that saves the output's memory, else those of some KiB."""
    quads = _Quads(workload)
    read, written = math.prod(workload.input_shape), math.prod(workload.output_shape)
    best = quads.rows
    if quads.scratch(best) > 1.25 * read:
        limit = max(_LARGEST_SCRATCH, (read + written) // 5)
        tiles = math.ceil(best / max(limit // quads.scratch(1), 1))
        best = math.ceil(best / tiles)
    return {"rows": (best, *(rows for rows in range(1, quads.rows + 1) if rows != best))}


@rule(DepthwiseConv2D, features={"dsp", "mve"}, applies=_is_3x3, space=_rows_space, derive=_derive)
def depthwise_conv2d_3x3(workload: DepthwiseConv2D, decisions: Decisions) -> Kernel:
    """3x3 windows by patches of four rows and columns."""
    quads = _Quads(workload)
    rows = decisions["rows"]
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, _ = workload.output_shape
    left, zero_point = workload.padding[1], workload.input_zero_point
    signed = is_signed(workload.output_zero_point, workload.clamp, workload.rounding)
    requantize = f"quads{form(signed, workload.clamp, decisions['fraction'])}"
    tiles = math.ceil(quads.rows / rows)
    blocks = math.ceil(channels / _BLOCK)
    row_bytes, column_bytes = quads.row_bytes, quads.block * _WORD
    step = _BLOCK if quads.block < _BLOCK else channels
    stage_turns = quads.staged * quads.block // _BLOCK
    unrolled = next(size for size in (4, 3, 2, 1) if quads.quads % size == 0)
    stride = workload.strides[0]
    windows = f"windows_{stride}_{quads.block}_{unrolled}"
    down, quad_step = (out_width, 2) if quads.double else (2, 4)
    row_words = quads.quads * _GROUP * 4
    whole_quads = quads.quads - (quads.mask != 0)
    constants_words = 3 if signed else 2
    weights_begin = 4 + constants_words * channels
    stream_words = weights_begin + 9 * channels // 4
    # The last two rows of an odd number are not two rows behind those before.
    apart = quads.double and out_height % 2 == 1
    stride_rows = 2 if quads.double else 1

    def block_begin(cb: Expr) -> Expr:
        """The first channel of a staged block: all are whole, the last overlaps."""
        return T.min(cb * _BLOCK, max(channels - _BLOCK, 0))

    def stage_row(stage: Buffer, x: Buffer, n: Expr, cb: Expr, first: Expr, r: Expr) -> Expr:
        """Stages a row of quads."""
        to = at(stage, r * row_bytes + left * column_bytes)
        source = at(x, n * (height * width * channels) + block_begin(cb))
        geometry = [height, width * channels, step, stage_turns, zero_point]
        return call(
            "stage", to, source, quads.input_row(first + r), 4 if quads.double else 3, *geometry
        )

    def multiply(
        acc: Buffer, stage: Buffer, stream: Buffer, group: Expr, cb: Expr, count: Expr
    ) -> Expr:
        """The sums of four channels."""
        words = at(stage, (group * _GROUP - block_begin(cb)) * _WORD)
        weights = at(stream, weights_begin + group * (9 * _GROUP // 4))
        return call(windows, at(acc), words, weights, count, quads.quads // unrolled, row_bytes)

    def finish(
        acc: Buffer,
        stream: Buffer,
        y: Buffer,
        n: Expr,
        group: Expr,
        row: Expr,
        r: Expr,
        count: Expr,
    ) -> Expr:
        """Outputs of four channels, of rows of quads from the r-th of a tile on."""
        k = at(stream, 4 + group * (_GROUP * constants_words))
        place = (n * out_height + quads.output_row(row)) * (out_width * channels) + group * _GROUP
        layout = [channels, down * channels, quad_step * channels, whole_quads, quads.mask]
        row_step = stride_rows * out_width * channels
        sums = at(acc, r * row_words)
        return call(requantize, sums, at(stream), k, at(y, place), *layout, count, row_step)

    @T.prim_func
    def depthwise_conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        stream: T.Buffer((stream_words,), "int32"),
        y: T.Buffer((batch * out_height * out_width * channels,), "int8"),
    ):
        acc = T.alloc_buffer((rows * row_words,), "int32")
        stage = T.alloc_buffer((rows * row_bytes,), "int8")
        call("fill", at(stage), zero_point, rows * row_bytes)
        for n, cb, tile in T.grid(batch, blocks, tiles):
            first: T.let[T.int32] = tile * rows
            count: T.let[T.int32] = T.min(rows, quads.rows - first)
            for r in T.serial(count):
                stage_row(stage, x, n, cb, first, r)
            for group in T.serial(cb * 4, T.min(cb * 4 + 4, channels // _GROUP)):
                multiply(acc, stage, stream, group, cb, count)
                if apart:
                    even: T.let[T.int32] = T.min(count, quads.rows - 1 - first)
                    finish(acc, stream, y, n, group, first, 0, even)
                    if even < count:
                        finish(acc, stream, y, n, group, quads.rows - 1, even, 1)
                else:
                    finish(acc, stream, y, n, group, first, 0, count)

    def pack(constants: Constants) -> Constants:
        folded = _fold(workload, constants)
        found = solve(workload, folded)
        weight = folded.weight.astype(np.int8).reshape(channels, 3, 3).transpose(0, 2, 1)
        parts = [found.head(workload.clamp), found.rows(folded.bias).reshape(-1), as_words(weight)]
        return {"stream": np.concatenate(parts)}

    return Kernel(depthwise_conv2d, pack, _HEADERS, in_place_inputs=(0,) if tiles == 1 else ())
