"""What the rules for cores with the DSP extension share: calls of C functions on buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.script import tirx as T

Expr = Any
Buffer = Any

WHOLE_RANGE = (-128, 127)


def call(name: str, *arguments: Expr) -> Expr:
    """A call of a C function that returns nothing; a statement of its own."""
    return T.call_extern("void", name, *arguments)


def at(buffer: Buffer, offset: Expr = 0) -> Expr:
    """The address of an element."""
    return T.address_of(buffer[offset])


def bytes_word(value: int) -> int:
    """An int32 of four equal bytes."""
    return int(np.full(4, value, np.int8).view(np.int32)[0])


def halfwords_word(value: int) -> int:
    """An int32 of two equal halfwords."""
    return int(np.full(2, value, np.int16).view(np.int32)[0])


def fill(to: Expr, word: int, size: int) -> Expr:
    """Repeats a word over `size` bytes, a multiple of 4."""
    return call("tinyaot_dsp_fill", to, T.int32(word), size)


def copy(to: Expr, source: Expr, size: int, *, words: bool) -> Expr:
    """Copies bytes; `words` says that both places are word-aligned."""
    name = "tinyaot_dsp_copy" if words and size % 4 == 0 else "tinyaot_dsp_copy_bytes"
    return call(name, to, source, size)
