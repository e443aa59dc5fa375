"""Convolution on Helium: four pixels at a time for a block of output channels.

`tinyaot_mve_matmul_*` multiplies the taps of four pixels with the weights of all channels of the
block, `tinyaot_mve_requantize4_*` finishes them. Where taps come from:

- 1x1 without padding: from the input as it is.
- Few taps: gathered from a band of the input by a table of byte offsets.
- Else each pixel's taps are copied, from a band if there is padding, to lie one after another.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import VECTOR, Buffer, Expr, as_words, at, call
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
from tinyaot.schedules.workload import Conv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_convolution.h")

# Entries of a gather's table are bytes.
_LARGEST_OFFSET = 255


def _is_window(workload: Conv2D) -> bool:
    return workload.groups == 1


def _is_pointwise(workload: Conv2D) -> bool:
    return workload.kernel == (1, 1) and not any(workload.padding) and workload.groups == 1


def _taps(workload: Conv2D) -> int:
    return math.prod(workload.kernel) * workload.input_shape[3]


def _window(workload: Conv2D, rows: int, columns: int) -> Window:
    banded = Window(workload, rows, columns, True)
    return Window(workload, rows, columns, any(workload.padding) or _is_gathered(banded))


def _is_gathered(window: Window) -> bool:
    """Whether a table reaches all taps of a pixel in the band."""
    return window.banded and window.reach <= _LARGEST_OFFSET


def _table(window: Window) -> NDArray[np.uint8]:
    """For each tap the place behind a window's begin; filled up to whole vectors."""
    channels = np.arange(window.workload.input_shape[3])
    offsets = (window.offsets[:, None] + channels).reshape(-1)
    return np.pad(offsets, (0, -len(offsets) % VECTOR)).astype(np.uint8)


def _window_space(workload: Conv2D) -> Space:
    kernel_height, kernel_width = workload.kernel
    runs = kernel_height * (1 if workload.dilation[1] == 1 else kernel_width)
    taps = _taps(workload)
    chunks = math.ceil(taps / VECTOR)

    def cost(window: Window) -> float:
        patches = PIXELS * runs * (8 + 3 * math.ceil(taps / runs / VECTOR))
        load = 12 * chunks if _is_gathered(window) else patches
        # Where windows of a row begin is known from their columns alone.
        begin = 85 if _is_gathered(window) and window.rows == 1 else 100
        return begin + load + workload.output_shape[3] * (6.5 * chunks + 5.5)

    tiles = tile_space(workload, lambda rows, columns: _window(workload, rows, columns), cost)
    return {**tiles, "channel_block": block_space(workload)}


def _pointwise_space(workload: Conv2D) -> Space:
    return {"channel_block": block_space(workload)}


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


def _derive(workload: Conv2D, constants: Constants) -> dict[str, int]:
    return {"fraction": solve(workload, _fold(workload, constants)).fraction}


def _pack(workload: Conv2D, block: int, constants: Constants) -> NDArray[np.int32]:
    """Weights in chunks of sixteen taps and what is left, for each block of channels."""
    channels = _fold(workload, constants)
    whole = _taps(workload) // VECTOR * VECTOR

    def chunks(weight: NDArray[np.int8]) -> list[NDArray[np.int32]]:
        vectors = weight[:, :whole].reshape(len(weight), -1, VECTOR).transpose(1, 0, 2)
        return [as_words(vectors), as_words(weight[:, whole:])]

    return pack_blocks(block, chunks, channels, solve(workload, channels), workload.clamp)


@rule(
    Conv2D,
    features={"dsp", "mve"},
    applies=_is_window,
    space=_window_space,
    derive=_derive,
)
def conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """Any window, from a band of the input or from copied taps."""
    window = _window(workload, decisions["tile_rows"], decisions["tile_columns"])
    finish = Finish(workload, decisions, window.pixels)
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    dilation_h, dilation_w = workload.dilation
    tiles_h, tiles_w = window.tiles
    rows, columns = window.rows, window.columns
    banded, gathered = window.banded, _is_gathered(window)
    taps = _taps(workload)
    whole, tail = divmod(taps, VECTOR)
    table = as_words(_table(window)) if gathered else np.zeros(0, np.int32)
    weight_words = finish.block * taps // 4
    block_words = weight_words + finish.constants
    stream_words = len(table) + finish.blocks * block_words
    # Taps that lie one after another: those of a kernel row unless they are dilated.
    runs = 1 if dilation_w == 1 else kernel_width
    run = kernel_width // runs * channels
    patches = window.band_bytes
    fill_band = window.fill_band()

    def constants(stream: Buffer, block: Expr) -> Expr:
        """Where the requantization of a block of channels begins."""
        return at(stream, len(table) + block * block_words + weight_words)

    def multiply(acc: Buffer, stream: Buffer, block: Expr, scratch: Buffer, pixel: Expr) -> Expr:
        """Multiplies the taps of a tile's four pixels with a block's weights."""
        weights = at(stream, len(table) + block * block_words)
        if gathered:
            vectors = [at(scratch, window.begin(pixel + j)) for j in range(PIXELS)]
            arguments = [*vectors, at(stream), whole, finish.block // 2]
            return call(f"matmul_gather_{tail}", at(acc), weights, *arguments)
        vectors = [at(scratch, patches + j * taps) for j in range(PIXELS)]
        return call(f"matmul_{tail}", at(acc), weights, *vectors, whole, finish.block // 2)

    def copy_run(scratch: Buffer, source: Buffer, base: Expr, pixel: Expr, j: int, r: Expr) -> Expr:
        """Copies the r-th run of a pixel's taps to the j-th patch."""
        place = r // runs * (dilation_h * window.pitch) + r % runs * (dilation_w * channels)
        to = at(scratch, patches + j * taps + r * run)
        return call("copy", to, at(source, base + window.begin(pixel + j) + place), run)

    @T.inline
    def copy_patches(scratch, source, base, pixel):
        """Copies the taps of a tile's four pixels."""
        for r in T.serial(kernel_height * runs):
            copy_run(scratch, source, base, pixel, 0, r)
            copy_run(scratch, source, base, pixel, 1, r)
            copy_run(scratch, source, base, pixel, 2, r)
            copy_run(scratch, source, base, pixel, 3, r)

    @T.prim_func
    def conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        stream: T.Buffer((stream_words,), "int32"),
        y: T.Buffer((batch * out_height * out_width * out_channels,), "int8"),
    ):
        acc = T.alloc_buffer((finish.sums,), "int32")
        scratch = T.alloc_buffer((patches + (0 if gathered else PIXELS * taps),), "int8")
        for n, th, tw in T.grid(batch, tiles_h, tiles_w):
            oh: T.let[T.int32] = T.min(th * rows, out_height - rows)
            ow: T.let[T.int32] = T.min(tw * columns, out_width - columns)
            if banded:
                fill_band(scratch, x, n, oh, ow)
            for turn in T.serial(window.turns):
                pixel: T.let[T.int32] = window.first_pixel(turn)
                place: T.let[T.int32] = window.output(n, oh, ow, pixel)
                if banded and not gathered:
                    copy_patches(scratch, scratch, 0, pixel)
                if not banded:
                    copy_patches(scratch, x, window.source(n, oh, ow), pixel)
                for block in T.serial(finish.blocks):
                    multiply(acc, stream, block, scratch, pixel)
                    finish.finish(acc, constants(stream, block), y, place, block)
                if finish.staged:
                    for j in T.serial(finish.pixels):
                        finish.unstage(acc, y, place, j)

    def pack(constants: Constants) -> Constants:
        return {"stream": np.concatenate([table, _pack(workload, finish.block, constants)])}

    return Kernel(conv2d, pack, _HEADERS)


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
    finish = Finish(workload, decisions, pixels)
    whole, tail = divmod(channels, VECTOR)
    weight_words = finish.block * channels // 4
    block_words = weight_words + finish.constants

    def begin(pixel: Expr) -> Expr:
        """Where an output pixel's taps begin."""
        pixel = pixel if pixels >= PIXELS else T.min(pixel, pixels - 1)
        if workload.strides == (1, 1):
            return pixel * channels
        image, row = pixel // (out_height * out_width), pixel // out_width % out_height
        row = image * height + row * stride_h
        return (row * width + pixel % out_width * stride_w) * channels

    def multiply(acc: Buffer, stream: Buffer, block: Expr, x: Buffer, pixel: Expr) -> Expr:
        """Multiplies the taps of four pixels with a block's weights."""
        vectors = [at(x, begin(pixel + j)) for j in range(PIXELS)]
        weights = at(stream, block * block_words)
        return call(f"matmul_{tail}", at(acc), weights, *vectors, whole, finish.block // 2)

    def constants(stream: Buffer, block: Expr) -> Expr:
        """Where the requantization of a block of channels begins."""
        return at(stream, block * block_words + weight_words)

    @T.prim_func
    def conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        stream: T.Buffer((finish.blocks * block_words,), "int32"),
        y: T.Buffer((pixels * out_channels,), "int8"),
    ):
        acc = T.alloc_buffer((finish.sums,), "int32")
        for turn in T.serial(math.ceil(pixels / PIXELS)):
            pixel: T.let[T.int32] = T.min(turn * PIXELS, max(pixels - PIXELS, 0))
            for block in T.serial(finish.blocks):
                multiply(acc, stream, block, x, pixel)
                finish.finish(acc, constants(stream, block), y, pixel, block)
            if finish.staged:
                for j in T.serial(finish.pixels):
                    finish.unstage(acc, y, pixel, j)

    return Kernel(
        conv2d, lambda constants: {"stream": _pack(workload, finish.block, constants)}, _HEADERS
    )
