"""From SysTick stamps to exact instruction counts.

Under `qemu-system-arm -icount shift=0` an instruction takes 1 ns of virtual time, but SysTick shows
time in ticks of 31.25 to 50 ns. A stamp therefore samples SysTick n times, 7 instructions apart,
where a tick is n/q ns in lowest terms and 7 and n have no common factor. The sampling times then
fall on each of the n possible positions within a tick exactly once, and so
    sum over k of floor((t + 7 k) q / n) = q t + constant
(Hermite's identity): the difference of two such sums, divided by q, is the number of instructions
between the stamps, without error.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError

SAMPLE_SPACING = 7
"""Instructions between the samples of a stamp, in counter.c."""

WRAP_INSTRUCTIONS = 5
"""Instructions of the SysTick exception, in counter.c."""

EMPTY_FUNCTION_INSTRUCTIONS = 1
"""Instructions of harness.c's empty(): its return."""

EMPTY_OPERATOR_INSTRUCTIONS = 3
"""Instructions of harness.c's empty_operator() that do not belong to the calls of the hooks."""

_PENDING = 1 << 26


@dataclass(frozen=True)
class Stamp:
    """One `struct stamp` of counter.h."""

    first: int
    pending: int
    wraps: int
    sum: int

    FORMAT = "<4I"
    NBYTES = struct.calcsize(FORMAT)

    def ticks(self, samples: int, period: int) -> int:
        """Ticks since SysTick was started, summed over the samples.

        Args:
            samples: how many samples `sum` has.
            period: ticks from wrap to wrap.
        """
        # SysTick asks for its exception when it reaches 0, one tick before it shows the largest
        # count again: 0 counts as the start of the next period.
        left = self.first or period
        uncounted = 1 if self.pending & _PENDING and left > period // 2 else 0
        # Every sample is a little less than the first; those that are not lie behind a wrap.
        behind_wrap = -((samples * left - self.sum) // period)
        total_left = self.sum - behind_wrap * period
        return samples * period * (self.wraps + uncounted + 1) - total_left


def sample_count(board: Board) -> int:
    """How many samples a stamp needs on this board.

    Raises:
        TinyaotError: with the board's SysTick clock, sampling cannot be exact.
    """
    samples = board.tick_ns.numerator
    if math.gcd(samples, SAMPLE_SPACING) != 1 or samples > 255:
        raise TinyaotError(
            f"board {board.name}: instructions cannot be counted with a SysTick of "
            f"{board.systick_hz} Hz"
        )
    return samples


def instructions_between(begin: Stamp, end: Stamp, board: Board) -> int:
    """Instructions executed from one stamp to another, those of SysTick's exception left out."""
    samples, period = sample_count(board), board.systick_reload + 1
    elapsed = end.ticks(samples, period) - begin.ticks(samples, period)
    instructions, rest = divmod(elapsed, board.tick_ns.denominator)
    if rest or instructions < 0:
        raise RuntimeError(f"inconsistent stamps on {board.name}: {begin}, {end}")
    return instructions - WRAP_INSTRUCTIONS * (end.wraps - begin.wraps)
