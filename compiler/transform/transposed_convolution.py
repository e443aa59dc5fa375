"""Transposed convolutions as plain ones, for which every core has a fast kernel.

With stride s, output row oh = q * s + r - padding reads input rows q, q - 1, ... through the kernel
rows r, r + s, ...: for each phase r a convolution of stride 1 with every s-th kernel row. One
convolution with s * s times the channels computes all phases, and a copy puts them in their places,
where those of one axis without cropping lie already. Where the kernel is no multiple of the stride,
some taps are zero.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.schedules.workload import Conv2D, Rearrange, Reshape
from tinyaot.schedules.workload_sequence import TransposeConv2D
from tinyaot.schedules.workload_wide import WideConv2D


def split_transposed_convolutions(graph: Graph) -> Graph:
    """Rewrites those that crop no more than their kernel reaches."""
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        workload = node.workload
        if not isinstance(workload, TransposeConv2D):
            nodes.append(node)
            continue
        axes = _Axis.of(workload, 0), _Axis.of(workload, 1)
        if any(axis.before < 0 for axis in axes):
            nodes.append(node)
            continue
        convolution, phases = _convolution(node, workload, axes, graph.tensors[node.output])
        if phases is None:
            nodes.append(convolution)
            continue
        tensors[phases.name] = phases
        nodes += [convolution, _interleave(node, workload, axes, phases)]
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


class _Axis:
    """One axis of a transposed convolution.

    Attributes:
        taps: kernel places of each phase.
        first, count: the positions q that any output needs.
        before, after: padding of the convolution, which may reach less far than the input.
    """

    def __init__(self, size: int, output: int, kernel: int, stride: int, padding: int) -> None:
        self.stride, self.kernel = stride, kernel
        self.taps = -(-kernel // stride)
        position = np.arange(output) + padding
        self.phase = position % stride
        self.first = padding // stride
        self.place = position // stride - self.first
        self.count = int(self.place[-1]) + 1
        self.before = self.taps - 1 - self.first
        self.after = max(self.first + self.count - size, 0)

    @classmethod
    def of(cls, workload: TransposeConv2D, axis: int) -> _Axis:
        return cls(
            workload.input_shape[1 + axis],
            workload.output_shape[1 + axis],
            workload.kernel[axis],
            workload.strides[axis],
            workload.padding[axis],
        )


def _convolution(
    node: Node, workload: TransposeConv2D, axes: tuple[_Axis, _Axis], output: Tensor
) -> tuple[Node, Tensor | None]:
    """The convolution, and the tensor of its phases unless there is one phase only."""
    rows, columns = axes
    count = rows.stride * columns.stride
    shape = (workload.input_shape[0], rows.count, columns.count, count * workload.output_shape[3])
    phases = replace(output, name=f"{output.name}_phases", shape=shape) if count > 1 else None
    common: dict[str, Any] = {
        "input_shape": workload.input_shape,
        "output_shape": shape,
        "kernel": (rows.taps, columns.taps),
        "strides": (1, 1),
        "padding": (rows.before, columns.before, rows.after, columns.after),
        "dilation": (1, 1),
        "groups": 1,
        "clamp": workload.clamp,
        "rounding": workload.rounding,
    }
    plain: Conv2D | WideConv2D
    if workload.dtype == "int16":
        plain = WideConv2D(**common)
    else:
        zero_points = workload.input_zero_point, workload.output_zero_point
        plain = Conv2D(**common, input_zero_point=zero_points[0], output_zero_point=zero_points[1])
    constants = {
        "weight": _phase_weights(node.constants["weight"], rows, columns),
        **{name: np.tile(node.constants[name], count) for name in ("bias", "multiplier", "shift")},
    }
    name = node.output if phases is None else phases.name
    return Node(plain, node.inputs, name, constants, node.origin), phases


def _phase_weights(weight: NDArray[np.generic], rows: _Axis, columns: _Axis) -> NDArray[np.generic]:
    """(O,KH,KW,I) as (phases * O, taps, taps, I), each phase's taps from last to first."""
    outputs, kernel_height, kernel_width, inputs = weight.shape
    height, width = rows.taps * rows.stride, columns.taps * columns.stride
    whole = np.zeros((outputs, height, width, inputs), weight.dtype)
    whole[:, :kernel_height, :kernel_width] = weight
    parts = whole.reshape(outputs, rows.taps, rows.stride, columns.taps, columns.stride, inputs)[
        :, ::-1, :, ::-1
    ]
    return np.ascontiguousarray(
        parts.transpose(2, 4, 0, 1, 3, 5).reshape(-1, rows.taps, columns.taps, inputs)
    )


def _interleave(
    node: Node, workload: TransposeConv2D, axes: tuple[_Axis, _Axis], phases: Tensor
) -> Node:
    rows, columns = axes
    _, height, width, channels = phases.shape
    outputs = workload.output_shape[3]
    places = [
        rows.place * width * channels + rows.phase * columns.stride * outputs,
        columns.place * channels + columns.phase * outputs,
    ]
    image = places[0][:, None, None] + places[1][:, None] + np.arange(outputs)
    if np.array_equal(image.reshape(-1), np.arange(height * width * channels)):
        same = Reshape(phases.shape, workload.output_shape)
        return Node(same, (phases.name,), node.output, {}, node.origin)
    copy = Rearrange(
        workload.dtype,
        int(np.prod(phases.shape)),
        workload.output_shape,
        0,
        (height * width * channels, None, None, 1),
    )
    narrow = {f"places_{axis}": one.astype(np.int32) for axis, one in enumerate(places, start=1)}
    return Node(copy, (phases.name,), node.output, narrow, node.origin)
