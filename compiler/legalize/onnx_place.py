"""Where an operator stands that keeps quantized values as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.builder import GraphBuilder
from tinyaot.compiler.legalize.onnx_call import OnnxCall
from tinyaot.compiler.legalize.relax_reader import RelaxReader
from tinyaot.targets import TinyaotError


@dataclass(frozen=True)
class Place:
    """Where such an operator stands.

    Attributes:
        builder: the graph being built.
        reader: the Relax function being read.
        origin: the model node, for people and errors.
    """

    builder: GraphBuilder
    reader: RelaxReader
    origin: str

    def constant(self, own: OnnxCall, index: int) -> NDArray[Any] | None:
        """A constant input; None where it is left out.

        Raises:
            TinyaotError: it is computed at run time.
        """
        if index >= len(own.operands) or own.operands[index] is None:
            return None
        value = self.reader.constant(own.operands[index])
        if value is None:
            raise self.unsupported(
                f"has input {index} that is not a constant", "fold constants when exporting"
            )
        return np.asarray(value)

    def unsupported(self, what: str, *hints: str) -> TinyaotError:
        """An error that names the model node."""
        return TinyaotError(f"{self.origin} {what}", *hints)
