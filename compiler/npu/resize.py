"""Interpolation between neighbours as the NPU's operations: depthwise convolutions.

Outputs that lie alike between two inputs are one convolution, whose weights are the distances; it
writes every second row and column, or how far they are apart. Exact where the products of distances
are whole numbers of eight bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu.movement import runs
from tinyaot.compiler.npu.operands import (
    MOST_STRIDE,
    ROUNDING,
    Unsupported,
    copy,
    hardware_factor,
    strided,
)
from tinyaot.schedules.workload import LinearResize, ResizeBilinear
from tinyaot.targets.ethos_u.operation import Operation, Scale

Taps = tuple[int, ...]
"""Weights of one input or two neighbours."""
Indices = NDArray[Any]

_MOST_PARTS = 64
_WHOLE = 1 << 10
_LARGEST_WEIGHT = 127


@dataclass(frozen=True)
class _Geometry:
    """Shapes, and how results are rounded.

    Attributes:
        outer, inner: what lies around the two axes.
        inputs, outputs: sizes of the two axes.
        zero_points: of input and output.
        clamp, rounding: as of `Operation`.
    """

    outer: int
    inner: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    zero_points: tuple[int, int] = (0, 0)
    clamp: tuple[int, int] = (-128, 127)
    rounding: str = "double"


@dataclass(frozen=True)
class _Line:
    """Rows or columns of the output that lie alike between those of the input.

    Attributes:
        count: how many.
        first, step: the first input that they read, and from one to the next.
        place, apart: likewise in the output.
        taps: weights.
    """

    count: int
    first: int
    step: int
    place: int
    apart: int
    taps: Taps


def bilinear(node: Node, graph: Graph) -> list[Operation]:
    """RESIZE_BILINEAR of int8, whose sum TFLite rounds once, ties away from zero."""
    w = node.workload
    assert isinstance(w, ResizeBilinear)
    if w.dtype != "int8":
        raise Unsupported(f"interpolation of {w.dtype}")
    lines = []
    for name in ("row", "column"):
        low, high, part = (node.constants[f"{name}_{kind}"] for kind in ("low", "high", "part"))
        lines.append(_lines(low, high, _WHOLE - part, part))

    def scaled(total: int) -> Scale | None:
        # Of twice the sum the first step leaves the sum; the second rounds half away from zero.
        return None if total == 1 else (1 << 30, 31 + total.bit_length() - 1)

    geometry = _Geometry(
        w.input_shape[0], w.input_shape[3], w.input_shape[1:3], w.output_shape[1:3]
    )
    rows, columns = ([_reduced(line) for line in own] for own in lines)
    return _blends(node, graph, geometry, rows, columns, 2, scaled)


def linear(node: Node, graph: Graph) -> list[Operation]:
    """ONNX's Resize in mode linear, the division in its scale."""
    w = node.workload
    assert isinstance(w, LinearResize)
    if math.prod(w.denominators) * 255 << max(w.shift, 0) >= 2**31:
        raise Unsupported("sums may leave 32 bits")
    rows, columns = (
        _lines(
            node.constants[f"first_{axis}"],
            node.constants[f"second_{axis}"],
            whole - node.constants[f"weight_{axis}"],
            node.constants[f"weight_{axis}"],
        )
        for axis, whole in enumerate(w.denominators)
    )
    scale = hardware_factor((w.multiplier, w.shift))
    geometry = _Geometry(
        w.outer,
        w.inner,
        w.input_size,
        w.output_size,
        (w.input_zero_point, w.output_zero_point),
        w.clamp,
        ROUNDING[w.rounding],
    )
    return _blends(node, graph, geometry, rows, columns, 1, lambda total: scale)


def _lines(low: Indices, high: Indices, first: Indices, second: Indices) -> list[_Line]:
    """What the outputs of an axis read, those together that a convolution can compute."""
    firsts, taps = [], []
    for places in zip(*(array.tolist() for array in (low, high, first, second)), strict=True):
        weights: dict[int, int] = {}
        for place, weight in zip(places[:2], places[2:], strict=True):
            weights[place] = weights.get(place, 0) + weight
        held = sorted(place for place, weight in weights.items() if weight)
        if not held or held[-1] - held[0] > 1:
            raise Unsupported("interpolation between inputs that are no neighbours")
        firsts.append(held[0])
        taps.append(tuple(weights[place] for place in held))
    return [_Line(*run, taps[run[3]]) for run in runs(np.array(firsts, np.int64), 1, taps)]


def _reduced(line: _Line) -> _Line:
    """The line with the smallest weights of the same proportion whose sum is a power of two."""
    shared = math.gcd(_WHOLE, *line.taps)
    taps = tuple(tap // shared for tap in line.taps)
    return _Line(line.count, line.first, line.step, line.place, line.apart, taps)


def _blends(
    node: Node,
    graph: Graph,
    geometry: _Geometry,
    rows: list[_Line],
    columns: list[_Line],
    gain: int,
    scaled: Callable[[int], Scale | None],
) -> list[Operation]:
    """A convolution for each kind of row and of column; `scaled` gives its scale from the sum of
    its weights before these are multiplied by `gain`, None for a copy."""
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if geometry.outer * len(rows) * len(columns) > _MOST_PARTS:
        raise Unsupported(f"interpolation in more than {_MOST_PARTS} regular parts")
    inner, (high, wide) = geometry.inner, geometry.inputs
    operations = []
    for index, row, column in itertools.product(range(geometry.outer), rows, columns):
        weights = gain * np.outer(row.taps, column.taps)
        (tall, down, between_rows), (broad, right, between) = map(_view, (row, column))
        ifm = strided(
            source,
            (tall, broad, inner),
            (between_rows * wide * inner, between * inner),
            geometry.zero_points[0],
            offset=((index * high + row.first) * wide + column.first) * inner,
        )
        ofm = strided(
            target,
            (row.count, column.count, inner),
            (row.apart * geometry.outputs[1] * inner, column.apart * inner),
            geometry.zero_points[1],
            offset=((index * geometry.outputs[0] + row.place) * geometry.outputs[1] + column.place)
            * inner,
        )
        scale = scaled(sum(row.taps) * sum(column.taps))
        if scale is None:
            operations.append(copy(ifm, ofm, node.origin))
            continue
        if np.abs(weights).max() > _LARGEST_WEIGHT or max(down, right) > MOST_STRIDE:
            raise Unsupported(
                f"interpolation with weights up to {np.abs(weights).max()}, "
                f"every {max(down, right)} inputs"
            )
        operations.append(
            Operation(
                "depthwise",
                ifm,
                ofm,
                kernel=(len(row.taps), len(column.taps)),
                strides=(down, right),
                weights=np.repeat(weights[:, :, None], inner, axis=2).astype(np.int8),
                bias=np.zeros(inner, np.int32),
                scales=np.tile(np.array(scale, np.int64), (inner, 1)),
                clamp=geometry.clamp,
                rounding=geometry.rounding,
                origin=node.origin,
            )
        )
    return operations


def _view(line: _Line) -> tuple[int, int, int]:
    """Inputs that the NPU sees of an axis, its stride, and how far they are apart in memory."""
    if len(line.taps) == 1 or line.count == 1:
        return line.count + len(line.taps) - 1, 1, line.step if len(line.taps) == 1 else 1
    return (line.count - 1) * line.step + len(line.taps), line.step, 1
