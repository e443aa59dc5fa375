"""ONNX operators on activations whose results are not quantized: indices, truth, other types."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.expression import is_elementwise, one_activation, read_expression
from tinyaot.compiler.legalize.group import Context, Group
from tinyaot.compiler.legalize.onnx_call import OnnxCall
from tinyaot.compiler.legalize.onnx_movement import after_reduction
from tinyaot.compiler.legalize.rearrange import rearrange, strides_of
from tinyaot.compiler.legalize.relax_reader import dtype_of
from tinyaot.schedules.workload_elementwise import Binary, Cast
from tinyaot.schedules.workload_reduction import ReduceExtreme


def argument(context: Context, own: OnnxCall, name: str, origin: str) -> Value:
    """ArgMax and ArgMin of a quantized activation, dequantized or not.

    Of equal elements the first wins; the last wins if it is the first from the other end.
    """
    source = _operand(context, own.operands[0], origin)
    stored = source.stored
    tensor = context.builder.store_as(source, stored, origin)
    axis = int(own.attribute("axis", 0)) % len(stored)
    place = stored.index(axis)
    shape, steps = tensor.shape, strides_of(tensor.shape)
    outer, inner = math.prod(shape[:place]), math.prod(shape[place + 1 :])
    workload = ReduceExtreme(
        "max" if own.kind == "ArgMax" else "min",
        True,
        "int8",
        (outer, inner),
        (steps[place] * shape[place], 1),
        (shape[place],),
        (steps[place],),
    )
    last = bool(own.attribute("select_last_index", 0))
    if last:
        places = [np.arange(size) * step for size, step in zip(shape, steps, strict=True)]
        places[place] = places[place][::-1]
        turned = replace(tensor, name=f"{tensor.name}_reversed")
        tensor = rearrange(context.builder, tensor, turned, places, origin)
    left_shape, left = after_reduction(shape, stored, {axis}, bool(own.attribute("keepdims", 1)))
    indices = Tensor(f"{name}_indices", left_shape, "int32")
    found = context.builder.emit(workload, (tensor,), indices, origin)
    if last:
        declared = Tensor(f"{name}_last", (1,), "int32")
        end = context.builder.constant(np.array([shape[place] - 1], np.int32), declared, origin)
        size = math.prod(left_shape)
        difference = Binary("subtract", "int32", (size,), ((0,), (1,)))
        found = context.builder.emit(difference, (end, found), indices, origin)
    return _cast(context, Value(found, left), dtype_of(own.call), name, origin)


def cast(context: Context, own: OnnxCall, name: str, origin: str) -> Value:
    """Cast between integer types."""
    source = context.activation(own.operands[0])
    return _cast(context, source, dtype_of(own.call), name, origin)


def _cast(context: Context, source: Value, dtype: str, name: str, origin: str) -> Value:
    tensor = context.builder.store_as(source, source.stored, origin)
    workload = Cast(math.prod(tensor.shape), tensor.dtype, dtype)
    output = Tensor(name, tensor.shape, dtype)
    return Value(context.builder.emit(workload, (tensor,), output, origin), source.stored)


def _operand(context: Context, expr: Any, origin: str) -> Value:
    if dtype_of(expr) in ("int8", "uint8"):
        return context.activation(expr)
    return context.operand(expr, origin)


def truth(context: Context, own: OnnxCall, name: str, origin: str) -> Value:
    """A comparison or logical operator on one activation and constants, as a table."""
    group = Group(context, name, origin, 1.0, 0, "bool", (0, 1))
    expression = read_expression(group, own.call)
    if len(expression.leaves) != 1:
        raise group.unsupported(
            f"compares {len(expression.leaves)} activations", "compare one with a constant"
        )
    return one_activation(group, expression)


Rule = Callable[[Context, OnnxCall, str, str], Value]


def rule_of(own: OnnxCall) -> Rule | None:
    """The rule for an operator whose result is an integer or a truth value; None if it has none."""
    if own.kind in ("ArgMax", "ArgMin"):
        return argument
    if own.kind == "Cast" and dtype_of(own.operands[0]) not in ("float32", "int8", "uint8"):
        return cast
    if dtype_of(own.call) == "bool" and is_elementwise(own.call):
        return truth
    return None
