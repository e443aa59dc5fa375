"""How kernels call the C functions of the intrinsics headers."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

Expr = Any
Buffer = Any


def call(name: str, *arguments: Expr) -> Expr:
    """A call of a C function that returns nothing; a statement of its own."""
    return T.call_extern("void", name, *arguments)


def at(buffer: Buffer, offset: Expr = 0) -> Expr:
    """The address of an element."""
    return T.address_of(buffer[offset])


def value(name: str, *arguments: Expr) -> Expr:
    """A call of a C function that returns a pointer, as an argument of another call."""
    return T.call_pure_extern("handle", name, *arguments)
