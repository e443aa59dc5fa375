"""Depthwise convolution on Helium, four pixels at a time.

Any window: `tinyaot_mve_taps_*` gathers a channel's taps into vectors of eight. The sums are those
of a convolution, and finished alike.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import Buffer, Expr, as_words, at, call
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
