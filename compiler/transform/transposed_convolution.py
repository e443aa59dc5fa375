"""Transposed convolutions as plain ones, for which every core has a fast kernel.

With stride s, output row oh = q * s + r - padding reads input rows q, q - 1, ... through the kernel
rows r, r + s, ...: for each phase r a convolution of stride 1 with every s-th kernel row. One
convolution with s * s times the channels computes all phases, and a copy puts them in their places.
Where the kernel is no multiple of the stride, some taps are zero.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.schedules.workload import Conv2D, Rearrange
from tinyaot.schedules.workload_sequence import TransposeConv2D


def split_transposed_convolutions(graph: Graph) -> Graph:
    """Rewrites those on int8 that crop no more than their kernel reaches."""
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        workload = node.workload
        if not isinstance(workload, TransposeConv2D) or workload.dtype != "int8":
            nodes.append(node)
            continue
        axes = _Axis.of(workload, 0), _Axis.of(workload, 1)
        if workload.rounding == "reduced" or any(axis.before < 0 for axis in axes):
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
    plain = Conv2D(
        input_shape=workload.input_shape,
        output_shape=shape,
        kernel=(rows.taps, columns.taps),
        strides=(1, 1),
        padding=(rows.before, columns.before, rows.after, columns.after),
        dilation=(1, 1),
        groups=1,
        input_zero_point=workload.input_zero_point,
        output_zero_point=workload.output_zero_point,
        clamp=workload.clamp,
        rounding=workload.rounding,
    )
    constants = {
        name: np.tile(node.constants[name], count) for name in ("bias", "multiplier", "shift")
    }
    constants["weight"] = _phase_weights(node.constants["weight"], rows, columns)
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
    copy = Rearrange(
        "int8",
        int(np.prod(phases.shape)),
        workload.output_shape,
        0,
        (height * width * channels, None, None, 1),
    )
    constants = {
        "places_1": rows.place * width * channels + rows.phase * columns.stride * outputs,
        "places_2": columns.place * channels + columns.phase * outputs,
    }
    narrow = {name: places.astype(np.int32) for name, places in constants.items()}
    return Node(copy, (phases.name,), node.output, narrow, node.origin)
