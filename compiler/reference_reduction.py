"""Reductions and matrix products in the numpy interpreter; see `reference.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import (
    Int64,
    inverse_sqrt,
    requantize,
    requantize_by,
    rounding_divide_by_pot,
    softmax_outputs,
)
from tinyaot.compiler.legalize.fixed_point_logarithm import log_softmax
from tinyaot.compiler.legalize.fixed_point_wide import requantize_wide
from tinyaot.schedules.workload_reduction import (
    L2Normalization,
    LogSoftmax,
    Reduce,
    ReduceExtreme,
    SoftmaxInt16,
    StridedMatMul,
)

Constants = Mapping[str, NDArray[Any]]


def _places(shape: tuple[int, ...], steps: tuple[int, ...]) -> Int64:
    places = np.zeros((), np.int64)
    for size, step in zip(shape, steps, strict=True):
        places = places[..., None] + np.arange(size) * step
    return places


def _rows(workload: Reduce | ReduceExtreme, x: Int64) -> Int64:
    """Of what becomes one element."""
    kept = _places(workload.kept, workload.kept_steps).reshape(-1, 1)
    rows: Int64 = x.reshape(-1)[
        kept + _places(workload.reduced, workload.reduced_steps).reshape(-1)
    ]
    return rows


def _reduce(workload: Reduce, inputs: list[Int64], constants: Constants) -> Int64:
    total = (_rows(workload, inputs[0]) - workload.input_zero_point).sum(axis=1)
    scaled = requantize_by(total, workload.factor) + workload.output_zero_point
    return np.clip(scaled, *workload.clamp)


def _reduce_extreme(workload: ReduceExtreme, inputs: list[Int64], constants: Constants) -> Int64:
    rows = _rows(workload, inputs[0])
    largest = workload.mode == "max"
    if workload.argument:
        place: Int64 = rows.argmax(axis=1) if largest else rows.argmin(axis=1)
        return place
    result: Int64 = rows.max(axis=1) if largest else rows.min(axis=1)
    return result


def _strided_matmul(workload: StridedMatMul, inputs: list[Int64], constants: Constants) -> Int64:
    (a_steps, b_steps), (zero_a, zero_b) = workload.batch_steps, workload.input_zero_points
    (a_matrix, b_matrix) = workload.matrix_steps
    rows, depth, columns = workload.rows, workload.depth, workload.columns
    left = _places((*workload.batch, rows, depth), (*a_steps, *a_matrix))
    right = _places((*workload.batch, depth, columns), (*b_steps, *b_matrix))
    acc = (inputs[0].reshape(-1)[left] - zero_a) @ (inputs[1].reshape(-1)[right] - zero_b)
    if workload.dtype == "int16":
        multiplier, shift = (np.array(number, np.int64) for number in workload.factor)
        scaled = requantize_wide(acc, multiplier, shift)
    else:
        scaled = requantize_by(acc, workload.factor)
    return np.clip(scaled + workload.output_zero_point, *workload.clamp)


def _l2_normalization(
    workload: L2Normalization, inputs: list[Int64], constants: Constants
) -> Int64:
    rows = inputs[0].reshape(workload.rows, workload.depth) - workload.input_zero_point
    multiplier, shift = inverse_sqrt((rows**2).sum(axis=1, keepdims=True))
    return np.clip(requantize(rows, multiplier, shift + 7, "double"), -128, 127)


def _exponentials(rows: Int64, table: Int64) -> tuple[Int64, Int64, Int64]:
    """Differences to each row's largest, their exponentials in Q0.31, and the sums in Q12.19."""
    differences = rows - rows.max(axis=1, keepdims=True)
    exponentials = table[-differences]
    total = rounding_divide_by_pot(exponentials, 12).sum(axis=1, keepdims=True)
    return differences, exponentials, total


def _log_softmax(workload: LogSoftmax, inputs: list[Int64], constants: Constants) -> Int64:
    rows = inputs[0].reshape(workload.rows, workload.depth)
    differences, _, total = _exponentials(rows, constants["exponential"])
    scaled = constants["scaled"][-differences]
    return log_softmax(differences, scaled, total, workload.reverse, workload.smallest)


def _softmax_int16(workload: SoftmaxInt16, inputs: list[Int64], constants: Constants) -> Int64:
    rows = inputs[0].reshape(workload.rows, workload.depth)
    _, exponentials, total = _exponentials(rows, constants["table"])
    return softmax_outputs(exponentials, total, 16)


FUNCTIONS: dict[type[Any], Callable[[Any, list[Int64], Constants], Int64]] = {
    L2Normalization: _l2_normalization,
    LogSoftmax: _log_softmax,
    Reduce: _reduce,
    ReduceExtreme: _reduce_extreme,
    SoftmaxInt16: _softmax_int16,
    StridedMatMul: _strided_matmul,
}
