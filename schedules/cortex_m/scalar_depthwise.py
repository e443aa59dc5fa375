"""Depthwise convolution on cores without the DSP extension: a channel at a time, in four lanes.

The plane of a channel is packed as a whole (see `scalar_window`), then 3x3 taps run over it in a
kernel of their own (`tinyaot_scalar_depthwise.h`); other windows use the matrix product, for one
channel at each place. Nothing of a channel is read after its first output is written, so that the
output may overlay the input.
"""

from __future__ import annotations

import itertools

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.calls import Buffer, Expr, at, call, value
from tinyaot.schedules.cortex_m.scalar_layer import (
    BLOCKS,
    HEADERS,
    MATMUL_HEADERS,
    ROWS,
    Matmul,
    Multiplier,
    clamp_outputs,
    derive,
    pack,
)
from tinyaot.schedules.cortex_m.scalar_requantize import FORMS
from tinyaot.schedules.cortex_m.scalar_window import ROW_BLOCKS, Window
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, rule
from tinyaot.schedules.workload import DepthwiseConv2D

# Instructions for a place, for an entry that is packed, and for a call that packs a row, fitted to
# what the Cortex-M0+ takes for 3x3 windows of 64 shapes.
_PLACE, _ENTRY, _CALL = 189, 17, 108


def _space(workload: DepthwiseConv2D) -> Space:
    """`row_blocks`, see `Window`."""

    def cost(row_blocks: int) -> int:
        window = Window(workload, row_blocks, step=workload.input_shape[3])
        rows = window.rows.packed * (len(window.lanes()) // 8)
        entries = window.rows.packed * window.row_size
        return window.steps * _PLACE + entries * _ENTRY + rows * _CALL

    return {"row_blocks": tuple(sorted(ROW_BLOCKS, key=cost))}


@rule(DepthwiseConv2D, space=_space, derive=derive)
def depthwise_conv2d(workload: DepthwiseConv2D, decisions: Decisions) -> Kernel:
    """For any core; in assembly for Armv6-M."""
    return _depthwise(workload, decisions, BLOCKS)


@rule(DepthwiseConv2D, features={"thumb2"}, space=_space, derive=derive)
def depthwise_conv2d_thumb2(workload: DepthwiseConv2D, decisions: Decisions) -> Kernel:
    """For cores with 32-bit Thumb instructions and more registers."""
    return _depthwise(workload, decisions, ROWS)


def _depthwise(workload: DepthwiseConv2D, decisions: Decisions, multiplier: Multiplier) -> Kernel:
    batch, height, width, channels = workload.input_shape
    _, out_rows, out_columns, out_channels = workload.output_shape
    form = decisions["form"]
    window = Window(workload, decisions["row_blocks"], step=channels)
    rows, columns = window.rows, window.columns
    taps = rows.taps * columns.taps
    is_3x3 = workload.kernel == (3, 3) and workload.dilation == (1, 1)
    # Windows as wide as the plane are one run of taps.
    whole = window.row_size == columns.taps and rows.dilation == 1
    kernel_rows = 1 if whole else rows.taps
    runs = kernel_rows * (1 if columns.dilation == 1 else columns.taps)
    entries = rows.packed * window.row_size
    lanes_size = len(window.lanes())
    places = window.places
    matmul = Matmul(multiplier, form, workload, 1)
    words = FORMS[form].words

    def run_3x3(packed: Buffer, weight: Expr, scaling: Expr, y: Expr) -> None:
        strides = rows.stride, columns.stride
        row_step = (out_columns - columns.steps) * out_channels
        lanes = [later - earlier for earlier, later in itertools.pairwise(places)]
        finish = value("tinyaot_scalar_finish_by", form)
        plane = at(packed), window.row_size, *strides, rows.steps, columns.steps
        outputs = y, out_channels, row_step, *lanes, finish, workload.output_zero_point
        T.evaluate(call("tinyaot_scalar_plane_3x3", *plane, weight, scaling, *outputs))

    @T.inline
    def find_runs(begins):
        for kh, kw in T.grid(kernel_rows, runs // kernel_rows):
            begins[kh * (runs // kernel_rows) + kw] = (
                kh * rows.dilation * window.row_size + kw * columns.dilation
            )

    @T.inline
    def run_any(packed, begins, weight, scaling, y, pixel, o):
        for row, column in T.grid(rows.steps, columns.steps):
            matmul(
                at(packed, 2 * (row * rows.stride * window.row_size + column * columns.stride)),
                at(begins),
                runs,
                taps // runs,
                at(weight, o * taps),
                at(scaling, o * words),
                at(y, (pixel + row * out_columns + column) * out_channels + o),
                places,
            )

    @T.prim_func
    def depthwise_conv2d(
        x: T.Buffer((batch * height * width * channels,), "int8"),
        weight: T.Buffer((out_channels * taps,), "int8"),
        scaling: T.Buffer((out_channels * words,), "int32"),
        lanes: T.Buffer((lanes_size,), "int32"),
        y: T.Buffer((batch * out_rows * out_columns * out_channels,), "int8"),
    ):
        packed = T.alloc_buffer((2 * entries,), "int32")
        border = T.alloc_buffer((window.border,), "int8")
        window.prepare(packed, entries, border)
        if not is_3x3:
            begins = T.alloc_buffer((runs,), "int32")
            find_runs(begins)
        for n, c in T.grid(batch, channels):
            image: T.let[T.int32] = n * (height * width * channels)
            pixel: T.let[T.int32] = n * (out_rows * out_columns)
            window.pack(packed, 0, at(x, image + c), (border, lanes), 0, rows.packed)
            for m in T.serial(workload.depth_multiplier):
                o: T.let[T.int32] = c * workload.depth_multiplier + m
                if is_3x3:
                    run_3x3(
                        packed,
                        at(weight, o * taps),
                        at(scaling, o * words),
                        at(y, pixel * out_channels + o),
                    )
                else:
                    run_any(packed, begins, weight, scaling, y, pixel, o)
        clamp_outputs(workload, y)

    def packed_constants(constants: Constants) -> Constants:
        return {**pack(workload, form, ROWS, constants), "lanes": window.lanes()}

    headers = (*HEADERS, "tinyaot_scalar_depthwise.h") if is_3x3 else MATMUL_HEADERS
    fits = batch == 1 or out_rows * out_columns <= height * width
    in_place = (0,) if workload.depth_multiplier == 1 and fits else ()
    return Kernel(depthwise_conv2d, packed_constants, headers, in_place)
