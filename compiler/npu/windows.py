"""Convolutions, dense layers and pooling as the NPU's operations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu.operands import (
    KERNEL_ELEMENTS,
    KERNEL_HEIGHT,
    MOST_PARTS,
    MOST_STRIDE,
    POOL_SIDE,
    ROUNDING,
    Unsupported,
    channel_scales,
    feature_map,
    image,
    strided,
)
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, FullyConnected, Pool2D
from tinyaot.schedules.workload_sequence import TransposeConv2D
from tinyaot.schedules.workload_wide import WideConv2D, WidePool2D
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation

_LARGEST_SHIFT = 63


@dataclass(frozen=True)
class _Group:
    """A convolution on some channels, given by the first and the end; None for all of them."""

    kind: str
    weights: NDArray[Any]
    inputs: tuple[int, int] | None = None
    outputs: tuple[int, int] | None = None


def conv2d(node: Node, graph: Graph) -> list[Operation]:
    """One convolution for each image and group."""
    w = node.workload
    assert isinstance(w, Conv2D)
    weights = node.constants["weight"]
    _check_accumulators(node, weights, (1, 2, 3))
    zero_points = (w.input_zero_point, w.output_zero_point)
    return _convolved(node, graph, _grouped(weights, w.groups), zero_points, ROUNDING[w.rounding])


def _grouped(weights: NDArray[Any], groups: int) -> list[_Group]:
    if groups > MOST_PARTS:
        raise Unsupported(f"{groups} groups")
    inputs, outputs = weights.shape[3], len(weights) // groups
    return [
        _Group(
            "conv2d",
            weights[index * outputs : (index + 1) * outputs],
            (index * inputs, (index + 1) * inputs),
            (index * outputs, (index + 1) * outputs),
        )
        for index in range(groups)
    ]


def depthwise(node: Node, graph: Graph) -> list[Operation]:
    """A depthwise convolution, or a dense one where it has a depth multiplier."""
    w = node.workload
    assert isinstance(w, DepthwiseConv2D)
    weights = node.constants["weight"]
    _check_accumulators(node, weights, (0, 1))
    zero_points = (w.input_zero_point, w.output_zero_point)
    group = _by_channel(weights, w.input_shape[3])
    return _convolved(node, graph, [group], zero_points, ROUNDING[w.rounding])


def _by_channel(weights: NDArray[Any], inputs: int) -> _Group:
    """A depthwise convolution of weights (KH, KW, O)."""
    *kernel, channels = weights.shape
    if channels == inputs:
        return _Group("depthwise", weights)
    # The NPU has no depth multiplier; a convolution whose other weights are 0 is the same.
    spread = np.zeros((channels, *kernel, inputs), np.int8)
    index = np.arange(channels)
    spread[index, :, :, index // (channels // inputs)] = np.moveaxis(weights, -1, 0)
    return _Group("conv2d", spread)


def wide_conv2d(node: Node, graph: Graph) -> list[Operation]:
    """A convolution or dense layer of int16, which the NPU sums in 40 bits."""
    w = node.workload
    assert isinstance(w, WideConv2D)
    if w.rounding != "reduced":
        raise Unsupported("a convolution of int16 with a bias of 32 bits")
    weights = node.constants["weight"]
    scales = _wide_scales(node, weights)
    if w.groups == w.input_shape[3] > 1:
        groups = [_by_channel(np.moveaxis(weights[..., 0], 0, -1), w.input_shape[3])]
    else:
        groups = _grouped(weights, w.groups)
    return _convolved(node, graph, groups, (0, 0), "natural", scales)


def _wide_scales(node: Node, weights: NDArray[Any]) -> NDArray[np.int64]:
    """Reduced multipliers and right shifts of int16, (O, 2), as the NPU takes them."""
    pairs = (node.constants["multiplier"], node.constants["shift"])
    scales = np.stack([array.astype(np.int64) for array in pairs], axis=1)
    if scales.min(initial=0) < 0 or scales[:, 1].max(initial=0) > _LARGEST_SHIFT:
        raise Unsupported("a scale that is out of range")
    largest = np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)) << 15
    largest = largest + np.abs(node.constants["bias"].astype(np.int64))
    if largest.max(initial=0) >= 2**39:
        raise Unsupported("sums may leave 40 bits")
    # TFLite wraps what leaves 32 bits once it is scaled.
    scaled = (
        int(one) * int(multiplier) >> int(shift)
        for one, (multiplier, shift) in zip(largest, scales, strict=True)
    )
    if max(scaled, default=0) >= 2**31 - 1:
        raise Unsupported("results may leave 32 bits")
    return scales


def _convolved(
    node: Node,
    graph: Graph,
    groups: Sequence[_Group],
    zero_points: tuple[int, int],
    rounding: str,
    scales: NDArray[np.int64] | None = None,
) -> list[Operation]:
    """One operation for each image and group; of a workload with a window."""
    w: Any = node.workload
    scales = channel_scales(node) if scales is None else scales
    bias = node.constants["bias"]
    operations = []
    for ifm, ofm in _images(node, graph, zero_points):
        read, window = _window(ifm, ofm, w.kernel, w.strides, w.dilation, w.padding)
        for group in groups:
            of = slice(*(group.outputs or (0, len(bias))))
            operations.append(
                Operation(
                    group.kind,
                    read.part(channels=group.inputs),
                    ofm.part(channels=group.outputs),
                    weights=group.weights,
                    bias=bias[of],
                    scales=scales[of],
                    clamp=w.clamp,
                    rounding=rounding,
                    origin=node.origin,
                    macs=w.macs // (len(groups) * w.input_shape[0]),
                    **window,
                )
            )
    return operations


@dataclass(frozen=True)
class _Phase:
    """The outputs of a transposed convolution on an axis that read the same part of its kernel.

    Attributes:
        first, count: of the outputs; they are a stride apart.
        tap: the first element of the kernel, the others are a stride apart.
        begin, end: the inputs that are read.
        before, after: padding that is read.
    """

    first: int
    count: int
    tap: int
    begin: int
    end: int
    before: int
    after: int


def transpose_conv2d(node: Node, graph: Graph) -> list[Operation]:
    """A convolution for each place between two inputs, with the part of the kernel that falls
    there: the NPU can also put zeros between inputs, but multiplies by them then."""
    w = node.workload
    assert isinstance(w, TransposeConv2D)
    weights = node.constants["weight"]
    if w.rounding == "reduced":
        rounding, scales = "natural", _wide_scales(node, weights)
    elif w.dtype == "int8":
        _check_accumulators(node, weights, (1, 2, 3))
        rounding, scales = ROUNDING[w.rounding], channel_scales(node)
    else:
        raise Unsupported(f"a transposed convolution of {w.dtype} with a bias of 32 bits")
    rows, columns = (_phases(w, axis) for axis in (0, 1))
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    batch, high, wide, inputs = w.input_shape
    _, tall, broad, outputs = w.output_shape
    (down, right), parts = w.strides, len(rows) * len(columns)
    if batch * parts > MOST_PARTS:
        raise Unsupported(f"strides {w.strides} of a transposed convolution of {batch} images")
    # Each phase once, for all images: they share weights.
    kernels = {
        (row.tap, column.tap): np.ascontiguousarray(
            _taken(weights, row.tap, down, column.tap, right)
        )
        for row, column in itertools.product(rows, columns)
    }
    bias = node.constants["bias"]
    operations = []
    for index, row, column in itertools.product(range(batch), rows, columns):
        kernel = kernels[row.tap, column.tap]
        padding = (row.before, column.before, row.after, column.after)
        size = kernel.shape[1:3]
        _check_window((size[0], size[1]), (1, 1), (1, 1), padding)
        ifm = feature_map(
            source,
            (high, wide, inputs),
            w.input_zero_point,
            offset=index * high * wide * inputs,
        )
        ofm = strided(
            target,
            (row.count, column.count, outputs),
            (down * broad * outputs, right * outputs),
            w.output_zero_point,
            offset=((index * tall + row.first) * broad + column.first) * outputs,
        )
        operations.append(
            Operation(
                "conv2d",
                ifm.part((row.begin, row.end), (column.begin, column.end)),
                ofm,
                kernel=(size[0], size[1]),
                padding=padding,
                weights=kernel,
                bias=bias,
                scales=scales,
                clamp=w.clamp,
                rounding=rounding,
                origin=node.origin,
                macs=w.macs // (batch * parts),
            )
        )
    return operations


def _phases(w: TransposeConv2D, axis: int) -> list[_Phase]:
    """Output o reads element k of the kernel from input i where o + padding = i * stride + k."""
    stride, padding, extent = w.strides[axis], w.padding[axis], w.kernel[axis]
    inputs, outputs = w.input_shape[1 + axis], w.output_shape[1 + axis]
    phases = []
    for tap in range(stride):
        first = (tap - padding) % stride
        count = -(-(outputs - first) // stride)
        if count < 1:
            continue
        taps = max(-(-(extent - tap) // stride), 1)
        newest = (first + padding - tap) // stride
        begin, end = newest - taps + 1, newest + count
        if begin >= inputs:
            raise Unsupported("a transposed convolution of which some outputs read no input")
        before, after = max(-begin, 0), max(end - inputs, 0)
        phases.append(_Phase(first, count, tap, max(begin, 0), min(end, inputs), before, after))
    return phases


def _taken(weights: NDArray[Any], top: int, down: int, left: int, right: int) -> NDArray[Any]:
    """Every so many elements of a kernel, turned around; zero where there are none."""
    part = weights[:, top::down, left::right][:, ::-1, ::-1]
    if 0 in part.shape:
        return np.zeros(
            (len(weights), max(part.shape[1], 1), max(part.shape[2], 1), weights.shape[3]), np.int8
        )
    return part


def fully_connected(node: Node, graph: Graph) -> list[Operation]:
    """A convolution over rows of one pixel."""
    w = node.workload
    assert isinstance(w, FullyConnected)
    weights = node.constants["weight"]
    _check_accumulators(node, weights, (1,))
    rows = image((w.batch, w.input_size))[:2]
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    return [
        Operation(
            "conv2d",
            feature_map(source, (*rows, w.input_size), w.input_zero_point),
            feature_map(target, (*rows, w.output_size), w.output_zero_point),
            weights=weights[:, None, None, :],
            bias=node.constants["bias"],
            scales=channel_scales(node),
            clamp=w.clamp,
            rounding=ROUNDING[w.rounding],
            origin=node.origin,
            macs=w.macs,
        )
    ]


def pool2d(node: Node, graph: Graph) -> list[Operation]:
    """Pooling; averages at a padded border have commands of their own."""
    w = node.workload
    assert isinstance(w, (Pool2D, WidePool2D))
    if max(w.kernel) > POOL_SIDE:
        raise Unsupported(f"a kernel of {w.kernel} is too large")
    operations = []
    for ifm, ofm in _images(node, graph, (0, 0)):
        if w.mode == "max":
            read, window = _window(ifm, ofm, w.kernel, w.strides, (1, 1), w.padding)
            parts = [(read, ofm, window)]
        else:
            parts = _average_parts(ifm, ofm, w)
        operations += [
            Operation(f"{w.mode}_pool", read, written, clamp=w.clamp, origin=node.origin, **window)
            for read, written, window in parts
        ]
    return operations


def _average_parts(
    ifm: FeatureMap, ofm: FeatureMap, w: Pool2D | WidePool2D
) -> list[tuple[FeatureMap, FeatureMap, dict[str, Any]]]:
    """Averages without padding: at the border, fewer elements of a smaller kernel."""
    axes = []
    for axis in (0, 1):
        spans: list[tuple[int, int, int, int]] = []
        for place in range(ofm.shape[axis]):
            start = place * w.strides[axis] - w.padding[axis]
            first, last = max(start, 0), min(start + w.kernel[axis], ifm.shape[axis])
            if spans:
                begin, end, origin, size = spans[-1]
                if size == last - first and first == origin + (end - begin) * w.strides[axis]:
                    spans[-1] = (begin, place + 1, origin, size)
                    continue
            spans.append((place, place + 1, first, last - first))
        axes.append(spans)
    if len(axes[0]) * len(axes[1]) > MOST_PARTS:
        raise Unsupported("an average with this padding")
    parts = []
    for top, bottom, row, height in axes[0]:
        for left, right, column, width in axes[1]:
            written = ofm.part((top, bottom), (left, right))
            steps = [
                1 if end - begin == 1 else step
                for (begin, end), step in zip(
                    ((top, bottom), (left, right)), w.strides, strict=True
                )
            ]
            if max(steps) > MOST_STRIDE:
                raise Unsupported(f"strides {w.strides}: the NPU has at most {MOST_STRIDE}")
            read = ifm.part(
                (row, row + (bottom - top - 1) * steps[0] + height),
                (column, column + (right - left - 1) * steps[1] + width),
            )
            window = {"kernel": (height, width), "strides": (steps[0], steps[1])}
            parts.append((read, written, window))
    return parts


def _images(
    node: Node, graph: Graph, zero_points: tuple[int, int]
) -> list[tuple[FeatureMap, FeatureMap]]:
    """Input and output of each image of a batch."""
    w: Any = node.workload
    count = w.input_shape[0]
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if count > MOST_PARTS:
        raise Unsupported(f"a batch of {count}")
    return [
        (
            feature_map(
                source,
                w.input_shape[1:],
                zero_points[0],
                offset=index * math.prod(w.input_shape[1:]),
            ),
            feature_map(
                target,
                w.output_shape[1:],
                zero_points[1],
                offset=index * math.prod(w.output_shape[1:]),
            ),
        )
        for index in range(count)
    ]


def _window(
    ifm: FeatureMap,
    ofm: FeatureMap,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, ...],
) -> tuple[FeatureMap, dict[str, Any]]:
    """The part of the input that is read, and what of the padding."""
    bounds, ends = [], []
    steps = [1 if ofm.shape[axis] == 1 else strides[axis] for axis in (0, 1)]
    for axis in (0, 1):
        size = (kernel[axis] - 1) * dilation[axis] + 1
        end = (ofm.shape[axis] - 1) * steps[axis] + size - padding[axis]
        bounds.append((0, min(ifm.shape[axis], end)))
        ends.append(max(0, end - ifm.shape[axis]))
    _check_window(kernel, (steps[0], steps[1]), dilation, (*padding[:2], *ends))
    return ifm.part(bounds[0], bounds[1]), {
        "kernel": kernel,
        "strides": (steps[0], steps[1]),
        "dilation": dilation,
        "padding": (padding[0], padding[1], ends[0], ends[1]),
    }


def _check_window(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, ...],
) -> None:
    high, wide = ((size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True))
    if max(strides) > MOST_STRIDE:
        raise Unsupported(f"strides {strides}: the NPU has at most {MOST_STRIDE}")
    if max(dilation) > 2:
        raise Unsupported(f"dilation {dilation}: the NPU has 1 and 2")
    if high > KERNEL_HEIGHT or high * wide > KERNEL_ELEMENTS:
        raise Unsupported(f"a kernel of {high} x {wide} is too large")
    beyond = max(padding[0], padding[2]) >= high or max(padding[1], padding[3]) >= wide
    if beyond and any(padding):
        raise Unsupported(f"padding {padding} is as large as the kernel")


def _check_accumulators(node: Node, weights: NDArray[Any], axes: tuple[int, ...]) -> None:
    """TFLite wraps sums that leave 32 bits, also once they are scaled up; the NPU does not."""
    largest = np.abs(weights.astype(np.int64)).sum(axis=axes) * 255
    largest = largest + np.abs(node.constants["bias"].astype(np.int64))
    up = np.maximum(node.constants["shift"].astype(np.int64), 0)
    if (largest << up).max(initial=0) >= 2**31:
        raise Unsupported("sums may leave 32 bits")
