"""The output stage of the NPU: scaling, rounding, clamping, look-up tables; in numpy, exact.

The rounding modes are those of TFLite's reference kernels (`DOUBLE`: gemmlowp's saturating
doubling high multiply, then a rounding shift, ties away from zero), and a single shift that
truncates or rounds ties up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DOUBLE, TRUNCATE, NATURAL = range(3)
ROUNDINGS = ("double", "truncate", "natural")

NONE, TANH, SIGMOID, LUT_FIRST, LUT_LAST = 0, 3, 4, 16, 23


def _wide(values: Any, factor: Any) -> bool:
    """Whether a product, with room for rounding, may exceed 64 bits."""
    largest = int(np.abs(values).max(initial=0)) * int(np.abs(factor).max(initial=0))
    return largest >= 1 << 62


def scale(values: Ints, multiplier: Any, shift: Any, rounding: int) -> Ints:
    """`values * multiplier / 2^shift`, rounded.

    Args:
        values: int64.
        multiplier: unsigned, at most 32 bits; a number or an array that broadcasts.
        shift: 0 to 63, likewise.
        rounding: `DOUBLE`, `TRUNCATE` or `NATURAL`.
    """
    multiplier = np.asarray(multiplier, np.int64)
    shift = np.asarray(shift, np.int64)
    if _wide(values, multiplier):
        exact = scale_exact(values.astype(object), multiplier.astype(object), shift, rounding)
        return np.asarray(exact, np.int64)
    product = values * multiplier
    if rounding == TRUNCATE:
        magnitude = np.abs(product) >> shift
        return np.asarray(np.where(product < 0, -magnitude, magnitude), np.int64)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    single = np.asarray((product + half) >> shift, np.int64)
    if rounding == NATURAL or not (shift > 31).any():
        return single
    high = (product + (1 << 30)) >> 31
    double = shift_away(high, np.maximum(shift - 31, 0))
    return np.asarray(np.where(shift > 31, double, single), np.int64)


def scale_exact(values: Any, multiplier: Any, shift: Any, rounding: int) -> Any:
    """As `scale`, element by element on Python's integers: for accumulators of 40 bits."""

    def one(value: int, factor: int, right: int) -> int:
        product = value * factor
        if rounding == TRUNCATE:
            return abs(product) >> right if product >= 0 else -(abs(product) >> right)
        if rounding == NATURAL or right <= 31:
            return (product + (1 << right >> 1)) >> right
        high = (product + (1 << 30)) >> 31
        rest = right - 31
        return (high + (1 << rest >> 1) - (high < 0)) >> rest

    return np.frompyfunc(one, 3, 1)(values, multiplier, np.asarray(shift).astype(object))


def shift_away(values: Ints, shift: Any) -> Ints:
    """`values / 2^shift` rounded to the nearest, ties away from zero."""
    shift = np.asarray(shift, np.int64)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    return np.asarray((values + half - ((values < 0) & (shift > 0))) >> shift)


def scale_operand(values: Ints, left: int, multiplier: int, shift: int) -> Ints:
    """An operand of ADD or SUB that is brought to the other's scale.

    It is widened by `left` bits as TFLite's ADD does (20 for 8-bit inputs, 15 for 16-bit), and
    `shift` counts from the operand before that.
    """
    return scale(values << left, multiplier, shift + left, DOUBLE)


def lookup(values: Ints, table: NDArray[np.uint8], bits: int, signed: bool) -> Ints:
    """A look-up table's value for each element.

    Args:
        values: what the table is indexed with; 8 bits, or 16 for the table that interpolates.
        table: bytes of the table from its first slot on.
        bits: 8 for a table of 256 bytes, 32 for one of 256 words; 16 for 512 words, each a base
            (low half) and a slope, between which it interpolates.
        signed: whether the first entry belongs to -128, else to 0; for a table of bytes also
            whether results are signed.
    """
    if bits == 16:
        words = table[:2048].view("<i2").astype(np.int64).reshape(512, 2)
        index = (values >> 7) + 256
        return np.asarray(words[index, 0] + ((words[index, 1] * (values & 127) + 64) >> 7))
    entries = table[:1024].view("<i4") if bits == 32 else table[:256].view("i1" if signed else "u1")
    return np.asarray(entries[values + 128 if signed else values], np.int64)


def _interpolated(values: Ints, bits: int, most: int) -> Ints:
    """65536 / (1 + exp(-x)) with `bits` more fractional bits; x counts 24 steps of 2^bits to 1."""
    halves = 65536 / (1 + np.exp(-np.arange(515) / 48))
    # TFLite's table: less half of what interpolation is wrong by in the middle of an interval.
    error = (halves[:-2:2] + halves[2::2]) / 2 - halves[1:-1:2]
    table = np.rint(halves[:-2:2] - error / 2).astype(np.int64)
    table[255:] = 65535
    index = np.minimum(values >> bits, 255)
    fraction = values & ((1 << bits) - 1)
    between = (table[index] << bits) + fraction * (table[index + 1] - table[index])
    return np.where(index >= 255, most << bits, between)


def sigmoid(values: Ints) -> Ints:
    """The built-in sigmoid for 16 bits: x = value / 12288 to 32768 / (1 + exp(-x)).

    As TFLite's reference kernel for int16, which interpolates in a table of 256 values.
    """
    result = _interpolated(np.abs(values), 9, 0xFFFE)
    result = np.where(values >= 0, result + (1 << 9), (1 << 25) - result + (1 << 9) - 1)
    return np.asarray(result >> 10, np.int64)


def tanh(values: Ints) -> Ints:
    """The built-in tangent for 16 bits: from x = value / 12288 to its hyperbolic tangent, Q15."""
    result = _interpolated(np.abs(values), 8, 0xFFFF)
    result = np.where(values >= 0, result - (1 << 23), (1 << 23) - result - 1) + (1 << 7)
    return np.asarray(result >> 8, np.int64)


def leading_zeros(values: Ints) -> Ints:
    """Zero bits before the first one of a 32-bit word."""
    unsigned = values & 0xFFFFFFFF
    # frexp is exact for 32 bits; of zero it is zero.
    return np.asarray(32 - np.frexp(unsigned.astype(np.float64))[1], np.int64)
