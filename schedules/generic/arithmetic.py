"""TIR expressions that kernels share: requantization, clamping, calls of C intrinsics."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

Expr = Any


def intrinsic(name: str, *args: Expr) -> Expr:
    """A pure int32 C function of the intrinsics headers."""
    return T.call_pure_extern("int32", name, *args)


def requantized(acc: Expr, multiplier: Expr, shift: Expr, rounding: str) -> Expr:
    """acc * multiplier * 2^(shift - 31) with TFLite's double or with single rounding; int32."""
    name = {"double": "tinyaot_requantize", "single": "tinyaot_requantize_single"}[rounding]
    return intrinsic(name, acc, multiplier, shift)


def clamped(value: Expr, low: int, high: int) -> Expr:
    """value limited to [low, high]; int32."""
    return intrinsic("tinyaot_clamp", value, T.int32(low), T.int32(high))


def store_int8(value: Expr, zero_point: int, clamp: tuple[int, int]) -> Expr:
    """The last step of an operator: add the output zero point, clamp, narrow to int8."""
    return T.cast(clamped(value + zero_point, *clamp), "int8")
