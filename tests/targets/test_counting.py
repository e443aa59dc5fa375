"""Instruction counts are exact, and stay so across the wraps of SysTick."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tinyaot.targets import (
    Image,
    Program,
    TinyaotError,
    build_image,
    get_board,
    get_target,
    list_targets,
    run_image,
)

CORES = [name for name in list_targets() if get_target(name).board is not None]

# Four instructions and three per iteration, on every core.
LOOP = """\
    __asm__ volatile(
        ".syntax unified\\n\\t"
        "ldr r0, [r0]\\n\\t"
        "ldr r0, [r0]\\n"
        "1:\\n\\t"
        "subs r0, #1\\n\\t"
        "nop\\n\\t"
        "bne 1b\\n\\t"
        "movs r0, #0\\n\\t"
        "bx lr");"""

pytestmark = pytest.mark.usefixtures("emulated")


def _count(image: Image, iterations: Iterable[int]) -> list[int]:
    result = run_image(image, [(struct.pack("<i", number),) for number in iterations])
    assert result.instructions is not None
    return list(result.instructions)


@pytest.mark.parametrize("name", CORES)
def test_counts_are_exact_to_the_instruction(
    name: str, word_program: Callable[..., Program], tmp_path: Path
) -> None:
    """125 lengths, 3 apart: every position within a tick of any board."""
    program = word_program(LOOP, attributes="__attribute__((naked))")
    image = build_image(program, get_target(name), directory=tmp_path)
    iterations = range(1, 126)
    assert _count(image, iterations) == [4 + 3 * number for number in iterations]


@pytest.mark.parametrize("name", CORES)
def test_counts_are_exact_across_wraps(
    name: str, word_program: Callable[..., Program], tmp_path: Path
) -> None:
    """SysTick made to wrap every 5000 ticks: ends before, in and after a wrap, and many wraps."""
    target = get_target(name)
    assert target.board is not None
    board = dataclasses.replace(get_board(target.board), systick_reload=4999)
    program = word_program(LOOP, attributes="__attribute__((naked))")
    image = build_image(program, target, board, directory=tmp_path)
    until_wrap = int(5000 * board.tick_ns) // 3
    iterations = [*range(until_wrap - 500, until_wrap + 20), 20 * until_wrap]
    assert _count(image, iterations) == [4 + 3 * number for number in iterations]


def test_a_clock_that_sampling_cannot_resolve_is_refused(
    word_program: Callable[..., Program], tmp_path: Path
) -> None:
    """At 1/28 GHz a tick is 28 ns, a multiple of the 7 instructions between samples."""
    board = dataclasses.replace(get_board("mps2-an386"), systick_hz=125_000_000 // 7)
    with pytest.raises(TinyaotError, match="cannot be counted"):
        build_image(
            word_program("    return 0;"), get_target("cortex-m4"), board, directory=tmp_path
        )
