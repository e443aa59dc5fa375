"""Workloads over real numbers in the numpy interpreter; see `reference.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import Int64, requantize
from tinyaot.compiler.legalize.fixed_point_real import (
    clamped,
    fine_root,
    inverse_root,
    logarithm_of_two,
)
from tinyaot.schedules.workload_real import (
    Normalize,
    OffsetConv2D,
    RealLogSoftmax,
    RealReduce,
)

Constants = Mapping[str, NDArray[Any]]
SumsOfProducts = Callable[[Int64, Any, Constants], Int64]


def offset_conv2d(sums: SumsOfProducts) -> Callable[[OffsetConv2D, list[Int64], Constants], Int64]:
    """The function for `OffsetConv2D`, given that for a convolution before it is rescaled."""

    def evaluate(workload: OffsetConv2D, inputs: list[Int64], constants: Constants) -> Int64:
        zero_points = constants["weight_zero_point"].reshape(-1, 1, 1, 1)
        centred = {**constants, "weight": constants["weight"] - zero_points}
        acc = sums(inputs[0] - workload.input_zero_point, workload, centred)
        scaled = requantize(acc, constants["multiplier"], constants["shift"], "single")
        return np.clip(scaled + workload.output_zero_point, *workload.clamp)

    return evaluate


def normalize(workload: Normalize, inputs: list[Int64], constants: Constants) -> Int64:
    """Row by row."""
    rows = inputs[0].reshape(workload.rows, workload.depth)
    places = workload.row_period, workload.depth // workload.repeat
    factor, offset = (
        np.repeat(constants[name].reshape(places), workload.repeat, axis=1)
        for name in ("factor", "offset")
    )
    result = np.empty_like(rows)
    for number, row in enumerate(rows):
        x = row - workload.input_zero_point
        under, part = int((x * x).sum()), x
        if workload.centred:
            total = int(x.sum())
            under, part = workload.depth * under - total**2, workload.depth * x - total
        quotient = np.zeros_like(x)
        if under:
            inverse, headroom = inverse_root((under << workload.fraction) + workload.epsilon)
            half = (workload.fraction + headroom) // 2
            quotient = (part * inverse) >> (61 - half - workload.quotient_bits)
        own = number % workload.row_period
        scaled = quotient * factor[own] + offset[own]
        result[number] = clamped(scaled, workload.shift, workload.clamp)
    return result


def _exponentials(x: Int64, constants: Constants, axis: int) -> tuple[Int64, Int64]:
    """The largest along an axis, and the sum of exponentials of differences to it."""
    largest: Int64 = x.max(axis=axis, keepdims=True)
    return largest, constants["table"][largest - x].sum(axis=axis, keepdims=True)


def real_reduce(workload: RealReduce, inputs: list[Int64], constants: Constants) -> Int64:
    """The sum, its root or its logarithm."""
    x = inputs[0].reshape(workload.outer, workload.reduced, workload.inner)
    centred = x - workload.input_zero_point
    added: Int64 = np.zeros((), np.int64)
    if workload.mode == "absolute":
        value = np.abs(centred).sum(axis=1)
    elif workload.mode in ("square", "root"):
        value = (centred * centred).sum(axis=1)
        value = fine_root(value) if workload.mode == "root" else value
    elif workload.mode == "logarithm":
        total = centred.sum(axis=1)
        value = logarithm_of_two(np.maximum(total, 1))
    else:
        largest, sums = _exponentials(x, constants, 1)
        value = logarithm_of_two(sums[:, 0])
        added = (largest[:, 0] - workload.input_zero_point) * workload.factor_largest
    scaled = value * workload.factor + workload.offset + added
    result = clamped(scaled, workload.shift, workload.clamp)
    return (
        np.where(total > 0, result, workload.clamp[0]) if workload.mode == "logarithm" else result
    )


def real_log_softmax(workload: RealLogSoftmax, inputs: list[Int64], constants: Constants) -> Int64:
    """One logarithm a row."""
    x = inputs[0].reshape(workload.rows, workload.depth)
    largest, sums = _exponentials(x, constants, 1)
    logarithm = (logarithm_of_two(sums) - (31 << 26)) * workload.logarithm >> workload.reduce
    scaled = (x - largest) * workload.factor - logarithm + workload.offset
    return clamped(scaled, workload.shift, workload.clamp)


FUNCTIONS: dict[type[Any], Callable[[Any, list[Int64], Constants], Int64]] = {
    Normalize: normalize,
    RealLogSoftmax: real_log_softmax,
    RealReduce: real_reduce,
}
