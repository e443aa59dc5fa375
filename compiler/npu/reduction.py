"""Means, sums, extremes and softmax as the NPU's operations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.npu.operands import (
    KERNEL_HEIGHT,
    LARGEST,
    MOST_PARTS,
    POOL_SIDE,
    ROUNDING,
    Factor,
    Unsupported,
    feature_map,
    hardware_factor,
    image,
    strided,
)
from tinyaot.compiler.npu.softmax import softmax_operations
from tinyaot.schedules.workload import Mean, Softmax
from tinyaot.schedules.workload_reduction import Reduce, ReduceExtreme
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation

Axis = tuple[int, int, bool]
"""An axis of the input: its size, elements from one index to the next, whether it is reduced."""

_COMPLEMENT = np.arange(127, -129, -1).astype(np.int8)
"""The table that turns order around, without loss: -1 - x."""


def mean(node: Node, graph: Graph) -> list[Operation]:
    """A sum with the division in its scale."""
    w = node.workload
    assert isinstance(w, Mean)
    axes = [
        (w.outer, w.reduced * w.inner, False),
        (w.reduced, w.inner, True),
        (w.inner, 1, False),
    ]
    return _sums(node, graph, axes, (w.multiplier, w.shift), w.rounding)


def reduce(node: Node, graph: Graph) -> list[Operation]:
    """SUM, or MEAN over axes that are not neighbours."""
    w = node.workload
    assert isinstance(w, Reduce)
    return _sums(node, graph, _axes(w), w.factor, "double")


def _axes(w: Reduce | ReduceExtreme) -> list[Axis]:
    """All axes in the order of memory."""
    kept = [(size, step, False) for size, step in zip(w.kept, w.kept_steps, strict=True)]
    gone = [(size, step, True) for size, step in zip(w.reduced, w.reduced_steps, strict=True)]
    return sorted((*kept, *gone), key=lambda axis: -axis[1])


def _sums(
    node: Node, graph: Graph, axes: Sequence[Axis], factor: Factor, rounding: str
) -> list[Operation]:
    """Convolutions with ones: depthwise ones if channels are kept, else with one output channel."""
    w = node.workload
    assert isinstance(w, (Mean, Reduce))
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if source.dtype != "int8":
        raise Unsupported(f"a sum over {source.dtype}")
    count = math.prod(size for size, _, gone in axes if gone)
    if (count * 255) << max(factor[1], 0) >= 2**31:
        raise Unsupported("sums may leave 32 bits")
    *outer, channels = _with_channels(axes, source)
    reduced = [axis for axis in outer if axis[2]]
    kept = sorted(axis for axis in outer if not axis[2])
    if len(reduced) == 1:
        reduced = _sides(reduced[0], KERNEL_HEIGHT)
    if len(reduced) > 2 or max((size for size, _, _ in reduced), default=1) > KERNEL_HEIGHT:
        raise Unsupported(f"a sum over {' x '.join(str(size) for size, _, _ in reduced)} elements")
    # The two largest axes that there is room for are rows and columns, the others repetitions.
    split = len(kept) - (2 - len(reduced))
    repeated, rest = kept[: max(split, 0)], kept[max(split, 0) :]
    places = sorted([*reduced, *rest], key=lambda axis: -axis[1])
    none: list[Axis] = [(1, 0, False)] * (2 - len(places))
    rows, columns = none + places
    if math.prod(size for size, _, _ in repeated) > MOST_PARTS:
        raise Unsupported(f"a sum of {math.prod(size for size, _, _ in repeated)} separate parts")

    kernel = (rows[0] if rows[2] else 1, columns[0] if columns[2] else 1)
    depth, outputs = channels[0], 1 if channels[2] else channels[0]
    shape = (1 if rows[2] else rows[0], 1 if columns[2] else columns[0], outputs)
    ones = np.ones((1, *kernel, depth) if channels[2] else (*kernel, depth), np.int8)
    scales = np.tile(np.array(hardware_factor(factor), np.int64), (outputs, 1))
    bias = np.zeros(outputs, np.int32)
    written = _kept_steps([*outer, channels])
    operations = []
    for index in itertools.product(*(range(size) for size, _, _ in repeated)):
        moved = list(zip(index, repeated, strict=True))
        ifm = strided(
            source,
            (rows[0], columns[0], depth),
            (rows[1], columns[1]),
            w.input_zero_point,
            offset=sum(one * axis[1] for one, axis in moved),
        )
        ofm = strided(
            target,
            shape,
            (written.get(rows, 0), written.get(columns, 0)),
            w.output_zero_point,
            offset=sum(one * written[axis] for one, axis in moved),
        )
        operations.append(
            Operation(
                "conv2d" if channels[2] else "depthwise",
                ifm,
                ofm,
                kernel=kernel,
                weights=ones,
                bias=bias,
                scales=scales,
                clamp=w.clamp,
                rounding=ROUNDING[rounding],
                origin=node.origin,
            )
        )
    return operations


def _with_channels(axes: Sequence[Axis], source: Tensor) -> list[Axis]:
    """The axes without those of one element; the last one is channels, no more than the tensor's
    own where they are kept: each needs weights."""
    held = [axis for axis in axes if axis[0] > 1]
    if not held or held[-1][1] != 1:
        return [*held, (1, 1, False)]
    size, _, gone = held[-1]
    own = source.shape[-1]
    if not gone and own < size and size % own == 0:
        return [*held[:-1], (size // own, own, False), (own, 1, False)]
    return held


def _sides(axis: Axis, most: int) -> list[Axis]:
    """An axis as two where it is too long for a side of a kernel."""
    size, step, gone = axis
    if size <= most:
        return [axis]
    for first in range(most, 1, -1):
        if size % first == 0 and size // first <= most:
            return [(first, size // first * step, gone), (size // first, step, gone)]
    raise Unsupported(f"a reduction over {size} elements")


def _kept_steps(axes: Sequence[Axis]) -> dict[Axis, int]:
    """Elements of the output from one index of an axis to the next."""
    steps, step = {}, 1
    for axis in reversed(axes):
        if not axis[2]:
            steps[axis] = step
            step *= axis[0]
    return steps


def extreme(node: Node, graph: Graph) -> list[Operation]:
    """Max pooling over one axis after the other; REDUCE_MIN turns the order around before and
    after it."""
    w = node.workload
    assert isinstance(w, ReduceExtreme)
    if w.argument:
        raise Unsupported("the index of an extreme is not among the NPU's operators")
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if w.mode == "min" and source.dtype != "int8":
        raise Unsupported(f"the smallest of {source.dtype}")
    limits = np.iinfo(source.dtype)
    clamp = (int(limits.min), int(limits.max))
    axes = [(size, gone) for size, _, gone in _axes(w) if size > 1]
    operations: list[Operation] = []
    current = source
    if w.mode == "min":
        current = replace(source, name=f"{target.name} turned around")
        shape = image(source.shape)
        operations.append(
            Operation(
                "average_pool",
                feature_map(source, shape),
                feature_map(current, shape),
                table=_COMPLEMENT,
                origin=node.origin,
            )
        )
    stages = max(sum(gone for _, gone in axes), 1)
    for stage in range(1, stages + 1):
        place = next((p for p, (_, gone) in enumerate(axes) if gone), len(axes))
        last = stage == stages
        result = target if last else replace(target, name=f"{target.name} stage {stage}")
        outer = math.prod(size for size, _ in axes[:place])
        inner = math.prod(size for size, _ in axes[place + 1 :])
        size = axes[place][0] if place < len(axes) else 1
        for read, written, kernel in _pools(current, result, outer, size, inner):
            operations.append(
                Operation(
                    "max_pool",
                    read,
                    written,
                    kernel=kernel,
                    clamp=clamp,
                    table=_COMPLEMENT if w.mode == "min" and last else None,
                    origin=node.origin,
                )
            )
        axes = [*axes[:place], *axes[place + 1 :]]
        current = result
    if len(operations) > MOST_PARTS:
        raise Unsupported(f"an extreme of more than {MOST_PARTS} separate parts")
    return operations


def _pools(
    source: Tensor, target: Tensor, outer: int, size: int, inner: int
) -> list[tuple[FeatureMap, FeatureMap, tuple[int, int]]]:
    """Input, output and kernel of poolings of (outer, size, inner) to (outer, inner)."""
    if size <= POOL_SIDE and outer <= LARGEST:
        ifm = feature_map(source, (outer, size, inner))
        return [(ifm, feature_map(target, (outer, 1, inner)), (1, size))]
    if outer > MOST_PARTS:
        raise Unsupported(f"an extreme of {outer} times {size} elements")
    sides = [side for side, _, _ in _sides((size, 1, True), POOL_SIDE)]
    kernel = (sides[0], sides[1]) if len(sides) == 2 else (1, size)
    return [
        (
            feature_map(source, (*kernel, inner), offset=index * size * inner),
            feature_map(target, (1, 1, inner), offset=index * inner),
            kernel,
        )
        for index in range(outer)
    ]


def softmax(node: Node, graph: Graph) -> list[Operation]:
    """Softmax in integers; see `softmax_operations`."""
    w = node.workload
    assert isinstance(w, Softmax)
    if w.depth > POOL_SIDE:
        raise Unsupported(f"softmax over {w.depth} values: the NPU takes {POOL_SIDE}")
    shape = (w.rows, 1, w.depth)
    return softmax_operations(
        feature_map(graph.tensors[node.inputs[0]], shape),
        feature_map(graph.tensors[node.output], shape, -128),
        node.constants["table"].astype(np.int32),
        node.origin,
    )
