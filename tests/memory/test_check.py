"""The plan checker must catch each way a plan can be wrong; the map must say what the plan says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinyaot.compiler.memory import (
    ArenaPlan,
    Buffer,
    InPlace,
    PlanError,
    check_plan,
    format_map,
    plan_arena,
)

BUFFERS = [Buffer("x", 8, 0, 1), Buffer("y", 8, 1, 2), Buffer("sum", 8, 2, 3), Buffer("z", 4, 3, 3)]
GOOD = ArenaPlan({"x": 0, "y": 8, "sum": 8, "z": 0}, 16, 16, (InPlace("sum", "y"),))


def test_a_good_plan_passes() -> None:
    """Protects against a checker that refuses what is right, in-place pairs included."""
    check_plan(BUFFERS, GOOD)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (replace(GOOD, offsets={**GOOD.offsets, "y": 4, "sum": 4}), "x .* y .* overlap"),
        (replace(GOOD, in_place=()), "y .* sum .* overlap"),
        (replace(GOOD, offsets={**GOOD.offsets, "z": 2}), "z at 2 is not aligned to 4"),
        (replace(GOOD, offsets={**GOOD.offsets, "z": 16}), "outside the arena"),
        (replace(GOOD, offsets={**GOOD.offsets, "z": -4}), "outside the arena"),
        (replace(GOOD, offsets={**GOOD.offsets, "sum": 0, "z": 8}), "not at one offset"),
        (replace(GOOD, in_place=(*GOOD.in_place, InPlace("sum", "x"))), "x -> sum: not at one"),
        (replace(GOOD, in_place=(*GOOD.in_place, InPlace("z", "x"))), "x -> z: the input is read"),
        (replace(GOOD, in_place=(*GOOD.in_place, InPlace("sum", "w"))), "not a buffer"),
        (replace(GOOD, offsets={"x": 0, "y": 8, "sum": 8}), "other buffers: .'z'"),
        (replace(GOOD, offsets={**GOOD.offsets, "w": 0}), "other buffers: .'w'"),
        (replace(GOOD, lower_bound=20), "under the lower bound"),
    ],
)
def test_each_fault_is_caught(plan: ArenaPlan, message: str) -> None:
    """Protects the last line of defence before code is emitted."""
    with pytest.raises(PlanError, match=message):
        check_plan(BUFFERS, plan)


def test_the_map_shows_every_buffer_and_the_totals() -> None:
    """Protects the memory map in the tar: people read RAM use from it."""
    text = format_map(BUFFERS, replace(GOOD, size=20))
    assert text.splitlines() == [
        "offset  size  alive  name",
        "     0     8   0..1  x",
        "     8     8   1..2  y",
        "     8     8   2..3  sum  (in place of y)",
        "     0     4      3  z",
        "",
        "arena        20 bytes",
        "lower bound  16 bytes (most alive at once), 4 bytes (25.0 %) above it",
    ]


def test_the_map_of_nothing() -> None:
    """Protects models whose tensors are all the caller's: no division by a bound of zero."""
    assert "arena        0 bytes" in format_map([], plan_arena([]))
