"""Roots and logarithms of sums in integers: what `tinyaot_real.h` computes, to the bit.

ONNX defines no fixed-point recipes; these are precise to about 30 bits, so that results are the
nearest step to the real number but next to a tie.
"""

from __future__ import annotations

import math

import numpy as np

from tinyaot.compiler.legalize.fixed_point import Int64


def inverse_root(x: int) -> tuple[int, int]:
    """2^61 / sqrt(x << headroom), and the even headroom that brings x to [2^60, 2^62)."""
    headroom = (62 - x.bit_length()) // 2 * 2
    return (1 << 61) // math.isqrt(x << headroom), headroom


def fine_root(x: Int64) -> Int64:
    """sqrt(x) with 15 bits of fraction, rounded down."""
    return np.array([math.isqrt(int(one) << 30) for one in x.reshape(-1)], np.int64).reshape(
        x.shape
    )


def logarithm_of_two(x: Int64) -> Int64:
    """log2(x) with 26 bits of fraction, rounded down, for x > 0."""
    return np.array([_logarithm_of_two(int(one)) for one in x.reshape(-1)], np.int64).reshape(
        x.shape
    )


def _logarithm_of_two(x: int) -> int:
    power = x.bit_length() - 1
    mantissa = x << (31 - power) if power < 31 else x >> (power - 31)
    for _ in range(26):
        mantissa = (mantissa * mantissa) >> 31
        power *= 2
        if mantissa >= 1 << 32:
            mantissa >>= 1
            power += 1
    return power


def clamped(x: Int64, shift: int, clamp: tuple[int, int]) -> Int64:
    """x / 2^shift, rounded down and limited."""
    limited: Int64 = np.clip(x >> shift, *clamp)
    return limited
