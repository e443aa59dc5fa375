"""Element-wise operators on several inputs, which may be broadcast, for any core."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm.script import tirx as T
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as B

from tinyaot.schedules.generic.arithmetic import Expr, clamped, intrinsic, requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload_elementwise import AddN, Binary, Cast, QuantizedBinary, Select

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_elementwise.h")
_AXES = 6

_COMPARISONS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
}


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _padded(values: tuple[int, ...], fill: int) -> tuple[int, ...]:
    return (fill,) * (_AXES - len(values)) + values


def _place(indices: list[Expr], steps: tuple[int, ...]) -> Expr:
    place: Expr = 0
    for index, step in zip(indices, _padded(steps, 0), strict=True):
        place = place + index * step
    return place


def _extent(shape: tuple[int, ...], steps: tuple[int, ...]) -> int:
    """Elements of an input."""
    return 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))


def _in_place(shape: tuple[int, ...], *steps: tuple[int, ...]) -> tuple[int, ...]:
    """Inputs of the output's shape."""
    whole = _strides(shape)
    return tuple(place for place, one in enumerate(steps) if one == whole)


def _truth(condition: Expr) -> Expr:
    return T.if_then_else(condition, T.int32(1), T.int32(0))


def _plain(operation: str, a: Expr, b: Expr, dtype: str) -> Expr:
    """What `Binary` computes; comparisons give int32, the others `dtype` or int32."""
    if operation in _COMPARISONS:
        return _truth(_COMPARISONS[operation](a, b))
    if operation in ("minimum", "maximum"):
        return T.if_then_else(a < b if operation == "minimum" else a > b, a, b)
    a, b = T.cast(a, "int32"), T.cast(b, "int32")
    if operation == "squared_difference":
        difference = intrinsic("tinyaot_wrapping_subtract", a, b)
        return intrinsic("tinyaot_wrapping_multiply", difference, difference)
    if operation in ("and", "or"):
        both = T.bitwise_and(a, b) if operation == "and" else T.bitwise_or(a, b)
        return both
    name = "tinyaot_divide" if operation == "divide" else f"tinyaot_wrapping_{operation}"
    return intrinsic(name, a, b)


@rule(Binary)
def binary(workload: Binary, decisions: Decisions) -> Kernel:
    """One pass over the output."""
    shape, dtype = _padded(workload.shape, 1), workload.dtype
    first, second = workload.steps
    output_dtype = "int8" if workload.operation in _COMPARISONS else dtype
    strides = _strides(workload.shape)

    @T.prim_func
    def binary(
        a: T.Buffer((_extent(workload.shape, first),), dtype),
        b: T.Buffer((_extent(workload.shape, second),), dtype),
        y: T.Buffer((math.prod(shape),), output_dtype),
    ):
        for i, j, k, n, o, p in T.grid(*shape):
            y[_place([i, j, k, n, o, p], strides)] = T.cast(
                _plain(
                    workload.operation,
                    a[_place([i, j, k, n, o, p], first)],
                    b[_place([i, j, k, n, o, p], second)],
                    dtype,
                ),
                output_dtype,
            )

    in_place = _in_place(workload.shape, first, second) if output_dtype == dtype else ()
    return Kernel(binary, headers=_HEADERS, in_place_inputs=in_place)


def _combined(workload: QuantizedBinary, a: Expr, b: Expr) -> Expr:
    """The result before the output's zero point, from inputs less theirs; int32."""
    operation, (left, right, output) = workload.operation, workload.factors
    if operation == "multiply":
        return requantized(a * b, *output, "double")
    if operation == "prelu":
        return T.if_then_else(
            a >= 0, requantized(a, *left, "double"), requantized(a * b, *right, "double")
        )
    unit = 1 << workload.left_shift
    a, b = requantized(a * unit, *left, "double"), requantized(b * unit, *right, "double")
    if operation in _COMPARISONS:
        return _truth(_COMPARISONS[operation](a, b))
    if operation == "squared_difference":
        difference = a - b
        return requantized(difference * difference, *output, "double")
    return requantized(a + b if operation == "add" else a - b, *output, "double")


@rule(QuantizedBinary)
def quantized_binary(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """One pass over the output."""
    shape, dtype = _padded(workload.shape, 1), workload.dtype
    first, second = workload.steps
    compares = workload.operation in _COMPARISONS
    output_dtype = "int8" if compares else dtype
    strides = _strides(workload.shape)
    zero_point_a, zero_point_b = workload.input_zero_points

    def stored(value: Expr) -> Expr:
        if compares:
            return T.cast(value, "int8")
        return T.cast(clamped(value + workload.output_zero_point, *workload.clamp), dtype)

    @T.prim_func
    def quantized_binary(
        a: T.Buffer((_extent(workload.shape, first),), dtype),
        b: T.Buffer((_extent(workload.shape, second),), dtype),
        y: T.Buffer((math.prod(shape),), output_dtype),
    ):
        for i, j, k, n, o, p in T.grid(*shape):
            left: T.let[T.int32] = (
                T.cast(a[_place([i, j, k, n, o, p], first)], "int32") - zero_point_a
            )
            right: T.let[T.int32] = (
                T.cast(b[_place([i, j, k, n, o, p], second)], "int32") - zero_point_b
            )
            y[_place([i, j, k, n, o, p], strides)] = stored(_combined(workload, left, right))

    in_place = _in_place(workload.shape, first, second) if output_dtype == dtype else ()
    return Kernel(quantized_binary, headers=_HEADERS, in_place_inputs=in_place)


@rule(Select)
def select(workload: Select, decisions: Decisions) -> Kernel:
    """One pass over the output."""
    shape, dtype = _padded(workload.shape, 1), workload.dtype
    where, first, second = workload.steps
    strides = _strides(workload.shape)

    @T.prim_func
    def select(
        condition: T.Buffer((_extent(workload.shape, where),), "int8"),
        a: T.Buffer((_extent(workload.shape, first),), dtype),
        b: T.Buffer((_extent(workload.shape, second),), dtype),
        y: T.Buffer((math.prod(shape),), dtype),
    ):
        for i, j, k, n, o, p in T.grid(*shape):
            y[_place([i, j, k, n, o, p], strides)] = T.if_then_else(
                condition[_place([i, j, k, n, o, p], where)] != T.int8(0),
                a[_place([i, j, k, n, o, p], first)],
                b[_place([i, j, k, n, o, p], second)],
            )

    return Kernel(select)


@rule(AddN)
def add_n(workload: AddN, decisions: Decisions) -> Kernel:
    """One pass over all inputs; the output may overlay any of them."""
    # TFLite counts the zero point once more than there are inputs.
    offset = (workload.count + 1) * workload.input_zero_point
    # TFLite shifts inputs left by 20 and halves them.
    unit = 1 << 19
    with IRBuilder() as builder, B.prim_func():
        B.func_name("add_n")
        inputs = [
            B.arg(f"x{place}", B.buffer((workload.size,), "int8"))
            for place in range(workload.count)
        ]
        y = B.arg("y", B.buffer((workload.size,), "int8"))
        with B.serial(0, workload.size) as i:
            total: Any = -offset
            for x in inputs:
                total = total + T.cast(x[i], "int32")
            scaled = requantized(total * unit, *workload.factor, "double")
            value = store_int8(scaled, workload.output_zero_point, workload.clamp)
            B.buffer_store(y, value, [i])
    return Kernel(builder.get(), in_place_inputs=tuple(range(workload.count)))


@rule(Cast)
def cast(workload: Cast, decisions: Decisions) -> Kernel:
    """One pass."""
    size = workload.size
    to_bool = workload.output_dtype == "bool"
    input_dtype = "int8" if workload.input_dtype == "bool" else workload.input_dtype
    output_dtype = "int8" if to_bool else workload.output_dtype

    def converted(value: Expr) -> Expr:
        if to_bool:
            return T.cast(_truth(value != T.cast(T.int32(0), input_dtype)), "int8")
        return T.cast(value, output_dtype)

    @T.prim_func
    def cast(x: T.Buffer((size,), input_dtype), y: T.Buffer((size,), output_dtype)):
        for i in T.serial(size):
            y[i] = converted(x[i])

    return Kernel(cast)
