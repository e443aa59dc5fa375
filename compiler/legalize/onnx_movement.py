"""Operators that keep quantized values as they are: they move them or choose among them.

They may stand on quantized tensors, between dequantize and another operator, or between an
operator and quantize: rounding to a scale and choosing by size or place commute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyaot.compiler.legalize.builder import NCHW_TO_NHWC, Value, identity
from tinyaot.compiler.legalize.movement import MOVEMENTS
from tinyaot.compiler.legalize.onnx_call import OnnxCall, onnx_call
from tinyaot.compiler.legalize.onnx_copy import concat, copy, resize_nearest, windows
from tinyaot.compiler.legalize.onnx_place import Place
from tinyaot.compiler.legalize.relax_reader import op_name
from tinyaot.schedules.workload import Lookup, Pool2D


def max_pool(place: Place, sources: Sequence[Value], own: OnnxCall) -> Value:
    """MaxPool over a line or an image; padding never wins."""
    if len(own.node.output) > 1 and own.node.output[1]:
        raise place.unsupported("returns indices", "remove its second output")
    window = Window.of(place, own, sources[0].shape)
    if window.dilations == (1, 1):
        return pool_image(place, sources[0], own, "max", (-128, 127))
    image = _as_image(place, sources[0])
    patches = windows(
        place,
        image,
        NCHW_TO_NHWC,
        window.output,
        window.kernel,
        window.strides,
        window.dilations,
        window.padding,
    )
    result = largest(place, Value(patches, identity(6)), (3, 4), keep=False)
    return _from_image(place, Value(result.tensor, NCHW_TO_NHWC), own.shape)


def global_max_pool(place: Place, sources: Sequence[Value], own: OnnxCall) -> Value:
    """GlobalMaxPool over all axes but batch and channels."""
    axes = tuple(range(2, len(sources[0].shape)))
    return largest(place, sources[0], axes, keep=True)


def reduce_max(place: Place, sources: Sequence[Value], own: OnnxCall) -> Value:
    """ReduceMax over any axes."""
    axes = reduced_axes(place, own, len(sources[0].shape))
    return largest(place, sources[0], axes, keep=bool(own.attribute("keepdims", 1)))


def reduce_min(place: Place, sources: Sequence[Value], own: OnnxCall) -> Value:
    """ReduceMin: the complement of the largest complement, which int8 holds exactly."""
    axes = reduced_axes(place, own, len(sources[0].shape))
    if not axes:
        return sources[0]
    result = largest(place, _complement(place, sources[0]), axes, keep=own.attribute("keepdims", 1))
    return _complement(place, result)


def _complement(place: Place, source: Value) -> Value:
    table = (-1 - np.arange(-128, 128)).astype(np.int8)
    tensor = place.builder.store_as(source, source.stored, place.origin)
    output = replace(tensor, name=f"{tensor.name}_complement")
    workload = Lookup(math.prod(tensor.shape))
    emitted = place.builder.emit(workload, (tensor,), output, place.origin, {"table": table})
    return Value(emitted, source.stored)


def reduced_axes(place: Place, own: OnnxCall, rank: int) -> tuple[int, ...]:
    """The axes of a Reduce operator: an input, or an attribute before opset 18 (ReduceSum: 13)."""
    given = own.attribute("axes", None)
    if given is None:
        given = place.constant(own, 1)
    if given is None or len(given) == 0:
        return () if own.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({int(axis) % rank for axis in given}))


def largest(place: Place, source: Value, axes: tuple[int, ...], *, keep: bool) -> Value:
    """The maximum over axes, as pooling with one window."""
    if not axes:
        return source
    tensor, stored, begin, end = together(place, source, axes)
    shape = tensor.shape
    outer, count = math.prod(shape[:begin]), math.prod(shape[begin:end])
    inner = math.prod(shape[end:])
    workload = Pool2D(
        mode="max",
        input_shape=(outer, count, 1, inner),
        output_shape=(outer, 1, 1, inner),
        kernel=(count, 1),
        strides=(1, 1),
        padding=(0, 0, 0, 0),
        clamp=(-128, 127),
    )
    left_shape, left = after_reduction(shape, stored, set(axes), keep)
    output = replace(tensor, name=f"{tensor.name}_max", shape=left_shape)
    return Value(place.builder.emit(workload, (tensor,), output, place.origin), left)


def together(
    place: Place, source: Value, axes: tuple[int, ...]
) -> tuple[Any, tuple[int, ...], int, int]:
    """The source's tensor stored so that some axes are neighbours: it, its order, their places."""
    places = sorted(source.stored.index(axis) for axis in axes)
    stored = source.stored
    if places != list(range(places[0], places[-1] + 1)):
        others = [axis for axis in stored if axis not in axes]
        stored = (*others, *(axis for axis in source.stored if axis in axes))
        places = list(range(len(others), len(stored)))
    tensor = place.builder.store_as(source, stored, place.origin)
    return tensor, stored, places[0], places[-1] + 1


def after_reduction(
    shape: tuple[int, ...], stored: tuple[int, ...], reduced: set[int], keep: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Stored shape and stored axes of a reduction's result."""
    sizes = dict(zip(stored, shape, strict=True))
    if keep:
        return tuple(1 if axis in reduced else sizes[axis] for axis in stored), stored
    left = [axis for axis in stored if axis not in reduced]
    return tuple(sizes[axis] for axis in left), tuple(sorted(left).index(axis) for axis in left)


@dataclass(frozen=True)
class Window:
    """What a pooling operator slides over an image; a line is an image of height 1.

    Attributes:
        output: height and width of the result.
        padding: top, left, bottom, right.
    """

    output: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    padding: tuple[int, int, int, int]

    @staticmethod
    def of(place: Place, own: OnnxCall, shape: tuple[int, ...]) -> Window:
        """The window of an ONNX pooling operator.

        Raises:
            TinyaotError: it pools more than two axes.
        """
        axes = len(shape) - 2
        if axes not in (1, 2):
            raise place.unsupported(f"pools {axes} axes", "pool one or two axes")
        kernel = [int(size) for size in own.attribute("kernel_shape", [])]
        strides = [int(size) for size in own.attribute("strides", [1] * axes)]
        dilations = [int(size) for size in own.attribute("dilations", [1] * axes)]
        pads = [int(size) for size in own.attribute("pads", [0] * 2 * axes)]
        mode = own.attribute("auto_pad", "NOTSET")
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            pads = _same_padding(mode, shape[2:], own.shape[2:], kernel, strides, dilations)
        elif mode == "VALID":
            pads = [0] * 2 * axes
        output = own.shape[2:]
        if axes == 1:
            kernel, strides, dilations = ([1, *given] for given in (kernel, strides, dilations))
            pads, output = [0, pads[0], 0, pads[1]], (1, *output)
        return Window(
            (output[0], output[1]),
            (kernel[0], kernel[1]),
            (strides[0], strides[1]),
            (dilations[0], dilations[1]),
            (pads[0], pads[1], pads[2], pads[3]),
        )


def _same_padding(
    mode: str,
    sizes: Sequence[int],
    outputs: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    before, after = [], []
    for size, output, width, stride, dilation in zip(
        sizes, outputs, kernel, strides, dilations, strict=True
    ):
        total = max((output - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if mode == "SAME_UPPER" else more)
        after.append(more if mode == "SAME_UPPER" else less)
    return [*before, *after]


def _as_image(place: Place, source: Value) -> Value:
    """A line (N, C, L) as an image (N, C, 1, L)."""
    shape = source.shape
    if len(shape) == 3:
        return place.builder.flatten(source, (shape[0], shape[1], 1, shape[2]), place.origin)
    return source


def _from_image(place: Place, value: Value, shape: tuple[int, ...]) -> Value:
    return place.builder.flatten(value, shape, place.origin)


def pool_image(
    place: Place, source: Value, own: OnnxCall, mode: str, clamp: tuple[int, int]
) -> Value:
    """Average or maximum over the part of each window that lies in a line or image."""
    window = Window.of(place, own, source.shape)
    if window.dilations != (1, 1):
        raise place.unsupported("pools with a dilated window", "use dilation 1")
    pooled = _pooled(place, _as_image(place, source), window, mode, clamp)
    return _from_image(place, pooled, own.shape)


def _pooled(
    place: Place, source: Value, window: Window, mode: str, clamp: tuple[int, int]
) -> Value:
    tensor = place.builder.store_as(source, NCHW_TO_NHWC, place.origin)
    batch, height, width, channels = tensor.shape
    top, left, _, _ = window.padding
    for size, outputs, kernel, stride, before in (
        (height, window.output[0], window.kernel[0], window.strides[0], top),
        (width, window.output[1], window.kernel[1], window.strides[1], left),
    ):
        if (outputs - 1) * stride - before >= size or kernel <= before:
            raise place.unsupported("pools windows that hold only padding", "reduce the padding")
    shape = (batch, *window.output, channels)
    workload = Pool2D(
        mode=mode,
        input_shape=(batch, height, width, channels),
        output_shape=shape,
        kernel=window.kernel,
        strides=window.strides,
        padding=window.padding,
        clamp=clamp,
    )
    output = replace(tensor, name=f"{tensor.name}_pooled", shape=shape)
    return Value(place.builder.emit(workload, (tensor,), output, place.origin), NCHW_TO_NHWC)


Rule = Callable[[Place, Sequence[Value], OnnxCall], Value]

ONNX_MOVEMENTS: dict[str, Rule] = {
    "CenterCropPad": copy,
    "Concat": concat,
    "DepthToSpace": copy,
    "Expand": copy,
    "Gather": copy,
    "GatherElements": copy,
    "GatherND": copy,
    "GlobalMaxPool": global_max_pool,
    "MaxPool": max_pool,
    "ReduceMax": reduce_max,
    "ReduceMin": reduce_min,
    "Pad": copy,
    "Resize": resize_nearest,
    "ReverseSequence": copy,
    "Slice": copy,
    "SpaceToDepth": copy,
    "Split": copy,
    "Tile": copy,
    "Trilu": copy,
}


@dataclass(frozen=True)
class Movement:
    """An operator that keeps values, in Relax's or ONNX's terms.

    Attributes:
        name: of the operator.
        operands: the expressions of the activations it moves.
        call: the Relax call.
    """

    name: str
    operands: tuple[Any, ...]
    call: Any

    def apply(self, place: Place, sources: Sequence[Value]) -> Value:
        """The value of the result, in the sources' scale."""
        if self.name in MOVEMENTS:
            return MOVEMENTS[self.name](place.builder, sources[0], self.call, place.origin)
        return ONNX_MOVEMENTS[self.name](place, sources, OnnxCall(self.call, self.name))


def movement_of(call: Any) -> Movement | None:
    """The operator as a movement; None if it computes."""
    name = op_name(call)
    if name in MOVEMENTS:
        return Movement(name, (call.args[0],), call)
    own = onnx_call(call)
    if own is None or own.kind not in ONNX_MOVEMENTS:
        return None
    if own.kind == "Resize" and own.attribute("mode", "nearest") != "nearest":
        return None
    operands = own.operands if own.kind == "Concat" else own.operands[:1]
    return Movement(own.kind, operands, call)
