"""The requantization constants are right at every accumulator, not only where they were solved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import requantize
from tinyaot.schedules.cortex_m.requantize import (
    Channels,
    fold_channels,
    output_steps,
    reference_rounding,
    solve_high_word,
)
from tinyaot.schedules.registry import UnsuitableError

HALF = 1 << 30
FULL = (-128, 127)

Int64 = NDArray[np.int64]
Random = np.random.Generator


def reference(
    acc: Int64, constants: dict[str, Any], zero_point: int, clamp: tuple[int, int], rounding: str
) -> Int64:
    multiplier = constants["multiplier"].astype(np.int64)[:, None]
    shift = constants["shift"].astype(np.int64)[:, None]
    clipped: Int64 = np.clip(
        requantize(acc, multiplier, shift, rounding) + zero_point, clamp[0], clamp[1]
    )
    return clipped


def factors(rng: Random, count: int, shifts: tuple[int, int]) -> dict[str, Any]:
    """Random factors, with those among them whose products are often ties."""
    multiplier = rng.integers(HALF, 2 * HALF, count)
    multiplier[0::4] = HALF + (rng.integers(0, 4, len(multiplier[0::4])) << 28)
    multiplier[1::4] &= -(1 << 15)
    return {
        "multiplier": multiplier.astype(np.int32),
        "shift": rng.integers(*shifts, count).astype(np.int32),
    }


@pytest.mark.parametrize("rounding", ["double", "single"])
@pytest.mark.parametrize("shifts", [(-3, 4), (-10, -2), (-31, -20)])
def test_steps_are_where_the_output_changes(rounding: str, shifts: tuple[int, int]) -> None:
    rng = np.random.default_rng(-shifts[0])
    for zero_point, clamp in ((-128, FULL), (3, FULL), (-20, (-20, 90)), (127, (-100, 127))):
        constants = factors(rng, 200, shifts)
        constants["multiplier"][::20] = 0
        wide = [constants[name].astype(np.int64) for name in ("multiplier", "shift")]
        steps = output_steps(*wide, zero_point, clamp, rounding)
        outputs = np.arange(clamp[0] + 1, clamp[1] + 1)
        assert steps.shape == (200, len(outputs))
        # Up to where a left shift of the reference overflows.
        limit = (2**31 - 1) >> np.maximum(wide[1], 0)[:, None]
        for acc, reached in ((np.clip(steps, -limit, limit), True), (steps - 1, False)):
            inside = (np.abs(acc) <= limit) & (np.abs(steps) <= limit)
            acc = np.clip(acc, -limit, limit)
            got = reference(acc, constants, zero_point, clamp, rounding)
            assert np.all(((got >= outputs) == reached) | ~inside)
        # Steps that lie beyond are not reached, or reached by all.
        for end in (limit, -limit):
            count = (steps <= end).sum(axis=1)
            got = reference(end, constants, zero_point, clamp, rounding)[:, 0]
            np.testing.assert_array_equal(got, clamp[0] + count)


def random_channels(rng: Random, taps: int) -> tuple[Channels, dict[str, Any], dict[str, Any]]:
    """Channels, their constants and the other arguments of the reference."""
    zero_point, clamp = [(-128, FULL), (9, FULL), (-20, (-20, 90))][rng.integers(3)]
    rounding = str(rng.choice(["double", "single"]))
    weight = rng.integers(-127, 128, (8, taps))
    weight[0] = 0
    weight[1] //= 60
    constants = {
        "bias": rng.integers(-9000, 9000, 8).astype(np.int32),
        **factors(rng, 8, (-10, -4)),
    }
    constants["bias"][0] = rng.integers(-(2**30), 2**30)
    output = {"zero_point": zero_point, "clamp": clamp, "rounding": rounding}
    channels = fold_channels(
        weight, constants, int(rng.integers(-128, 128)), zero_point, clamp, rounding
    )
    return channels, constants, output


def all_sums(channels: Channels, channel: int) -> Int64:
    return np.arange(channels.low[channel], channels.high[channel] + 1, dtype=np.int64)


def expected(
    channels: Channels, channel: int, constants: dict[str, Any], output: dict[str, Any]
) -> Int64:
    """For every accumulator; that of a channel that is folded says nothing any more."""
    acc = all_sums(channels, channel)
    one = {name: array[channel : channel + 1] for name, array in constants.items()}
    if channels.scale[channel] == 0:
        passed = (channels.steps[channel] <= 0).sum()
        return np.full_like(acc, channels.first - 1 + passed)
    return reference(acc[None, :], one, **output)[0]


def test_high_word_is_exact_for_every_accumulator() -> None:
    rng = np.random.default_rng(0)
    solved = 0
    for _ in range(60):
        channels, constants, output = random_channels(rng, 9)
        for fraction in (12, 10):
            found = solve_high_word(channels, fraction)
            if found is None:
                continue
            solved += 1
            for channel, (multiplier, addend) in enumerate(found.astype(np.int64)):
                total = addend + ((all_sums(channels, channel) * 256 * multiplier) >> 32)
                assert np.abs(total).max() < 2**31
                got = np.clip(np.clip(total >> fraction, -128, 127), *output["clamp"])
                want = expected(channels, channel, constants, output)
                np.testing.assert_array_equal(got, want)
    assert solved > 20


def test_reference_rounding_is_exact_for_every_accumulator() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        channels, constants, output = random_channels(rng, 9)
        found = reference_rounding(channels, constants, output["zero_point"])
        assert found is not None
        for channel, (multiplier, addend, right) in enumerate(found.astype(np.int64)):
            acc = all_sums(channels, channel)
            scaled = acc * multiplier
            if output["rounding"] == "double":
                total = addend - (acc < 0) + ((scaled + HALF) >> 31)
            else:
                total = addend + (scaled >> 31)
            assert np.abs(total).max() < 2**31
            got = np.clip(np.clip(total >> right, -128, 127), *output["clamp"])
            np.testing.assert_array_equal(got, expected(channels, channel, constants, output))


def test_reference_rounding_needs_a_right_shift() -> None:
    rng = np.random.default_rng(2)
    channels, constants, output = random_channels(rng, 9)
    constants["shift"][3] = 0
    assert reference_rounding(channels, constants, output["zero_point"]) is None


def test_bounds_are_reached_and_not_exceeded() -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-128, 128, (5, 7))
    constants = {"bias": rng.integers(-9000, 9000, 5).astype(np.int32), **factors(rng, 5, (-8, -7))}
    channels = fold_channels(weight, constants, 11, -4, FULL, "double")
    low = np.where(weight > 0, -128, 127)
    high = np.where(weight > 0, 127, -128)
    for bound, x in ((channels.low, low), (channels.high, high)):
        sums = constants["bias"] + ((x - 11) * weight).sum(axis=1)
        np.testing.assert_array_equal(bound, sums)


def test_a_channel_that_never_changes_is_folded() -> None:
    weight = np.array([[1, 2], [0, 0], [100, -100]])
    constants = {
        "bias": np.array([0, 2**30, 0], np.int32),
        "multiplier": np.full(3, HALF, np.int32),
        "shift": np.array([-28, -20, -6], np.int32),
    }
    channels = fold_channels(weight, constants, 0, 5, FULL, "double")
    np.testing.assert_array_equal(channels.scale == 0, [True, True, False])
    np.testing.assert_array_equal(channels.weight[:2], 0)
    np.testing.assert_array_equal(channels.low[:2], 0)
    values = channels.first - 1 + (channels.steps <= 0).sum(axis=1)
    np.testing.assert_array_equal(values[:2], [5, 127])


@pytest.mark.parametrize("bias", [2**23, -(2**23)])
def test_accumulators_that_do_not_fit_are_refused(bias: int) -> None:
    constants = {
        "bias": np.array([bias], np.int32),
        "multiplier": np.array([HALF], np.int32),
        "shift": np.array([-16], np.int32),
    }
    with pytest.raises(UnsuitableError):
        fold_channels(np.array([[127] * 9]), constants, 0, 0, FULL, "double")
