"""Cheap exact requantization: constants that are solved for and proved at compile time.

From accumulator to output, the reference arithmetic of an operator is a staircase that never goes
down: at most 255 steps, each at a known accumulator. Any other staircase that never goes down and
is right on both sides of every step is right everywhere. So a kernel may use the cheapest form of
arithmetic that its core has, if constants exist that put its steps on the reference's. This module
computes the steps (`output_steps`) and the accumulators that a channel can reach at all
(`fold_channels`), and solves for the constants of the forms in use.

Steps of the reference, with n = output - zero point:

    x = SRDHM(acc, m) = floor((acc * m + 2^30) / 2^31), whatever the signs
    RDBPOT(x, r) = floor((x + 2^(r-1) - (x < 0)) / 2^r) >= n
        <=>  x >= n * 2^r - 2^(r-1) + (n <= 0)
        <=>  acc >= ceil((that * 2^31 - 2^30) / m)

for "double" rounding, and acc >= ceil((n * 2^t - 2^(t-1)) / m), t = 31 - shift, for "single".
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.registry import UnsuitableError

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]

_INT32_MIN, _INT32_MAX = -(2**31), 2**31 - 1

# Multipliers tried on either side of the exact one; channels solved at a time, so that an operator
# without a solution is given up early.
_TRIALS = 64
_BATCH = 16


def output_steps(
    multiplier: Int64,
    shift: Int64,
    zero_point: int,
    clamp: tuple[int, int],
    rounding: str,
) -> Int64:
    """The least accumulators whose outputs reach clamp[0] + 1, ..., clamp[1].

    Args:
        multiplier, shift: (channels,), as in `Workload`; a multiplier is not negative.
        zero_point, clamp: of the output.
        rounding: "double" or "single".

    Returns:
        (channels, clamp[1] - clamp[0]); a step that no int32 reaches is any value beyond.
    """
    low, high = clamp
    n = np.arange(low + 1 - zero_point, high + 1 - zero_point, dtype=np.int64)[None, :]
    m = np.maximum(multiplier, 1)[:, None]
    if rounding == "single":
        # In Python's integers where 64 bits are too few.
        total = (31 - shift)[:, None].astype(object if shift.min() < -23 else np.int64)
        steps = -((((1 - 2 * n) << total) >> 1) // m)
        steps = np.clip(steps, -(2**32), 2**32).astype(np.int64)
    else:
        right = np.maximum(-shift, 0)[:, None]
        left = np.maximum(shift, 0)[:, None]
        half = np.where(right > 0, (np.int64(1) << right) >> 1, 0)
        x = (n << right) - half + ((n <= 0) & (right > 0))
        x = np.clip(x, -(2**31), 2**31)
        steps = -(-((x << 31) - (1 << 30)) // (m << left))
    constant = np.where(n <= 0, np.int64(-(2**31)), np.int64(2**31))
    return np.where(multiplier[:, None] == 0, constant, steps)


@dataclass(frozen=True, eq=False)
class Channels:
    """The output channels of a convolution or dense layer as a kernel should compute them.

    Inputs keep their zero point: the bias holds what it adds. Channels whose output is the same
    for every input have neither weights nor bias. Two are equal if they are requantized alike,
    whatever their weights.

    Attributes:
        weight: (channels, taps).
        bias: (channels,).
        low, high: (channels,) bounds that the accumulators, bias included, never leave; less than
            2^23 in size.
        steps: (channels, steps), see `output_steps`.
        first: the output that begins at the first step.
        scale: (channels,) real factor from accumulator to output.
    """

    weight: Int64
    bias: Int64
    low: Int64
    high: Int64
    steps: Int64
    first: int
    scale: NDArray[np.float64]

    @functools.cached_property
    def _demands(self) -> tuple[object, ...]:
        arrays = self.low, self.high, self.steps, self.scale
        return self.first, self.steps.shape, *(array.tobytes() for array in arrays)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Channels) and self._demands == other._demands

    def __hash__(self) -> int:
        return hash(self._demands)


def fold_channels(
    weight: NDArray[np.generic],
    constants: Mapping[str, NDArray[np.generic]],
    input_zero_point: int,
    output_zero_point: int,
    clamp: tuple[int, int],
    rounding: str,
) -> Channels:
    """Bounds the accumulators over all int8 inputs and finds the reference's steps in them.

    Args:
        weight: (channels, taps).
        constants: bias, multiplier and shift, (channels,) each.

    Raises:
        UnsuitableError: accumulators may reach 2^23, or the reference's own arithmetic overflows.
    """
    taps = weight.astype(np.int64)
    multiplier = constants["multiplier"].astype(np.int64)
    shift = constants["shift"].astype(np.int64)
    bias = constants["bias"].astype(np.int64) - input_zero_point * taps.sum(axis=1)
    low: Int64 = bias + np.minimum(taps * -128, taps * 127).sum(axis=1)
    high: Int64 = bias + np.maximum(taps * -128, taps * 127).sum(axis=1)
    if (np.maximum(-low, high) << np.maximum(shift, 0)).max() >= 2**31:
        raise UnsuitableError("the reference's own arithmetic overflows")
    steps = output_steps(multiplier, shift, output_zero_point, clamp, rounding)
    passed = steps <= low[:, None]
    constant = np.all(passed == (steps <= high[:, None]), axis=1)
    taps[constant] = 0
    bias[constant] = low[constant] = high[constant] = 0
    steps = np.where(constant[:, None], np.where(passed, -(2**31), 2**31), steps)
    if np.maximum(-low, high).max() >= 2**23:
        raise UnsuitableError("accumulators of 2^23 or more")
    scale = np.where(constant, 0, multiplier * 2.0 ** (shift - 31))
    return Channels(taps, bias, low, high, steps, clamp[0] + 1, scale)


def solve_high_word(target: Channels, fraction: int) -> Int32 | None:
    """Constants of y = sat8((addend + high32(256 * acc * multiplier)) >> fraction).

    high32 is the upper half of a 64-bit product: SMMLA, then a shift and saturation by SSAT. The
    form with multiplier M, addend C and fraction R is right on both sides of step T to output k if

        C + high32(256 * T * M) >= k * 2^R  and  C + high32(256 * (T - 1) * M) < k * 2^R:

    bounds on C for every step. If they contradict each other for M = scale * 2^(24 + R) rounded,
    other multipliers are tried that move the steps by less than an accumulator over the whole
    range, the nearest first. Double rounding of both signs has no solution in general.

    Returns:
        (channels, 2) {multiplier, addend}; None if a channel has no solution.
    """
    ideal = target.scale * 2.0 ** (24 + fraction)
    if np.any(np.rint(ideal) > _INT32_MAX):
        return None
    solution = np.zeros((len(ideal), 2), np.int32)
    for begin in range(0, len(ideal), _BATCH):
        channels = np.arange(begin, min(begin + _BATCH, len(ideal)))
        for multiplier in _trial_multipliers(target, ideal):
            least, most = _addend_bounds(target, channels, multiplier[channels], fraction)
            solved = least <= most
            chosen = channels[solved]
            solution[chosen, 0] = multiplier[chosen]
            solution[chosen, 1] = (least[solved] + most[solved]) >> 1
            channels = channels[~solved]
            if not len(channels):
                break
        else:
            return None
    return solution


def _trial_multipliers(target: Channels, ideal: NDArray[np.float64]) -> Iterator[Int64]:
    reach = np.maximum(np.maximum(-target.low, target.high), 1)
    for size in range(_TRIALS):
        tilt = np.maximum(size, ideal / reach * (size / _TRIALS) ** 3)
        for trial in (ideal + tilt, ideal - tilt)[: 1 if size == 0 else 2]:
            yield np.clip(np.rint(trial), 0, _INT32_MAX).astype(np.int64)


def _addend_bounds(
    target: Channels, channels: Int64, multiplier: Int64, fraction: int
) -> tuple[Int64, Int64]:
    """The least and the greatest addend with which the form is exact, (channels,) each; they
    also keep its sum inside 32 bits."""

    def product(acc: Int64) -> Int64:
        return (acc * 256 * multiplier[:, None]) >> 32

    low, high = target.low[channels][:, None], target.high[channels][:, None]
    steps = target.steps[channels]
    level = (np.arange(steps.shape[1]) + target.first) << fraction
    reached = np.where(steps <= high, level - product(np.clip(steps, low, high)), _INT32_MIN)
    missed = np.where(steps > low, level - 1 - product(np.clip(steps - 1, low, high)), _INT32_MAX)
    least = np.maximum(_INT32_MIN - product(low)[:, 0], reached.max(axis=1, initial=_INT32_MIN))
    most = np.minimum(_INT32_MAX - product(high)[:, 0], missed.min(axis=1, initial=_INT32_MAX))
    return np.maximum(least, _INT32_MIN), np.minimum(most, _INT32_MAX)


def reference_rounding(
    target: Channels, constants: Mapping[str, NDArray[np.generic]], zero_point: int
) -> Int32 | None:
    """Constants of the reference's own arithmetic in the fewest operations.

    With addend = 2^(r-1) + zero_point * 2^r, for "double" and for "single" rounding

        y = sat8((addend - (acc < 0) + round(acc * multiplier / 2^31)) >> r)
        y = sat8((addend + floor(acc * multiplier / 2^31)) >> r).

    In the former the sign of the accumulator stands for that of its scaled value. They differ only
    if the latter is 0 for acc = -1 and multiplier = 2^30, and there both give `zero_point`, if
    r >= 1.

    Returns:
        (channels, 3) {multiplier, addend, r}; None if a channel has another r.
    """
    constant = target.scale == 0
    right = np.where(constant, 1, -constants["shift"].astype(np.int64))
    # |acc| < 2^23, so that the sum stays inside 32 bits up to r = 23.
    if right.min() < 1 or right.max() > 23:
        return None
    multiplier = np.where(constant, 0, constants["multiplier"])
    value = target.first - 1 + (target.steps <= 0).sum(axis=1)
    addend = (np.where(constant, value, zero_point) << right) + (1 << (right - 1))
    return np.stack([multiplier, addend, right], axis=1).astype(np.int32)


def requantized(value: Int64, multiplier: int, shift: int, rounding: str) -> Int64:
    """value * multiplier * 2^(shift - 31) as the reference rounds it; see the module's text.

    Raises:
        UnsuitableError: the reference's own arithmetic overflows.
    """
    if np.abs(value).max() << max(shift, 0) >= 2**31:
        raise UnsuitableError("the reference's own arithmetic overflows")
    if rounding == "single":
        total = 31 - shift
        rounded: Int64 = (value * multiplier + (1 << (total - 1))) >> total
        return rounded
    high = ((value << max(shift, 0)) * multiplier + (1 << 30)) >> 31
    if shift >= 0:
        return high
    return (high + (1 << (-shift - 1)) - (high < 0)) >> -shift
