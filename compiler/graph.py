"""The canonical quantized form: a graph of integer operators with their constants.

Frontends and legalization make it, graph passes rewrite it (each a function from graph to
graph), schedules turn its nodes into TIR. Nodes are in execution order; every tensor is written
by one node or is an input, but for states, which are variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.workload import Constant, Workload

MOST_ELEMENTS = 2**25
"""Of a tensor: more than any memory of a microcontroller holds."""


@dataclass(frozen=True)
class Tensor:
    """An activation tensor.

    Attributes:
        name: unique in the graph; the model's own name where it has one.
        shape: NHWC for images, batch first.
        dtype: of numpy; inside the graph quantized activations are signed, and `bool` is a byte
            that holds 0 or 1.
        scale, zero_point: real = scale * (q - zero_point); scale is None where the tensor has
            no quantization.
        layout: permutation that takes the model's axis order to this tensor's, for inputs and
            outputs of models that are not NHWC; None for the identity.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        workload: what it computes.
        inputs, output: tensor names.
        constants: arrays by the names that the workload's docstring gives.
        origin: the model node it comes from, for people, such as `CONV_2D #3 "model/conv1"`.
        states: state tensors that it updates in place, beside what it reads and writes.
        more_outputs: further tensors that it writes.
    """

    workload: Workload
    inputs: tuple[str, ...]
    output: str
    constants: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    origin: str = ""
    states: tuple[str, ...] = ()
    more_outputs: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """All tensors that it writes, states aside."""
        return (self.output, *self.more_outputs)


@dataclass(frozen=True)
class State:
    """A tensor that keeps its value from one inference to the next.

    Nodes may read it and write it any number of times, so their order matters.

    Attributes:
        tensor: its name.
        initial: its value before the first inference.
    """

    tensor: str
    initial: NDArray[np.generic]


@dataclass(frozen=True)
class Layer:
    """A tensor of the model file that a tensor of the graph holds.

    Attributes:
        node: the model node that computes it, as `Node.origin`.
        source: the tensor's name in the file.
        tensor: its name in the graph.
        shape: of the model's tensor.
        stored_shape: of the graph's tensor before channels were removed.
        places: for each element in the model's order where the graph's tensor stores it; None
            where the two orders agree.
    """

    node: str
    source: str
    tensor: str
    shape: tuple[int, ...]
    stored_shape: tuple[int, ...]
    places: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Graph:
    """A whole model.

    Attributes:
        name: C identifier.
        tensors: by name.
        inputs, outputs: tensor names in the model's order.
        nodes: in execution order.
        notes: what the user should know about how the model was read.
        states: what is kept between inferences.
        layers: what the graph holds of the model's tensors, in execution order.
        kept_channels: for tensors that lost channels, the indices of those that are left.
    """

    name: str
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    layers: tuple[Layer, ...] = ()
    kept_channels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def constants(self) -> dict[str, NDArray[np.generic]]:
        """Values of the tensors that are known, by name; see the workload `Constant`."""
        return {
            node.output: node.constants["value"]
            for node in self.nodes
            if isinstance(node.workload, Constant)
        }

    def consumers(self, tensor: str) -> list[Node]:
        """The nodes that read a tensor, in execution order."""
        return [node for node in self.nodes if tensor in node.inputs]

    def renamed(self, names: Mapping[str, str]) -> Graph:
        """The graph with other names for some tensors, given as old name to new."""

        def new(name: str) -> str:
            return names.get(name, name)

        return replace(
            self,
            tensors={new(key): replace(old, name=new(key)) for key, old in self.tensors.items()},
            inputs=tuple(map(new, self.inputs)),
            outputs=tuple(map(new, self.outputs)),
            nodes=tuple(
                replace(
                    node,
                    inputs=tuple(map(new, node.inputs)),
                    output=new(node.output),
                    states=tuple(map(new, node.states)),
                    more_outputs=tuple(map(new, node.more_outputs)),
                )
                for node in self.nodes
            ),
            states=tuple(replace(state, tensor=new(state.tensor)) for state in self.states),
            layers=tuple(replace(layer, tensor=new(layer.tensor)) for layer in self.layers),
            kept_channels={new(name): kept for name, kept in self.kept_channels.items()},
        )

    def format(self) -> str:
        """The graph as text, a node a line, for `--dump-ir` and error reports."""
        lines = [f"graph {self.name}"]
        lines += [f"  input  {_describe(self.tensors[name])}" for name in self.inputs]
        lines += [f"  state  {_describe(self.tensors[state.tensor])}" for state in self.states]
        for node in self.nodes:
            operands = ", ".join([*node.inputs, *_shapes(node.constants), *node.states])
            lines += [f"  {_describe(self.tensors[name])}" for name in node.outputs]
            lines.append(f"      = {node.workload.kind}({operands})  # {node.origin}")
            lines.append(f"      {node.workload}")
        lines += [f"  output {_describe(self.tensors[name])}" for name in self.outputs]
        return "\n".join(lines) + "\n"


def _describe(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape))
    quantization = "" if tensor.scale is None else f" {tensor.scale:.9g}*(q-{tensor.zero_point})"
    return f"{tensor.name}: {tensor.dtype}[{shape}]{quantization}"


def _shapes(constants: Mapping[str, NDArray[np.generic]]) -> Iterable[str]:
    for name, array in constants.items():
        yield f"{name}:{array.dtype}[{'x'.join(map(str, array.shape))}]"
