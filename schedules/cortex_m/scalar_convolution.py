"""Convolution on cores without the DSP extension: four places at a time, two in a multiplication.

Four output places (lanes) are computed together. Their inputs are packed into pairs, after which
`tinyaot_scalar_matmul_*` runs over all output channels (see `tinyaot_scalar.h`).

Where the kernel is a single tap, four neighbouring pixels are packed at a time. Larger windows
overlap: lanes share the output in blocks (see `scalar_window`), and every input row is packed once,
into a ring of as many rows as a window has.
"""

from __future__ import annotations

import functools
import math

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.calls import Buffer, Expr, at, call
from tinyaot.schedules.cortex_m.scalar_dense import FOURS, FOURS_THUMB2, dense
from tinyaot.schedules.cortex_m.scalar_layer import (
    BLOCKS,
    MATMUL_HEADERS,
    ROWS,
    Matmul,
    Multiplier,
    clamp_outputs,
    derive,
    pack,
)
from tinyaot.schedules.cortex_m.scalar_requantize import FORMS
from tinyaot.schedules.cortex_m.scalar_window import LANES, ROW_BLOCKS, Axis, Tables, Window
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, rule
from tinyaot.schedules.workload import Conv2D, FullyConnected

# Entries of a ring that must save half of all steps.
_RING_SCALE = 16384


def _is_pointwise(workload: Conv2D) -> bool:
    return workload.kernel == (1, 1) and not any(workload.padding)


def _is_dense(workload: Conv2D) -> bool:
    """Whether the only window is the whole input."""
    return (
        math.prod(workload.output_shape[:3]) == 1
        and workload.input_shape[1:3] == workload.kernel
        and workload.groups == 1
        and not any(workload.padding)
    )


def _space(workload: Conv2D) -> Space:
    """`row_blocks`, see `Window`: few steps, and among those alike a small ring."""
    if _is_pointwise(workload) or _is_dense(workload):
        return {}

    def cost(row_blocks: int) -> float:
        window = Window(workload, row_blocks, step=1)
        return window.steps * (1 + window.rows.reach * window.row_size / _RING_SCALE)

    return {"row_blocks": tuple(sorted(ROW_BLOCKS, key=cost))}


def _is_batch(workload: FullyConnected) -> bool:
    return workload.batch > 1


@rule(FullyConnected, applies=_is_batch, derive=derive)
def fully_connected(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """The rows of a batch as pixels, for any core."""
    return _batch(workload, decisions, BLOCKS)


@rule(FullyConnected, features={"thumb2"}, applies=_is_batch, derive=derive)
def fully_connected_thumb2(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """The rows of a batch as pixels."""
    return _batch(workload, decisions, ROWS)


@rule(Conv2D, space=_space, derive=derive)
def conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """For any core; in assembly for Armv6-M."""
    return _convolution(workload, decisions, BLOCKS)


@rule(Conv2D, features={"thumb2"}, space=_space, derive=derive)
def conv2d_thumb2(workload: Conv2D, decisions: Decisions) -> Kernel:
    """For cores with 32-bit Thumb instructions and more registers."""
    return _convolution(workload, decisions, ROWS)


def _convolution(workload: Conv2D, decisions: Decisions, multiplier: Multiplier) -> Kernel:
    form = decisions["form"]
    if _is_dense(workload):
        fours = FOURS if multiplier is BLOCKS else FOURS_THUMB2
        inputs, outputs = math.prod(workload.input_shape), workload.output_shape[3]
        return dense(workload, inputs, outputs, form, fours)
    if _is_pointwise(workload):
        return _pointwise(workload, form, multiplier)
    return _windows(workload, decisions["row_blocks"], form, multiplier)


def _batch(workload: FullyConnected, decisions: Decisions, multiplier: Multiplier) -> Kernel:
    pixels = Conv2D(
        input_shape=(1, 1, workload.batch, workload.input_size),
        output_shape=(1, 1, workload.batch, workload.output_size),
        kernel=(1, 1),
        strides=(1, 1),
        padding=(0, 0, 0, 0),
        dilation=(1, 1),
        groups=1,
        input_zero_point=workload.input_zero_point,
        output_zero_point=workload.output_zero_point,
        clamp=workload.clamp,
        rounding=workload.rounding,
    )
    return _pointwise(pixels, decisions["form"], multiplier)


def _pointwise(workload: Conv2D, form: int, multiplier: Multiplier) -> Kernel:
    batch, height, width, channels = workload.input_shape
    _, rows, columns, out_channels = workload.output_shape
    stride_h, stride_w = workload.strides
    if workload.strides == (1, 1):
        columns *= batch * rows
        batch = rows = 1
    groups = workload.groups
    taps, group_out = channels // groups, out_channels // groups
    matmul = Matmul(multiplier, form, workload, group_out)
    words = FORMS[form].words

    @T.prim_func
    def conv2d(
        x: T.Buffer((math.prod(workload.input_shape),), "int8"),
        weight: T.Buffer((out_channels * taps,), "int8"),
        scaling: T.Buffer((out_channels * words,), "int32"),
        y: T.Buffer((math.prod(workload.output_shape),), "int8"),
    ):
        packed = T.alloc_buffer((2 * channels,), "int32")
        begins = T.alloc_buffer((1,), "int32", scope="local")
        begins[0] = 0
        for n, row, tile in T.grid(batch, rows, math.ceil(columns / LANES)):
            source: T.let[T.int32] = (n * height + row * stride_h) * width
            place: T.let[T.int32] = ((n * rows + row) * columns + tile * LANES) * out_channels
            across = T.meta_var([T.min(tile * LANES + i, columns - 1) for i in range(LANES)])
            pixels = T.meta_var([at(x, (source + c * stride_w) * channels) for c in across])
            call("tinyaot_scalar_pack", at(packed), *pixels, 1, channels)
            for g in T.serial(groups):
                matmul(
                    at(packed, 2 * taps * g),
                    at(begins),
                    1,
                    taps,
                    at(weight, g * group_out * taps),
                    at(scaling, g * group_out * words),
                    at(y, place + g * group_out),
                    [c * out_channels for c in across],
                )
        clamp_outputs(workload, y)

    # A tile is packed before it is overwritten, and the output never gets ahead of the input.
    in_place = (0,) if out_channels <= channels else ()
    return Kernel(
        conv2d, functools.partial(pack, workload, form, multiplier), MATMUL_HEADERS, in_place
    )


def _windows(workload: Conv2D, row_blocks: int, form: int, multiplier: Multiplier) -> Kernel:
    batch, _, _, channels = workload.input_shape
    _, out_rows, out_columns, out_channels = workload.output_shape
    groups = workload.groups
    group_in, group_out = channels // groups, out_channels // groups
    window = Window(workload, row_blocks, step=1)
    rows, columns = window.rows, window.columns
    # A kernel row is one run of taps if they are neighbours in memory.
    runs = 1 if groups == 1 and columns.dilation == 1 else columns.taps
    run = columns.taps // runs * group_in
    taps = rows.taps * columns.taps * group_in
    row_size = window.row_size
    ring = rows.reach
    fresh = min(rows.stride, ring)
    places = window.places
    image = math.prod(workload.input_shape[1:])
    lanes_size = len(window.lanes())
    matmul = Matmul(multiplier, form, workload, group_out)
    words = FORMS[form].words

    def pack_row(packed: Buffer, x: Buffer, n: Expr, tables: Tables, r: Expr) -> None:
        window.pack(packed, r % ring * row_size, at(x, n * image), tables, r, 1)

    @T.prim_func
    def conv2d(
        x: T.Buffer((math.prod(workload.input_shape),), "int8"),
        weight: T.Buffer((out_channels * taps,), "int8"),
        scaling: T.Buffer((out_channels * words,), "int32"),
        lanes: T.Buffer((lanes_size,), "int32"),
        y: T.Buffer((math.prod(workload.output_shape),), "int8"),
    ):
        packed = T.alloc_buffer((2 * ring * row_size,), "int32")
        border = T.alloc_buffer((window.border,), "int8")
        begins = T.alloc_buffer((rows.taps * runs,), "int32")
        window.prepare(packed, ring * row_size, border)
        for n in T.serial(batch):
            for first in T.serial(ring - fresh):
                pack_row(packed, x, n, (border, lanes), first)
            for step in T.serial(rows.steps):
                for i in T.serial(fresh):
                    r: T.let[T.int32] = step * rows.stride + ring - fresh + i
                    pack_row(packed, x, n, (border, lanes), r)
                for kh, kw in T.grid(rows.taps, runs):
                    begins[kh * runs + kw] = (
                        step * rows.stride + kh * rows.dilation
                    ) % ring * row_size + kw * columns.dilation * channels
                for tile, g in T.grid(columns.steps, groups):
                    pixel: T.let[T.int32] = (n * out_rows + step) * out_columns + tile
                    matmul(
                        at(packed, 2 * (tile * columns.stride * channels + g * group_in)),
                        at(begins),
                        rows.taps * runs,
                        run,
                        at(weight, g * group_out * taps),
                        at(scaling, g * group_out * words),
                        at(y, pixel * out_channels + g * group_out),
                        places,
                    )
        clamp_outputs(workload, y)

    def packed_constants(constants: Constants) -> Constants:
        return {**pack(workload, form, multiplier, constants), "lanes": window.lanes()}

    in_place = (0,) if row_blocks == 1 and _stays_behind(workload, rows) else ()
    return Kernel(conv2d, packed_constants, MATMUL_HEADERS, in_place)


def _stays_behind(workload: Conv2D, rows: Axis) -> bool:
    """Whether an output row that overlays the input lies in rows that are packed already."""
    inputs = math.prod(workload.input_shape[2:])
    outputs = math.prod(workload.output_shape[2:])
    if workload.output_shape[1] * outputs > workload.input_shape[1] * inputs:
        return False
    return all(
        (row + 1) * outputs
        <= min(row * rows.stride + rows.reach - rows.before, rows.inputs) * inputs
        for row in range(rows.outputs)
    )
