"""A plain numpy interpreter of the quantized graph: what the generated C must compute, readably.

Every function follows its workload's docstring and uses the arithmetic of
`legalize/fixed_point.py`; none shares code with schedules or generated C. Slow, exact, and able to
show every intermediate tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler import (
    reference_elementwise,
    reference_real,
    reference_reduction,
    reference_sequence,
)
from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.legalize.fixed_point import (
    inverse_sqrt,
    requantize,
    requantize_by,
    rounding_divide_by_pot,
    softmax_outputs,
)
from tinyaot.compiler.legalize.fixed_point_wide import (
    interpolate,
    requantize_wide,
    wide_sigmoid,
    wide_softmax,
)
from tinyaot.schedules.workload import (
    Add,
    BatchMatMul,
    ChannelAffine,
    ChannelLookup,
    Concatenate,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    Extremum,
    FullyConnected,
    Gather,
    GatherNd,
    LinearResize,
    Lookup,
    Mean,
    Multiply,
    Pad,
    Pool2D,
    Rearrange,
    Requantize,
    Reshape,
    ResizeBilinear,
    ScaledSoftmax,
    Softmax,
    Transpose,
)
from tinyaot.schedules.workload_real import OffsetConv2D
from tinyaot.schedules.workload_wide import (
    WideConv2D,
    WideLookup,
    WidePool2D,
    WideRamp,
    WideRequantize,
    WideRsqrt,
    WideSigmoid,
    WideSoftmax,
)

Array = NDArray[Any]
Int64 = NDArray[np.int64]
Constants = Mapping[str, Array]


def evaluate(
    graph: Graph, inputs: Sequence[Array], states: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """The value of every tensor of a graph for one set of inputs.

    Args:
        graph: to interpret.
        inputs: in the graph's order, of its shapes and types.
        states: what the state tensors hold; their initial values if None. The result of one
            inference may be handed to the next.

    Returns:
        Arrays by tensor name; states as they are in the end.
    """
    values: dict[str, Array] = dict(zip(graph.inputs, inputs, strict=True))
    for state in graph.states:
        values[state.tensor] = state.initial if states is None else states[state.tensor]
    for node in graph.nodes:
        operands = [values[name] for name in (*node.inputs, *node.states)]
        result: Any = evaluate_node(node, operands)
        results = result if node.states else (result,)
        for name, array in zip((node.output, *node.states), results, strict=True):
            tensor = graph.tensors[name]
            values[name] = array.reshape(tensor.shape).astype(tensor.dtype)
    return values


def evaluate_node(node: Node, inputs: Sequence[Array]) -> Int64:
    """The output of one node as int64, in any shape with the elements in order.

    A node with states takes their values after its inputs, and returns the output and the new
    values as a tuple.
    """
    function = _FUNCTIONS[type(node.workload)]
    wide = [array.astype(np.int64) for array in inputs]
    constants = {name: array.astype(np.int64) for name, array in node.constants.items()}
    return function(node.workload, wide, constants)


def _rescaled(acc: Int64, workload: Any, constants: Constants) -> Int64:
    scaled = requantize(acc, constants["multiplier"], constants["shift"], workload.rounding)
    clipped: Int64 = np.clip(scaled + workload.output_zero_point, *workload.clamp)
    return clipped


def _windows(x: Int64, workload: Any, fill: int, dilation: tuple[int, int]) -> Int64:
    """Input patches (N, OH, OW, KH, KW, C); places outside the input hold `fill`."""
    top, left, bottom, right = workload.padding
    (kernel_h, kernel_w), (stride_h, stride_w) = workload.kernel, workload.strides
    _, out_h, out_w, _ = workload.output_shape
    # A window may reach past the declared padding when an average pools in ceiling mode.
    reach_h = (out_h - 1) * stride_h + (kernel_h - 1) * dilation[0] + 1
    reach_w = (out_w - 1) * stride_w + (kernel_w - 1) * dilation[1] + 1
    _, height, width, _ = workload.input_shape
    bottom, right = max(bottom, reach_h - height - top), max(right, reach_w - width - left)
    padded = np.pad(
        x.reshape(workload.input_shape),
        ((0, 0), (top, bottom), (left, right), (0, 0)),
        constant_values=fill,
    )
    rows = np.arange(out_h)[:, None] * stride_h + np.arange(kernel_h) * dilation[0]
    columns = np.arange(out_w)[:, None] * stride_w + np.arange(kernel_w) * dilation[1]
    patches: Int64 = padded[:, rows[:, None, :, None], columns[None, :, None, :], :]
    return patches


def _sums_of_products(centred: Int64, workload: Any, constants: Constants) -> Int64:
    """A convolution before it is rescaled."""
    patches = _windows(centred, workload, 0, workload.dilation)
    weight = constants["weight"]
    groups = workload.groups
    split = np.split(patches, groups, axis=-1)
    per_group = np.split(weight, groups, axis=0)
    acc = np.concatenate(
        [
            np.tensordot(part, kernel, axes=((3, 4, 5), (1, 2, 3)))
            for part, kernel in zip(split, per_group, strict=True)
        ],
        axis=-1,
    )
    biased: Int64 = acc + constants["bias"]
    return biased


def _conv2d(workload: Conv2D, inputs: list[Int64], constants: Constants) -> Int64:
    acc = _sums_of_products(inputs[0] - workload.input_zero_point, workload, constants)
    return _rescaled(acc, workload, constants)


def _wide_conv2d(workload: WideConv2D, inputs: list[Int64], constants: Constants) -> Int64:
    acc = _sums_of_products(inputs[0], workload, constants)
    multiplier, shift = constants["multiplier"], constants["shift"]
    if workload.rounding == "reduced":
        scaled = requantize_wide(acc, multiplier, shift)
    else:
        scaled = requantize(acc, multiplier, shift, workload.rounding)
    return np.clip(scaled, *workload.clamp)


def _depthwise_conv2d(
    workload: DepthwiseConv2D, inputs: list[Int64], constants: Constants
) -> Int64:
    patches = _windows(inputs[0] - workload.input_zero_point, workload, 0, workload.dilation)
    repeated = np.repeat(patches, workload.depth_multiplier, axis=-1)
    acc = (repeated * constants["weight"]).sum(axis=(3, 4))
    return _rescaled(acc + constants["bias"], workload, constants)


def _fully_connected(workload: FullyConnected, inputs: list[Int64], constants: Constants) -> Int64:
    rows = inputs[0].reshape(workload.batch, workload.input_size) - workload.input_zero_point
    return _rescaled(rows @ constants["weight"].T + constants["bias"], workload, constants)


def _batch_matmul(workload: BatchMatMul, inputs: list[Int64], constants: Constants) -> Int64:
    a = inputs[0].reshape(workload.batch, workload.rows, workload.depth)
    b = inputs[1].reshape(workload.batch, workload.depth, workload.columns)
    acc = (a - workload.input_zero_points[0]) @ (b - workload.input_zero_points[1])
    return _rescaled(acc, workload, _scalars(workload.multiplier, workload.shift))


def _pool2d(workload: Pool2D | WidePool2D, inputs: list[Int64], constants: Constants) -> Int64:
    outside = -(2**31)
    patches = _windows(inputs[0], workload, outside, (1, 1))
    inside = patches != outside
    if workload.mode == "max":
        result = patches.max(axis=(3, 4))
    else:
        total = np.where(inside, patches, 0).sum(axis=(3, 4))
        count = inside.sum(axis=(3, 4))
        rounded = (np.abs(total) + count // 2) // count
        result = np.sign(total) * rounded
    clipped: Int64 = np.clip(result, *workload.clamp)
    return clipped


def _mean(workload: Mean, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0].reshape(workload.outer, workload.reduced, workload.inner)
    acc = x.sum(axis=1) - workload.reduced * workload.input_zero_point
    return _rescaled(acc, workload, _scalars(workload.multiplier, workload.shift))


def _scalars(multiplier: int, shift: int) -> Constants:
    return {"multiplier": np.array(multiplier, np.int64), "shift": np.array(shift, np.int64)}


def _add(workload: Add, inputs: list[Int64], constants: Constants) -> Int64:
    total = np.zeros(workload.size, np.int64)
    for x, zero_point, multiplier, shift in zip(
        inputs, workload.input_zero_points, workload.multipliers, workload.shifts, strict=True
    ):
        centred = (x.reshape(-1) - zero_point) << workload.left_shift
        scale = _scalars(multiplier, shift)
        total = total + requantize(centred, scale["multiplier"], scale["shift"], workload.rounding)
    scale = _scalars(workload.output_multiplier, workload.output_shift)
    return _rescaled(total, workload, scale)


def _broadcast(workload: Any, inputs: list[Int64]) -> list[Int64]:
    index = np.indices(workload.shape)
    return [
        x.reshape(-1)[np.tensordot(steps, index, axes=1)]
        for x, steps in zip(inputs, workload.steps, strict=True)
    ]


def _multiply(workload: Multiply, inputs: list[Int64], constants: Constants) -> Int64:
    a, b = _broadcast(workload, inputs)
    product = (a - workload.input_zero_points[0]) * (b - workload.input_zero_points[1])
    return _rescaled(product, workload, _scalars(workload.multiplier, workload.shift))


def _extremum(workload: Extremum, inputs: list[Int64], constants: Constants) -> Int64:
    a, b = _broadcast(workload, inputs)
    result: Int64 = np.maximum(a, b) if workload.mode == "max" else np.minimum(a, b)
    return result


def _requantize(
    workload: Requantize | WideRequantize, inputs: list[Int64], constants: Constants
) -> Int64:
    scale = _scalars(workload.multiplier, workload.shift)
    return _rescaled(inputs[0] - workload.input_zero_point, workload, scale)


def _lookup(workload: Lookup, inputs: list[Int64], constants: Constants) -> Int64:
    result: Int64 = constants["table"][inputs[0] + 128]
    return result


def _channel_lookup(workload: ChannelLookup, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0].reshape(workload.outer, workload.channels, workload.inner)
    tables = constants["table"].reshape(workload.channels, 256)
    result: Int64 = tables[np.arange(workload.channels)[:, None], x + 128]
    return result


def _channel_affine(workload: ChannelAffine, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0].reshape(workload.outer, workload.channels, workload.inner)
    factor, offset = constants["factor"][:, None], constants["offset"][:, None]
    clipped: Int64 = np.clip((x * factor + offset) >> workload.shift, *workload.clamp)
    return clipped


def _softmax(workload: Softmax, inputs: list[Int64], constants: Constants) -> Int64:
    rows = inputs[0].reshape(workload.rows, workload.depth)
    exponentials = constants["table"][rows.max(axis=1, keepdims=True) - rows]
    total = rounding_divide_by_pot(exponentials, 12).sum(axis=1, keepdims=True)
    return softmax_outputs(exponentials, total)


def _scaled_softmax(workload: ScaledSoftmax, inputs: list[Int64], constants: Constants) -> Int64:
    rows = inputs[0].reshape(workload.rows, workload.depth)
    exponentials = constants["table"][rows.max(axis=1, keepdims=True) - rows]
    total = exponentials.sum(axis=1, keepdims=True)
    ratio = (exponentials * workload.multiplier + (total << 15)) // (total << 16)
    clipped: Int64 = np.clip(ratio + workload.output_zero_point, *workload.clamp)
    return clipped


def _wide_softmax(workload: WideSoftmax, inputs: list[Int64], constants: Constants) -> Int64:
    rows = inputs[0].reshape(workload.rows, workload.depth)
    tables = (constants["exponential"], constants["reciprocal"])
    return wide_softmax(rows, workload.multiplier, workload.shift, *tables)


def _wide_sigmoid(workload: WideSigmoid, inputs: list[Int64], constants: Constants) -> Int64:
    scale = (workload.multiplier, workload.shift)
    return wide_sigmoid(workload.function, inputs[0], *scale, constants["table"])


def _wide_lookup(workload: WideLookup, inputs: list[Int64], constants: Constants) -> Int64:
    return interpolate(constants["table"], inputs[0])


def _wide_ramp(workload: WideRamp, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0]
    positive = requantize_by(x, workload.positive)
    negative = requantize_by(-x if workload.mirror else x, workload.negative)
    return np.clip(np.where(x >= 0, positive, negative), *workload.clamp)


def _linear_resize(workload: LinearResize, inputs: list[Int64], constants: Constants) -> Int64:
    x: Int64 = inputs[0].reshape(workload.outer, *workload.input_size, workload.inner)
    x = x - workload.input_zero_point
    for axis, denominator in enumerate(workload.denominators):
        weight: Int64 = constants[f"weight_{axis}"].reshape([-1, *[1] * (2 - axis)])
        first = x.take(constants[f"first_{axis}"], axis=1 + axis)
        second = x.take(constants[f"second_{axis}"], axis=1 + axis)
        x = (denominator - weight) * first + weight * second
    return _rescaled(x, workload, _scalars(workload.multiplier, workload.shift))


def _wide_rsqrt(workload: WideRsqrt, inputs: list[Int64], constants: Constants) -> Int64:
    multiplier, shift = inverse_sqrt(np.maximum(inputs[0], 1))
    roots = requantize(np.ones_like(shift), multiplier, shift + 20, "double")
    scaled = requantize_by(roots, (workload.factor[0], workload.factor[1] - 20))
    return np.where(inputs[0] > 0, np.clip(scaled, -32768, 32767), 32767)


def _pad(workload: Pad, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0].reshape(workload.input_shape)
    return np.pad(x, workload.padding, constant_values=workload.value)


def _transpose(workload: Transpose, inputs: list[Int64], constants: Constants) -> Int64:
    return inputs[0].reshape(workload.input_shape).transpose(workload.axes)


def _reshape(workload: Reshape, inputs: list[Int64], constants: Constants) -> Int64:
    return inputs[0]


def _constant(workload: Constant, inputs: list[Int64], constants: Constants) -> Int64:
    return constants["value"]


def _rearrange(workload: Rearrange, inputs: list[Int64], constants: Constants) -> Int64:
    places: Int64 = np.array(workload.offset)
    for axis, (size, step) in enumerate(zip(workload.shape, workload.steps, strict=True)):
        table = constants[f"places_{axis}"] if step is None else np.arange(size) * step
        places = places[..., None] + table
    return inputs[0].reshape(-1)[places]


def _gather(workload: Gather, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0].reshape(workload.outer, workload.size, workload.inner)
    rows = workload.outer if workload.batched else 1
    places = np.clip(inputs[1].reshape(rows, workload.count), 0, workload.size - 1)
    places = np.broadcast_to(places, (workload.outer, workload.count))
    return np.take_along_axis(x, places[:, :, None], axis=1)


def _gather_nd(workload: GatherNd, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0].reshape(*workload.sizes, workload.block)
    last = np.array(workload.sizes) - 1
    places = np.clip(inputs[1].reshape(workload.count, len(workload.sizes)), 0, last)
    result: Int64 = x[tuple(places.T)]
    return result


def _resize_bilinear(workload: ResizeBilinear, inputs: list[Int64], constants: Constants) -> Int64:
    x = inputs[0].reshape(workload.input_shape)
    for axis, name in ((1, "row"), (2, "column")):
        part = constants[f"{name}_part"].reshape([-1, 1, 1] if axis == 1 else [-1, 1])
        low, high = (x.take(constants[f"{name}_{end}"], axis=axis) for end in ("low", "high"))
        x = low * (1024 - part) + high * part
    result: Int64 = np.sign(x) * ((np.abs(x) + (1 << 19)) >> 20)
    return result


def _concatenate(workload: Concatenate, inputs: list[Int64], constants: Constants) -> Int64:
    parts = [
        x.reshape(workload.outer, inner) for x, inner in zip(inputs, workload.inners, strict=True)
    ]
    return np.concatenate(parts, axis=1)


_FUNCTIONS: dict[type[Any], Callable[[Any, list[Int64], Constants], Int64]] = {
    Add: _add,
    BatchMatMul: _batch_matmul,
    ChannelAffine: _channel_affine,
    ChannelLookup: _channel_lookup,
    Concatenate: _concatenate,
    Constant: _constant,
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise_conv2d,
    Extremum: _extremum,
    FullyConnected: _fully_connected,
    Gather: _gather,
    GatherNd: _gather_nd,
    LinearResize: _linear_resize,
    Lookup: _lookup,
    Mean: _mean,
    Multiply: _multiply,
    OffsetConv2D: reference_real.offset_conv2d(_sums_of_products),
    Pad: _pad,
    Pool2D: _pool2d,
    Rearrange: _rearrange,
    Requantize: _requantize,
    Reshape: _reshape,
    ResizeBilinear: _resize_bilinear,
    ScaledSoftmax: _scaled_softmax,
    Softmax: _softmax,
    Transpose: _transpose,
    **reference_sequence.FUNCTIONS,
    WideConv2D: _wide_conv2d,
    WideLookup: _wide_lookup,
    WidePool2D: _pool2d,
    WideRamp: _wide_ramp,
    WideRequantize: _requantize,
    WideRsqrt: _wide_rsqrt,
    WideSigmoid: _wide_sigmoid,
    WideSoftmax: _wide_softmax,
    **reference_elementwise.FUNCTIONS,
    **reference_real.FUNCTIONS,
    **reference_reduction.FUNCTIONS,
}
