"""Element-wise operators as the NPU's operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinyaot.compiler.graph import Graph, Node
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
    first, second, output, swapped = _operands(node, graph)
    if swapped:
        factors[:2] = factors[1::-1]
    left_shift = 20 if first.itemsize == 1 else 15
    if w.left_shift != left_shift or _HALF not in factors[:2]:
        raise Unsupported("a sum with scales other than TFLite's")
    which = 1 if factors[1] == _HALF else 2
    multiplier, right = hardware_factor(factors[which - 1])
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
            scale=hardware_factor(factors[2]),
            operand_scale=(which, (multiplier, right)),
            clamp=w.clamp,
            origin=node.origin,
        )
    ]


def multiply(node: Node, graph: Graph) -> list[Operation]:
    """Products."""
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
            scale=hardware_factor(factor),
            clamp=w.clamp,
            rounding=ROUNDING[rounding],
            origin=node.origin,
        )
    ]


def quantized_binary(node: Node, graph: Graph) -> list[Operation]:
    """Sums, differences and products with broadcasting."""
    w = node.workload
    assert isinstance(w, QuantizedBinary)
    if w.operation in ("add", "subtract"):
        return add(node, graph)
    if w.operation == "multiply":
        return multiply(node, graph)
    raise Unsupported(f"{w.operation} is not among the NPU's operators")


def extremum(node: Node, graph: Graph) -> list[Operation]:
    """The larger or smaller of two elements of one scale."""
    w = node.workload
    assert isinstance(w, (Binary, Extremum))
    name = w.operation if isinstance(w, Binary) else w.mode
    kind = {"max": "maximum", "min": "minimum"}.get(name, name)
    if kind not in ("maximum", "minimum"):
        raise Unsupported(f"{kind} of numbers without a scale is not among the NPU's operators")
    first, second, output, _ = _operands(node, graph)
    return [Operation(kind, first, output, second, clamp=_range(output), origin=node.origin)]


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
