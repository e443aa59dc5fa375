"""Removes channels whose values are known or unused, exactly to the bit.

Pruned networks hold many channels whose weights are all zero: their output is a constant that
depends on the bias alone. A convolution that reads such a channel sees nothing (the constant is
the zero point) or a fixed addend, which moves into its bias. With padding a constant other than
the zero point stays: at the border fewer taps see it.

Depthwise convolutions, pooling and element-wise operators give each channel its own path, so a
channel is removed from all tensors along the path, or from none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.legalize.fixed_point import requantize
from tinyaot.schedules.workload import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Pool2D,
    Requantize,
    Reshape,
)

# Kernels work on channels in blocks: a few removable channels stay to keep the count a multiple.
_CHANNEL_MULTIPLE = 4

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


def remove_constant_channels(graph: Graph) -> Graph:
    """Shrinks convolutions and dense layers by the channels that need no computation."""
    paths = _Paths(graph)
    values = _constant_values(graph)
    kept: dict[str, Int64] = {}
    for path in paths.all():
        removable = _removable(graph, path, values)
        keep = _keep(removable)
        if len(keep) < len(removable):
            kept.update(dict.fromkeys(path, keep))
    if not kept:
        return graph
    nodes = tuple(_shrink(node, graph, kept, values) for node in graph.nodes)
    tensors = {
        name: replace(tensor, shape=(*tensor.shape[:-1], len(kept[name])))
        if name in kept
        else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, nodes=nodes, tensors=tensors, kept_channels=kept)


@dataclass(frozen=True)
class _Paths:
    """Tensors whose channels are tied to each other, as classes of a union-find."""

    graph: Graph

    def all(self) -> Iterable[list[str]]:
        """The classes, each in the order in which its tensors are made."""
        parent = {name: name for name in self.graph.tensors}

        def find(name: str) -> str:
            while parent[name] != name:
                name = parent[name]
            return name

        for node in self.graph.nodes:
            if _ties_channels(node, self.graph):
                for source in node.inputs:
                    parent[find(source)] = find(node.output)
        classes: dict[str, list[str]] = {}
        for name in self.graph.tensors:
            classes.setdefault(find(name), []).append(name)
        return classes.values()


def _channels(tensor: Tensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def _ties_channels(node: Node, graph: Graph) -> bool:
    """Whether output channel c depends on channel c of the inputs and on nothing else."""
    workload = node.workload
    channels = _channels(graph.tensors[node.output])
    if any(_channels(graph.tensors[name]) != channels for name in node.inputs):
        return False
    if isinstance(workload, DepthwiseConv2D):
        return workload.depth_multiplier == 1
    if isinstance(workload, Mean):
        return workload.inner == channels
    return isinstance(workload, (Add, Pool2D, Requantize, Reshape))


def _constant_values(graph: Graph) -> dict[str, Float64]:
    """For each tensor the constant value of each channel, NaN where it is not constant."""
    values: dict[str, Float64] = {}
    for name, tensor in graph.tensors.items():
        values[name] = np.full(_channels(tensor), np.nan)
    for node in graph.nodes:
        inputs = [values[name] for name in node.inputs]
        constant = _constant_output(node, inputs, graph)
        if constant is not None:
            values[node.output] = constant
    return values


def _constant_output(node: Node, inputs: list[Float64], graph: Graph) -> Float64 | None:
    workload = node.workload
    if isinstance(workload, (Conv2D, FullyConnected)):
        weight = node.constants["weight"].reshape(len(node.constants["bias"]), -1)
        return np.where((weight == 0).all(axis=1), _requantized_bias(node, 0), np.nan)
    if isinstance(workload, DepthwiseConv2D):
        weight = node.constants["weight"].astype(np.int64)
        total = weight.sum(axis=(0, 1))
        constant = np.where((weight == 0).all(axis=(0, 1)), _requantized_bias(node, 0), np.nan)
        if workload.depth_multiplier == 1:
            centred = inputs[0] - workload.input_zero_point
            seen = ~np.isnan(centred) & ((centred == 0) | (not any(workload.padding)))
            addend = np.where(seen, centred, 0).astype(np.int64) * total
            constant = np.where(seen, _requantized_bias(node, addend), constant)
        return constant
    if not _ties_channels(node, graph):
        return None
    if isinstance(workload, Pool2D):
        return np.clip(inputs[0], *workload.clamp)
    if isinstance(workload, Reshape):
        return inputs[0]
    return None


def _requantized_bias(node: Node, addend: Int64 | int) -> Float64:
    """What an output channel is when its accumulator is the bias plus an addend."""
    workload: Any = node.workload
    constants = {name: array.astype(np.int64) for name, array in node.constants.items()}
    result = requantize(
        constants["bias"] + addend,
        constants["multiplier"],
        constants["shift"],
        workload.rounding,
    )
    clipped: Float64 = np.clip(result + workload.output_zero_point, *workload.clamp).astype(
        np.float64
    )
    return clipped


def _removable(graph: Graph, path: list[str], values: Mapping[str, Float64]) -> NDArray[np.bool_]:
    """The channels that can go from every tensor of a path."""
    channels = _channels(graph.tensors[path[0]])
    removable = np.ones(channels, np.bool_)
    members = set(path)
    if members & {*graph.inputs, *graph.outputs, *(state.tensor for state in graph.states)}:
        return np.zeros(channels, np.bool_)
    for node in graph.nodes:
        tied = _ties_channels(node, graph)
        if node.output in members and not tied and not _can_skip_outputs(node):
            return np.zeros(channels, np.bool_)
        for name in node.inputs:
            if name in members and not tied:
                removable &= _ignorable(node, name, graph, values[name])
    return removable


def _can_skip_outputs(node: Node) -> bool:
    workload = node.workload
    return isinstance(workload, FullyConnected) or (
        isinstance(workload, Conv2D) and workload.groups == 1
    )


def _ignorable(node: Node, source: str, graph: Graph, values: Float64) -> NDArray[np.bool_]:
    """The input channels that an operator can do without, perhaps after a change of its bias."""
    workload = node.workload
    known = ~np.isnan(values)
    if isinstance(workload, Conv2D) and workload.groups == 1:
        unused = (node.constants["weight"] == 0).all(axis=(0, 1, 2))
        nothing = values == workload.input_zero_point
        return np.asarray(unused | nothing | (known & (not any(workload.padding))))
    if isinstance(workload, FullyConnected) and workload.input_size == len(values):
        return np.asarray((node.constants["weight"] == 0).all(axis=0) | known)
    return np.zeros(len(values), np.bool_)


def _keep(removable: NDArray[np.bool_]) -> Int64:
    """Indices of the channels that stay: all that must, and some more to fill a block."""
    needed = np.flatnonzero(~removable)
    spare = np.flatnonzero(removable)
    target = max(math.ceil(len(needed) / _CHANNEL_MULTIPLE), 1) * _CHANNEL_MULTIPLE
    filling = spare[: max(0, min(target, len(removable)) - len(needed))]
    return np.sort(np.concatenate([needed, filling])).astype(np.int64)


def _shrink(
    node: Node, graph: Graph, kept: Mapping[str, Int64], values: Mapping[str, Float64]
) -> Node:
    """The node on the channels that are left."""
    if not node.inputs:
        return node
    workload = node.workload
    constants = dict(node.constants)
    source = node.inputs[0]
    if source in kept and isinstance(workload, (Conv2D, FullyConnected)):
        constants = _without_inputs(node, constants, kept[source], values[source])
    if node.output in kept and constants:
        keep = kept[node.output]
        axis = 2 if isinstance(workload, DepthwiseConv2D) else 0
        constants["weight"] = constants["weight"].take(keep, axis=axis)
        for name in ("bias", "multiplier", "shift"):
            constants[name] = constants[name][keep]
    changes = _new_sizes(node, graph, kept)
    return replace(node, workload=replace(workload, **changes), constants=constants)


def _without_inputs(
    node: Node, constants: dict[str, NDArray[np.generic]], keep: Int64, values: Float64
) -> dict[str, NDArray[np.generic]]:
    """Constants of a convolution or dense layer that no longer reads some channels."""
    workload: Any = node.workload
    weight = constants["weight"]
    removed = np.setdiff1d(np.arange(weight.shape[-1]), keep)
    centred = np.nan_to_num(values[removed] - workload.input_zero_point).astype(np.int64)
    taps = weight.take(removed, axis=-1).astype(np.int64)
    taps = taps.reshape(taps.shape[0], -1, len(removed)).sum(axis=1)
    bias = constants["bias"].astype(np.int64) + taps @ centred
    return {
        **constants,
        "weight": np.ascontiguousarray(weight.take(keep, axis=-1)),
        "bias": bias.astype(np.int32),
    }


def _new_sizes(node: Node, graph: Graph, kept: Mapping[str, Int64]) -> dict[str, Any]:
    """The workload's fields that hold shapes, after removal."""

    def shape(name: str) -> tuple[int, ...]:
        old = graph.tensors[name].shape
        return (*old[:-1], len(kept[name])) if name in kept else old

    workload = node.workload
    source, output = shape(node.inputs[0]), shape(node.output)
    if isinstance(workload, (Conv2D, DepthwiseConv2D, Pool2D, Reshape)):
        return {"input_shape": source, "output_shape": output}
    if isinstance(workload, FullyConnected):
        # A dense layer reads its input flat: only a one-dimensional input names its channels.
        size = len(kept[node.inputs[0]]) if node.inputs[0] in kept else workload.input_size
        return {"input_size": size, "output_size": output[-1]}
    if isinstance(workload, (Add, Requantize)):
        return {"size": math.prod(output)}
    if isinstance(workload, Mean) and node.output in kept:
        return {"inner": len(kept[node.output])}
    return {}
