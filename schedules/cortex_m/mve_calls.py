"""What the Helium rules share: calls of C functions, and streams of constants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

Expr = Any
Buffer = Any

# Bytes of a vector.
VECTOR = 16


def call(name: str, *arguments: Expr) -> Expr:
    """A call of a C function that returns nothing; a statement of its own."""
    return T.call_extern("void", f"tinyaot_mve_{name}", *arguments)


def at(buffer: Buffer, offset: Expr = 0) -> Expr:
    """The address of an element."""
    return T.address_of(buffer[offset])


def round_up(value: int, multiple: int) -> int:
    """The least multiple that is not less."""
    return -(-value // multiple) * multiple


def as_words(data: NDArray[np.generic]) -> NDArray[np.int32]:
    """Bytes as little-endian words, filled up with zeros."""
    array = np.ascontiguousarray(data).reshape(-1).view(np.int8)
    return np.pad(array, (0, -len(array) % 4)).view("<i4").astype(np.int32)
