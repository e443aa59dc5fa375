"""Operators that move elements, as the NPU's copies: an average over one element each.

The NPU reads and writes an image with any distance from row to row and from column to column; only
channels must lie side by side. What cannot be seen as one such image is several.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.npu.operands import (
    LARGEST,
    MOST_PARTS,
    Unsupported,
    copy,
    feature_map,
    strided,
)
from tinyaot.schedules.workload import Concatenate, Pad, Rearrange, Transpose
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation, Shape

Run = tuple[int, int, int, int, int]
"""Elements in even steps: how many, first place and step in the source, and in the target."""
Places = NDArray[np.int64]
"""For each index of an axis of the output how far its elements are from the input's first."""
Axis = tuple[int, int, int]
"""An axis of a copy: its size, and its steps in source and target."""
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

_LONGEST_PERIOD = 16
_TOO_MANY = f"elements that are moved in more than {MOST_PARTS} regular parts"
_DOUBLINGS = (1, 3)


def concatenate(node: Node, graph: Graph) -> list[Operation]:
    """Each input to its place."""
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


def transpose(node: Node, graph: Graph) -> list[Operation]:
    """One copy or more with the source's distances."""
    w = node.workload
    assert isinstance(w, Transpose)
    steps = _row_major(w.input_shape)
    places = [
        np.arange(size) * steps[axis] for size, axis in zip(w.output_shape, w.axes, strict=True)
    ]
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    return moves(node, source, target, 0, places)


def rearrange(node: Node, graph: Graph) -> list[Operation]:
    """Copies of what lies in even steps; an image that is doubled is one operation."""
    w = node.workload
    assert isinstance(w, Rearrange)
    places = [
        node.constants[f"places_{axis}"].astype(np.int64)
        if step is None
        else np.arange(size) * step
        for axis, (size, step) in enumerate(zip(w.shape, w.steps, strict=True))
    ]
    if w.offset == 0:
        doubled = _doubled(node, graph, places)
        if doubled:
            return doubled
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    return moves(node, source, target, w.offset, places)


def _row_major(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def moves(
    node: Node, source: Tensor, target: Tensor, offset: int, places: Sequence[Places]
) -> list[Operation]:
    """Element (i0, i1, ...) of the output is element offset + places[0][i0] + places[1][i1] + ...
    of the input."""
    parts_of = [
        runs(axis, step)
        for axis, step in zip(places, _row_major([len(axis) for axis in places]), strict=True)
    ]
    irregular = [axis for axis, parts in enumerate(parts_of) if len(parts) > 1]
    if math.prod(map(len, parts_of)) > MOST_PARTS:
        if len(irregular) < 2:
            raise Unsupported(_TOO_MANY)
        return _staged(node, source, target, offset, places, irregular[0] + 1)
    operations: list[Operation] = []
    for parts in itertools.product(*parts_of):
        read = offset + sum(part[1] for part in parts)
        written = sum(part[3] for part in parts)
        axes = _merged([(count, one, other) for count, _, one, _, other in parts if count > 1])
        operations += _copies(node, source, target, read, written, axes)
        if len(operations) > MOST_PARTS:
            raise Unsupported(_TOO_MANY)
    return operations


def _staged(
    node: Node,
    source: Tensor,
    target: Tensor,
    offset: int,
    places: Sequence[Places],
    split: int,
) -> list[Operation]:
    """The axes before `split` first, each with all that the others may read; then the others."""
    outer, inner = places[:split], places[split:]
    lowest = sum(int(axis.min()) for axis in inner)
    extent = sum(int(axis.max()) for axis in inner) - lowest + 1
    shape = (*(len(axis) for axis in outer), extent)
    between = replace(target, name=f"{target.name} of {len(inner)} axes", shape=shape)
    first = moves(node, source, between, offset + lowest, [*outer, np.arange(extent)])
    steps = _row_major(shape)
    rest = [axis - axis.min() for axis in inner]
    there = [np.arange(size) * step for size, step in zip(shape[:-1], steps, strict=False)]
    operations = first + moves(node, between, target, 0, [*there, *rest])
    if len(operations) > MOST_PARTS:
        raise Unsupported(_TOO_MANY)
    return operations


def runs(places: NDArray[np.int64], step: int, kinds: Sequence[object] | None = None) -> list[Run]:
    """The places of an axis in as few runs as can be found.

    Args:
        places: in the source, by index.
        step: elements from one index to the next in the target.
        kinds: of each index; those of a run are of one kind.
    """
    own = list(places.tolist())
    alike = [*kinds] if kinds is not None else [None] * len(own)
    found: list[list[Run]] = []
    for period in range(1, min(_LONGEST_PERIOD, len(own)) + 1):
        parts: list[Run] = []
        for first in range(period):
            indices = range(first, len(own), period)
            start = 0
            while start < len(indices):
                end = start + 1
                distance = own[indices[end]] - own[indices[start]] if end < len(indices) else 0
                while (
                    end < len(indices)
                    and own[indices[end]] - own[indices[end - 1]] == distance > 0
                    and alike[indices[end]] == alike[indices[start]]
                ):
                    end += 1
                if end - start == 1:
                    distance = 0
                at = indices[start]
                parts.append((end - start, own[at], distance, at * step, period * step))
                start = end
        found.append(parts)
        if len(parts) == 1:
            break
    return min(found, key=len)


def _merged(axes: Sequence[Axis]) -> list[Axis]:
    """Neighbouring axes as one where they are so on both sides; none too large."""
    merged: list[Axis] = []
    for size, read, written in axes:
        if merged:
            before, outer_read, outer_written = merged[-1]
            joined = (outer_read, outer_written) == (size * read, size * written)
            if joined and before * size <= LARGEST:
                merged[-1] = (before * size, read, written)
                continue
        merged.append((size, read, written))
    return merged


def _copies(
    node: Node, source: Tensor, target: Tensor, read: int, written: int, axes: Sequence[Axis]
) -> list[Operation]:
    """One copy if no more than two axes and channels are left."""
    channels = next((axis for axis in axes if axis[1:] == (1, 1)), (1, 1, 1))
    outer = [axis for axis in axes if axis is not channels]
    # The smallest axes are taken one index at a time.
    repeated = sorted(outer)[: max(len(outer) - 2, 0)]
    inner = [axis for axis in outer if axis not in repeated] or [(1, 0, 0)]
    rows, columns = inner if len(inner) == 2 else ((1, 0, 0), inner[0])
    if math.prod(size for size, _, _ in repeated) > MOST_PARTS:
        raise Unsupported(_TOO_MANY)
    shape = (rows[0], columns[0], channels[0])

    operations = []
    for indices in itertools.product(*(range(size) for size, _, _ in repeated)):
        moved = list(zip(indices, repeated, strict=True))
        first = read + sum(index * axis[1] for index, axis in moved)
        last = written + sum(index * axis[2] for index, axis in moved)
        ifm = strided(source, shape, (rows[1], columns[1]), offset=first)
        ofm = strided(target, shape, (rows[2], columns[2]), offset=last)
        operations.append(copy(ifm, ofm, node.origin))
    return operations


def _doubled(node: Node, graph: Graph, places: Sequence[Places]) -> list[Operation] | None:
    """An image that grows to 2 or 8 times its height and width: the NPU doubles what it reads. None
    if it is not that; 4 times are fewer cycles by copies."""
    if len(places) == 2:
        places = [*places, np.zeros(1, np.int64)]
    if len(places) != 3:
        return None
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    rows, columns, depth = (len(axis) for axis in places)
    for doublings in _DOUBLINGS:
        factor = 1 << doublings
        if rows % factor or columns % factor:
            return None
        expected = (
            np.repeat(np.arange(rows // factor) * (columns // factor * depth), factor),
            np.repeat(np.arange(columns // factor) * depth, factor),
            np.arange(depth),
        )
        if all(np.array_equal(one, other) for one, other in zip(places, expected, strict=True)):
            break
    else:
        return None
    operations: list[Operation] = []
    ifm = feature_map(source, (rows // factor, columns // factor, depth))
    for place in range(1, doublings + 1):
        shape = (2 * ifm.shape[0], 2 * ifm.shape[1], depth)
        ofm = feature_map(target, shape)
        if place < doublings:
            ofm = replace(ofm, storage=f"{target.name} doubled {place}")
        operations.append(replace(copy(ifm, ofm, node.origin), upscale="nearest"))
        ifm = ofm
    return operations


def pad(node: Node, graph: Graph) -> list[Operation]:
    """A copy to the middle of each image, and copies of a constant to its border."""
    w = node.workload
    assert isinstance(w, Pad)
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    shape, pairs = _padded_axes(w, source.shape, target.shape)
    missing = max(3 - len(shape), 0)
    shape, pairs = (1,) * missing + shape, ((0, 0),) * missing + pairs
    bounds = [(before, before + size) for size, (before, _) in zip(shape, pairs, strict=True)]
    ends = [size + sum(pair) for size, pair in zip(shape, pairs, strict=True)]
    if math.prod(ends[:-3]) > MOST_PARTS:
        raise Unsupported(f"padding of {math.prod(ends[:-3])} images")
    part = (shape[-3], shape[-2], shape[-1])
    whole = (ends[-3], ends[-2], ends[-1])
    middle: Box = (bounds[-3], bounds[-2], bounds[-1])
    boxes: list[tuple[FeatureMap, Box]] = []
    operations: list[Operation] = []
    for place, index in enumerate(itertools.product(*map(range, ends[:-3]))):
        written = feature_map(target, whole, offset=place * math.prod(whole))
        inner = [one - low for one, (low, _) in zip(index, bounds, strict=False)]
        if any(not 0 <= one < size for one, size in zip(inner, shape, strict=False)):
            boxes.append((written, ((0, whole[0]), (0, whole[1]), (0, whole[2]))))
            continue
        first = sum(one * step for one, step in zip(inner, _row_major(shape), strict=False))
        read = feature_map(source, part, offset=first)
        operations.append(copy(read, written.part(*middle), node.origin))
        boxes += [(written, box) for box in _border(middle, whole)]
    if len(operations) + len(boxes) > MOST_PARTS:
        raise Unsupported(f"padding by more than {MOST_PARTS} copies")
    return operations + _filled(boxes, w.value, node.origin)


def _padded_axes(
    w: Pad, given: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    """The shape and what is added before and after each axis: of the tensors' own axes where the
    workload's are some of them joined, so that channels stay channels."""
    sizes: list[int] = []
    pairs: list[tuple[int, int]] = []
    axis = 0
    for size, (first, last) in zip(w.input_shape, w.padding, strict=True):
        end = axis + 1
        while end < min(len(given), len(wanted)) and given[end] == wanted[end]:
            end += 1
        inner = math.prod(given[axis + 1 : end])
        if axis >= len(given) or math.prod(given[axis:end]) != size or (first | last) % inner:
            return w.input_shape, w.padding
        sizes += given[axis:end]
        pairs += [(first // inner, last // inner), *[(0, 0)] * (end - axis - 1)]
        axis = end
    if tuple(sizes) != given:
        return w.input_shape, w.padding
    return given, tuple(pairs)


def _border(middle: Box, whole: Shape) -> list[Box]:
    """What of an image is not in its middle, in boxes; those of the outer axes first."""
    boxes: list[Box] = []
    around = [(0, size) for size in whole]
    for axis in range(3):
        low, high = middle[axis]
        for bounds in ((0, low), (high, whole[axis])):
            if bounds[0] < bounds[1]:
                sides = [*middle[:axis], bounds, *around[axis + 1 :]]
                boxes.append((sides[0], sides[1], sides[2]))
    return boxes


def _filled(boxes: Sequence[tuple[FeatureMap, Box]], value: int, origin: str) -> list[Operation]:
    """Copies of one constant to each box."""
    parts = [fm.part(*box) for fm, box in boxes]
    count = max((math.prod(part.shape) for part in parts), default=0)
    operations = []
    for part in parts:
        name = f"{count} of {value} {part.dtype}"
        constant = FeatureMap(name, part.shape, part.shape, dtype=part.dtype)
        values = {name: np.full(count, value, part.dtype)}
        operations.append(replace(copy(constant, part, origin), constants=values))
    return operations
