"""ONNX's products whose form is not that of a convolution or of a dense layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import NCHW_TO_NHWC, Value, identity
from tinyaot.compiler.legalize.convolution import scaling, signed_weight, weight_of
from tinyaot.compiler.legalize.elementwise import expanded
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier
from tinyaot.compiler.legalize.group import Group
from tinyaot.compiler.legalize.onnx_call import OnnxCall
from tinyaot.compiler.legalize.relax_reader import QuantizedConstant
from tinyaot.schedules.workload import BatchMatMul, Conv2D, Pad
from tinyaot.schedules.workload_real import OffsetConv2D
from tinyaot.schedules.workload_sequence import TransposeConv2D


def conv_transpose(group: Group, own: OnnxCall) -> Value:
    """ConvTranspose; source: ONNX's specification of it.

    With groups, dilation or weights off centre it is a convolution by flipped weights over the
    input with zeros between.
    """
    source = group.operand(own.operands[0])
    weight = weight_of(group, own.operands[1])
    values, zero_points = signed_weight(group, weight, 1)
    axes = len(source.shape) - 2
    if axes not in (1, 2):
        raise group.unsupported(f"convolves {axes} axes", "convolve one or two axes")
    if weight.scale.size > 1 and int(own.attribute("group", 1)) > 1:
        raise group.unsupported(
            "has groups and a scale per channel", "quantize its weights per tensor"
        )
    if axes == 1:
        source = _with_height(group, source)
        values = values[:, :, None, :]
    geometry = [_Axis.of(group, own, source.shape, values.shape, axis, axes) for axis in (0, 1)]
    tensor = group.builder.store_as(source, NCHW_TO_NHWC, group.origin)
    dilated = any(axis.dilation != 1 for axis in geometry)
    if zero_points is None and not dilated and own.attribute("group", 1) == 1:
        return _gathered(group, own, source, tensor, weight, values, geometry)
    if any(axis.before < 0 for axis in geometry):
        raise group.unsupported("pads by more than its kernel reaches", "pad less")
    for place, axis in enumerate(geometry):
        tensor = _spread(group, tensor, 1 + place, axis.stride, source.zero_point)
    groups, kernel = int(own.attribute("group", 1)), values.shape[2:]
    channels = values.shape[1] * groups
    # (I, O / groups, KH, KW) -> (O, KH, KW, I / groups), turned by half a turn.
    split = values.reshape(groups, -1, *values.shape[1:])[..., ::-1, ::-1]
    constants: dict[str, Any] = {
        "weight": np.ascontiguousarray(
            split.transpose(0, 2, 3, 4, 1).reshape(channels, *kernel, -1)
        )
    }
    if zero_points is not None:
        constants["weight_zero_point"] = np.resize(zero_points, channels)
    constants |= scaling(group, source, weight, _bias(own), channels)
    vertical, horizontal = geometry
    output_shape = (tensor.shape[0], vertical.output, horizontal.output, channels)
    fields: dict[str, Any] = {
        "input_shape": tensor.shape,
        "output_shape": output_shape,
        "kernel": (kernel[0], kernel[1]),
        "strides": (1, 1),
        "padding": (vertical.before, horizontal.before, vertical.after, horizontal.after),
        "dilation": (vertical.dilation, horizontal.dilation),
        "groups": groups,
        "input_zero_point": source.zero_point,
        "output_zero_point": group.zero_point,
        "clamp": group.clamp,
    }
    workload: Conv2D | OffsetConv2D
    if zero_points is None:
        workload = Conv2D(rounding=group.rounding, **fields)
    else:
        workload = OffsetConv2D(**fields)
    emitted = group.builder.emit(
        workload, (tensor,), group.output(output_shape), group.origin, constants
    )
    return group.builder.flatten(Value(emitted, NCHW_TO_NHWC), own.shape, group.origin)


def _bias(own: OnnxCall) -> Any:
    return own.operands[2] if len(own.operands) > 2 else None


def _gathered(
    group: Group,
    own: OnnxCall,
    source: Value,
    tensor: Tensor,
    weight: QuantizedConstant,
    values: NDArray[np.int8],
    geometry: Sequence[_Axis],
) -> Value:
    """Each output gathers the products that reach it."""
    channels = values.shape[1]
    constants: dict[str, Any] = {"weight": np.ascontiguousarray(values.transpose(1, 2, 3, 0))}
    constants |= scaling(group, source, weight, _bias(own), channels)
    vertical, horizontal = geometry
    output_shape = (tensor.shape[0], vertical.output, horizontal.output, channels)
    workload = TransposeConv2D(
        dtype="int8",
        input_shape=tensor.shape,  # type: ignore[arg-type]
        output_shape=output_shape,
        kernel=(values.shape[2], values.shape[3]),
        strides=(vertical.stride, horizontal.stride),
        padding=(vertical.start, horizontal.start),
        input_zero_point=source.zero_point,
        output_zero_point=group.zero_point,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    emitted = group.builder.emit(
        workload, (tensor,), group.output(output_shape), group.origin, constants
    )
    return group.builder.flatten(Value(emitted, NCHW_TO_NHWC), own.shape, group.origin)


def _with_height(group: Group, source: Value) -> Value:
    batch, channels, length = source.shape
    return group.builder.flatten(source, (batch, channels, 1, length), group.origin)


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a transposed convolution.

    Attributes:
        output: its length.
        start: how much of the whole result is cut off before it.
        before, after: padding of the ordinary convolution that computes the same.
    """

    stride: int
    dilation: int
    output: int
    start: int
    before: int
    after: int

    @staticmethod
    def of(
        group: Group,
        own: OnnxCall,
        shape: tuple[int, ...],
        weight: tuple[int, ...],
        axis: int,
        axes: int,
    ) -> _Axis:
        if axes == 1 and axis == 0:
            return _Axis(1, 1, 1, 0, 0, 0)
        place = axis - (2 - axes)
        size, output = shape[2 + axis], own.shape[2 + place]
        kernel = weight[2 + axis]
        stride = int(own.attribute("strides", [1] * axes)[place])
        dilation = int(own.attribute("dilations", [1] * axes)[place])
        extra = int(own.attribute("output_padding", [0] * axes)[place])
        reach = (kernel - 1) * dilation
        mode = own.attribute("auto_pad", "NOTSET")
        start = int(own.attribute("pads", [0] * 2 * axes)[place])
        if own.attribute("output_shape", None) is not None or mode.startswith("SAME"):
            total = max(stride * (size - 1) + extra + reach + 1 - output, 0)
            start = total // 2 if mode == "SAME_UPPER" else total - total // 2
        before = reach - start
        after = output + reach - before - size * stride
        return _Axis(stride, dilation, output, start, before, max(after, 0))


def _spread(group: Group, tensor: Tensor, axis: int, stride: int, value: int) -> Tensor:
    """The tensor with `stride - 1` times `value` after each index of an axis."""
    if stride == 1:
        return tensor
    shape = tensor.shape
    flat = (math.prod(shape[: axis + 1]), 1, math.prod(shape[axis + 1 :]))
    padded = (flat[0], stride, flat[2])
    viewed = group.builder.reshape(tensor, flat, group.origin)
    workload = Pad(flat, padded, ((0, 0), (0, stride - 1), (0, 0)), value)
    output = replace(tensor, name=f"{tensor.name}_spread", shape=padded)
    emitted = group.builder.emit(workload, (viewed,), output, group.origin)
    spread = (*shape[:axis], shape[axis] * stride, *shape[axis + 1 :])
    return group.builder.reshape(emitted, spread, group.origin)


def matmul(group: Group, call: Any) -> Value:
    """relax.matmul of two activations, whose batch axes may be broadcast."""
    first, second = group.operand(call.args[0]), group.operand(call.args[1])
    if min(len(first.shape), len(second.shape)) < 2:
        raise group.unsupported("multiplies by a vector", "give both operands two axes")
    batch = np.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    first = expanded(group, first, (*batch, *first.shape[-2:]))
    second = expanded(group, second, (*batch, *second.shape[-2:]))
    left = group.builder.in_model_order(first, group.origin)
    right = group.builder.in_model_order(second, group.origin)
    multiplier, shift = quantize_multiplier(first.scale * second.scale / group.scale)
    rows, depth = left.shape[-2:]
    columns = right.shape[-1]
    workload = BatchMatMul(
        batch=math.prod(batch),
        rows=rows,
        depth=depth,
        columns=columns,
        input_zero_points=(first.zero_point, second.zero_point),
        multiplier=multiplier,
        shift=shift,
        output_zero_point=group.zero_point,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    shape = (*batch, rows, columns)
    emitted = group.builder.emit(workload, (left, right), group.output(shape), group.origin)
    return group.done(emitted, identity(len(shape)))
