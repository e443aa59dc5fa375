"""Which weights are copied to SRAM, and when: DMA transfers that run beside earlier operations.

An operation can read its weights from flash itself, once for each block of rows and columns. Where
that takes longer than computing, or keeps the flash's port from others, a copy pays, if there is
time to make it before. Copies cost SRAM from their start to the operation's end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tinyaot.schedules.ethos_u.memory import add_buffers
from tinyaot.targets.ethos_u import cost_model
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.timeline import MOST_KERNELS, Timeline

SRAM_PRICE = 0.3
"""A tenth more SRAM must save three hundredths of the cycles."""
_GAIN = 0.9999
_OVER = 100.0
"""How much more a plan costs that needs more SRAM than there is: none of them is ever taken where
there is another, but the search finds out of them."""
_STEPS = (1, 2, 4, -1, -2)
"""By how many operations the start of a copy is moved."""
_ROUNDS = 4


@dataclass(frozen=True)
class Transfer:
    """Constants that DMA can bring: the weights of one or more operations, or a look-up table.

    Attributes:
        nbytes: encoded.
        users: indices of the operations, in order.
        earliest: the first operation before which it can start.
        buffer: bytes of SRAM that it takes; a table lies in the accelerator's own memory.
    """

    nbytes: int
    users: tuple[int, ...]
    earliest: int = 0
    buffer: int = 0


@dataclass(frozen=True)
class Streaming:
    """What is copied when.

    Attributes:
        starts: for each transfer the operation with which it starts; None where operations read
            from flash. What earlier operations use may lie in the same place.
        cycles: estimated, of all operations.
        price: cycles and SRAM in one number.
    """

    starts: tuple[int | None, ...]
    cycles: int
    price: float


def command_place(start: int, user: int) -> int:
    """The operation before whose command that of a transfer comes: the command processor runs ahead
    of the kernels."""
    return min(start + MOST_KERNELS, user)


class StreamingPlanner:
    """Searches the transfers that pay."""

    def __init__(
        self,
        costs: Sequence[tuple[cost_model.Cost, cost_model.Cost]],
        transfers: Sequence[Transfer],
        alive: Sequence[int],
        npu: Npu,
        limit: int | None,
        base: int,
        price: float = SRAM_PRICE,
    ) -> None:
        """Prepares.

        Args:
            costs: of each operation, with its weights read from flash and from SRAM.
            transfers: what can be copied, and at the end of the list what must be.
            alive: bytes of SRAM in use at each operation.
            npu: the accelerator; no copies that need more if it is to save SRAM.
            limit: bytes of SRAM that there are; None for no limit.
            base: bytes of SRAM that have no price.
            price: what SRAM costs: `SRAM_PRICE`, or 0 where it is free up to the limit.
        """
        self._costs = costs
        self._transfers = transfers
        self._alive = alive
        self._npu = npu
        self._limit = limit
        self._price = price
        self._base = base or 1
        self._times = [cost_model.copy_cycles(one.nbytes, npu) for one in transfers]

    def plan(self, forced: Sequence[bool | None], thorough: bool = True) -> Streaming:
        """The best plan that was found.

        Args:
            forced: for each transfer whether it is made, where that is decided.
            thorough: whether starts are searched as well.
        """
        chosen = [bool(value) for value in forced]
        free = [i for i, value in enumerate(forced) if value is None and self._pays(i)]
        best = self._priced(self._latest(chosen))
        everything = [value or index in free for index, value in enumerate(chosen)]
        other = self._priced(self._latest(everything))
        starts = [(everything, other) if other.price < best.price else (chosen, best)]
        if thorough and other.price > _OVER * other.cycles:
            # Where little fits, adding copies and leaving some out end in different places.
            starts.append((everything, other))
        plans = [self._toggled(*start, free) for start in starts]
        if thorough:
            plans = [self._moved(plan, free) for plan in plans]
        return min(plans, key=lambda plan: plan.price)

    def _toggled(self, chosen: list[bool], best: Streaming, free: Sequence[int]) -> Streaming:
        """Makes copies, or does not, one after the other, as long as it gains."""
        improved = True
        while improved:
            improved = False
            for index in free:
                trial = [*chosen]
                trial[index] = not trial[index]
                changed = self._priced(self._latest(trial))
                if changed.price < best.price * _GAIN:
                    chosen, best, improved = trial, changed, True
        return best

    def _pays(self, index: int) -> bool:
        return any(
            self._costs[user][1].cycles < self._costs[user][0].cycles
            or self._costs[user][0].constants > 2 * self._times[index]
            for user in self._transfers[index].users
        )

    def _moved(self, plan: Streaming, free: Sequence[int]) -> Streaming:
        """Moves the starts of copies, leaves some out or takes others in, as long as it gains."""
        for _ in range(_ROUNDS):
            before = plan.price
            for index, one in enumerate(self._transfers):
                when = plan.starts[index]
                if when is None and index not in free:
                    continue
                base = one.users[0] if when is None else when
                places: list[int | None] = [base - step for step in _STEPS]
                for moved in [*places, None] if index in free else places:
                    if moved is not None and not one.earliest <= moved <= one.users[0]:
                        continue
                    starts = [*plan.starts]
                    starts[index] = moved
                    trial = self._priced(starts)
                    if trial.price < plan.price:
                        plan = trial
            if plan.price >= before * _GAIN:
                break
        return plan

    def _priced(self, starts: Sequence[int | None]) -> Streaming:
        cycles = self._simulate(starts)
        buffers = [
            (one.buffer, when, one.users[-1])
            for one, when in zip(self._transfers, starts, strict=True)
            if when is not None and one.buffer
        ]
        sram = max(add_buffers(self._alive, buffers), default=0)
        price = cycles * (1 + self._price * (sram / self._base - 1))
        most = math.inf if self._limit is None else max(self._limit, self._base)
        if self._npu.optimise == "size":
            most = self._base
        if sram > most:
            price *= 2 * _OVER * sram / most
        return Streaming(tuple(starts), cycles, price)

    def _latest(self, copied: Sequence[bool]) -> list[int | None]:
        """When copies start: as late as they can and be there in time, one after the other, beside
        what operations read from flash themselves."""
        held = {
            user
            for one, copy in zip(self._transfers, copied, strict=True)
            if copy and one.buffer
            for user in one.users
        }
        costs = [pair[index in held] for index, pair in enumerate(self._costs)]
        starts = [0]
        for cost in costs:
            starts.append(starts[-1] + cost.cycles)
        issued: list[int | None] = [None] * len(self._transfers)
        order = [i for i, copy in enumerate(copied) if copy]
        order.sort(key=lambda i: -self._transfers[i].users[0])
        free = float(starts[-1])
        for number in order:
            one = self._transfers[number]
            free = min(free, starts[one.users[0]])
            left = float(self._times[number])
            index = one.users[0]
            while left > 0 and index > 0:
                index -= 1
                if starts[index] >= free:
                    continue
                cost = costs[index]
                idle = 1.0 - min(cost.constants / max(cost.cycles, 1), 1.0)
                there = (free - starts[index]) * idle
                if there >= left:
                    free -= left / idle
                    left = 0.0
                else:
                    left -= there
                    free = starts[index]
            free -= left
            when = max((i for i in range(one.users[0] + 1) if starts[i] <= free), default=0)
            issued[number] = max(when, one.earliest)
        return issued

    def _simulate(self, starts: Sequence[int | None]) -> int:
        clock = Timeline(self._npu)
        copies = sorted(
            (command_place(start, one.users[0]), one.users[0], start, self._times[index])
            for index, (one, start) in enumerate(zip(self._transfers, starts, strict=True))
            if start is not None
        )
        held: set[int] = set()
        waits: set[int] = set()
        for one, start in zip(self._transfers, starts, strict=True):
            if start is not None:
                waits.add(one.users[0])
                if one.buffer:
                    held.update(one.users)
        started = 0
        for index, pair in enumerate(self._costs):
            while started < len(copies) and copies[started][0] <= index:
                clock.wait_kernels(index - copies[started][2])
                clock.transfer(copies[started][3], True)
                started += 1
            if index in waits:
                places = [place for place in range(started) if copies[place][1] <= index]
                clock.wait_transfers(started - 1 - places[-1])
            clock.kernel(pair[index in held])
        return clock.end()
