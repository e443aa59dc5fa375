"""Workloads as operations of the NPU: what it computes exactly, or why it does not.

A rule gets a node and returns its operations on whole tensors, named as in the graph. Limits are
the hardware's (registers, and `tflite_operator_constraints` of Vela); what the NPU would compute
with other rounding than the workload's is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.npu.softmax import softmax_operations
from tinyaot.schedules.workload import (
    Add,
    Concatenate,
    Conv2D,
    DepthwiseConv2D,
    Extremum,
    FullyConnected,
    Lookup,
    Mean,
    Multiply,
    Pool2D,
    Rearrange,
    Requantize,
    Reshape,
    Softmax,
    Workload,
)
from tinyaot.schedules.workload_elementwise import QuantizedBinary
from tinyaot.schedules.workload_sequence import TransposeConv2D
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation, Shape

Factor = tuple[int, int]
Rule = Callable[[Node, Graph], list[Operation]]

_LARGEST = 1 << 16
_KERNEL_HEIGHT, _KERNEL_ELEMENTS = 64, 64 * 64
_POOL_SIDE = 256
_STRIDE = 3
_MOST_PARTS = 32
_HALF = (1 << 30, 0)
_ROUNDING = {"double": "double", "single": "natural"}


class Unsupported(Exception):  # noqa: N818 (an answer, not a failure)
    """The NPU does not compute a node; the text says why."""


def lower(node: Node, graph: Graph) -> list[Operation]:
    """The operations of a node, in order; none for a reshape.

    Raises:
        Unsupported: the NPU does not compute it, or not exactly.
    """
    rule = _RULES.get(type(node.workload))
    if rule is None:
        raise Unsupported(f"{node.workload.kind} is not among the NPU's operators")
    for name in (*node.inputs, node.output):
        dtype = graph.tensors[name].dtype
        if dtype not in ("int8", "uint8", "int16"):
            raise Unsupported(f"{node.workload.kind} of {dtype}")
    states = {state.tensor for state in graph.states}
    if node.states or states & {*node.inputs, node.output}:
        raise Unsupported("keeps a state between inferences")
    if isinstance(node.workload, Reshape):
        return []
    operations = rule(node, graph)
    for operation in operations:
        for fm in (*operation.inputs, operation.ofm):
            if max(fm.shape) > _LARGEST:
                raise Unsupported(f"{fm.shape} is too large: the NPU's axes end at {_LARGEST}")
    return operations


def feature_map(
    tensor: Tensor, whole: Shape, zero_point: int = 0, *, offset: int = 0
) -> FeatureMap:
    """A tensor seen as an image, or the part of one that begins at `offset` elements."""
    itemsize = np.dtype(tensor.dtype).itemsize
    return FeatureMap(
        tensor.name,
        whole,
        whole,
        dtype=tensor.dtype,
        zero_point=zero_point,
        offset=offset * itemsize,
    )


def image(shape: tuple[int, ...]) -> Shape:
    """Any shape as height, width, channels: the last two axes stay."""
    padded = (1, 1, 1, *shape)
    return math.prod(padded[:-2]), padded[-2], padded[-1]


def _hardware(factor: Factor) -> tuple[int, int]:
    """A TFLite multiplier and shift as the NPU's."""
    multiplier, shift = factor
    right = 31 - shift
    if multiplier == 0:
        return 0, 16
    if not 0 <= right < 64 or multiplier < 0:
        raise Unsupported(f"a scale of {multiplier} * 2^{shift - 31} is out of range")
    return multiplier, right


def _scales(node: Node) -> NDArray[np.int64]:
    pairs = zip(
        node.constants["multiplier"].tolist(), node.constants["shift"].tolist(), strict=True
    )
    return np.array([_hardware(pair) for pair in pairs], np.int64)


def _check_accumulators(node: Node, weights: NDArray[Any], axes: tuple[int, ...]) -> None:
    """TFLite wraps sums that leave 32 bits, also once they are scaled up; the NPU does not."""
    largest = np.abs(weights.astype(np.int64)).sum(axis=axes) * 255
    largest = largest + np.abs(node.constants["bias"].astype(np.int64))
    up = np.maximum(node.constants["shift"].astype(np.int64), 0)
    if (largest << up).max(initial=0) >= 2**31:
        raise Unsupported("sums may leave 32 bits")


def _check_window(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, ...],
) -> None:
    high, wide = ((size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True))
    if max(strides) > _STRIDE:
        raise Unsupported(f"strides {strides}: the NPU has at most {_STRIDE}")
    if max(dilation) > 2:
        raise Unsupported(f"dilation {dilation}: the NPU has 1 and 2")
    if high > _KERNEL_HEIGHT or high * wide > _KERNEL_ELEMENTS:
        raise Unsupported(f"a kernel of {high} x {wide} is too large")
    beyond = max(padding[0], padding[2]) >= high or max(padding[1], padding[3]) >= wide
    if beyond and any(padding):
        raise Unsupported(f"padding {padding} is as large as the kernel")


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


def _images(
    node: Node, graph: Graph, zero_points: tuple[int, int]
) -> list[tuple[FeatureMap, FeatureMap]]:
    """Input and output of each image of a batch."""
    w: Any = node.workload
    count = w.input_shape[0]
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if count > _MOST_PARTS:
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


def _conv2d(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Conv2D)
    weights, bias, scales = node.constants["weight"], node.constants["bias"], _scales(node)
    _check_accumulators(node, weights, (1, 2, 3))
    if w.groups > _MOST_PARTS:
        raise Unsupported(f"{w.groups} groups")
    operations = []
    outputs, inputs = len(weights) // w.groups, weights.shape[3]
    for ifm, ofm in _images(node, graph, (w.input_zero_point, w.output_zero_point)):
        read, window = _window(ifm, ofm, w.kernel, w.strides, w.dilation, w.padding)
        for group in range(w.groups):
            of = slice(group * outputs, (group + 1) * outputs)
            operations.append(
                Operation(
                    "conv2d",
                    read.part(channels=(group * inputs, (group + 1) * inputs)),
                    ofm.part(channels=(of.start, of.stop)),
                    weights=weights[of],
                    bias=bias[of],
                    scales=scales[of],
                    clamp=w.clamp,
                    rounding=_ROUNDING[w.rounding],
                    origin=node.origin,
                    macs=w.macs // (w.groups * w.input_shape[0]),
                    **window,
                )
            )
    return operations


def _depthwise(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, DepthwiseConv2D)
    weights, kind = node.constants["weight"], "depthwise"
    _check_accumulators(node, weights, (0, 1))
    if w.depth_multiplier != 1:
        # The NPU has no depth multiplier; a convolution whose other weights are 0 is the same.
        channels, kind = w.output_shape[3], "conv2d"
        spread = np.zeros((channels, *w.kernel, w.input_shape[3]), np.int8)
        index = np.arange(channels)
        spread[index, :, :, index // w.depth_multiplier] = np.moveaxis(weights, -1, 0)
        weights = spread
    operations = []
    for ifm, ofm in _images(node, graph, (w.input_zero_point, w.output_zero_point)):
        read, window = _window(ifm, ofm, w.kernel, w.strides, w.dilation, w.padding)
        operations.append(
            Operation(
                kind,
                read,
                ofm,
                weights=weights,
                bias=node.constants["bias"],
                scales=_scales(node),
                clamp=w.clamp,
                rounding=_ROUNDING[w.rounding],
                origin=node.origin,
                macs=w.macs // w.input_shape[0],
                **window,
            )
        )
    return operations


def _transpose_conv2d(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, TransposeConv2D)
    if w.dtype != "int8":
        raise Unsupported(f"transpose_conv2d of {w.dtype}")
    if w.strides not in ((2, 2), (1, 1)):
        raise Unsupported(f"strides {w.strides} of a transposed convolution: the NPU has 1 and 2")
    weights = node.constants["weight"]
    _check_accumulators(node, weights, (1, 2, 3))
    (height, width), stride = w.kernel, w.strides[0]
    top, left = height - 1 - w.padding[0], width - 1 - w.padding[1]
    if min(top, left) < 0:
        raise Unsupported(f"padding {w.padding} is as large as the kernel")
    operations = []
    for ifm, ofm in _images(node, graph, (w.input_zero_point, w.output_zero_point)):
        # Zeros between and after the inputs, and a convolution with the kernel turned around.
        ends = [
            ofm.shape[axis] - 1 + w.kernel[axis] - before - ifm.shape[axis] * stride
            for axis, before in ((0, top), (1, left))
        ]
        if min(ends) < 0 and stride == 2 and min(ends) < -1:
            raise Unsupported("a transposed convolution that leaves out inputs")
        padding = (top, left, max(ends[0], 0), max(ends[1], 0))
        _check_window(w.kernel, (1, 1), (1, 1), padding)
        operations.append(
            Operation(
                "conv2d",
                ifm,
                ofm,
                kernel=w.kernel,
                padding=padding,
                weights=weights[:, ::-1, ::-1],
                bias=node.constants["bias"],
                scales=_scales(node),
                clamp=w.clamp,
                rounding=_ROUNDING[w.rounding],
                upscale="zeros" if stride == 2 else "none",
                origin=node.origin,
                macs=w.macs // w.input_shape[0],
            )
        )
    return operations


def _fully_connected(node: Node, graph: Graph) -> list[Operation]:
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
            scales=_scales(node),
            clamp=w.clamp,
            rounding=_ROUNDING[w.rounding],
            origin=node.origin,
            macs=w.macs,
        )
    ]


def _pool2d(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Pool2D)
    if max(w.kernel) > _POOL_SIDE:
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
    ifm: FeatureMap, ofm: FeatureMap, w: Pool2D
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
    if len(axes[0]) * len(axes[1]) > _MOST_PARTS:
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
            if max(steps) > _STRIDE:
                raise Unsupported(f"strides {w.strides}: the NPU has at most {_STRIDE}")
            read = ifm.part(
                (row, row + (bottom - top - 1) * steps[0] + height),
                (column, column + (right - left - 1) * steps[1] + width),
            )
            window = {"kernel": (height, width), "strides": (steps[0], steps[1])}
            parts.append((read, written, window))
    return parts


def _mean(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Mean)
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if w.outer > _MOST_PARTS:
        raise Unsupported(f"a mean of {w.outer} separate parts")
    factor = _hardware((w.multiplier, w.shift))
    if (w.reduced * 255) << max(w.shift, 0) >= 2**31:
        raise Unsupported("sums may leave 32 bits")
    side = _kernel_sides(w.reduced)
    return [
        Operation(
            "depthwise",
            feature_map(
                source,
                (*side, w.inner),
                w.input_zero_point,
                offset=index * w.reduced * w.inner,
            ),
            feature_map(target, (1, 1, w.inner), w.output_zero_point, offset=index * w.inner),
            kernel=side,
            weights=np.ones((*side, w.inner), np.int8),
            bias=np.zeros(w.inner, np.int32),
            scales=np.tile(np.array(factor, np.int64), (w.inner, 1)),
            clamp=w.clamp,
            rounding=_ROUNDING[w.rounding],
            origin=node.origin,
        )
        for index in range(w.outer)
    ]


def _kernel_sides(elements: int) -> tuple[int, int]:
    for height in range(min(elements, _KERNEL_HEIGHT), 0, -1):
        if elements % height == 0 and elements // height <= _KERNEL_HEIGHT:
            return height, elements // height
    raise Unsupported(f"a mean over {elements} elements")


def _operands(node: Node, graph: Graph) -> tuple[FeatureMap, FeatureMap, FeatureMap, bool]:
    """The operands, the larger first, the output, and whether they are swapped."""
    w: Any = node.workload
    tensors = [graph.tensors[name] for name in node.inputs]
    target = graph.tensors[node.output]
    zero_points = getattr(w, "input_zero_points", (0, 0))
    output_zero_point = getattr(w, "output_zero_point", 0)
    if isinstance(w, Add):
        shape = image(target.shape)
        first, second = (
            feature_map(tensor, shape, zero)
            for tensor, zero in zip(tensors, zero_points, strict=True)
        )
        return first, second, feature_map(target, shape, output_zero_point), False
    if len(w.shape) > 3:
        raise Unsupported(f"broadcasting over {len(w.shape)} axes")
    full, swapped = image(w.shape), False
    # Where the axes are not merged, keep the image's own: bricks and cascades like it so.
    if all(_dense(steps, w.shape) for steps in w.steps):
        full = image(target.shape)
        maps = [feature_map(t, full, z) for t, z in zip(tensors, zero_points, strict=True)]
        return maps[0], maps[1], feature_map(target, full, output_zero_point), False
    maps, repeated = [], []
    for tensor, zero, steps in zip(tensors, zero_points, w.steps, strict=True):
        held = tuple(1 if step == 0 else size for step, size in zip(steps, w.shape, strict=True))
        if not _dense(steps, held):
            raise Unsupported("an operand that is not read in order")
        maps.append(feature_map(tensor, image(held), zero))
        repeated.append(held != tuple(w.shape))
    if repeated[0]:
        if repeated[1]:
            raise Unsupported("both operands are repeated")
        maps.reverse()
        swapped = True
    return maps[0], maps[1], feature_map(target, full, output_zero_point), swapped


def _dense(steps: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether steps are those of a dense tensor of that shape; axes of one element have any."""
    expected = 1
    for step, size in reversed(list(zip(steps, shape, strict=True))):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True


def _sum(node: Node, graph: Graph) -> list[Operation]:
    w: Any = node.workload
    if isinstance(w, Add):
        factors = [
            *zip(w.multipliers, w.shifts, strict=True),
            (w.output_multiplier, w.output_shift),
        ]
        kind, rounding = "add", w.rounding
    else:
        factors, kind, rounding = list(w.factors), w.operation, "double"
    if rounding != "double":
        raise Unsupported("a sum that rounds once: the NPU rounds as TFLite does")
    first, second, output, swapped = _operands(node, graph)
    if swapped:
        factors[:2] = factors[1::-1]
    left_shift = 20 if first.itemsize == 1 else 15
    if w.left_shift != left_shift or _HALF not in factors[:2]:
        raise Unsupported("a sum with scales other than TFLite's")
    which = 1 if factors[1] == _HALF else 2
    multiplier, right = _hardware(factors[which - 1])
    right -= left_shift
    if right < 0:
        raise Unsupported("a sum with scales other than TFLite's")
    return [
        Operation(
            kind,
            first,
            output,
            second,
            swapped=swapped,
            scale=_hardware(factors[2]),
            operand_scale=(which, (multiplier, right)),
            clamp=w.clamp,
            origin=node.origin,
        )
    ]


def _multiply(node: Node, graph: Graph) -> list[Operation]:
    w: Any = node.workload
    first, second, output, _ = _operands(node, graph)
    if isinstance(w, Multiply):
        factor, rounding = (w.multiplier, w.shift), w.rounding
    else:
        factor, rounding = w.factors[2], "double"
    if factor[1] > 0 and first.itemsize > 1:
        raise Unsupported("products may leave 32 bits")
    return [
        Operation(
            "multiply",
            first,
            output,
            second,
            scale=_hardware(factor),
            clamp=w.clamp,
            rounding=_ROUNDING[rounding],
            origin=node.origin,
        )
    ]


def _quantized_binary(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, QuantizedBinary)
    if w.operation in ("add", "subtract"):
        return _sum(node, graph)
    if w.operation == "multiply":
        return _multiply(node, graph)
    raise Unsupported(f"{w.operation} is not among the NPU's operators")


def _extremum(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Extremum)
    first, second, output, _ = _operands(node, graph)
    kind = {"max": "maximum", "min": "minimum"}[w.mode]
    return [Operation(kind, first, output, second, origin=node.origin)]


def copy(ifm: FeatureMap, ofm: FeatureMap, origin: str) -> Operation:
    """Moves elements as they are."""
    limits = np.iinfo(ofm.dtype)
    return Operation(
        "average_pool", ifm, ofm, clamp=(int(limits.min), int(limits.max)), origin=origin
    )


def _requantize(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Requantize)
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if w.shift > 22:
        raise Unsupported("values may leave 32 bits")
    shape = image(target.shape)
    return [
        Operation(
            "average_pool",
            feature_map(source, shape, w.input_zero_point),
            feature_map(target, shape, w.output_zero_point),
            scale=_hardware((w.multiplier, w.shift)),
            clamp=w.clamp,
            rounding=_ROUNDING[w.rounding],
            origin=node.origin,
        )
    ]


def _lookup(node: Node, graph: Graph) -> list[Operation]:
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    shape = image(target.shape)
    return [
        Operation(
            "average_pool",
            feature_map(source, shape),
            feature_map(target, shape),
            table=node.constants["table"].astype(np.int8),
            origin=node.origin,
        )
    ]


def _concatenate(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Concatenate)
    target = graph.tensors[node.output]
    whole = (w.outer, 1, sum(w.inners))
    operations, start = [], 0
    for name, inner in zip(node.inputs, w.inners, strict=True):
        source = feature_map(graph.tensors[name], (w.outer, 1, inner))
        written = feature_map(target, whole).part(channels=(start, start + inner))
        operations.append(copy(source, written, node.origin))
        start += inner
    return operations


def _rearrange(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Rearrange)
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if any(step is None or step < 0 for step in w.steps):
        raise Unsupported("elements that are moved in no fixed steps")
    axes = [(size, int(step or 0)) for size, step in zip(w.shape, w.steps, strict=True)]
    if axes[-1][1] != 1:
        axes.append((1, 1))
    if len(axes) > 3:
        raise Unsupported(f"a copy over {len(axes)} axes")
    axes = [(1, 0)] * (3 - len(axes)) + axes
    shape = (axes[0][0], axes[1][0], axes[2][0])
    itemsize = np.dtype(source.dtype).itemsize
    read = FeatureMap(
        source.name,
        shape,
        shape,
        dtype=source.dtype,
        offset=w.offset * itemsize,
        strides=(axes[0][1] * itemsize, axes[1][1] * itemsize),
    )
    return [copy(read, feature_map(target, shape), node.origin)]


def _softmax(node: Node, graph: Graph) -> list[Operation]:
    w = node.workload
    assert isinstance(w, Softmax)
    if w.depth > _POOL_SIDE:
        raise Unsupported(f"softmax over {w.depth} values: the NPU takes {_POOL_SIDE}")
    shape = (w.rows, 1, w.depth)
    return softmax_operations(
        feature_map(graph.tensors[node.inputs[0]], shape),
        feature_map(graph.tensors[node.output], shape, -128),
        node.constants["table"].astype(np.int32),
        node.origin,
    )


_RULES: dict[type[Workload], Rule] = {
    Add: _sum,
    Concatenate: _concatenate,
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise,
    Extremum: _extremum,
    FullyConnected: _fully_connected,
    Lookup: _lookup,
    Mean: _mean,
    Multiply: _multiply,
    Pool2D: _pool2d,
    QuantizedBinary: _quantized_binary,
    Rearrange: _rearrange,
    Requantize: _requantize,
    Reshape: lambda node, graph: [],
    Softmax: _softmax,
    TransposeConv2D: _transpose_conv2d,
}
