"""Constants with which Helium requantizes in three instructions, exactly to the bit.

    x = VQRDMULH((sum << position) + offset, factor)     VMLAS, VQRDMULH
    x -= correction where x < zero point << fraction     VPT, VSUBT; in the signed form only
    y = VQRSHRN(VQRSHRN(x, fraction - 8), 8)             32 -> 16 -> 8 bits, rounding, saturating

`position` and `fraction` are the layer's, factor, offset and correction the channel's. The offset
holds the bias, both zero points, and what makes up for rounding at other places than TFLite does.

As `requantize` says, the form is right if it is right on both sides of every step of the reference.
With u = offset * factor each such demand is linear in (factor, u):

    ((sum << position) + offset) * factor >= (T << 31) - 2^30    at the first sum of the step
    ((sum << position) + offset) * factor <  (T << 31) - 2^30    at the sum before it

where T is the least x that gives the step's output. What they leave of u's range is a concave
function of the factor: a ternary search finds the factor with the widest range, and its middle
gives the offset. TFLite's double rounding takes ties away from zero, so the steps up to the zero
point lie elsewhere and have a range of their own, `correction` below the other one. Layers whose
outputs end at the zero point (ReLU) do not show those steps, nor do layers that round once.

Whatever is found is checked with integers on both sides of every step.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.cortex_m.requantize import Channels
from tinyaot.schedules.registry import UnsuitableError

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

# Those that the C functions exist for, the best first: 16 nearly always serves.
FRACTIONS = (16, 18, 17, 14, 12)

_LARGEST_FACTOR = 2**31 - 1
_NONE = 2.0**80


@dataclass(frozen=True)
class Vector:
    """Constants of the form above; arrays are int64 (channels,).

    Attributes:
        fraction, position: see above.
        factor, offset, correction: see above; the offset is modulo 2^32.
        zero_point: of the output, where the form is signed.
    """

    fraction: int
    position: int
    factor: Int64
    offset: Int64
    correction: Int64
    zero_point: int | None

    def head(self, clamp: tuple[int, int]) -> NDArray[np.int32]:
        """What the C functions read first: {1 << position, zero point << fraction, low, high}."""
        zero = 0 if self.zero_point is None else self.zero_point << self.fraction
        return as_int32(np.array([1 << self.position, zero, *clamp], np.int64))

    def rows(self, bias: Int64) -> NDArray[np.int32]:
        """What they read for each channel: {factor, offset[, correction]} with the bias in the
        offset; (channels, 2 or 3)."""
        columns = [self.factor, self.offset + (bias << self.position)]
        if self.zero_point is not None:
            columns.append(self.correction)
        return as_int32(np.stack(columns, axis=1))

    def flat(self, bias: int, clamp: tuple[int, int]) -> NDArray[np.int32]:
        """What `tinyaot_mve_requantize_flat` reads, for sums of one channel that lack a bias."""
        rest = [self.factor, self.offset + (bias << self.position), self.correction]
        return np.concatenate([self.head(clamp), as_int32(np.concatenate(rest))])


def is_signed(zero_point: int, clamp: tuple[int, int], rounding: str) -> bool:
    """Whether outputs below the zero point exist and round to the other side."""
    return rounding == "double" and zero_point > clamp[0]


def solve_vector(
    target: Channels, zero_point: int | None, fractions: Sequence[int] = FRACTIONS
) -> Vector:
    """Finds constants for which the form equals the reference for every reachable sum.

    Args:
        target: what to compute; its sums hold the bias.
        zero_point: of the output where the form must be signed, else None.
        fractions: those to try, in order.

    Raises:
        UnsuitableError: no constants do.
    """
    found = _solve(target, zero_point, tuple(fractions))
    if found is None:
        raise UnsuitableError("no constants of the vector form have the reference's steps")
    return found


# While records and defaults are compared, a layer is scheduled several times.
@functools.lru_cache(maxsize=128)
def _solve(target: Channels, zero_point: int | None, fractions: tuple[int, ...]) -> Vector | None:
    for fraction in fractions:
        search = _Search(target, zero_point, fraction)
        for position in search.positions:
            found = search.run(position)
            if found is not None:
                return found
    return None


class _Search:
    """The demands of one layer at one fraction."""

    def __init__(self, target: Channels, zero_point: int | None, fraction: int) -> None:
        self.target, self.zero_point, self.fraction = target, zero_point, fraction
        low, high = target.low[:, None], target.high[:, None]
        level = target.first + np.arange(target.steps.shape[1])
        # The least x that becomes y: both VQRSHRN add half of what they drop.
        self.threshold = (level << fraction) - (1 << (fraction - 1)) - (1 << (fraction - 9))
        self.reached = target.steps <= high
        self.missed = target.steps > low
        self.at = np.clip(target.steps, low, high)
        self.before = np.clip(target.steps - 1, low, high)
        self.above = level > (-(2**31) if zero_point is None else zero_point)
        # With many steps a factor has no choice but scale << (31 + fraction - position): it must
        # fit, and so must offsets. A channel of few steps may need a lower position.
        many = (self.reached & self.missed).sum(axis=1) > 32
        scale = np.where(many, target.scale, 0)
        extremes = np.where(many, np.maximum(-target.low, target.high), target.high - target.low)
        reach = extremes + np.where(many, 64 / np.where(many, target.scale, 1), 1)
        highest = 30 - int(np.ceil(np.log2(reach.max())))
        lowest = fraction + int(np.floor(np.log2(scale.max(initial=2.0**-20))))
        self.positions = range(highest, max(lowest, 0), -2)
        self.position = highest

    def run(self, position: int) -> Vector | None:
        """The constants at a position, if there are any."""
        self.position = position
        low = np.ones(len(self.target.low))
        high = np.full(len(self.target.low), float(_LARGEST_FACTOR))
        for _ in range(60):
            third = np.floor((high - low) / 3)
            left, right = low + third, high - third
            rising = self._room(left) < self._room(right)
            low, high = np.where(rising, left, low), np.where(rising, high, right)
        factor = np.floor((low + high) / 2)
        if (self._room(factor) <= 0).any():
            return None
        least, most = self._range(factor, self.above)
        correction = np.zeros(len(factor))
        if self.zero_point is not None:
            correction = self._correction(factor)
            least_below, most_below = self._range(factor, ~self.above)
            least = np.maximum(least, least_below + correction * 2.0**31)
            most = np.minimum(most, most_below + correction * 2.0**31)
        found = Vector(
            self.fraction,
            self.position,
            factor.astype(np.int64),
            np.rint((least + most) / 2 / factor).astype(np.int64),
            correction.astype(np.int64),
            self.zero_point,
        )
        return found if self._holds(found) else None

    def _correction(self, factor: Float64) -> Float64:
        """The distance at which the two ranges of u overlap most, a whole number of x; the least
        that there is no better one than."""
        least, most = self._range(factor, self.above)
        least_below, most_below = self._range(factor, ~self.above)
        ends = np.sort([least - least_below, most - most_below], axis=0) / 2.0**31
        whole = np.ceil(ends[0])
        best = np.where(whole <= ends[1], whole, np.rint(ends.mean(axis=0)))
        correction: Float64 = np.maximum(best, 0)
        return correction

    def _range(self, factor: Float64, steps: NDArray[np.bool_]) -> tuple[Float64, Float64]:
        """Bounds of u for the demands of some of the steps and for int32."""
        factor = factor[:, None]
        unit = 2.0**self.position
        right = self.threshold * 2.0**31 - 2.0**30
        least = np.where(self.reached & steps, right - self.at * unit * factor, -_NONE)
        most = np.where(self.missed & steps, right - self.before * unit * factor, _NONE)
        lowest = (-(2.0**31) - self.target.low * unit) * factor[:, 0]
        highest = (2.0**31 - 1 - self.target.high * unit) * factor[:, 0]
        return (
            np.maximum(least.max(axis=1, initial=-_NONE), lowest),
            np.minimum(most.min(axis=1, initial=_NONE), highest),
        )

    def _room(self, factor: Float64) -> Float64:
        """The width of u's range; of the narrower one where the form is signed."""
        least, most = self._range(factor, self.above)
        room = most - least
        if self.zero_point is not None:
            least, most = self._range(factor, ~self.above)
            room = np.minimum(room, most - least)
        return room

    def _holds(self, found: Vector) -> bool:
        """Whether the form is right on both sides of every step, without overflow."""
        for sums in (self.target.low[:, None], self.target.high[:, None]):
            shifted = (sums << found.position) + found.offset[:, None]
            if shifted.min() < -(2**31) or shifted.max() >= 2**31:
                return False
        reached = high_product(found, self.at) >= self.threshold
        missed = high_product(found, self.before) < self.threshold
        return bool((reached | ~self.reached).all() and (missed | ~self.missed).all())


def high_product(found: Vector, sums: Int64) -> Int64:
    """x for sums (channels, any) that hold the bias."""
    x: Int64 = (
        ((sums << found.position) + found.offset[:, None]) * found.factor[:, None] + (1 << 30)
    ) >> 31
    if found.zero_point is not None:
        below = x < found.zero_point << found.fraction
        x = np.where(below, x - found.correction[:, None], x)
    return x


def outputs(found: Vector, sums: Int64) -> Int64:
    """What the form computes for sums (channels, any), before a clamp tighter than int8."""
    half = 1 << (found.fraction - 9)
    words = np.clip((high_product(found, sums) + half) >> (found.fraction - 8), -(2**15), 2**15 - 1)
    result: Int64 = np.clip((words + (1 << 7)) >> 8, -128, 127)
    return result


def as_int32(values: Int64) -> NDArray[np.int32]:
    """Values modulo 2^32."""
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def form(signed: bool, clamp: tuple[int, int], fraction: int) -> str:
    """The suffix of the C functions for a form, such as `_signed_clamped_8`."""
    parts = ["signed"] * signed + ["clamped"] * (clamp != (-128, 127)) + [str(fraction - 8)]
    return "_" + "_".join(parts)
