"""What a frontend hands on: the Relax module and what it says about the model."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets import TinyaotError

if TYPE_CHECKING:
    from tvm import IRModule, relax


@dataclass(frozen=True)
class Problem:
    """Why an operator cannot be compiled.

    Attributes:
        node: the text of the model node, or what else it is about.
        error: what is wrong and what to do.
    """

    node: str
    error: TinyaotError


@dataclass(frozen=True)
class Port:
    """An input or output as the model file declares it.

    Attributes:
        name: in the model.
        shape: with a dynamic batch replaced.
        dtype: as in the file; `float32` inputs and outputs end at a quantize or dequantize.
        scale, zero_point: the quantization declared with the tensor, if any.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class StateVariable:
    """What a model keeps from one inference to the next.

    Attributes:
        port: its name, shape, type and quantization.
        initial: its value before the first inference.
    """

    port: Port
    initial: NDArray[np.generic]


@dataclass(frozen=True)
class ModelNode:
    """An operator of the model file.

    Attributes:
        kind: operator type in the file's terms, such as `CONV_2D` or `Conv`.
        index: position in the file.
        name: of the node or its first output.
    """

    kind: str
    index: int
    name: str

    @property
    def short_name(self) -> str:
        """The name without what converters append of the operators that were fused into it."""
        return self.name.split(";")[0]

    def __str__(self) -> str:
        return f'{self.kind} #{self.index} "{self.short_name}"'


@dataclass(frozen=True)
class Imported:
    """A model in Relax.

    Attributes:
        module: one function `main`, a single dataflow block; quantized operators are
            dequantize -> op -> quantize.
        nodes: in the order of the file; the Relax variable `node<i>` holds the result of nodes[i],
            and `node<i>_<k>` its output k.
        inputs, outputs: in the order of the model.
        notes: what the user should know.
        rounding: how the model's reference kernels requantize, see `Workload`.
        states: in any order.
        results: names of the tensors that nodes[i] writes, in the file's terms.
    """

    module: IRModule
    nodes: tuple[ModelNode, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    notes: tuple[str, ...]
    rounding: str
    states: tuple[StateVariable, ...] = ()
    results: tuple[tuple[str, ...], ...] = ()


def close_blocks(builder: relax.BlockBuilder) -> None:
    """Ends the block that TVM's importers leave open when they fail.

    The builder's destructor would warn of it on stderr, beside our error.
    """
    # There is none to end if the importer failed before it began.
    with contextlib.suppress(Exception):
        builder._end_block()
