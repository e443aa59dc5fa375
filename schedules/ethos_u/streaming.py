"""Which weights are copied to SRAM, and when: DMA transfers that run beside earlier operations.

An operation can read its weights from flash itself, once for each block of rows and columns. Where
that takes longer than computing, a copy pays, if there is time to make it before. Copies cost SRAM
from their start to the operation's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyaot.schedules.ethos_u.memory import add_buffers
from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.timeline import Timeline

_SRAM_PRICE = 0.3
"""A tenth more SRAM must save three hundredths of the cycles."""


@dataclass(frozen=True)
class Weights:
    """The weights of one or more operations (the stripes of one).

    Attributes:
        nbytes: encoded.
        users: indices of the operations, in order.
    """

    nbytes: int
    users: tuple[int, ...]


@dataclass(frozen=True)
class Streaming:
    """What is copied when.

    Attributes:
        issued: for each of the weights the operation before which their copy starts; None where
            operations read them from flash.
        cycles: estimated, of all operations.
    """

    issued: tuple[int | None, ...]
    cycles: int


def plan_streaming(
    costs: Sequence[tuple[vela.Cost, vela.Cost]],
    weights: Sequence[Weights],
    alive: Sequence[int],
    npu: Npu,
    forced: Sequence[bool | None] = (),
) -> Streaming:
    """Chooses the copies that pay.

    Args:
        costs: of each operation, with its weights read from flash and from SRAM.
        weights: what can be copied.
        alive: bytes of SRAM in use at each operation.
        npu: the accelerator; without copies if it is to save SRAM.
        forced: for each of the weights whether they are copied, where that is decided.
    """
    fixed = [*forced, *[None] * (len(weights) - len(forced))]
    base = max(alive, default=0) or 1

    def price(copied: Sequence[bool]) -> tuple[float, Streaming]:
        issued = _issue(costs, weights, copied, npu)
        plan = Streaming(tuple(issued), _simulate(costs, weights, issued, npu))
        buffers = [
            (-(-one.nbytes // 16) * 16, when, one.users[-1])
            for one, when in zip(weights, issued, strict=True)
            if when is not None
        ]
        sram = max(add_buffers(alive, buffers), default=0)
        if npu.arena_size is not None and sram > max(npu.arena_size, base):
            return float("inf"), plan
        if npu.optimise == "size" and sram > base:
            return float("inf"), plan
        return plan.cycles * (1 + _SRAM_PRICE * (sram / base - 1)), plan

    def pays(one: Weights) -> bool:
        return any(costs[user][1].cycles < costs[user][0].cycles for user in one.users)

    candidates = [i for i, one in enumerate(weights) if fixed[i] is None and pays(one)]
    chosen = [bool(value) for value in fixed]
    best, plan = price(chosen)
    everything = [value or index in candidates for index, value in enumerate(chosen)]
    other = price(everything)
    if other[0] < best:
        chosen, (best, plan) = everything, other
    improved = True
    while improved:
        improved = False
        for index in candidates:
            trial = [*chosen]
            trial[index] = not trial[index]
            cost, changed = price(trial)
            if cost < best * 0.9999:
                chosen, best, plan, improved = trial, cost, changed, True
    return plan


def _issue(
    costs: Sequence[tuple[vela.Cost, vela.Cost]],
    weights: Sequence[Weights],
    copied: Sequence[bool],
    npu: Npu,
) -> list[int | None]:
    """When copies start: as late as they can and be there in time, one after the other."""
    held = {user: copy for one, copy in zip(weights, copied, strict=True) for user in one.users}
    starts = [0]
    for index, (direct, from_sram) in enumerate(costs):
        starts.append(starts[-1] + (from_sram if held.get(index) else direct).cycles)
    issued: list[int | None] = [None] * len(weights)
    order = sorted((i for i, copy in enumerate(copied) if copy), key=lambda i: -weights[i].users[0])
    free = starts[-1]
    for index in order:
        first = weights[index].users[0]
        free = min(free, starts[first]) - vela.copy_cycles(weights[index].nbytes, npu)
        issued[index] = max((i for i in range(first + 1) if starts[i] <= free), default=0)
    return issued


def _simulate(
    costs: Sequence[tuple[vela.Cost, vela.Cost]],
    weights: Sequence[Weights],
    issued: Sequence[int | None],
    npu: Npu,
) -> int:
    clock = Timeline(npu)
    copies = sorted(
        (when, one.users[0], one.nbytes)
        for one, when in zip(weights, issued, strict=True)
        if when is not None
    )
    held = {
        user
        for one, when in zip(weights, issued, strict=True)
        if when is not None
        for user in one.users
    }
    started = 0
    for index, (direct, from_sram) in enumerate(costs):
        while started < len(copies) and copies[started][0] <= index:
            clock.transfer(vela.copy_cycles(copies[started][2], npu), True)
            started += 1
        if index in held:
            later = sum(1 for _, first, _ in copies[:started] if first > index)
            clock.wait_transfers(later)
        clock.kernel(from_sram if index in held else direct)
    return clock.end()
