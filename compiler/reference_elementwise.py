"""The element-wise part of the numpy interpreter; see `reference.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import Int64, requantize_by
from tinyaot.schedules.workload_elementwise import AddN, Binary, Cast, QuantizedBinary, Select

Constants = Mapping[str, NDArray[Any]]

_COMPARISONS: dict[str, Callable[[Int64, Int64], NDArray[np.bool_]]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}


def _places(shape: tuple[int, ...], steps: tuple[int, ...]) -> Int64:
    places = np.zeros((), np.int64)
    for size, step in zip(shape, steps, strict=True):
        places = places[..., None] + np.arange(size) * step
    return places


def _broadcast(workload: Any, inputs: list[Int64]) -> list[Int64]:
    return [
        x.reshape(-1)[_places(workload.shape, steps)]
        for x, steps in zip(inputs, workload.steps, strict=True)
    ]


def _plain(operation: str, a: Int64, b: Int64) -> Int64:
    if operation in _COMPARISONS:
        return _COMPARISONS[operation](a, b).astype(np.int64)
    if operation == "squared_difference":
        return (a - b).astype(np.int32).astype(np.int64) ** 2
    if operation == "divide":
        quotient = np.abs(a) // np.maximum(np.abs(b), 1)
        return np.where(b == 0, 0, np.sign(a) * np.sign(b) * quotient)
    functions: dict[str, Callable[[Int64, Int64], Int64]] = {
        "add": np.add,
        "and": np.bitwise_and,
        "maximum": np.maximum,
        "minimum": np.minimum,
        "multiply": np.multiply,
        "or": np.bitwise_or,
        "subtract": np.subtract,
    }
    return functions[operation](a, b)


def _binary(workload: Binary, inputs: list[Int64], constants: Constants) -> Int64:
    return _plain(workload.operation, *_broadcast(workload, inputs))


def _combined(workload: QuantizedBinary, a: Int64, b: Int64) -> Int64:
    operation, (left, right, output) = workload.operation, workload.factors
    if operation == "multiply":
        return requantize_by(a * b, output)
    if operation == "prelu":
        return np.where(a >= 0, requantize_by(a, left), requantize_by(a * b, right))
    a = requantize_by(a << workload.left_shift, left)
    b = requantize_by(b << workload.left_shift, right)
    combined = _plain(operation, a, b)
    return combined if operation in _COMPARISONS else requantize_by(combined, output)


def _quantized_binary(
    workload: QuantizedBinary, inputs: list[Int64], constants: Constants
) -> Int64:
    first, second = _broadcast(workload, inputs)
    zero_point_a, zero_point_b = workload.input_zero_points
    result = _combined(workload, first - zero_point_a, second - zero_point_b)
    if workload.operation in _COMPARISONS:
        return result
    return np.clip(result + workload.output_zero_point, *workload.clamp)


def _select(workload: Select, inputs: list[Int64], constants: Constants) -> Int64:
    condition, first, second = _broadcast(workload, inputs)
    return np.where(condition != 0, first, second)


def _add_n(workload: AddN, inputs: list[Int64], constants: Constants) -> Int64:
    flat = [x.reshape(-1) for x in inputs]
    total: Int64 = np.stack(flat).sum(axis=0) - (workload.count + 1) * workload.input_zero_point
    scaled = requantize_by(total << 19, workload.factor)
    return np.clip(scaled + workload.output_zero_point, *workload.clamp)


def _cast(workload: Cast, inputs: list[Int64], constants: Constants) -> Int64:
    return inputs[0]


FUNCTIONS: dict[type[Any], Callable[[Any, list[Int64], Constants], Int64]] = {
    AddN: _add_n,
    Binary: _binary,
    Cast: _cast,
    QuantizedBinary: _quantized_binary,
    Select: _select,
}
