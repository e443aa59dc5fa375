"""The part of the interpreter (`reference.py`) for operators with a memory and for transposed
convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import requantize
from tinyaot.compiler.legalize.fixed_point_wide import requantize_wide, wide_sigmoid
from tinyaot.schedules.workload_sequence import Lstm, Scale, Svdf, TransposeConv2D

Int64 = NDArray[np.int64]
Constants = Mapping[str, NDArray[Any]]


def _scaled(acc: Int64, scale: Scale) -> Int64:
    return requantize(acc, np.array(scale[0]), np.array(scale[1]), "double")


def _int16(values: Int64) -> Int64:
    clipped: Int64 = np.clip(values, -(2**15), 2**15 - 1)
    return clipped


def transpose_conv2d(workload: TransposeConv2D, inputs: list[Int64], constants: Constants) -> Int64:
    """Every input place adds its products to a window of sums."""
    (batch, height, width, _), (_, rows, columns, channels) = (
        workload.input_shape,
        workload.output_shape,
    )
    (kernel_h, kernel_w), (stride_h, stride_w) = workload.kernel, workload.strides
    top, left = workload.padding
    x = inputs[0].reshape(workload.input_shape) - workload.input_zero_point
    reach = (height * stride_h + kernel_h + rows, width * stride_w + kernel_w + columns)
    sums = np.zeros((batch, *reach, channels), np.int64)
    for row in range(height):
        for column in range(width):
            products = np.einsum("nc,oijc->nijo", x[:, row, column], constants["weight"])
            there = (row * stride_h, column * stride_w)
            sums[:, there[0] : there[0] + kernel_h, there[1] : there[1] + kernel_w] += products
    acc = sums[:, top : top + rows, left : left + columns] + constants["bias"]
    if workload.rounding == "reduced":
        scaled = requantize_wide(acc, constants["multiplier"], constants["shift"])
    else:
        scaled = requantize(acc, constants["multiplier"], constants["shift"], workload.rounding)
    clipped: Int64 = np.clip(scaled + workload.output_zero_point, *workload.clamp)
    return clipped


def svdf(workload: Svdf, inputs: list[Int64], constants: Constants) -> tuple[Int64, Int64]:
    """The output and the new state."""
    x = inputs[0].reshape(workload.batch, workload.input_size) - workload.input_zero_point
    state = inputs[1].reshape(workload.batch, workload.filters, workload.memory)
    info = np.iinfo(workload.state_dtype)
    newest = _scaled(x @ constants["feature"].T, workload.feature_scale)
    newest = np.clip(newest, info.min, info.max) + workload.state_zero_point
    newest = newest.astype(workload.state_dtype).astype(np.int64)
    state = np.concatenate([state[:, :, 1:], newest[:, :, None]], axis=2)
    filtered = ((state - workload.state_zero_point) * constants["time"]).sum(axis=2)
    units = filtered.reshape(workload.batch, -1, workload.rank).sum(axis=2)
    scaled = _scaled(units + constants["bias"], workload.output_scale)
    return np.clip(scaled + workload.output_zero_point, *workload.clamp), state


def lstm(workload: Lstm, inputs: list[Int64], constants: Constants) -> tuple[Int64, Int64, Int64]:
    """The output, the new hidden state and the new cell."""
    lead = (
        (workload.steps, workload.batch)
        if workload.time_major
        else (workload.batch, workload.steps)
    )
    x = inputs[0].reshape(*lead, workload.input_size)
    x = x if workload.time_major else x.swapaxes(0, 1)
    hidden = inputs[1].reshape(workload.batch, workload.units)
    cell = inputs[2].reshape(workload.batch, workload.units)
    table, limits = constants["table"], np.iinfo(workload.dtype)

    def gated(sums: Int64, scale: Scale) -> Int64:
        if workload.dtype == "int16":
            return _int16(requantize_wide(sums, np.array(scale[0]), np.array(scale[1])))
        return _int16(_scaled(sums, scale))

    outputs = []
    for step in x:
        gates = []
        for place, kind in enumerate(("logistic", "logistic", "tanh", "logistic")):
            sums = step @ constants["input_weight"][place].T + constants["input_bias"][place]
            recurrent = hidden @ constants["recurrent_weight"][place].T
            recurrent = recurrent + constants["recurrent_bias"][place]
            total = _int16(
                gated(sums, workload.input_scales[place])
                + gated(recurrent, workload.recurrent_scales[place])
            )
            gates.append(wide_sigmoid(kind, total, 3, 0, table))
        kept = _int16(_scaled(gates[1] * cell, workload.forget_scale))
        added = _int16(_scaled(gates[0] * gates[2], workload.update_scale))
        cell = _int16(kept + added)
        if workload.cell_clip:
            cell = np.clip(cell, -workload.cell_clip, workload.cell_clip)
        activated = wide_sigmoid("tanh", cell, *workload.cell_tanh, table)
        hidden = _scaled(gates[3] * activated, workload.output_scale)
        hidden = np.clip(hidden + workload.hidden_zero_point, limits.min, limits.max)
        outputs.append(hidden)
    y = np.stack(outputs)
    return (y if workload.time_major else y.swapaxes(0, 1)), hidden, cell


FUNCTIONS: dict[type[Any], Callable[[Any, list[Int64], Constants], Any]] = {
    Lstm: lstm,
    Svdf: svdf,
    TransposeConv2D: transpose_conv2d,
}
