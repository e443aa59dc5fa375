"""Cascades: operations in a row work in stripes, so that what lies between them is never whole.

Between two operations of a cascade lies a rolling buffer: row y of the tensor is at y modulo the
buffer's rows. Each stripe of the last operation asks the ones before it for the rows it reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from tinyaot.schedules.ethos_u.memory import usage
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation

_LONGEST = 14
_HEIGHTS = (1, 2, 4, 8, 16)
_FINALISTS = 5
_SAVING = 0.995
_CYCLES_PRICE = 1.5
"""Half the SRAM may cost 1.6 times the cycles, and no more."""


@dataclass(frozen=True)
class Cascade:
    """Which operations work in stripes.

    Attributes:
        first, last: indices, inclusive.
        height: rows of a stripe of the last one's output.
    """

    first: int
    last: int
    height: int


def apply_cascade(
    operations: Sequence[Operation], cascade: Cascade, external: Collection[str]
) -> list[Operation] | None:
    """The operations with some of them in stripes; None if they cannot be.

    Args:
        operations: in order, none of them striped so far from `first` to `last`.
        cascade: which.
        external: storages that are read or written outside.
    """
    members = operations[cascade.first : cascade.last + 1]
    makers = {one.ofm.storage: place for place, one in enumerate(members)}
    if len(makers) != len(members) or not all(_can_stripe(one) for one in members):
        return None
    if not all(
        fm.strides is None and fm.whole == members[makers[fm.storage]].ofm.whole
        for one in members
        for fm in one.inputs
        if fm.storage in makers
    ):
        # Rows of one are not rows of the other.
        return None
    users = [
        [p for p, one in enumerate(members) if _reads(one, member.ofm.storage)]
        for member in members
    ]
    outside = [*operations[: cascade.first], *operations[cascade.last + 1 :]]
    kept = {fm.storage for one in outside for fm in (*one.inputs, one.ofm)} | set(external)
    last = len(members) - 1
    if any(not users[place] and place != last for place in range(last)) or users[last]:
        return None
    if any(p <= place for place in range(last) for p in users[place]):
        return None
    done = [0] * len(members)
    rows = [0] * len(members)
    order: list[tuple[int, int, int]] = []

    # Rows that a stripe takes at each operation; what the first stripe needs ahead comes in such
    # pieces too, and not in one.
    heights = [cascade.height] * len(members)
    for place in range(last - 1, -1, -1):
        heights[place] = max(
            heights[p] * (members[p].strides[0] if members[p].ifm2 is None else 1)
            for p in users[place]
        )

    def produce(place: int, until: int) -> None:
        until = min(until, members[place].ofm.shape[0])
        while done[place] < until:
            piece(place, min(done[place] + heights[place], until))

    def piece(place: int, until: int) -> None:
        begin = done[place]
        for fm in members[place].inputs:
            if fm.storage in makers:
                produce(makers[fm.storage], _needed(members[place], fm, begin, until)[1])
        oldest = min(
            (
                _needed(members[p], members[place].ofm, done[p], done[p] + 1)[0]
                for p in users[place]
                if done[p] < members[p].ofm.shape[0]
            ),
            default=begin,
        )
        rows[place] = max(rows[place], until - min(oldest, begin))
        order.append((place, begin, until))
        done[place] = until

    height = members[last].ofm.shape[0]
    for end in range(cascade.height, height + cascade.height, cascade.height):
        produce(last, end)
    rolling = {
        one.ofm.storage: rows[place]
        for place, one in enumerate(members)
        if one.ofm.storage not in kept and place != last and rows[place] < one.ofm.shape[0]
    }
    striped = [_stripe(members[place], begin, end, rolling) for place, begin, end in order]
    return [*operations[: cascade.first], *striped, *operations[cascade.last + 1 :]]


def _can_stripe(one: Operation) -> bool:
    return (
        one.ofm.shape == one.ofm.whole
        and one.ofm.offset == 0
        and one.ofm.strides is None
        and one.upscale == "none"
        and one.scalar is None
        and all(
            fm.offset == 0
            and fm.rows is None
            and fm.first == (0, 0, 0)
            # What repeats along rows is not cut into rows.
            and (one.ifm2 is None or fm.shape[0] == one.ofm.shape[0])
            for fm in one.inputs
        )
    )


def _reads(one: Operation, storage: str) -> bool:
    return any(fm.storage == storage for fm in one.inputs)


def _needed(one: Operation, fm: FeatureMap, begin: int, end: int) -> tuple[int, int]:
    """The rows of an input that some rows of the output take, cut to those there are."""
    first, last = _reach(one, begin, end)
    return max(first, 0), min(last, fm.shape[0])


def _reach(one: Operation, begin: int, end: int) -> tuple[int, int]:
    if one.ifm2 is not None:
        return begin, end
    size = (one.kernel[0] - 1) * one.dilation[0] + 1
    first = begin * one.strides[0] - one.padding[0]
    return first, (end - 1) * one.strides[0] + size - one.padding[0]


def _stripe(one: Operation, begin: int, end: int, rolling: dict[str, int]) -> Operation:
    """Some rows of an operation."""
    first, last = _reach(one, begin, end)
    total = one.ofm.shape[0]

    def rolled(fm: FeatureMap) -> FeatureMap:
        return replace(fm, rows=rolling.get(fm.storage))

    def part(fm: FeatureMap) -> FeatureMap:
        return rolled(fm).part((max(first, 0), min(last, fm.shape[0])))

    _, left, _, right = one.padding
    below = max(last - one.ifm.shape[0], 0) if one.ifm2 is None else 0
    return replace(
        one,
        ifm=part(one.ifm),
        ifm2=None if one.ifm2 is None else part(one.ifm2),
        ofm=rolled(one.ofm).part((begin, end)),
        padding=(max(-first, 0), left, below, right),
        strides=one.strides if end - begin > 1 else (1, one.strides[1]),
        macs=one.macs * (end - begin) // total,
    )


def find_cascades(
    operations: Sequence[Operation],
    external: Collection[str],
    cycles: Callable[[Sequence[Operation]], int],
    limit: int | None = None,
) -> list[Operation]:
    """Cascades that lower the peak of SRAM, one after the other.

    Args:
        operations: in order.
        external: storages that lie elsewhere.
        cycles: estimates operations.
        limit: bytes that are enough; None for as few as possible.

    Returns:
        The operations, some in stripes.
    """
    result = list(operations)
    while True:
        alive = usage(result, external)
        peak = max(alive, default=0)
        if limit is not None and peak <= limit:
            return result
        place = alive.index(peak) if alive else 0
        found: list[tuple[int, int, list[Operation]]] = []
        for first in range(max(0, place - _LONGEST), min(place + 1, len(result) - 1)):
            for last in range(max(first + 1, place), min(first + _LONGEST, len(result))):
                for height in _HEIGHTS:
                    if height >= result[last].ofm.shape[0]:
                        break
                    striped = apply_cascade(result, Cascade(first, last, height), external)
                    if striped is None:
                        break
                    now = max(usage(striped, external))
                    if now < peak * _SAVING:
                        found.append((now, len(striped), striped))
        if not found:
            return result
        if limit is not None and any(now <= limit for now, _, _ in found):
            # Any of these will do: what matters then is cycles.
            found = [(limit, count, ops) for now, count, ops in found if now <= limit]
        best = min(
            (_price(now, cycles(striped)), number, striped)
            for number, (now, striped) in enumerate(_finalists(found))
        )
        if limit is None and best[0] >= _price(peak, cycles(result)):
            return result
        result = best[2]


def _price(sram: int, cycles: int) -> float:
    return math.log(max(sram, 1)) + _CYCLES_PRICE * math.log(max(cycles, 1))


def _finalists(
    found: Sequence[tuple[int, int, list[Operation]]],
) -> list[tuple[int, list[Operation]]]:
    """Of each peak the one with fewest commands; of all peaks some, the lowest among them."""
    least: dict[int, tuple[int, list[Operation]]] = {}
    for now, count, striped in found:
        if now not in least or count < least[now][0]:
            least[now] = (count, striped)
    # What has a higher peak and no fewer commands is no gain.
    front: list[tuple[int, list[Operation]]] = []
    fewest = 1 << 30
    for now in sorted(least):
        if least[now][0] < fewest:
            fewest = least[now][0]
            front.append((now, least[now][1]))
    step = -(-len(front) // _FINALISTS)
    return front[::step]
