"""Where rigid items go in an arena: a packing problem in one space and one time dimension.

An item is what must share one start offset: a buffer, or a chain of buffers that are computed in
place over each other. Its size may change from step to step, its offset may not. Two items alive
at the same step must not overlap; every other pair may. Nothing here knows of models or operators.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

# Deeper searches than this would need an own stack, and the node budget ends long before.
_EXACT_MAX_ITEMS = 300
_SEED = 0


@dataclass(frozen=True)
class Problem:
    """Items to place.

    Args:
        profiles: for each item the bytes it occupies at each step; 0 where it is not alive. All
            of the same length.
        alignments: for each item the power of two its offset is a multiple of.
    """

    profiles: tuple[tuple[int, ...], ...]
    alignments: tuple[int, ...]

    @cached_property
    def peaks(self) -> tuple[int, ...]:
        """For each item its greatest size."""
        return tuple(max(profile, default=0) for profile in self.profiles)

    @cached_property
    def bound(self) -> int:
        """The greatest sum of sizes at one step: no placement is smaller."""
        return max((sum(step) for step in zip(*self.profiles, strict=True)), default=0)

    @cached_property
    def conflicts(self) -> tuple[tuple[tuple[int, int, int], ...], ...]:
        """For each item i its conflicts (j, above, below).

        i may start at or over `offset(j) + above`, or at or under `offset(j) - below`. The two
        differ as the sizes change in time: `above` is the greatest size of j, `below` that of i,
        while both are alive.
        """
        rows: list[dict[int, tuple[int, int]]] = [{} for _ in self.profiles]
        for step in zip(*self.profiles, strict=True):
            alive = [(i, size) for i, size in enumerate(step) if size]
            for (i, mine), (j, other) in permutations(alive, 2):
                above, below = rows[i].get(j, (0, 0))
                rows[i][j] = max(above, other), max(below, mine)
        return tuple(tuple((j, *gaps) for j, gaps in sorted(row.items())) for row in rows)

    @cached_property
    def cost(self) -> int:
        """What one `first_fit` takes, in the unit of `solve`'s budget."""
        return len(self.profiles) + sum(len(row) for row in self.conflicts)


@dataclass(frozen=True)
class Placement:
    """One offset for each item, and the bytes from 0 to the end of the highest."""

    offsets: tuple[int, ...]
    size: int


def solve(problem: Problem, budget: int) -> tuple[Placement, int]:
    """Find a small placement, deterministically, and what is left of the budget.

    First a few greedy orders. If none reaches `problem.bound`, branch and bound, which on networks
    nearly always ends with the optimum in far less than its half of the budget. If it does not,
    hill climbing over orders with the other half, from the best placement so far.

    Args:
        budget: the work to spend, counted in items looked at; some 2 million take a second. The
            greedy orders are always tried.
    """
    best = None
    for order in _greedy_orders(problem):
        found = first_fit(problem, order)
        budget -= problem.cost
        if best is None or found.size < best.size:
            best = found
        if best.size == problem.bound:
            return best, budget
    assert best is not None
    search = _Exact(problem, best, max(0, budget) // 2)
    budget -= search.budget
    best = search.run()
    if search.budget > 0:
        return best, budget + search.budget
    return _climb(problem, best, budget)


def first_fit(problem: Problem, order: Sequence[int]) -> Placement:
    """Give each item, in this order, the lowest offset free of those placed before.

    Sorting an optimal placement's items by offset gives an order for which this finds an equally
    small one, so a search over orders loses nothing.
    """
    offsets = [-1] * len(order)
    size = 0
    for i in order:
        taken = sorted(
            (offsets[j] - below, offsets[j] + above)
            for j, above, below in problem.conflicts[i]
            if offsets[j] >= 0
        )
        start = 0
        for low, high in taken:
            if start <= low:
                break
            if start < high:
                start = _align(high, problem.alignments[i])
        offsets[i] = start
        size = max(size, start + problem.peaks[i])
    return Placement(tuple(offsets), size)


def _align(value: int, alignment: int) -> int:
    return (value + alignment - 1) & -alignment


def _greedy_orders(problem: Problem) -> Iterator[list[int]]:
    """The orders known to do well on networks; ties go to the item listed first."""
    peaks, profiles, conflicts = problem.peaks, problem.profiles, problem.conflicts
    items = range(len(profiles))
    sums = [sum(step) for step in zip(*profiles, strict=True)]
    fullest = sums.index(max(sums)) if sums else 0

    def pressure(i: int) -> int:
        # The fullest step this item lives in: where space is tight, place first.
        return max(
            (total for total, size in zip(sums, profiles[i], strict=True) if size), default=0
        )

    yield sorted(items, key=lambda i: -peaks[i])
    yield sorted(items, key=lambda i: (-len(conflicts[i]), -peaks[i]))
    yield sorted(items, key=lambda i: -sum(profiles[i]))
    yield sorted(items, key=lambda i: (-pressure(i), -peaks[i]))
    yield sorted(items, key=lambda i: (not (profiles[i] and profiles[i][fullest]), -peaks[i]))


def _climb(problem: Problem, best: Placement, budget: int) -> tuple[Placement, int]:
    """Move an item that reaches the top to another place in the order; keep what is no worse."""
    choose = random.Random(_SEED)
    order = sorted(range(len(best.offsets)), key=lambda i: best.offsets[i])
    while budget >= problem.cost and best.size > problem.bound:
        offsets, peaks = best.offsets, problem.peaks
        moved = choose.choice([i for i in order if offsets[i] + peaks[i] == best.size])
        candidate = [i for i in order if i != moved]
        candidate.insert(choose.randrange(len(order)), moved)
        found = first_fit(problem, candidate)
        budget -= problem.cost
        if found.size <= best.size:
            best, order = found, candidate
    return best, budget


class _Exact:
    """Branch and bound over placements in order of rising offset.

    In a smallest placement whose offsets have the smallest sum no item can be moved down, so each
    sits right on top of an item that ends below it, or at 0: its offset follows from those placed
    before it. Branches in which some item not yet placed would fit under the next one are such that
    it could be moved down, and are left out. The same canonical form is behind MiniMalloc (Moffitt,
    ASPLOS 2023).
    """

    def __init__(self, problem: Problem, incumbent: Placement, budget: int) -> None:
        self.problem = problem
        self.best = incumbent
        self.budget = budget
        self._offsets = [0] * len(problem.profiles)

    def run(self) -> Placement:
        """The optimum if some budget is left, the best found if it is spent."""
        problem = self.problem
        items = [i for i, peak in enumerate(problem.peaks) if peak]
        if len(items) > _EXACT_MAX_ITEMS:
            self.budget = 0
        else:
            left = [sum(step) for step in zip(*problem.profiles, strict=True)]
            self._place(items, [0] * len(problem.peaks), [0] * len(left), left, (0, -1))
        return self.best

    def _place(
        self,
        items: list[int],
        lowest: list[int],
        tops: list[int],
        left: list[int],
        last: tuple[int, int],
    ) -> None:
        """Place one of `items` next.

        Args:
            items: those not yet placed.
            lowest: for each item the lowest offset over all conflicting ones placed.
            tops: for each step the highest end of those placed.
            left: for each step the sum of the sizes not yet placed.
            last: offset and item placed before; the next comes after it in this order.
        """
        problem, peaks = self.problem, self.problem.peaks
        if not items:
            size = max(self._offsets[i] + peak for i, peak in enumerate(peaks))
            if size < self.best.size:
                self.best = Placement(tuple(self._offsets), size)
            return
        self.budget -= len(items) + len(tops)
        floor = last[0]
        if any(
            max(top, floor) + rest >= self.best.size
            for top, rest in zip(tops, left, strict=True)
            if rest
        ):
            return
        ceiling = min(lowest[i] + peaks[i] for i in items)
        ready = [i for i in items if last < (lowest[i], i) and lowest[i] < ceiling]
        ready.sort(key=lambda i: (lowest[i], -peaks[i], i))
        for i in ready:
            if self.budget <= 0 or self.best.size == problem.bound:
                return
            start = lowest[i]
            self._offsets[i] = start
            raised = list(lowest)
            for j, _, below in problem.conflicts[i]:
                # Seen from j, item i lies under it: i's own size is what keeps them apart.
                raised[j] = max(raised[j], _align(start + below, problem.alignments[j]))
            rest = [j for j in items if j != i]
            if any(raised[j] + peaks[j] >= self.best.size for j in rest):
                continue
            profile = problem.profiles[i]
            self._place(
                rest,
                raised,
                [start + s if s else top for top, s in zip(tops, profile, strict=True)],
                [total - s for total, s in zip(left, profile, strict=True)],
                (start, i),
            )
