"""Constants with which cores without a long multiplication requantize, exactly to the bit.

`tinyaot_scalar.h` has two forms for a sum of products a, held in 32 bits throughout. A multiplier
is cut into pieces so that no product overflows where it counts:

    two pieces:    t = a * k0 + (((a >> 2) * k1) >> p) + k2
    three pieces:  t = a * k2 + ((a * k1 + ((a * k0) >> 10) + k3) >> 10) + k4
    y = clamp(t >> s)

The addends hold the bias, both zero points and the rounding. Both forms never go down, so they are
right everywhere if they are right on both sides of every step of the reference (see `requantize`);
every step bounds the addend. TFLite's double rounding takes ties away from zero: where outputs
below the zero point exist, the steps above it come a little earlier than a straight line has them.
Signed forms add one more constant to every t from 0 on, and the zero point last.

Where none of these can be solved, the reference's own arithmetic serves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.cortex_m.requantize import Channels
from tinyaot.schedules.registry import Constants

Int64 = NDArray[np.int64]

# Multipliers tried on either side of the exact one; channels solved at a time, so that a form
# without a solution is given up early.
_TRIALS = 12
_BATCH = 16

_LIMIT = 2**31
_FAR = 2**44


@dataclass(frozen=True)
class Form:
    """A way to requantize that there is a C function for.

    Attributes:
        pieces: of the multiplier; 0 for the reference's own arithmetic.
        signed: whether a t from 0 on is corrected.
        p, s: shifts, see above.
    """

    pieces: int
    signed: bool = False
    p: int = 0
    s: int = 0

    @property
    def words(self) -> int:
        """Constants of a channel."""
        return {0: 3, 2: 3, 3: 5}[self.pieces] + self.signed


FORMS = (
    Form(2, False, 12, 19),
    Form(2, False, 13, 18),
    Form(2, True, 12, 19),
    Form(2, True, 13, 18),
    Form(3, False, 10, 17),
    Form(3, True, 10, 17),
    Form(0),
    Form(0),
)
"""All forms by the number that `tinyaot_scalar.h` knows them by, the cheapest first; nearly every
layer has the first or the third, and shares their code."""

_REFERENCE = {"double": 6, "single": 7}


def choose_form(target: Channels, zero_point: int, rounding: str) -> int:
    """The index of the cheapest form that is exact for all channels of a layer."""
    for index, form in enumerate(FORMS):
        if form.pieces == 0 or target.steps.shape[1] == 0:
            break
        if (not form.signed or rounding == "double") and solve(
            target, zero_point, form
        ) is not None:
            return index
    return _REFERENCE[rounding]


def form_constants(
    target: Channels, zero_point: int, form: Form, constants: Constants
) -> NDArray[np.int32]:
    """(channels, form.words) constants in the order in which the C functions read them.

    Args:
        target: what to compute.
        zero_point: of the output.
        form: from `choose_form`.
        constants: of the node: multiplier and shift.
    """
    if form.pieces == 0:
        # A channel whose output is known has no sum: its value is put in place of the bias.
        constant = target.scale == 0
        value = target.first - 1 + (target.steps <= 0).sum(axis=1) - zero_point
        columns = [
            np.where(constant, value, target.bias),
            np.where(constant, 2**30, constants["multiplier"]),
            np.where(constant, 1, constants["shift"]),
        ]
        return np.stack(columns, axis=1).astype(np.int32)
    solution = solve(target, zero_point, form)
    assert solution is not None, "the form was chosen because it has a solution"
    return solution.astype(np.int32)


def solve(target: Channels, zero_point: int, form: Form) -> Int64 | None:
    """Constants (channels, form.words) that make a form exact; None if a channel has none."""
    count = len(target.bias)
    solution = np.zeros((count, form.words), np.int64)
    for begin in range(0, count, _BATCH):
        channels = np.arange(begin, min(begin + _BATCH, count))
        for trial in range(2 * _TRIALS):
            search = _Search(target, channels, zero_point, form)
            found, solved = search.run((trial + 1) // 2 * (-1 if trial % 2 else 1))
            solution[channels[solved]] = found[solved]
            channels = channels[~solved]
            if not len(channels):
                break
        else:
            return None
    return solution


def outputs(form: Form, constants: Int64, sums: Int64, zero_point: int) -> Int64:
    """What a form with pieces computes, before the clamp.

    Args:
        form: any but the reference's own.
        constants: (channels, form.words).
        sums: (channels, any), without bias.
        zero_point: of the output.
    """
    t = _scaled(form, constants, sums)
    if not form.signed:
        return t >> form.s
    corrected: Int64 = np.where(t < 0, t, t + constants[:, -1:])
    return (corrected >> form.s) + zero_point


def _scaled(form: Form, constants: Int64, sums: Int64) -> Int64:
    k = [constants[:, i : i + 1] for i in range(form.words)]
    if form.pieces == 2:
        fine: Int64 = ((sums >> 2) * k[1] + _LIMIT) % (2 * _LIMIT) - _LIMIT
        return sums * k[0] + (fine >> form.p) + k[2]
    return sums * k[2] + ((sums * k[1] + (sums * k[0] >> 10) + k[3]) >> 10) + k[4]


class _Search:
    """The demands of some channels on the constants of one form.

    Sums are without bias. Addends count in units of 2^-fraction of t's, of which three pieces have
    more than two.
    """

    def __init__(self, target: Channels, channels: Int64, zero_point: int, form: Form) -> None:
        bias = target.bias[channels]
        self.form, self.zero_point = form, zero_point
        self.low, self.high = target.low[channels] - bias, target.high[channels] - bias
        self.reach = np.maximum(-self.low, self.high)
        self.steps = target.steps[channels] - bias[:, None]
        self.level = target.first + np.arange(self.steps.shape[1])
        self.fraction = 10 if form.pieces == 3 else 0
        bits = form.s + (20 if form.pieces == 3 else 2 + form.p)
        ideal = np.rint(target.scale[channels] * 2.0**bits)
        self.ideal = np.minimum(ideal, 2.0**40).astype(np.int64)

    def run(self, tilt: int) -> tuple[Int64, NDArray[np.bool_]]:
        """Constants for the ideal multiplier plus `tilt`, and where they are exact."""
        form = self.form
        multiplier = np.where(self.ideal == 0, 0, np.maximum(self.ideal + tilt, 0))
        found = np.zeros((len(multiplier), form.words), np.int64)
        if form.pieces == 2:
            found[:, 0], found[:, 1] = _cut(multiplier, 2 + form.p)
        else:
            found[:, 2], rest = _cut(multiplier, 20)
            found[:, 1], found[:, 0] = _cut(rest, 10)
        addend = self._addend(found, False)
        if form.signed:
            further = self._addend(found, True)
            found[:, -1] = np.clip((further - addend) >> self.fraction, 0, _LIMIT)
        if form.pieces == 2:
            found[:, 2] = addend
        else:
            found[:, 4], found[:, 3] = _cut(addend, 10)
        return found, self._exact(found)

    def _addend(self, found: Int64, beyond: bool) -> Int64:
        """The middle of what the steps ask of the addend: of an unsigned form all of them, of a
        signed one those beyond the zero point or the others. `_exact` sees contradictions."""

        def raw(sums: Int64) -> Int64:
            if form.pieces == 2:
                return _scaled(form, found, sums)
            exact: Int64 = sums * ((found[:, 2:3] << 10) + found[:, 1:2])
            return exact + (sums * found[:, :1] >> 10)

        form = self.form
        level = self.level - (self.zero_point if form.signed else 0)
        counts = (level > 0) == beyond
        if not form.signed or not counts.any():
            counts = np.full(len(level), True)
        low, high = self.low[:, None], self.high[:, None]
        place = level << (form.s + self.fraction)
        least = np.where(self.steps <= high, place - raw(np.clip(self.steps, low, high)), -_FAR)
        most = np.where(self.steps > low, place - 1 - raw(np.clip(self.steps - 1, low, high)), _FAR)
        least = np.where(counts, least, -_FAR).max(axis=1)
        most = np.where(counts, most, _FAR).min(axis=1)
        least, most = np.where(least == -_FAR, most, least), np.where(most == _FAR, least, most)
        middle: Int64 = (least + most) >> 1
        return middle

    def _exact(self, found: Int64) -> NDArray[np.bool_]:
        """Whether the form is right on both sides of every step, and never goes down between."""
        form = self.form
        low, high = self.low[:, None], self.high[:, None]
        correction = found[:, -1] if form.signed else 0
        reached, missed = self.steps <= high, self.steps > low
        at, before = np.clip(self.steps, low, high), np.clip(self.steps - 1, low, high)
        right = (outputs(form, found, at, self.zero_point) >= self.level) | ~reached
        right &= (outputs(form, found, before, self.zero_point) < self.level) | ~missed
        exact: NDArray[np.bool_] = np.all(right, axis=1) & (correction >= 0)
        if form.pieces == 3:
            largest = self.reach * found[:, 2] + 2**21 + np.abs(found[:, 4]) + correction
            exact &= (self.reach < 2**21 - 2**12) & (largest < _LIMIT)
            return exact
        # Beyond `whole` the second product wraps, to anything less than `wrapped` after its shift.
        wrapped = _LIMIT >> form.p
        largest = self.reach * found[:, 0] + wrapped + np.abs(found[:, 2]) + correction
        exact &= largest < _LIMIT
        fine = np.maximum(found[:, 1], 1)
        whole = np.where(
            ((self.reach >> 2) + 1) * fine < _LIMIT,
            self.reach,
            (((_LIMIT - 1) // fine - 1) << 2),
        )
        # There every output must be the last or the first by far.
        zero_point = self.zero_point if form.signed else 0
        least = ((whole * found[:, 0] - wrapped + found[:, 2] - correction) >> form.s) + zero_point
        most = ((-whole * found[:, 0] + wrapped + found[:, 2]) >> form.s) + zero_point
        inside = (at <= whole[:, None]) & (before >= -whole[:, None])
        exact &= (inside | ~(reached & missed)).all(axis=1)
        exact &= (self.high <= whole) | (least >= self.level[-1])
        exact &= (self.low >= -whole) | (most < self.level[0])
        return exact


def _cut(value: Int64, bits: int) -> tuple[Int64, Int64]:
    """The bits from `bits` up and those below."""
    return value >> bits, value & ((1 << bits) - 1)
