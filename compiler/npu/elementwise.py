"""Element-wise operators as the NPU's operations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.legalize.fixed_point import requantize_by
from tinyaot.compiler.npu.chain import FRACTION, Chain
from tinyaot.compiler.npu.movement import moves
from tinyaot.compiler.npu.operands import (
    ROUNDING,
    Factor,
    Unsupported,
    feature_map,
    hardware_factor,
    image,
)
from tinyaot.schedules.workload import Add, Extremum, Multiply, Requantize
from tinyaot.schedules.workload_elementwise import Binary, QuantizedBinary
from tinyaot.schedules.workload_wide import WideRamp, WideRequantize
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation

_HALF = (1 << 30, 0)
_MOST_LEFT = 15
"""Bits by which TFLite may shift an int16 to the left within 32 bits."""


def add(node: Node, graph: Graph) -> list[Operation]:
    """Sums and differences of scaled operands."""
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
    found = _operands(node, graph)
    if found.swapped:
        factors[:2] = factors[1::-1]
    left_shift = 20 if found.first.itemsize == 1 else 15
    if w.left_shift != left_shift or _HALF not in factors[:2]:
        raise Unsupported("a sum with scales other than TFLite's")
    which = 1 if factors[1] == _HALF else 2
    multiplier, right = hardware_factor(factors[which - 1])
    right -= left_shift
    if right < 0:
        raise Unsupported("a sum with scales other than TFLite's")
    return [
        *found.before,
        Operation(
            kind,
            found.first,
            found.output,
            found.second,
            swapped=found.swapped,
            scale=hardware_factor(factors[2]),
            operand_scale=(which, (multiplier, right)),
            clamp=w.clamp,
            origin=node.origin,
        ),
    ]


def multiply(node: Node, graph: Graph) -> list[Operation]:
    """Products."""
    w: Any = node.workload
    found = _operands(node, graph)
    if isinstance(w, Multiply):
        factor, rounding = (w.multiplier, w.shift), w.rounding
    else:
        factor, rounding = w.factors[2], "double"
    if factor[1] > 0 and found.first.itemsize > 1:
        raise Unsupported("products may leave 32 bits")
    return [
        *found.before,
        Operation(
            "multiply",
            found.first,
            found.output,
            found.second,
            scale=hardware_factor(factor),
            clamp=w.clamp,
            rounding=ROUNDING[rounding],
            origin=node.origin,
        ),
    ]


def quantized_binary(node: Node, graph: Graph) -> list[Operation]:
    """Sums, differences and products with broadcasting."""
    w = node.workload
    assert isinstance(w, QuantizedBinary)
    if w.operation in ("add", "subtract"):
        return add(node, graph)
    if w.operation == "multiply":
        return multiply(node, graph)
    if w.operation == "squared_difference":
        return _squared_difference(node, graph)
    raise Unsupported(f"{w.operation} is not among the NPU's operators")


def _squared_difference(node: Node, graph: Graph) -> list[Operation]:
    """Operands are scaled by tables of int32; their difference is squared and scaled as TFLite does
    it in 32 bits."""
    w = node.workload
    assert isinstance(w, QuantizedBinary)
    multiplier, shift = w.factors[2]
    if w.dtype != "int8" or shift > 0:
        raise Unsupported(f"a squared difference of {w.dtype} scaled by 2^{shift}")
    found = _operands(node, graph)
    order = (1, 0) if found.swapped else (0, 1)
    chain = Chain(found.output.storage, node.origin)
    scaled = []
    for place, fm in zip(order, (found.first, found.second), strict=True):
        centred = np.arange(-128, 128) - w.input_zero_points[place]
        table = requantize_by(centred << w.left_shift, w.factors[place])
        name = f"{found.output.storage} operand {place} of int32"
        wide = FeatureMap(name, fm.shape, fm.shape, dtype="int32")
        zero = FeatureMap("0 int8", (1, 1, 1), (1, 1, 1))
        chain.operations.append(
            Operation(
                "subtract",
                replace(fm, zero_point=0),
                wide,
                zero,
                table=table.astype(np.int32),
                constants={zero.storage: np.zeros(1, np.int8)},
                origin=node.origin,
            )
        )
        scaled.append(wide)
    difference = chain.add("subtract", scaled[0], scaled[1])
    square = chain.add("multiply", difference, difference, scale=(1, 0))
    high = chain.add("multiply", square, multiplier, scale=FRACTION)
    chain.add("shift_right", high, -shift, ofm=found.output, rounding="natural", clamp=w.clamp)
    return [*found.before, *chain.operations]


def extremum(node: Node, graph: Graph) -> list[Operation]:
    """The larger or smaller of two elements of one scale."""
    w = node.workload
    assert isinstance(w, (Binary, Extremum))
    name = w.operation if isinstance(w, Binary) else w.mode
    kind = {"max": "maximum", "min": "minimum"}.get(name, name)
    if kind not in ("maximum", "minimum"):
        raise Unsupported(f"{kind} of numbers without a scale is not among the NPU's operators")
    found = _operands(node, graph)
    clamp = _range(found.output)
    last = Operation(kind, found.first, found.output, found.second, clamp=clamp, origin=node.origin)
    return [*found.before, last]


def _range(fm: FeatureMap) -> tuple[int, int]:
    limits = np.iinfo(fm.dtype)
    return int(limits.min), int(limits.max)


def ramp(node: Node, graph: Graph) -> list[Operation]:
    """ABS of int16, or LEAKY_RELU: both lines, each cut off at 0, and their sum."""
    w = node.workload
    assert isinstance(w, WideRamp)
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    shape = image(target.shape)
    ifm, ofm = feature_map(source, shape), feature_map(target, shape)
    if max(w.positive[1], w.negative[1]) > _MOST_LEFT:
        raise Unsupported("values may leave 32 bits")
    low, high = w.clamp
    if w.mirror and w.positive == w.negative:
        scale = hardware_factor(w.positive)
        return [Operation("absolute", ifm, ofm, scale=scale, clamp=w.clamp, origin=node.origin)]
    if w.mirror:
        raise Unsupported("a ramp whose sides are mirrored and of different slopes")
    above = replace(ofm, storage=f"{target.name} above 0")
    below = replace(ofm, storage=f"{target.name} below 0")
    return [
        _scaled(ifm, above, w.positive, (0, high), node.origin),
        _scaled(ifm, below, w.negative, (low, 0), node.origin),
        Operation("add", above, ofm, below, clamp=w.clamp, origin=node.origin),
    ]


def wide_requantize(node: Node, graph: Graph) -> list[Operation]:
    """A change of scale of int16."""
    w = node.workload
    assert isinstance(w, WideRequantize)
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if w.shift > _MOST_LEFT or w.rounding != "double":
        raise Unsupported("a change of scale of int16 that may leave 32 bits, or rounds once")
    if (source.dtype, target.dtype) != ("int16", "int16"):
        raise Unsupported(f"a change of scale from {source.dtype} to {target.dtype}")
    shape = image(target.shape)
    ifm = feature_map(source, shape, w.input_zero_point)
    ofm = feature_map(target, shape, w.output_zero_point)
    return [_scaled(ifm, ofm, (w.multiplier, w.shift), w.clamp, node.origin)]


def _scaled(
    ifm: FeatureMap, ofm: FeatureMap, factor: Factor, clamp: tuple[int, int], origin: str
) -> Operation:
    """A product with 1: what the NPU scales int16 by 32 bits with."""
    one = FeatureMap(f"1 {ifm.dtype}", (1, 1, 1), (1, 1, 1), dtype=ifm.dtype)
    return Operation(
        "multiply",
        ifm,
        ofm,
        one,
        scale=hardware_factor(factor),
        clamp=clamp,
        constants={one.storage: np.ones(1, ifm.dtype)},
        origin=origin,
    )


def requantize(node: Node, graph: Graph) -> list[Operation]:
    """A change of scale: an average over one element with a factor."""
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
            scale=hardware_factor((w.multiplier, w.shift)),
            clamp=w.clamp,
            rounding=ROUNDING[w.rounding],
            origin=node.origin,
        )
    ]


def lookup(node: Node, graph: Graph) -> list[Operation]:
    """A table after an average over one element."""
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


@dataclass(frozen=True)
class _Operands:
    """What an operator on two tensors reads and writes.

    Attributes:
        first, second: the operands, the larger first.
        output: the result.
        swapped: whether the first is the operator's second.
        before: what repeats operands, where the NPU cannot.
    """

    first: FeatureMap
    second: FeatureMap
    output: FeatureMap
    swapped: bool = False
    before: tuple[Operation, ...] = ()


def _operands(node: Node, graph: Graph) -> _Operands:
    w: Any = node.workload
    tensors = [graph.tensors[name] for name in node.inputs]
    target = graph.tensors[node.output]
    zero_points = getattr(w, "input_zero_points", (0, 0))
    whole = image(target.shape)
    output = feature_map(target, whole, getattr(w, "output_zero_point", 0))
    before: list[Operation] = []
    steps, repeated = [], [False, False]
    if not isinstance(w, Add):
        steps = [*w.steps]
        repeated = [not _dense(own, w.shape) for own in steps]
    for place in (0, 1):
        # The NPU repeats its second operand, along three axes at most.
        if repeated[place] and (all(repeated) or len(w.shape) > 3):
            name = f"{target.name} operand {place}"
            grown = replace(tensors[place], name=name, shape=target.shape)
            places = [
                np.arange(size) * step for size, step in zip(w.shape, steps[place], strict=True)
            ]
            before += moves(node, tensors[place], grown, 0, places)
            tensors[place], repeated[place] = grown, False
    # Where no axes are merged, keep the image's own: bricks and cascades like it so.
    if not any(repeated):
        first, second = (
            feature_map(tensor, whole, zero)
            for tensor, zero in zip(tensors, zero_points, strict=True)
        )
        return _Operands(first, second, output, False, tuple(before))
    maps = []
    for place, (tensor, zero) in enumerate(zip(tensors, zero_points, strict=True)):
        held = tuple(w.shape)
        if repeated[place]:
            held = tuple(
                1 if step == 0 else size for step, size in zip(steps[place], w.shape, strict=True)
            )
            if not _dense(steps[place], held):
                raise Unsupported("an operand that is not read in order")
        maps.append(feature_map(tensor, image(held), zero))
    if repeated[0]:
        maps.reverse()
    output = replace(output, whole=image(w.shape), shape=image(w.shape))
    return _Operands(maps[0], maps[1], output, repeated[0], tuple(before))


def _dense(steps: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether steps are those of a dense tensor of that shape; axes of one element have any."""
    expected = 1
    for step, size in reversed(list(zip(steps, shape, strict=True))):
        if size != 1 and step != expected:
            return False
        expected *= size
    return True
