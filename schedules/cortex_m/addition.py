"""Constants with which cores add int8 tensors in two multiplications, exactly to the bit.

TFLite scales either input by itself, rounds, and scales the sum. Any other arithmetic that never
goes down in either input is right everywhere if it is right for the pairs of inputs next to a step
of the output (see `requantize`). Given two factors, every such pair bounds the addend.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.cortex_m.requantize import requantized
from tinyaot.schedules.cortex_m.rows import in_rows
from tinyaot.schedules.registry import UnsuitableError
from tinyaot.schedules.workload import Add
from tinyaot.schedules.workload_elementwise import QuantizedBinary

Int64 = NDArray[np.int64]

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1

# Factors tried on either side of the real ones.
_HIGH_WORD_TRIALS = 2
_LINEAR_TRIALS = 12


def _outputs(workload: Add, sign: int = 1) -> Int64:
    """What an addition, or with sign -1 a subtraction, gives for every pair of int8 inputs,
    (256, 256)."""
    scaled = [
        requantized(
            (np.arange(-128, 128, dtype=np.int64) - zero_point) << workload.left_shift,
            multiplier,
            shift,
            workload.rounding,
        )
        for zero_point, multiplier, shift in zip(
            workload.input_zero_points, workload.multipliers, workload.shifts, strict=True
        )
    ]
    total = scaled[0][:, None] + sign * scaled[1][None, :]
    output = requantized(
        total, workload.output_multiplier, workload.output_shift, workload.rounding
    )
    clipped: Int64 = np.clip(output + workload.output_zero_point, *workload.clamp)
    return clipped


def solve_add_high_word(workload: Add, fraction: int) -> tuple[int, int, int] | None:
    """Constants (factor 0, factor 1, addend) of an addition in the form.

        y = sat8((addend + (factor0 * (x0 << 8) >> 16) + (factor1 * (x1 << 8) >> 16)) >> fraction)

    (SMLAWB and SSAT) that equal the reference for all 65536 pairs of inputs. Given the factors,
    every pair bounds the addend. None if no factors near the real ones leave one.
    """
    output = _outputs(workload)
    low, high = workload.clamp
    ideal = [scale * 2.0 ** (fraction + 8) for scale in _scales(workload)]
    if max(ideal) >= 2**31 - _HIGH_WORD_TRIALS:
        return None
    x = np.arange(-128, 128, dtype=np.int64) << 8
    trials = sorted(range(-_HIGH_WORD_TRIALS, _HIGH_WORD_TRIALS + 1), key=abs)
    for tilt0, tilt1 in sorted(itertools.product(trials, trials), key=lambda pair: _size(*pair)):
        factors = round(ideal[0]) + tilt0, round(ideal[1]) + tilt1
        total = ((factors[0] * x) >> 16)[:, None] + ((factors[1] * x) >> 16)[None, :]
        least = np.where(output > low, (output << fraction) - total, _INT32_MIN).max()
        most = np.where(output < high, ((output + 1) << fraction) - 1 - total, _INT32_MAX).min()
        least = max(least, _INT32_MIN - total.min(), _INT32_MIN)
        most = min(most, _INT32_MAX - total.max(), _INT32_MAX)
        if least <= most:
            return *factors, int(least + most) >> 1
    return None


def _size(first: int, second: int) -> int:
    return abs(first) + abs(second)


def _scales(workload: Add) -> list[float]:
    """The real factor from either input to the output."""
    after = workload.output_multiplier * 2.0 ** (workload.output_shift - 31 + workload.left_shift)
    return [
        multiplier * 2.0 ** (shift - 31) * after
        for multiplier, shift in zip(workload.multipliers, workload.shifts, strict=True)
    ]


def solve_add_linear(workload: Add, fractions: tuple[int, ...], sign: int = 1) -> dict[str, int]:
    """Constants of y = clamp((x0 * factor_0 + x1 * factor_1 + addend) >> fraction).

    Args:
        workload: what must be computed for all 65536 pairs of inputs.
        fractions: those that may be used, the best first.
        sign: -1 if the second input is subtracted.

    Returns:
        factor_0, factor_1, addend and fraction; no sum leaves 32 bits.

    Raises:
        UnsuitableError: there are none.
    """
    values = np.arange(-128, 128)
    # In the order in which the output grows.
    second = values[::sign]
    wanted = _outputs(workload, sign)[:, ::sign]
    if (np.diff(wanted, axis=1) < 0).any():
        raise UnsuitableError("the output does not grow with the second input")
    # For every x0 and output y the first x1 that reaches it, where there is one.
    low, high = workload.clamp
    outputs = np.arange(low + 1, high + 1)
    first = (wanted[:, :, None] < outputs).sum(axis=1)
    reached = (first < 256).nonzero()
    missed = (first > 0).nonzero()
    at_0, at_1 = values[reached[0]], second[first[reached]]
    below_0, below_1 = values[missed[0]], second[first[missed] - 1]
    scales = _scales(workload)
    extremes = [
        max(abs(-128 - zero_point), abs(127 - zero_point)) * factor
        for zero_point, factor in zip(workload.input_zero_points, scales, strict=True)
    ]
    largest = sum(extremes) + abs(workload.output_zero_point) + 2
    for fraction in fractions:
        if largest * 2.0**fraction >= 2**31:
            continue
        ideal = [round(factor * 2**fraction) for factor in (scales[0], sign * scales[1])]
        step = outputs << fraction
        for distance in range(_LINEAR_TRIALS):
            for a, b in _around(ideal[0], ideal[1], distance):
                least = (step[reached[1]] - at_0 * a - at_1 * b).max(initial=_INT32_MIN)
                most = (step[missed[1]] - 1 - below_0 * a - below_1 * b).min(initial=_INT32_MAX)
                if least > most:
                    continue
                addend = int(least + most) >> 1
                sums = values[:, None] * a + values * b + addend
                if np.abs(sums).max() < 2**31 and abs(addend) < 2**31:
                    return {
                        **{"factor_0": a, "factor_1": b},
                        **{"addend": addend, "fraction": fraction},
                    }
    raise UnsuitableError("no factors give the same sums")


def _around(a: int, b: int, distance: int) -> list[tuple[int, int]]:
    """The points of the square around (a, b)."""
    side = range(-distance, distance + 1)
    ring = [(x, y) for x in side for y in (-distance, distance)]
    ring += [(x, y) for y in side[1:-1] for x in (-distance, distance)]
    return [(a + x, b + y) for x, y in dict.fromkeys(ring)]


def as_addition(workload: QuantizedBinary) -> tuple[Add, int]:
    """A sum or difference of int8 tensors as an addition, and its sign."""
    factors = workload.factors
    addition = Add(
        math.prod(workload.shape),
        workload.input_zero_points,
        (factors[0][0], factors[1][0]),
        (factors[0][1], factors[1][1]),
        workload.left_shift,
        *factors[2],
        workload.output_zero_point,
        workload.clamp,
    )
    return addition, {"add": 1, "subtract": -1}[workload.operation]


def is_addition(workload: QuantizedBinary) -> bool:
    """Whether it is a sum or difference of int8 tensors in rows."""
    kind = workload.operation in ("add", "subtract") and workload.dtype == "int8"
    return kind and in_rows(workload)
