"""Element-wise operators on Helium, sixteen elements a turn; outputs may overlay inputs.

Addition takes two multiply-adds and two narrowings: y = clamp((a * A + b * B + C) >> n, rounded).
`_solve` finds A, B and C for which this is TFLite's sum for all 65536 pairs of inputs. What depends
on one input alone is a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import at, call
from tinyaot.schedules.cortex_m.requantize import output_steps
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import Add, Lookup, Requantize

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_elementwise.h")

Int64 = NDArray[np.int64]

# The fractions that there are functions for, the finest first.
_FRACTIONS = (22, 21, 20, 19, 18, 16)
# Factors tried on either side of the ideal ones.
_TRIALS = 12


def _rescaled(v: Int64, multiplier: int, shift: int, rounding: str) -> Int64:
    """v * multiplier * 2^(shift - 31), rounded as in `tinyaot_fixed_point.h`."""
    if rounding == "single":
        result: Int64 = (v * multiplier + (1 << (30 - shift))) >> (31 - shift)
        return result
    x = ((v << max(shift, 0)) * multiplier + (1 << 30)) >> 31
    right = max(-shift, 0)
    half = (1 << right) >> 1
    return np.where(x >= 0, (x + half) >> right, -((half - x) >> right))


def _sums(workload: Add) -> Int64:
    """The output for every pair of inputs, (256, 256)."""
    rounding = workload.rounding
    scaled = [
        _rescaled(
            (np.arange(-128, 128) - zero_point) << workload.left_shift, multiplier, shift, rounding
        )
        for zero_point, multiplier, shift in zip(
            workload.input_zero_points, workload.multipliers, workload.shifts, strict=True
        )
    ]
    total = scaled[0][:, None] + scaled[1][None, :]
    result = _rescaled(total, workload.output_multiplier, workload.output_shift, rounding)
    return np.clip(result + workload.output_zero_point, *workload.clamp)


def _solve(workload: Add) -> dict[str, int]:
    """Constants of the device's form.

    Only pairs next to a step of the output bound them: for each a the last b of one output and the
    first of the next. For given factors these leave a range for the offset.

    Raises:
        UnsuitableError: none were found.
    """
    wanted = _sums(workload)
    values = np.arange(-128, 128)
    if (np.diff(wanted, axis=1) < 0).any():
        raise UnsuitableError("the second input does not raise the sum")
    # For every a and output y the first b that reaches it, where there is one.
    low, high = workload.clamp
    outputs = np.arange(low + 1, high + 1)
    first = (wanted[:, :, None] < outputs).sum(axis=1)
    reached = (first < 256).nonzero()
    missed = (first > 0).nonzero()
    at_a, at_b = values[reached[0]], values[first[reached]]
    below_a, below_b = values[missed[0]], values[first[missed] - 1]
    scale = 2.0 ** (workload.left_shift + workload.output_shift - 31) * workload.output_multiplier
    scales = [
        scale * multiplier * 2.0 ** (shift - 31)
        for multiplier, shift in zip(workload.multipliers, workload.shifts, strict=True)
    ]
    extremes = [
        max(abs(-128 - zero_point), abs(127 - zero_point)) * factor
        for zero_point, factor in zip(workload.input_zero_points, scales, strict=True)
    ]
    largest = sum(extremes) + abs(workload.output_zero_point) + 2
    for fraction in _FRACTIONS:
        if largest * 2.0**fraction >= 2**31:
            continue
        ideal = [round(factor * 2**fraction) for factor in scales]
        step = (outputs << fraction) - (1 << (fraction - 1)) - (1 << (fraction - 9))
        for distance in range(_TRIALS):
            for a, b in _around(ideal[0], ideal[1], distance):
                least = (step[reached[1]] - at_a * a - at_b * b).max(initial=-(2**31))
                most = (step[missed[1]] - 1 - below_a * a - below_b * b).min(initial=2**31 - 1)
                if least > most:
                    continue
                offset = int(least + most) >> 1
                sums = values[:, None] * a + values * b + offset
                if np.abs(sums).max() < 2**31 and abs(offset) < 2**31:
                    return {"factor_a": a, "factor_b": b, "offset": offset, "fraction": fraction}
    raise UnsuitableError("no factors give the same sums")


def _around(a: int, b: int, distance: int) -> list[tuple[int, int]]:
    """The points of the square around (a, b)."""
    side = range(-distance, distance + 1)
    ring = [(x, y) for x in side for y in (-distance, distance)]
    ring += [(x, y) for y in side[1:-1] for x in (-distance, distance)]
    return [(a + x, b + y) for x, y in dict.fromkeys(ring)]


def _derive_add(workload: Add, constants: Constants) -> dict[str, int]:
    return _solve(workload)


@rule(Add, features={"dsp", "mve"}, derive=_derive_add)
def add(workload: Add, decisions: Decisions) -> Kernel:
    """Two multiply-adds a pair."""
    size = workload.size
    function = f"add_{decisions['fraction'] - 8}"
    factors = [decisions[name] for name in ("factor_a", "factor_b", "offset")]
    low, high = workload.clamp

    def compute(a: Any, b: Any, y: Any) -> Any:
        return call(function, at(a), at(b), at(y), size, *factors, low, high)

    @T.prim_func
    def add(
        a: T.Buffer((size,), "int8"),
        b: T.Buffer((size,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        compute(a, b, y)

    return Kernel(add, headers=_HEADERS, in_place_inputs=(0, 1))


def _by_table(size: int, input_dtype: str, output_dtype: str) -> Any:
    @T.prim_func
    def lookup(
        x: T.Buffer((size,), input_dtype),
        table: T.Buffer((256,), "int8"),
        y: T.Buffer((size,), output_dtype),
    ):
        call("lookup", at(x), at(table), at(y), size)

    return lookup


@rule(Lookup, features={"dsp", "mve"})
def lookup(workload: Lookup, decisions: Decisions) -> Kernel:
    """A gather for sixteen elements."""

    def pack(constants: Constants) -> Constants:
        # Elements index the table as unsigned bytes.
        return {"table": np.roll(constants["table"], 128)}

    function = _by_table(workload.size, "int8", "int8")
    return Kernel(function, pack, _HEADERS, in_place_inputs=(0,))


def _is_bytes(workload: Requantize) -> bool:
    return {workload.input_dtype, workload.output_dtype} <= {"int8", "uint8"}


@rule(Requantize, features={"dsp", "mve"}, applies=_is_bytes)
def requantize(workload: Requantize, decisions: Decisions) -> Kernel:
    """By a table of all inputs."""
    steps = output_steps(
        np.array([workload.multiplier]),
        np.array([workload.shift]),
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )[0]

    def pack(constants: Constants) -> Constants:
        codes = np.arange(256)
        signed = workload.input_dtype == "int8"
        values = np.where(codes < 128, codes, codes - 256) if signed else codes
        reached = (values[:, None] - workload.input_zero_point >= steps).sum(axis=1)
        return {"table": (workload.clamp[0] + reached).astype(np.uint8).view(np.int8)}

    function = _by_table(workload.size, workload.input_dtype, workload.output_dtype)
    return Kernel(function, pack, _HEADERS, in_place_inputs=(0,))
