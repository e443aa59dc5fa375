"""Builds the quantized graph while the legalization rules read the Relax function.

A `Value` is an activation as a rule sees it: the tensor that holds its bytes, and how the
model's axis order differs from the bytes' order. NCHW models come out NHWC inside: operators on
images ask for their input as NHWC, results say that they are stored so, and a transpose is only
made where the order of bytes matters and differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import MOST_ELEMENTS, Node, Tensor
from tinyaot.schedules.workload import Constant, Rearrange, Reshape, Transpose, Workload
from tinyaot.targets import TinyaotError

NCHW_TO_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True)
class Value:
    """An activation.

    Attributes:
        tensor: the graph tensor with its bytes; its shape is the stored one.
        stored: the stored axis order as a permutation of the model's axes.
        flattened: what was flattened, if its bytes were not in the model's order.
    """

    tensor: Tensor
    stored: tuple[int, ...]
    flattened: Value | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in the model's axis order."""
        shape = [0] * len(self.stored)
        for place, axis in enumerate(self.stored):
            shape[axis] = self.tensor.shape[place]
        return tuple(shape)

    @property
    def flat_order(self) -> NDArray[np.int64] | None:
        """For a flattened activation, the stored place of each element of the model's flat order;
        None where the two agree."""
        if self.flattened is None:
            return None
        shape, stored = self.flattened.tensor.shape, self.flattened.stored
        places = np.arange(math.prod(shape)).reshape(shape)
        return places.transpose(np.argsort(stored)).reshape(-1)

    @property
    def places(self) -> NDArray[np.int64] | None:
        """For each element in the model's flat order the stored one; None where the two agree."""
        if self.flattened is not None:
            return self.flat_order
        if same_bytes(self.shape, self.stored):
            return None
        places = np.arange(math.prod(self.tensor.shape)).reshape(self.tensor.shape)
        return places.transpose(np.argsort(self.stored)).reshape(-1)

    @property
    def scale(self) -> float:
        """The real size of one step."""
        if self.tensor.scale is None:
            raise ValueError(f"{self.tensor.name} has no scale")
        return self.tensor.scale

    @property
    def zero_point(self) -> int:
        """The quantized value of the real number 0."""
        return self.tensor.zero_point


def identity(rank: int) -> tuple[int, ...]:
    """The permutation that changes nothing."""
    return tuple(range(rank))


def element_type(dtype: str) -> str:
    """The signed integer type of an element's size: what operators that only move bytes handle."""
    return f"int{8 * np.dtype(dtype).itemsize}"


def same_bytes(shape: tuple[int, ...], axes: tuple[int, ...]) -> bool:
    """Whether permuting a tensor of this shape leaves its bytes in place."""
    moved = [axis for axis in axes if shape[axis] != 1]
    return moved == sorted(moved)


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


def _permutation(tensor: Tensor, shape: tuple[int, ...], axes: tuple[int, ...]) -> Workload:
    if element_type(tensor.dtype) == "int8" and len(axes) <= 6:
        return Transpose(tensor.shape, shape, axes)
    steps = tuple(math.prod(tensor.shape[axis + 1 :]) for axis in axes)
    return Rearrange(element_type(tensor.dtype), math.prod(shape), shape, 0, steps)


class GraphBuilder:
    """Collects tensors and nodes; names new tensors after the model's."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.known: dict[str, NDArray[np.generic]] = {}
        self.states: dict[str, Tensor] = {}
        self._transposed: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def add_tensor(self, tensor: Tensor) -> Tensor:
        """Adds a tensor under a name that is not taken."""
        _check_size(tensor)
        name, count = tensor.name, 1
        while name in self.tensors:
            count += 1
            name = f"{tensor.name}_{count}"
        tensor = replace(tensor, name=name)
        self.tensors[name] = tensor
        return tensor

    def emit(
        self,
        workload: Workload,
        inputs: tuple[Tensor, ...],
        output: Tensor,
        origin: str,
        constants: Mapping[str, NDArray[np.generic]] | None = None,
        states: tuple[Tensor, ...] = (),
    ) -> Tensor:
        """Adds a node and its output tensor; a node whose inputs are all known is computed."""
        _check_size(output)
        names = tuple(tensor.name for tensor in inputs)
        if names and not states and all(name in self.known for name in names):
            # The interpreter is a user of this package.
            from tinyaot.compiler.reference import evaluate_node

            node = Node(workload, names, output.name, constants or {}, origin)
            value = evaluate_node(node, [self.known[name] for name in names])
            return self.constant(value.reshape(output.shape).astype(output.dtype), output, origin)
        output = self.add_tensor(output)
        kept = tuple(state.name for state in states)
        self.nodes.append(Node(workload, names, output.name, constants or {}, origin, kept))
        return output

    def constant(self, value: NDArray[np.generic], tensor: Tensor, origin: str) -> Tensor:
        """Adds a tensor that is known."""
        tensor = self.add_tensor(tensor)
        self.known[tensor.name] = value
        workload = Constant(tensor.shape, tensor.dtype)
        self.nodes.append(Node(workload, (), tensor.name, {"value": value}, origin))
        return tensor

    def copy(self, tensor: Tensor, output: Tensor, origin: str) -> Tensor:
        """The same values in a buffer of their own, even if they are known."""
        output = self.add_tensor(output)
        self.assign(output, tensor, origin)
        return output

    def assign(self, target: Tensor, source: Tensor, origin: str) -> None:
        """Copies a tensor to one that is there already."""
        size = math.prod(source.shape)
        workload = Rearrange(element_type(source.dtype), size, (size,), 0, (1,))
        self.nodes.append(Node(workload, (source.name,), target.name, {}, origin))

    def reshape(
        self, tensor: Tensor, shape: tuple[int, ...], origin: str, output: Tensor | None = None
    ) -> Tensor:
        """The same bytes under another shape, and as `output` says if it is given."""
        if tensor.shape == shape and output is None:
            return tensor
        output = output or replace(tensor, name=f"{tensor.name}_reshaped", shape=shape)
        return self.emit(Reshape(tensor.shape, shape), (tensor,), output, origin)

    def transpose(self, tensor: Tensor, axes: tuple[int, ...], origin: str) -> Tensor:
        """The tensor with its stored axes permuted; no copy where the bytes stay in place."""
        if axes == identity(len(axes)):
            return tensor
        shape = tuple(tensor.shape[axis] for axis in axes)
        if same_bytes(tensor.shape, axes):
            return self.reshape(tensor, shape, origin)
        key = (tensor.name, axes)
        if key not in self._transposed:
            output = replace(tensor, name=f"{tensor.name}_transposed", shape=shape)
            self._transposed[key] = self.emit(
                _permutation(tensor, shape, axes), (tensor,), output, origin
            )
        return self._transposed[key]

    def store_as(self, value: Value, stored: tuple[int, ...], origin: str) -> Tensor:
        """The value's tensor with its axes stored in the given order."""
        value = self._in_flat_order(value, origin)
        axes = tuple(value.stored.index(axis) for axis in stored)
        return self.transpose(value.tensor, axes, origin)

    def in_model_order(self, value: Value, origin: str) -> Tensor:
        """The value's tensor with its axes in the model's order."""
        return self.store_as(value, identity(len(value.stored)), origin)

    def rename_axes(self, value: Value, axes: tuple[int, ...], origin: str) -> Value:
        """A transpose in the model's order, which here only renames the stored axes."""
        value = self._in_flat_order(value, origin)
        return Value(value.tensor, tuple(axes.index(axis) for axis in value.stored))

    def flatten(self, value: Value, shape: tuple[int, ...], origin: str) -> Value:
        """A reshape in the model's order that remembers, and does not undo, the stored order."""
        if value.shape == shape:
            return value
        if value.flattened is None and _without_ones(value.shape) == _without_ones(shape):
            return self._with_ones(value, shape, origin)
        whole = value.shape[0] == shape[0] == 1 and len(shape) == 2
        in_order = value.flattened is None and same_bytes(value.shape, value.stored)
        if in_order or (whole and value.flattened is None):
            tensor = self.reshape(value.tensor, shape, origin)
            return Value(tensor, identity(len(shape)), None if in_order else value)
        tensor = self.reshape(self.in_model_order(value, origin), shape, origin)
        return Value(tensor, identity(len(shape)))

    def _with_ones(self, value: Value, shape: tuple[int, ...], origin: str) -> Value:
        """The value with axes of length one added or taken away, the others stored as before."""
        old = [axis for axis, size in enumerate(value.shape) if size != 1]
        new = [axis for axis, size in enumerate(shape) if size != 1]
        kept = [new[old.index(axis)] for axis in value.stored if axis in old]
        ones = [axis for axis, size in enumerate(shape) if size == 1]
        stored = (*ones, *kept)
        if kept == sorted(kept):
            stored = identity(len(shape))
        tensor = self.reshape(value.tensor, tuple(shape[axis] for axis in stored), origin)
        return Value(tensor, stored)

    def _in_flat_order(self, value: Value, origin: str) -> Value:
        """Undoes a remembered flat order by a transpose of the tensor that was flattened."""
        if value.flattened is None:
            return value
        moved = self.in_model_order(value.flattened, origin)
        return Value(self.reshape(moved, value.tensor.shape, origin), value.stored)

    def before_reshapes(self, tensor: Tensor) -> Tensor:
        """The tensor whose bytes a tensor shares, itself if it is not a reshape."""
        for node in reversed(self.nodes):
            if node.output == tensor.name and isinstance(node.workload, Reshape):
                tensor = self.tensors[node.inputs[0]]
        return tensor


def _check_size(tensor: Tensor) -> None:
    if math.prod(tensor.shape) > MOST_ELEMENTS:
        raise TinyaotError(
            f'tensor "{tensor.name}" has the shape {list(tensor.shape)}',
            "no microcontroller holds that; the file may be damaged",
        )
