"""Operators with a memory and transposed convolution, for any core."""

from __future__ import annotations

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import (
    Expr,
    clamped,
    intrinsic,
    requantized,
    store_int8,
)
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload_sequence import Lstm, Scale, Svdf, TransposeConv2D

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_wide.h")


def _scaled(acc: Expr, scale: Scale) -> Expr:
    return requantized(acc, T.int32(scale[0]), T.int32(scale[1]), "double")


@rule(TransposeConv2D)
def transpose_conv2d(workload: TransposeConv2D, decisions: Decisions) -> Kernel:
    """Each output gathers the taps that reach it: no buffer of sums, one division a row."""
    batch, height, width, channels = workload.input_shape
    _, out_height, out_width, out_channels = workload.output_shape
    kernel_height, kernel_width = workload.kernel
    stride_h, stride_w = workload.strides
    top, left = workload.padding
    window = kernel_height * kernel_width * channels
    reduced = workload.rounding == "reduced"
    accumulator = "int64" if reduced else "int32"
    bias_type, multiplier_type, shift_type = (
        ("int64", "int16", "int8") if reduced else ("int32", "int32", "int32")
    )

    def scaled(acc: Expr, multiplier: Expr, shift: Expr) -> Expr:
        if reduced:
            return intrinsic("tinyaot_requantize_wide", acc, multiplier, shift)
        return requantized(acc, multiplier, shift, workload.rounding)

    @T.prim_func
    def transpose_conv2d(
        x: T.Buffer((batch * height * width * channels,), workload.dtype),
        weight: T.Buffer((out_channels * window,), "int8"),
        bias: T.Buffer((out_channels,), bias_type),
        multiplier: T.Buffer((out_channels,), multiplier_type),
        shift: T.Buffer((out_channels,), shift_type),
        y: T.Buffer((batch * out_height * out_width * out_channels,), workload.dtype),
    ):
        for n, oh in T.grid(batch, out_height):
            # Tap kh + i * stride_h meets input row ih - i.
            kh: T.let[T.int32] = (oh + top) % stride_h
            ih: T.let[T.int32] = (oh + top) // stride_h
            i_begin: T.let[T.int32] = T.max(0, ih - height + 1)
            i_end: T.let[T.int32] = T.min(ih + 1, (kernel_height + stride_h - 1 - kh) // stride_h)
            for ow in T.serial(out_width):
                kw: T.let[T.int32] = (ow + left) % stride_w
                iw: T.let[T.int32] = (ow + left) // stride_w
                j_begin: T.let[T.int32] = T.max(0, iw - width + 1)
                j_end: T.let[T.int32] = T.min(
                    iw + 1, (kernel_width + stride_w - 1 - kw) // stride_w
                )
                for o in T.serial(out_channels):
                    acc = T.alloc_buffer((1,), accumulator, scope="local")
                    acc[0] = bias[o]
                    for i in T.serial(i_begin, i_end):
                        for j in T.serial(j_begin, j_end):
                            for c in T.serial(channels):
                                acc[0] = acc[0] + T.cast(
                                    (
                                        T.cast(
                                            x[
                                                ((n * height + ih - i) * width + iw - j) * channels
                                                + c
                                            ],
                                            "int32",
                                        )
                                        - workload.input_zero_point
                                    )
                                    * T.cast(
                                        weight[
                                            o * window
                                            + (
                                                (kh + i * stride_h) * kernel_width
                                                + kw
                                                + j * stride_w
                                            )
                                            * channels
                                            + c
                                        ],
                                        "int32",
                                    ),
                                    accumulator,
                                )
                    y[((n * out_height + oh) * out_width + ow) * out_channels + o] = T.cast(
                        clamped(
                            scaled(acc[0], multiplier[o], shift[o]) + workload.output_zero_point,
                            *workload.clamp,
                        ),
                        workload.dtype,
                    )

    return Kernel(transpose_conv2d, headers=_HEADERS)


@rule(Svdf)
def svdf(workload: Svdf, decisions: Decisions) -> Kernel:
    """Shifts the memory of every filter by one, then sums over it."""
    batch, inputs, filters = workload.batch, workload.input_size, workload.filters
    memory, rank, dtype = workload.memory, workload.rank, workload.state_dtype
    units = filters // rank
    info = np.iinfo(dtype)
    state_zero_point = workload.state_zero_point

    @T.prim_func
    def svdf(
        x: T.Buffer((batch * inputs,), "int8"),
        feature: T.Buffer((filters * inputs,), "int8"),
        time: T.Buffer((filters * memory,), dtype),
        bias: T.Buffer((units,), "int32"),
        y: T.Buffer((batch * units,), "int8"),
        state: T.Buffer((batch * filters * memory,), dtype),
    ):
        for n, u in T.grid(batch, units):
            total = T.alloc_buffer((1,), "int32", scope="local")
            total[0] = bias[u]
            for r in T.serial(rank):
                acc = T.alloc_buffer((1,), "int32", scope="local")
                acc[0] = 0
                for i in T.serial(inputs):
                    acc[0] = acc[0] + T.cast(feature[(u * rank + r) * inputs + i], "int32") * (
                        T.cast(x[n * inputs + i], "int32") - workload.input_zero_point
                    )
                for m in T.serial(memory - 1):
                    state[(n * filters + u * rank + r) * memory + m] = state[
                        (n * filters + u * rank + r) * memory + m + 1
                    ]
                state[(n * filters + u * rank + r) * memory + memory - 1] = T.cast(
                    clamped(_scaled(acc[0], workload.feature_scale), int(info.min), int(info.max))
                    + state_zero_point,
                    dtype,
                )
                for m in T.serial(memory):
                    total[0] = total[0] + T.cast(time[(u * rank + r) * memory + m], "int32") * (
                        T.cast(state[(n * filters + u * rank + r) * memory + m], "int32")
                        - state_zero_point
                    )
            y[n * units + u] = store_int8(
                _scaled(total[0], workload.output_scale),
                workload.output_zero_point,
                workload.clamp,
            )

    return Kernel(svdf)


def _int16(value: Expr) -> Expr:
    return clamped(value, -(2**15), 2**15 - 1)


@rule(Lstm)
def lstm(workload: Lstm, decisions: Decisions) -> Kernel:
    """A step at a time; the new hidden state is made in the output while the old one is read."""
    batch, steps, inputs, units = (
        workload.batch,
        workload.steps,
        workload.input_size,
        workload.units,
    )
    outer, inner = (steps, batch) if workload.time_major else (batch, steps)
    clip = workload.cell_clip or 2**15 - 1
    lowest = -workload.cell_clip if workload.cell_clip else -(2**15)
    tanh_multiplier, tanh_shift = workload.cell_tanh
    dtype, limits = workload.dtype, np.iinfo(workload.dtype)
    wide = dtype == "int16"
    accumulator = "int64" if wide else "int32"

    def scaled(total: Expr, scale: Scale) -> Expr:
        if wide:
            factor = T.int32(scale[0]), T.int32(scale[1])
            return _int16(intrinsic("tinyaot_requantize_wide", total, *factor))
        return _int16(_scaled(total, scale))

    def gate(name: str, place: int, sums: Expr, recurrent: Expr, table: Expr) -> Expr:
        total = _int16(
            scaled(sums[place], workload.input_scales[place])
            + scaled(recurrent[place], workload.recurrent_scales[place])
        )
        return intrinsic(f"tinyaot_wide_{name}", T.address_of(table[0]), total * 3)

    def product(a: Expr, b: Expr, scale: Scale) -> Expr:
        return _int16(_scaled(a * b, scale))

    @T.prim_func
    def lstm(
        x: T.Buffer((batch * steps * inputs,), dtype),
        input_weight: T.Buffer((4 * units * inputs,), "int8"),
        input_bias: T.Buffer((4 * units,), accumulator),
        recurrent_weight: T.Buffer((4 * units * units,), "int8"),
        recurrent_bias: T.Buffer((4 * units,), accumulator),
        table: T.Buffer((256,), "uint16"),
        y: T.Buffer((batch * steps * units,), dtype),
        hidden: T.Buffer((batch * units,), dtype),
        cell: T.Buffer((batch * units,), "int16"),
    ):
        for a, b in T.grid(outer, inner):
            n: T.let[T.int32] = b if workload.time_major else a
            for u in T.serial(units):
                sums = T.alloc_buffer((4,), accumulator, scope="local")
                recurrent = T.alloc_buffer((4,), accumulator, scope="local")
                for g in T.unroll(4):
                    sums[g] = input_bias[g * units + u]
                    recurrent[g] = recurrent_bias[g * units + u]
                for i in T.serial(inputs):
                    for g in T.unroll(4):
                        sums[g] = sums[g] + T.cast(
                            T.cast(input_weight[(g * units + u) * inputs + i], "int32")
                            * T.cast(x[(a * inner + b) * inputs + i], "int32"),
                            accumulator,
                        )
                for i in T.serial(units):
                    for g in T.unroll(4):
                        recurrent[g] = recurrent[g] + T.cast(
                            T.cast(recurrent_weight[(g * units + u) * units + i], "int32")
                            * T.cast(hidden[n * units + i], "int32"),
                            accumulator,
                        )
                kept: T.let[T.int32] = product(
                    gate("logistic", 1, sums, recurrent, table),
                    T.cast(cell[n * units + u], "int32"),
                    workload.forget_scale,
                )
                added: T.let[T.int32] = product(
                    gate("logistic", 0, sums, recurrent, table),
                    gate("tanh", 2, sums, recurrent, table),
                    workload.update_scale,
                )
                updated: T.let[T.int32] = clamped(_int16(kept + added), lowest, clip)
                cell[n * units + u] = T.cast(updated, "int16")
                activated: T.let[T.int32] = intrinsic(
                    "tinyaot_wide_tanh",
                    T.address_of(table[0]),
                    intrinsic(
                        "tinyaot_scale_sigmoid_input",
                        updated,
                        T.int32(tanh_multiplier),
                        T.int32(tanh_shift),
                    ),
                )
                output: T.let[T.int32] = _scaled(
                    gate("logistic", 3, sums, recurrent, table) * activated,
                    workload.output_scale,
                )
                y[(a * inner + b) * units + u] = T.cast(
                    clamped(output + workload.hidden_zero_point, limits.min, limits.max), dtype
                )
            for u in T.serial(units):
                hidden[n * units + u] = y[(a * inner + b) * units + u]

    return Kernel(lstm, headers=_HEADERS)
