"""ONNX operators whose output elements are elements of their inputs.

Where each element comes from is found by giving the operator the elements' places instead of their
values: to ONNX's reference evaluator, or for Resize to the formula of the specification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.frontend.onnx_constants import evaluate
from tinyaot.compiler.legalize.builder import Value, identity
from tinyaot.compiler.legalize.onnx_call import OnnxCall
from tinyaot.compiler.legalize.onnx_place import Place
from tinyaot.compiler.legalize.rearrange import concatenate, rearrange, strides_of
from tinyaot.schedules.workload import Pad

Int64 = NDArray[np.int64]

# Elements of an operator whose places are worked out one by one.
_LARGEST = 1 << 22


def copy(place: Place, sources: Sequence[Value], own: OnnxCall) -> Value:
    """Slice, Split, Gather, Tile, Pad by reflection and the like."""
    source = sources[0]
    tensor = place.builder.store_as(source, source.stored, place.origin)
    size = math.prod(tensor.shape)
    if not math.prod(own.shape):
        raise place.unsupported("has an empty result")
    if max(math.prod(own.shape), size) > _LARGEST:
        raise place.unsupported(f"has more than {_LARGEST} elements")
    constants = [place.constant(own, index) for index in range(1, len(own.operands))]
    # Places count from 1, so that what an operator fills in with zeros shows.
    stored = np.arange(1, size + 1).reshape(tensor.shape)
    places = stored.transpose(np.argsort(source.stored))
    try:
        results = evaluate(own.node, [places, *constants], own.opset)
    except Exception as error:
        raise place.unsupported(
            f"is used in a way that is not supported: {' '.join(str(error).split())}"
        ) from error
    names = [name for name in own.node.output if name]
    found = results[names.index(own.node.output[own.place])].astype(np.int64) - 1
    if found.size and found.min() < 0:
        raise place.unsupported("fills in zeros", "use Pad with a constant")
    order = _order(source.stored, own)
    arranged = found.transpose(order)
    output = replace(tensor, name=f"{tensor.name}_{own.kind.lower()}", shape=arranged.shape)
    emitted = rearrange(place.builder, tensor, output, _by_axis(arranged), place.origin)
    return Value(emitted, order)


def _order(stored: tuple[int, ...], own: OnnxCall) -> tuple[int, ...]:
    """How to store the result: as the source, less the axis that a scalar index takes away."""
    rank = len(own.shape)
    if rank == len(stored):
        return stored
    if own.kind == "Gather" and rank == len(stored) - 1:
        gone = int(own.attribute("axis", 0)) % len(stored)
        return tuple(axis - (axis > gone) for axis in stored if axis != gone)
    return identity(rank)


def _by_axis(places: Int64) -> list[Int64]:
    """Places that add up to the given ones, an array for each axis; or all along one axis."""
    axes, total = [], np.zeros((1,) * places.ndim, np.int64)
    first = places.reshape(-1)[0]
    for axis in range(places.ndim):
        index: list[Any] = [0] * places.ndim
        index[axis] = slice(None)
        along = places[tuple(index)] - first
        axes.append(along)
        total = total + along.reshape([-1 if one == axis else 1 for one in range(places.ndim)])
    if not axes or not np.array_equal(total + first, places):
        return [places.reshape(-1)]
    return [axes[0] + first, *axes[1:]]


def concat(place: Place, sources: Sequence[Value], own: OnnxCall) -> Value:
    """Concat, in the order in which the first operand is stored."""
    stored = sources[0].stored
    axis = int(own.attribute("axis", 0)) % len(stored)
    tensors = [place.builder.store_as(source, stored, place.origin) for source in sources]
    shape = tuple(own.shape[one] for one in stored)
    output = replace(tensors[0], name=f"{tensors[0].name}_concat", shape=shape)
    joined = concatenate(place.builder, tensors, output, stored.index(axis), place.origin)
    return Value(joined, stored)


def resize_nearest(place: Place, sources: Sequence[Value], own: OnnxCall) -> Value:
    """Resize to the nearest element: along each axis a table of places."""
    source = sources[0]
    tensor = place.builder.store_as(source, source.stored, place.origin)
    mode = str(own.attribute("nearest_mode", "round_prefer_floor"))
    places = []
    for axis, stride in zip(source.stored, strides_of(tensor.shape), strict=True):
        real = resize_coordinates(place, own, source.shape, axis)
        index = np.clip(_ROUNDINGS[mode](real), 0, source.shape[axis] - 1).astype(np.int64)
        places.append(index * stride)
    shape = tuple(own.shape[axis] for axis in source.stored)
    output = replace(tensor, name=f"{tensor.name}_resized", shape=shape)
    return Value(rearrange(place.builder, tensor, output, places, place.origin), source.stored)


_ROUNDINGS: dict[str, Any] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
}


def resize_coordinates(
    place: Place, own: OnnxCall, shape: tuple[int, ...], axis: int
) -> NDArray[np.float32]:
    """Where along an axis each output element lies in the input, in float32 as ONNX Runtime.

    Source: ONNX's specification of Resize, coordinate_transformation_mode.

    Raises:
        TinyaotError: the mode is none of those that are supported.
    """
    mode = str(own.attribute("coordinate_transformation_mode", "half_pixel"))
    length, resized = shape[axis], own.shape[axis]
    scale = np.float32(resized / length)
    scales = place.constant(own, 2)
    axes = [int(one) % len(shape) for one in own.attribute("axes", range(len(shape)))]
    if str(own.attribute("keep_aspect_ratio_policy", "stretch")) != "stretch":
        scale = np.float32(resized / length)
    if scales is not None and scales.size and axis in axes:
        scale = np.float32(scales.reshape(-1)[axes.index(axis)])
    x = np.arange(resized, dtype=np.float32)
    if scale == 1 and length == resized:
        return x
    half = np.float32(0.5)
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and resized > 1):
        return (x + half) / scale - half
    if mode == "pytorch_half_pixel":
        return np.zeros(1, np.float32)
    if mode == "asymmetric":
        return x / scale
    if mode == "align_corners":
        return x * np.float32(length - 1) / np.float32(max(resized - 1, 1))
    if mode == "half_pixel_symmetric":
        adjustment = np.float32(resized) / (scale * np.float32(length))
        offset = np.float32(length) / 2 * (1 - adjustment)
        return np.asarray(offset + (x + half) / scale - half, np.float32)
    raise place.unsupported(
        f"resizes with coordinate_transformation_mode {mode}",
        "use half_pixel, pytorch_half_pixel, asymmetric or align_corners",
    )


def windows(
    place: Place,
    source: Value,
    stored: tuple[int, ...],
    output: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    padding: tuple[int, int, int, int],
) -> Any:
    """Every window of an image, its padding the lowest value: (N, OH, OW, KH, KW, C)."""
    tensor = place.builder.store_as(source, stored, place.origin)
    top, left, bottom, right = padding
    batch, height, width, channels = tensor.shape
    reach = [
        (count - 1) * stride + (size - 1) * dilation + 1
        for count, stride, size, dilation in zip(output, strides, kernel, dilations, strict=True)
    ]
    bottom = max(bottom, reach[0] - height - top)
    right = max(right, reach[1] - width - left)
    pairs = ((0, 0), (top, bottom), (left, right), (0, 0))
    shape = (batch, height + top + bottom, width + left + right, channels)
    if shape != tensor.shape:
        padded = replace(tensor, name=f"{tensor.name}_padded", shape=shape)
        workload = Pad(tensor.shape, shape, pairs, -128)
        tensor = place.builder.emit(workload, (tensor,), padded, place.origin)
    steps = strides_of(shape)
    extents = [batch, *output, *kernel, channels]
    factors = [
        steps[0],
        strides[0] * steps[1],
        strides[1] * steps[2],
        dilations[0] * steps[1],
        dilations[1] * steps[2],
        1,
    ]
    places = [np.arange(n) * step for n, step in zip(extents, factors, strict=True)]
    output_tensor = replace(tensor, name=f"{tensor.name}_windows", shape=tuple(extents))
    return rearrange(place.builder, tensor, output_tensor, places, place.origin)
