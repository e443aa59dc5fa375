"""Convolutions and dense layers on int16 on Helium: four pixels by two channels at a time.

Taps that lie one after another are read where they are, from the input or, if there is padding,
from a band; others are copied to lie so. Images of one or two pixels take all channels four at a
time, pixel by pixel. See `tinyaot_mve_wide.h`; how sums become outputs is in `wide_layer.py`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import Buffer, Expr, as_words, at, call
from tinyaot.schedules.cortex_m.mve_window import PIXELS, Window, tile_space
from tinyaot.schedules.cortex_m.wide_layer import (
    BYTES,
    FULL_RANGE,
    double_rounding,
    half_word_multipliers,
    in_bytes,
    in_rows,
    matrix,
    scaling_words,
    segment_taps,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, rule
from tinyaot.schedules.workload import Conv2D
from tinyaot.schedules.workload_wide import WideConv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_wide.h")
_FINISH_HEADERS = (*_HEADERS, "tinyaot_wide.h", "tinyaot_wide_layer.h")

# Lanes of a vector.
_LANES = 8
# Images of fewer pixels are computed pixel by pixel.
_FEW_PIXELS = 3


@dataclass(frozen=True)
class _Layer:
    """A convolution whose image is seen in bytes.

    Attributes:
        workload: as an image of pixels one below the other where that is possible.
        taps: of an output.
    """

    workload: WideConv2D

    @classmethod
    def of(cls, workload: WideConv2D) -> _Layer:
        pointwise = workload.kernel == (1, 1) == workload.strides
        if pointwise and not any(workload.padding):
            pixels = math.prod(workload.input_shape[:3])
            shapes = (
                (1, pixels, 1, shape[3]) for shape in (workload.input_shape, workload.output_shape)
            )
            return cls(replace(workload, input_shape=next(shapes), output_shape=next(shapes)))
        return cls(in_rows(workload))

    @property
    def taps(self) -> int:
        return math.prod(self.workload.kernel) * self.workload.input_shape[3]

    @property
    def pixels(self) -> int:
        """Of an image."""
        return math.prod(self.workload.output_shape[1:3])

    @property
    def group(self) -> int:
        """Channels at a time."""
        return 4 if self.pixels < _FEW_PIXELS else 2

    @property
    def padded(self) -> bool:
        return any(self.workload.padding)

    def window(self, rows: int, columns: int) -> Window:
        """In tiles; of an image whose channels are bytes."""
        w = in_bytes(self.workload)
        shapes = w.input_shape, w.output_shape
        plain = Conv2D(*(*shapes, w.kernel, w.strides, w.padding, w.dilation), 1, 0, 0, FULL_RANGE)
        return Window(plain, rows, columns, self.padded)

    def runs(self, window: Window) -> tuple[int, int, int]:
        """Runs of contiguous taps, their number in each row of the kernel, and their bytes."""
        kernel_height, kernel_width = self.workload.kernel
        dilation_h, dilation_w = self.workload.dilation
        channels = self.workload.input_shape[3] * BYTES
        if kernel_width > 1 and dilation_w > 1:
            return kernel_height * kernel_width, kernel_width, channels
        row = kernel_width * channels
        if kernel_height == 1 or dilation_h * window.pitch == row:
            return 1, 1, kernel_height * row
        return kernel_height, 1, row


def _applies(workload: WideConv2D) -> bool:
    return workload.groups == 1


def _space(workload: WideConv2D) -> Space:
    """Tiles of what is padded."""
    layer = _Layer.of(workload)
    if not layer.padded:
        return {}

    def cost(window: Window) -> float:
        runs, _, run = layer.runs(window)
        copying = 0.0 if runs == 1 else PIXELS * runs * (8 + 3 * math.ceil(run / 16))
        pairs = math.ceil(workload.output_shape[3] / 2)
        return 60 + copying + pairs * (20 + 16 * math.ceil(layer.taps / _LANES))

    return tile_space(layer.window(1, 1).workload, layer.window, cost)


def _derive(workload: WideConv2D, constants: Constants) -> dict[str, int]:
    """Whether sums are `narrow`: outputs follow from 32 bits; else the taps of a `segment`."""
    weight = matrix(constants)
    if _scaling(workload, weight, constants) is not None:
        return {"narrow": 1, "segment": 0}
    return {"narrow": 0, "segment": min(segment_taps(weight, _LANES), weight.shape[1])}


def _scaling(
    workload: WideConv2D, weight: NDArray[np.int64], constants: Constants
) -> NDArray[np.int32] | None:
    """(channels, words) behind the biases, if outputs follow from sums in 32 bits: a multiplier,
    and for rounding "double" how far to the left its product moves."""
    if workload.rounding == "double":
        words = double_rounding(weight, constants, workload.rounding)
        return None if words is None else np.stack([words[:, 0], -words[:, 2]], axis=1)
    found = half_word_multipliers(weight, constants, workload.rounding)
    return None if found is None else found[:, None]


def _blocks(weight: NDArray[np.int64], group: int) -> NDArray[np.int32]:
    """(groups, words): for each group of channels the weights of eight taps of every channel, of
    the next eight, and so on."""
    count, taps = len(weight) // group, weight.shape[1]
    whole = taps // _LANES * _LANES
    bytes_ = weight.astype(np.int8).reshape(count, group, taps)
    vectors = bytes_[:, :, :whole].reshape(count, group, -1, _LANES).transpose(0, 2, 1, 3)
    parts = vectors.reshape(count, -1), bytes_[:, :, whole:].reshape(count, -1)
    joined = np.concatenate(parts, axis=1)
    return as_words(np.pad(joined, ((0, 0), (0, -joined.shape[1] % 4)))).reshape(count, -1)


def _pack(workload: WideConv2D, narrow: bool, segment: int, constants: Constants) -> Constants:
    """The stream: weights, biases and multipliers of each group of channels; or the weights of each
    segment, then what finishes the sums."""
    weight, group = matrix(constants), _Layer.of(workload).group
    missing = -len(weight) % group
    filled = np.pad(weight, ((0, missing), (0, 0)))
    if not narrow:
        begins = range(0, weight.shape[1], segment)
        parts = [_blocks(filled[:, begin : begin + segment], group) for begin in begins]
        words = [*parts, scaling_words(constants)]
        return {"stream": np.concatenate([part.reshape(-1) for part in words])}
    found = _scaling(workload, weight, constants)
    assert found is not None, "_derive has found it"
    scaling = np.concatenate([constants["bias"].astype(np.int32)[:, None], found], axis=1)
    scaling = np.pad(scaling, ((0, missing), (0, 0))).reshape(-1, group, scaling.shape[1])
    if group == 4:
        scaling = scaling.transpose(0, 2, 1)
    blocks = [_blocks(filled, group), scaling.reshape(len(scaling), -1)]
    return {"stream": np.concatenate(blocks, axis=1).reshape(-1)}


@rule(WideConv2D, features={"dsp", "mve"}, applies=_applies, space=_space, derive=_derive)
def wide_conv2d(workload: WideConv2D, decisions: Decisions) -> Kernel:
    """Any window."""
    narrow, segment = decisions["narrow"] == 1, decisions["segment"]
    layer = _Layer.of(workload)
    batch, _, _, channels = layer.workload.input_shape
    _, out_height, out_width, out_channels = layer.workload.output_shape
    tile_rows = decisions.get("tile_rows", out_height)
    tile_columns = decisions.get("tile_columns", out_width)
    window = layer.window(tile_rows, tile_columns)
    image = math.prod(layer.workload.input_shape[1:]) * BYTES
    tiles_h, tiles_w = window.tiles
    taps, group, banded = layer.taps, layer.group, layer.padded
    runs, runs_across, run = layer.runs(window)
    row_size = out_channels * BYTES
    dilation_h, dilation_w = layer.workload.dilation

    single = group == 4
    pixels_at_once = 1 if single else PIXELS
    turns = window.pixels if single else window.turns
    written = min(window.pixels, pixels_at_once)
    groups = math.ceil(out_channels / group)
    weight_words = groups * sum(
        math.ceil(group * size / 4) for size in (taps // _LANES * _LANES, taps % _LANES)
    )
    double = "_double" if workload.rounding == "double" else ""
    scaling_size = (3 if double else 2) * group * groups if narrow else 4 * out_channels
    stream_words = weight_words + scaling_size
    segments = 1 if narrow else math.ceil(taps / segment)
    last_taps = taps - (segments - 1) * segment
    segment_sums = group * groups * pixels_at_once
    # Outputs are stored as words of two channels, of four pixels.
    staged = narrow and not single and (out_channels % 2 == 1 or window.pixels < PIXELS)
    patches = window.band_bytes
    scratch_size = patches + (pixels_at_once * taps * BYTES if runs > 1 else 0)
    fill_band = window.fill_band()

    def copy_run(scratch: Buffer, source: Buffer, base: Expr, pixel: Expr, j: int, r: Expr) -> Expr:
        """Copies the r-th run of a pixel's taps to the j-th patch."""
        across = r % runs_across * (dilation_w * channels * BYTES)
        place = r // runs_across * (dilation_h * window.pitch) + across
        to = at(scratch, patches + j * taps * BYTES + r * run)
        return call("copy", to, at(source, base + window.begin(pixel + j) + place), run)

    def multiply(
        kind: str, starts: list[Expr], weights: Expr, to: Expr, stride: int, count: int
    ) -> Expr:
        """All products of `count` taps that begin at the vectors."""
        whole, tail = divmod(count, _LANES)
        name = f"wide_{kind}_{tail}"
        if single:
            return call(name, *starts, weights, to, whole, out_channels)
        return call(name, *starts, weights, to, stride, whole, groups)

    def outputs(starts: list[Expr], stream: Buffer, to: Expr, stride: int) -> Expr:
        kind = f"{'vector' if single else 'matmul'}{double}"
        return multiply(kind, starts, at(stream), to, stride, taps)

    def add_up(starts: list[Expr], stream: Buffer, sums: Buffer, s: Expr, count: int) -> Expr:
        """The sums of a segment."""
        weights = at(stream, s * (groups * group * segment // 4))
        kind = "vector_sums" if single else "sums"
        return multiply(kind, starts, weights, at(sums, s * segment_sums), 0, count)

    def finish(stream: Buffer, sums: Buffer, to: Expr) -> Expr:
        name = f"tinyaot_wide_finish_{workload.rounding}"
        sizes = written, pixels_at_once, out_channels, segments, segment_sums
        return T.call_extern(
            "void", name, at(sums), at(stream, weight_words), to, *sizes, *workload.clamp
        )

    def vectors(scratch: Buffer, source: Buffer, base: Expr, pixel: Expr, s: Expr) -> list[Expr]:
        """Where the taps of the pixels begin, from a segment on."""
        offset = s * (segment * BYTES)
        if runs > 1:
            starts = [patches + j * taps * BYTES for j in range(pixels_at_once)]
            return [at(scratch, start + offset) for start in starts]
        return [at(source, base + window.begin(pixel + j) + offset) for j in range(pixels_at_once)]

    @T.inline
    def copy_patches(scratch, source, base, pixel):
        """Copies the taps of the pixels."""
        for r in T.serial(runs):
            copy_run(scratch, source, base, pixel, 0, r)
            if not single:
                copy_run(scratch, source, base, pixel, 1, r)
                copy_run(scratch, source, base, pixel, 2, r)
                copy_run(scratch, source, base, pixel, 3, r)

    def unstage(y: Buffer, place: Expr, staging: Buffer, j: Expr) -> Expr:
        return call(
            "copy", at(y, (place + j) * row_size), at(staging, j * (group * groups // 2)), row_size
        )

    @T.prim_func
    def wide_conv2d(
        x: T.Buffer((batch * image,), "int8"),
        stream: T.Buffer((stream_words,), "int32"),
        y: T.Buffer((batch * out_height * out_width * row_size,), "int8"),
    ):
        if scratch_size == 0:
            scratch = T.meta_var(x)
        if scratch_size > 0:
            scratch = T.alloc_buffer((scratch_size,), "int8")
        if not narrow:
            sums = T.alloc_buffer((segments * segment_sums,), "int32")
        if staged:
            staging = T.alloc_buffer((PIXELS * groups,), "int32")
        source = T.meta_var(scratch if banded else x)
        for n, th, tw in T.grid(batch, tiles_h, tiles_w):
            oh: T.let[T.int32] = T.min(th * tile_rows, out_height - tile_rows)
            ow: T.let[T.int32] = T.min(tw * tile_columns, out_width - tile_columns)
            base: T.let[T.int32] = 0 if banded else window.source(n, oh, ow)
            if banded:
                fill_band(scratch, x, n, oh, ow)
            for turn in T.serial(turns):
                pixel: T.let[T.int32] = turn if single else window.first_pixel(turn)
                place: T.let[T.int32] = window.output(n, oh, ow, pixel)
                if runs > 1:
                    copy_patches(scratch, source, base, pixel)
                if not narrow:
                    for s in T.serial(segments - 1):
                        starts = T.meta_var(vectors(scratch, source, base, pixel, s))
                        add_up(starts, stream, sums, s, segment)
                    starts = T.meta_var(vectors(scratch, source, base, pixel, segments - 1))
                    add_up(starts, stream, sums, segments - 1, last_taps)
                    finish(stream, sums, at(y, place * row_size))
                else:
                    starts = T.meta_var(vectors(scratch, source, base, pixel, 0))
                    if staged:
                        outputs(starts, stream, at(staging), 4 * groups)
                        for j in T.serial(written):
                            unstage(y, place, staging, j)
                    else:
                        outputs(starts, stream, at(y, place * row_size), row_size)
        if narrow and workload.clamp != FULL_RANGE:
            call(
                "wide_clamp", at(y), batch * out_height * out_width * out_channels, *workload.clamp
            )

    pack = functools.partial(_pack, workload, narrow, segment)
    return Kernel(wide_conv2d, pack, _HEADERS if narrow else _FINISH_HEADERS)
