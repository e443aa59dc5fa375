"""ADD, stand-alone activations and requantization."""

from __future__ import annotations

import math
from typing import Any

from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.expression import one_activation, read_expression
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier
from tinyaot.compiler.legalize.group import Group
from tinyaot.schedules.workload import Add, Requantize

# TFLite's ADD shifts its inputs by this much before it scales them.
_ADD_LEFT_SHIFT = 20


def combined(group: Group, call: Any) -> Value:
    """Element-wise operators over one activation, or one operator over two.

    TFLite's own sum of two activations keeps its recipe, whatever its operands.
    """
    expression = read_expression(group, call)
    if len(expression.leaves) == 1 and group.rounding == "single":
        return one_activation(group, expression)
    if expression.root.kind != "Add" or expression.root.operands not in ((0, 1), (0, 0)):
        raise group.unsupported(
            f"combines {len(expression.leaves)} activations",
            "quantize the result of every operator on two activations",
        )
    return add(group, *(expression.leaves[place] for place in expression.root.operands))


def add(group: Group, first: Value, second: Value) -> Value:
    """Sum of two activations of one shape; source: TFLite's `reference/integer_ops/add.h` and
    `AddPrepare`."""
    if first.shape != second.shape:
        raise group.unsupported(
            f"adds shapes {first.shape} and {second.shape}", "broadcasting is not supported yet"
        )
    left = group.builder.store_as(first, first.stored, group.origin)
    right = group.builder.store_as(second, first.stored, group.origin)
    twice_largest = 2.0 * max(first.scale, second.scale)
    multiplier_a, shift_a = quantize_multiplier(first.scale / twice_largest)
    multiplier_b, shift_b = quantize_multiplier(second.scale / twice_largest)
    multiplier, shift = quantize_multiplier(twice_largest / ((1 << _ADD_LEFT_SHIFT) * group.scale))
    workload = Add(
        size=math.prod(left.shape),
        input_zero_points=(first.zero_point, second.zero_point),
        multipliers=(multiplier_a, multiplier_b),
        shifts=(shift_a, shift_b),
        left_shift=_ADD_LEFT_SHIFT,
        output_multiplier=multiplier,
        output_shift=shift,
        output_zero_point=group.zero_point,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    output = group.builder.emit(workload, (left, right), group.output(left.shape), group.origin)
    return group.done(output, first.stored)


def requantize(group: Group, source: Value) -> Value:
    """quantize(activation(x)) of an activation: a change of scale, a clamp, both, or nothing.

    Source: TFLite's `reference/requantize.h` and `relu` in `reference/activations`: both apply
    `MultiplyByQuantizedMultiplier` to the value less its zero point.
    """
    same_scale = (source.scale, source.zero_point) == (group.scale, group.zero_point)
    if same_scale and group.clamp == (-128, 127):
        return source
    tensor = group.builder.store_as(source, source.stored, group.origin)
    multiplier, shift = quantize_multiplier(source.scale / group.scale)
    workload = Requantize(
        size=math.prod(tensor.shape),
        input_dtype=tensor.dtype,
        output_dtype=group.dtype,
        input_zero_point=source.zero_point,
        output_zero_point=group.zero_point,
        multiplier=multiplier,
        shift=shift,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    output = group.builder.emit(workload, (tensor,), group.output(tensor.shape), group.origin)
    return group.done(output, source.stored)
