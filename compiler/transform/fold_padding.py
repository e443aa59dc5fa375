"""Moves padding into the operators that read it: they skip the border, and no padded copy is made.

Exporters write explicit padding as an operator of its own, as PyTorch and Keras do before a strided
convolution. Convolutions pad with their input's zero point, max pooling with nothing, which the
least int8 equals.
"""

from __future__ import annotations

from dataclasses import replace

from tinyaot.compiler.graph import Graph, Node
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, Pad, Pool2D

_LEAST = -128


def fold_padding(graph: Graph) -> Graph:
    """Removes each padding whose readers can all take it over."""
    pads = {
        node.output: node
        for node in graph.nodes
        if isinstance(node.workload, Pad) and node.output not in graph.outputs
    }
    readers = {name: graph.consumers(name) for name in pads}
    folded = {
        name: pad
        for name, pad in pads.items()
        if readers[name] and all(_takes(reader, pad) for reader in readers[name])
    }
    nodes = tuple(
        _with_padding(node, folded[node.inputs[0]])
        if node.inputs and node.inputs[0] in folded
        else node
        for node in graph.nodes
        if node.output not in folded
    )
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name not in folded}
    return replace(graph, nodes=nodes, tensors=tensors)


def _widths(pad: Pad) -> tuple[int, int, int, int] | None:
    """(top, left, bottom, right), or None if other axes of an image are padded."""
    if pad.dtype != "int8" or len(pad.padding) != 4 or any(pad.padding[0]) or any(pad.padding[3]):
        return None
    (top, bottom), (left, right) = pad.padding[1:3]
    return top, left, bottom, right


def _takes(reader: Node, pad: Node) -> bool:
    """Whether an operator computes the same from the tensor before the padding."""
    workload, padding = reader.workload, pad.workload
    assert isinstance(padding, Pad)
    widths = _widths(padding)
    if widths is None or reader.states:
        return False
    if isinstance(workload, (Conv2D, DepthwiseConv2D)):
        value, dilation = workload.input_zero_point, workload.dilation
    elif isinstance(workload, Pool2D) and workload.mode == "max":
        value, dilation = _LEAST, (1, 1)
    else:
        return False
    if padding.value != value:
        return False
    # No window may lie in the padding alone.
    extent = [(size - 1) * step + 1 for size, step in zip(workload.kernel, dilation, strict=True)]
    total = [width + own for width, own in zip(widths, workload.padding, strict=True)]
    return all(width < extent[place % 2] for place, width in enumerate(total))


def _with_padding(reader: Node, pad: Node) -> Node:
    workload, padding = reader.workload, pad.workload
    assert isinstance(workload, (Conv2D, DepthwiseConv2D, Pool2D))
    assert isinstance(padding, Pad)
    widths = _widths(padding)
    assert widths is not None
    top, left, bottom, right = (
        width + own for width, own in zip(widths, workload.padding, strict=True)
    )
    batch, height, width, channels = padding.input_shape
    wider = replace(
        workload,
        input_shape=(batch, height, width, channels),
        padding=(top, left, bottom, right),
    )
    origin = f"{pad.origin}, {reader.origin}"
    return replace(reader, workload=wider, inputs=(pad.inputs[0],), origin=origin)
