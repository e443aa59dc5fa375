"""ADD, stand-alone activations and requantization."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.expression import one_activation, read_expression
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier
from tinyaot.compiler.legalize.group import Group
from tinyaot.compiler.legalize.rearrange import rearrange, strides_of
from tinyaot.schedules.workload import Add, Extremum, Multiply, Requantize

# TFLite's ADD shifts its inputs by this much before it scales them.
_ADD_LEFT_SHIFT = 20


def combined(group: Group, call: Any) -> Value:
    """Element-wise operators over one activation, or one operator over several.

    TFLite's own sum of two activations keeps its recipe, whatever its operands.
    """
    expression = read_expression(group, call)
    root = expression.root
    if len(expression.leaves) == 1 and group.rounding == "single":
        return one_activation(group, expression)
    if not all(isinstance(operand, int) for operand in root.operands):
        raise group.unsupported(
            f"combines {len(expression.leaves)} activations",
            "quantize the result of every operator on two activations",
        )
    rule = _COMBINATIONS.get(root.kind)
    if rule is None or (len(root.operands) > 2 and root.kind not in ("Max", "Min")):
        raise group.unsupported(
            f"is not supported on {len(root.operands)} activations",
            f"supported on two are {', '.join(sorted(_COMBINATIONS))}",
        )
    return rule(group, [expression.leaves[place] for place in root.operands])  # type: ignore[index]


def _extremum(mode: str) -> Callable[[Group, Sequence[Value]], Value]:
    def rule(group: Group, operands: Sequence[Value]) -> Value:
        """Rounding to the output's scale first changes nothing: it keeps the order."""
        result = requantize(group, operands[0])
        for operand in operands[1:]:
            other = requantize(group, operand)
            geometry, tensors, shape, stored = broadcast(group, result, other)
            emitted = group.builder.emit(
                Extremum(mode=mode, **geometry), tensors, group.output(shape), group.origin
            )
            result = group.done(emitted, stored)
        return result

    return rule


def _multiply(group: Group, operands: Sequence[Value]) -> Value:
    first, second = operands
    geometry, tensors, shape, stored = broadcast(group, first, second)
    multiplier, shift = quantize_multiplier(first.scale * second.scale / group.scale)
    workload = Multiply(
        **geometry,
        input_zero_points=(first.zero_point, second.zero_point),
        multiplier=multiplier,
        shift=shift,
        output_zero_point=group.zero_point,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    emitted = group.builder.emit(workload, tensors, group.output(shape), group.origin)
    return group.done(emitted, stored)


def _linear(sign: int, gain: float) -> Callable[[Group, Sequence[Value]], Value]:
    def rule(group: Group, operands: Sequence[Value]) -> Value:
        first, second = operands
        if group.rounding == "single" and first.shape != second.shape:
            shape = np.broadcast_shapes(first.shape, second.shape)
            first, second = (expanded(group, operand, shape) for operand in operands)
        return add(group, first, second, sign, gain)

    return rule


def broadcast(
    group: Group, first: Value, second: Value
) -> tuple[dict[str, Any], tuple[Tensor, Tensor], tuple[int, ...], tuple[int, ...]]:
    """Two activations under NumPy's rules: the fields of `Broadcast`, the tensors, and the shape
    and the axis order in which the result is stored: that of the larger operand."""
    shape = np.broadcast_shapes(first.shape, second.shape)
    values = [
        group.builder.flatten(one, (1,) * (len(shape) - len(one.shape)) + one.shape, group.origin)
        for one in (first, second)
    ]
    larger = max(values, key=lambda one: math.prod(one.shape))
    left, right = (group.builder.store_as(one, larger.stored, group.origin) for one in values)
    stored_shape = tuple(shape[axis] for axis in larger.stored)
    steps = [
        [
            0 if size == 1 else stride
            for size, stride in zip(tensor.shape, strides_of(tensor.shape), strict=True)
        ]
        for tensor in (left, right)
    ]
    axes: list[list[int]] = []
    for size, step_a, step_b in zip(stored_shape, *steps, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1] == step_a * size and axes[-1][2] == step_b * size:
            axes[-1] = [axes[-1][0] * size, step_a, step_b]
        else:
            axes.append([size, step_a, step_b])
    extents, steps_a, steps_b = zip(*(axes or [[1, 0, 0]]), strict=True)
    geometry = {
        "shape": extents,
        "steps": (steps_a, steps_b),
        "input_sizes": (math.prod(left.shape), math.prod(right.shape)),
    }
    return geometry, (left, right), stored_shape, larger.stored


def expanded(group: Group, source: Value, shape: tuple[int, ...]) -> Value:
    """An activation copied to the shape that it is broadcast to."""
    if source.shape == shape:
        return source
    missing = len(shape) - len(source.shape)
    value = group.builder.flatten(source, (1,) * missing + source.shape, group.origin)
    tensor = group.builder.store_as(value, value.stored, group.origin)
    stored_shape = tuple(shape[axis] for axis in value.stored)
    places = [
        np.arange(target) * (stride if size != 1 else 0)
        for target, size, stride in zip(
            stored_shape, tensor.shape, strides_of(tensor.shape), strict=True
        )
    ]
    output = replace(tensor, name=f"{tensor.name}_expanded", shape=stored_shape)
    copied = rearrange(group.builder, tensor, output, places, group.origin)
    return Value(copied, value.stored)


def add(group: Group, first: Value, second: Value, sign: int = 1, gain: float = 1.0) -> Value:
    """gain * (first + sign * second) of one shape; source: TFLite's
    `reference/integer_ops/add.h` and `AddPrepare`."""
    if first.shape != second.shape:
        raise group.unsupported(
            f"adds shapes {first.shape} and {second.shape}", "broadcasting is not supported yet"
        )
    left = group.builder.store_as(first, first.stored, group.origin)
    right = group.builder.store_as(second, first.stored, group.origin)
    twice_largest = 2.0 * max(first.scale, second.scale)
    multiplier_a, shift_a = quantize_multiplier(first.scale / twice_largest)
    multiplier_b, shift_b = quantize_multiplier(second.scale / twice_largest)
    multiplier, shift = quantize_multiplier(
        gain * twice_largest / ((1 << _ADD_LEFT_SHIFT) * group.scale)
    )
    workload = Add(
        size=math.prod(left.shape),
        input_zero_points=(first.zero_point, second.zero_point),
        multipliers=(multiplier_a, sign * multiplier_b),
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
    limits = np.iinfo(group.dtype)
    if same_scale and group.clamp == (limits.min, limits.max):
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


_COMBINATIONS: dict[str, Callable[[Group, Sequence[Value]], Value]] = {
    "Add": _linear(1, 1.0),
    "Max": _extremum("max"),
    "Mean": _linear(1, 0.5),
    "Min": _extremum("min"),
    "Mul": _multiply,
    "Sub": _linear(-1, 1.0),
    "Sum": _linear(1, 1.0),
}
