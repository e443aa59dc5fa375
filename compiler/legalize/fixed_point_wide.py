"""Fixed-point arithmetic of int16 operators (TFLite's 16x8 form); see `fixed_point.py`.

Sources: TensorFlow Lite's `kernels/internal/common.{h,cc}` (MultiplyByQuantizedMultiplier for
int64, LUTPopulate, LUTLookup, the table of sigmoid), `reference/softmax.h` (SoftmaxInt16) and
`reference/integer_ops/{logistic,tanh}.h`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import FactorError, Int64, requantize

Float32 = NDArray[np.float32]

_INTERVALS = 512
_Q15 = np.float32(32768)


def reduce_multipliers(
    multiplier: NDArray[np.int32], shift: NDArray[np.int32]
) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """15-bit multipliers and right shifts for 64-bit sums, from 31-bit ones and left shifts.

    Raises:
        FactorError: a factor is too large for the sum to be shifted right.
    """
    if shift.max(initial=0) > 14:
        raise FactorError("a requantization factor of 2^14 or more does not fit 15 bits")
    reduced = np.where(multiplier < 0x7FFF0000, (multiplier.astype(np.int64) + 2**15) >> 16, 0x7FFF)
    return reduced.astype(np.int16), (15 - shift).astype(np.int8)


def requantize_wide(acc: Int64, multiplier: Int64, shift: Int64) -> Int64:
    """acc * multiplier / 2^shift with a reduced multiplier, ties up; wraps at 32 bits."""
    scaled = (acc * multiplier + (np.int64(1) << (shift - 1))) >> shift
    return scaled.astype(np.int32).astype(np.int64)


def interpolate(table: Int64, x: Int64) -> Int64:
    """A table of 513 values over int16, with linear interpolation: `LUTLookup`."""
    index = 256 + (x >> 7)
    delta = ((table[index + 1] - table[index]) * (x & 0x7F) + 64) >> 7
    value: Int64 = table[index] + delta
    return value.astype(np.int16).astype(np.int64)


def wide_softmax_tables() -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """exp on [-10, 0] and 1 / (1 + x) on [0, 1], in Q0.15."""
    exponential = _table(lambda x: np.exp(x.astype(np.float64)).astype(np.float32), -10.0, 0.0)
    reciprocal = _table(lambda x: np.float32(1) / (np.float32(1) + x), 0.0, 1.0)
    return exponential, reciprocal


def table_of(
    function: Callable[[Float32], Float32], input_scale: float, output_scale: float
) -> NDArray[np.int16]:
    """The table of a function of int16 for `interpolate`: `LUTPopulateInt16`."""
    step, output_step = np.float32(input_scale), np.float32(output_scale)
    lowest, largest = np.float32(-32768), np.float32(32767)
    scale = np.float32(65536) / (output_step * largest - output_step * lowest)

    def defined(x: Float32) -> Float32:
        with np.errstate(all="ignore"):
            value = function(x)
        # TFLite's LOG of what is not positive is the lowest output.
        return np.where(np.isfinite(value), value, output_step * lowest)

    return _table(defined, float(step * lowest), float(step * largest), scale)


def _table(
    function: Callable[[Float32], Float32],
    low: float,
    high: float,
    scale: np.float32 = _Q15,
) -> NDArray[np.int16]:
    """`LUTPopulate` of a function, whose values times `scale` are kept, in its float32
    arithmetic."""
    first, last = np.float32(low), np.float32(high)
    step = (last - first) / np.float32(_INTERVALS)
    places = np.arange(_INTERVALS).astype(np.float32)
    values = function(first + places * step) * scale
    following = function(first + (places + np.float32(1)) * step) * scale
    middle = function(first + places * step + step / np.float32(2)) * scale
    error = _round((following + _round(values)) / np.float32(2)) - _round(middle)
    samples = _round(values) - _round(error / np.float32(2))
    end = _round(function(np.array([last], np.float32)) * scale)
    table: NDArray[np.int16] = np.clip(np.append(samples, end), -32768, 32767).astype(np.int16)
    return table


def _round(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To nearest, ties away from zero."""
    return np.trunc(values + np.copysign(np.float32(0.5), values))


def wide_softmax(
    rows: Int64, multiplier: int, shift: int, exponential: Int64, reciprocal: Int64
) -> Int64:
    """int16 softmax over the last axis of int16 (rows, depth) held as int64."""
    difference = rows - rows.max(axis=1, keepdims=True)
    scaled = requantize(difference, np.array(multiplier), np.array(shift), "double")
    powers = interpolate(exponential, np.clip(scaled + 32767, -32768, 32767))
    total = powers.sum(axis=1, keepdims=True)
    headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    shifted = ((total << (headroom - 1)) + (1 << 13)) >> 14
    place = np.clip(shifted - (1 << 15) - (1 << 16), -32768, 32767)
    factor = interpolate(reciprocal, place)
    right = 31 - headroom
    result: Int64 = np.clip((powers * factor + (np.int64(1) << (right - 1))) >> right, 0, 32767)
    return result


def sigmoid_table() -> NDArray[np.uint16]:
    """sigmoid(i / 24) in Q0.16, less half of what linear interpolation is wrong by in the middle of
    the interval: `sigmoid_table_uint16`."""

    def exact(place: NDArray[np.float64]) -> NDArray[np.float64]:
        return 65536 / (1 + np.exp(-place / 24))

    place = np.arange(256, dtype=np.float64)
    error = (exact(place) + exact(place + 1)) / 2 - exact(place + 0.5)
    table: NDArray[np.uint16] = np.rint(exact(place) - error / 2).astype(np.uint16)
    table[255] = 65535
    return table


def sigmoid_scale(scale: float, powers_of_two: Sequence[int]) -> tuple[int, int]:
    """Multiplier and right shift that take an input of this scale to steps of 1 / (3 * 4096).

    Args:
        scale: of the input.
        powers_of_two: k for which a scale of 2^(k - 12) is taken as exact.

    Raises:
        FactorError: the scale is too large.
    """
    logarithm = np.log(np.float32(scale)) * (np.float32(1) / np.log(np.float32(2)))
    rounded = round(float(logarithm))
    if abs(float(logarithm) - rounded) < 1e-3 and rounded + 12 in powers_of_two:
        return 3 << (rounded + 12), 0
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    if multiplier > 32767 or not math.isfinite(multiplier):
        raise FactorError(f"a sigmoid's input has the scale {scale:g}: the largest is 2.66")
    return int(multiplier), shift


def wide_sigmoid(function: str, x: Int64, multiplier: int, shift: int, table: Int64) -> Int64:
    """int16 "logistic" or "tanh" of int16 held as int64; table as of `sigmoid_table`."""
    scaled = (x * multiplier + (1 << shift >> 1)) >> shift
    fraction_bits = {"logistic": 9, "tanh": 8}[function]
    magnitude = np.abs(scaled)
    place = np.minimum(magnitude >> fraction_bits, 254)
    fraction = magnitude & ((1 << fraction_bits) - 1)
    inside = (table[place] << fraction_bits) + fraction * (table[place + 1] - table[place])
    beyond = magnitude >> fraction_bits >= 255
    if function == "logistic":
        value = np.where(beyond, 0x7FFF << 10, inside)
        result = np.where(scaled >= 0, value + (1 << 9), (1 << 25) - value + (1 << 9) - 1) >> 10
    else:
        value = np.where(beyond, 0xFFFF << 8, inside)
        upper, lower = value - (1 << 23) + (1 << 7), -value + (1 << 23) + (1 << 7) - 1
        result = np.where(scaled >= 0, upper, lower) >> 8
    return result.astype(np.int16).astype(np.int64)
