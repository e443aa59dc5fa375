"""ONNX's sums and averages over windows and axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.builder import NCHW_TO_NHWC, Value
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier, quantize_multipliers
from tinyaot.compiler.legalize.group import Group
from tinyaot.compiler.legalize.onnx_call import OnnxCall
from tinyaot.compiler.legalize.onnx_movement import (
    Window,
    after_reduction,
    pool_image,
    reduced_axes,
    together,
)
from tinyaot.compiler.legalize.onnx_place import Place
from tinyaot.schedules.workload import DepthwiseConv2D, Mean


def average_pool(group: Group, own: OnnxCall) -> Value:
    """AveragePool: by Pool2D where the scale stays, else as a convolution whose weights are 1.

    Padding that counts is padding with real zeros before a pool that has none.
    """
    place = Place(group.builder, group.reader, group.origin)
    source = group.operand(own.operands[0])
    window = Window.of(place, own, source.shape)
    counts_padding = bool(own.attribute("count_include_pad", 0)) and any(window.padding)
    same = (source.scale, source.zero_point) == (group.scale, group.zero_point)
    if same and not counts_padding and window.dilations == (1, 1):
        return pool_image(place, source, own, "average", group.clamp)
    shape = source.shape
    batch, channels = shape[:2]
    image = place.builder.flatten(source, (batch, channels, *(1, *shape[2:])[-2:]), group.origin)
    tensor = group.builder.store_as(image, NCHW_TO_NHWC, group.origin)
    top, left, bottom, right = window.padding
    reach = [
        (outputs - 1) * stride + (kernel - 1) * dilation + 1
        for outputs, stride, kernel, dilation in zip(
            window.output, window.strides, window.kernel, window.dilations, strict=True
        )
    ]
    height, width = tensor.shape[1] + top + bottom, tensor.shape[2] + left + right
    if reach[0] > height or reach[1] > width or (any(window.padding) and not counts_padding):
        raise group.unsupported(
            "averages windows of several sizes into another scale",
            "quantize its input and output alike",
        )
    count = math.prod(window.kernel)
    factors = np.full(channels, source.scale / (group.scale * count), np.float64)
    multiplier, shift = quantize_multipliers(factors)
    output_shape = (batch, *window.output, channels)
    workload = DepthwiseConv2D(
        input_shape=tensor.shape,  # type: ignore[arg-type]
        output_shape=output_shape,
        kernel=window.kernel,
        strides=window.strides,
        padding=window.padding,
        dilation=window.dilations,
        input_zero_point=source.zero_point,
        output_zero_point=group.zero_point,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    constants: dict[str, NDArray[Any]] = {
        "weight": np.ones((*window.kernel, channels), np.int8),
        "bias": np.zeros(channels, np.int32),
        "multiplier": multiplier,
        "shift": shift,
    }
    emitted = group.builder.emit(
        workload, (tensor,), group.output(output_shape), group.origin, constants
    )
    return group.builder.flatten(Value(emitted, NCHW_TO_NHWC), own.shape, group.origin)


def reduce_sum(group: Group, own: OnnxCall) -> Value:
    """ReduceSum over any axes: a mean whose factor leaves out the division."""
    source = group.operand(own.operands[0])
    place = Place(group.builder, group.reader, group.origin)
    axes = reduced_axes(place, own, len(source.shape))
    if not axes:
        raise group.unsupported("sums over no axis", "remove it")
    tensor, stored, begin, end = together(place, source, axes)
    shape = tensor.shape
    multiplier, shift = quantize_multiplier(source.scale / group.scale)
    workload = Mean(
        outer=math.prod(shape[:begin]),
        reduced=math.prod(shape[begin:end]),
        inner=math.prod(shape[end:]),
        input_zero_point=source.zero_point,
        output_zero_point=group.zero_point,
        multiplier=multiplier,
        shift=shift,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    keep = bool(own.attribute("keepdims", 1))
    left_shape, left = after_reduction(shape, stored, set(axes), keep)
    output = group.builder.emit(workload, (tensor,), group.output(left_shape), group.origin)
    return group.done(output, left)
