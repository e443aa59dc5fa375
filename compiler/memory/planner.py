"""Offsets in one static arena for everything alive during an inference.

In: lifetimes. Out: an offset for each buffer, such that those alive at once do not overlap, and the
arena is small. Which operators compute in place is chosen here too, as it decides what overlaps.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product

from tinyaot.compiler.memory.placement import Placement, Problem, solve
from tinyaot.targets.errors import TinyaotError

# Both bound the work on hard inputs (a second or so); networks end at the lower bound long before.
_MAX_SELECTIONS = 256
_BUDGET = 2_000_000


@dataclass(frozen=True)
class Buffer:
    """A tensor or a kernel workspace in the arena.

    Args:
        name: unique in one plan.
        size: bytes; 0 is allowed and takes no place.
        first: index of the operator that writes it first.
        last: index of the operator that reads it last, inclusive: alive on both.
        alignment: its offset is a multiple of this power of two.
    """

    name: str
    size: int
    first: int
    last: int
    alignment: int = 4


@dataclass(frozen=True)
class InPlace:
    """An offer: `output` may overlay `input`, from the same start.

    The operator that writes `output` reads each element of `input` before it writes that place.
    """

    output: str
    input: str


@dataclass(frozen=True)
class ArenaPlan:
    """Where each buffer lies.

    Args:
        offsets: for each buffer's name its start in bytes from the arena's start.
        size: bytes of the arena, a multiple of the smallest alignment of any buffer.
        lower_bound: bytes no plan can go below; see `plan_arena`.
        in_place: the offers taken.
    """

    offsets: dict[str, int]
    size: int
    lower_bound: int
    in_place: tuple[InPlace, ...]


def plan_arena(
    buffers: Sequence[Buffer], in_place: Sequence[InPlace] = (), *, limit: int | None = None
) -> ArenaPlan:
    """Place the buffers in one arena, searching for the smallest. Deterministic.

    An offer can be taken if `input` is read for the last time by the operator that writes `output`
    first, and if at that operator neither buffer is in another pair that is taken; the others are
    passed over. A larger output than its input is allowed: it grows into what is free above. Pairs
    taken at successive operators chain: a -> b -> c all start at one offset.

    The lower bound is the maximum over all operators of the bytes alive at it: the sum of the
    sizes of the buffers alive, each rounded up to the smallest alignment of any buffer, where a
    pair taken at this operator counts once, with the larger of its two sizes. For each operator
    it assumes those pairs that make this sum smallest. The arena can be larger where offsets
    fragment.

    Args:
        buffers: in any order; the order breaks ties between equally good plans.
        in_place: what may overlay what.
        limit: bytes there are for the arena, if known.

    Raises:
        ValueError: a name twice, a negative size, a lifetime that ends before it begins, an
            alignment that is no power of two, or an offer that names an unknown buffer or pairs a
            buffer with itself.
        TinyaotError: the smallest arena found is larger than `limit`.
    """
    _validate(buffers, in_place)
    quantum = min((b.alignment for b in buffers), default=1)
    sizes = {b.name: -(-b.size // quantum) * quantum for b in buffers}
    offers = _offers_by_operator(buffers, in_place)
    bound = _lower_bound(buffers, sizes, offers)

    best: tuple[Placement, list[list[Buffer]], tuple[InPlace, ...]] | None = None
    budget = _BUDGET
    for taken in islice(_selections(offers, sizes), _MAX_SELECTIONS):
        chains = _chains(buffers, taken)
        problem = _problem(chains, sizes)
        if best is not None and (budget <= 0 or problem.bound >= best[0].size):
            continue
        # Half of what is left each time: the first selections are the likely ones.
        placement, unspent = solve(problem, budget // 2)
        budget -= budget // 2 - unspent
        if best is None or placement.size < best[0].size:
            best = placement, chains, taken
        if best[0].size == bound:
            break
    assert best is not None  # the empty selection is always among them
    placement, chains, taken = best
    if limit is not None and placement.size > limit:
        raise _too_large(buffers, sizes, placement.size, limit)
    offset_of = {
        b.name: offset
        for chain, offset in zip(chains, placement.offsets, strict=True)
        for b in chain
    }
    return ArenaPlan({b.name: offset_of[b.name] for b in buffers}, placement.size, bound, taken)


def _validate(buffers: Sequence[Buffer], in_place: Sequence[InPlace]) -> None:
    for name, count in Counter(b.name for b in buffers).items():
        if count > 1:
            raise ValueError(f"buffer {name!r} is listed {count} times")
    for b in buffers:
        if b.size < 0 or b.last < b.first:
            raise ValueError(f"buffer {b.name!r}: size or lifetime is negative: {b}")
        if b.alignment < 1 or b.alignment & (b.alignment - 1):
            raise ValueError(f"buffer {b.name!r}: alignment {b.alignment} is no power of two")
    names = {b.name for b in buffers}
    for pair in in_place:
        if unknown := {pair.output, pair.input} - names:
            raise ValueError(f"{pair} names a buffer that is not planned: {', '.join(unknown)}")
        if pair.output == pair.input:
            raise ValueError(f"{pair} pairs a buffer with itself")


def _offers_by_operator(
    buffers: Sequence[Buffer], in_place: Sequence[InPlace]
) -> dict[int, list[InPlace]]:
    """The offers the lifetimes allow, by operator; those that save most come first."""
    by_name = {b.name: b for b in buffers}
    offers: dict[int, list[InPlace]] = defaultdict(list)
    for pair in dict.fromkeys(in_place):
        source, target = by_name[pair.input], by_name[pair.output]
        if source.last == target.first and source.size and target.size:
            offers[target.first].append(pair)
    for pairs in offers.values():
        pairs.sort(key=lambda p: -min(by_name[p.input].size, by_name[p.output].size))
    return dict(sorted(offers.items()))


def _choices(pairs: Sequence[InPlace], used: frozenset[str]) -> Iterator[tuple[InPlace, ...]]:
    """All sets of these pairs in which no buffer is twice. An operator has a handful at most."""
    if not pairs:
        yield ()
        return
    pair, rest = pairs[0], pairs[1:]
    if pair.input not in used and pair.output not in used:
        for others in _choices(rest, used | {pair.input, pair.output}):
            yield (pair, *others)
    yield from _choices(rest, used)


def _saving(choice: Sequence[InPlace], sizes: dict[str, int]) -> int:
    return sum(min(sizes[pair.input], sizes[pair.output]) for pair in choice)


def _lower_bound(
    buffers: Sequence[Buffer], sizes: dict[str, int], offers: dict[int, list[InPlace]]
) -> int:
    """See `plan_arena`. The bytes alive are greatest where some buffer is written first."""
    bound = 0
    for operator in {b.first for b in buffers}:
        alive = sum(sizes[b.name] for b in buffers if b.first <= operator <= b.last)
        choices = _choices(offers.get(operator, ()), frozenset())
        bound = max(bound, alive - max(_saving(choice, sizes) for choice in choices))
    return bound


def _selections(
    offers: dict[int, list[InPlace]], sizes: dict[str, int]
) -> Iterator[tuple[InPlace, ...]]:
    """Every way to take offers: first what saves most at each operator, then ever more changes.

    Taking an offer that does not lower the peak can hurt, as it ties two buffers to one offset.
    """
    per_operator = [
        sorted(_choices(pairs, frozenset()), key=lambda c: (-_saving(c, sizes), -len(c)))
        for pairs in offers.values()
    ]
    for changes in range(len(per_operator) + 1):
        for changed in combinations(range(len(per_operator)), changes):
            picks = [
                choices[1:] if i in changed else choices[:1]
                for i, choices in enumerate(per_operator)
            ]
            for selection in product(*picks):
                yield tuple(pair for choice in selection for pair in choice)


def _chains(buffers: Sequence[Buffer], taken: Sequence[InPlace]) -> list[list[Buffer]]:
    """The buffers that share one offset, in order of time."""
    by_name = {b.name: b for b in buffers}
    after = {pair.input: pair.output for pair in taken}
    chains = []
    for head in buffers:
        if head.name not in after.values():
            chain = [head]
            while chain[-1].name in after:
                chain.append(by_name[after[chain[-1].name]])
            chains.append(chain)
    return chains


def _problem(chains: Sequence[Sequence[Buffer]], sizes: dict[str, int]) -> Problem:
    # Two lifetimes that meet also meet where one of them begins: the other steps add nothing.
    steps = sorted({b.first for chain in chains for b in chain})
    return Problem(
        tuple(
            tuple(
                max((sizes[b.name] for b in chain if b.first <= step <= b.last), default=0)
                for step in steps
            )
            for chain in chains
        ),
        tuple(max(b.alignment for b in chain) for chain in chains),
    )


def _too_large(
    buffers: Sequence[Buffer], sizes: dict[str, int], needed: int, limit: int
) -> TinyaotError:
    def alive(operator: int) -> list[Buffer]:
        return [b for b in buffers if b.first <= operator <= b.last]

    fullest = max((b.first for b in buffers), key=lambda t: sum(sizes[b.name] for b in alive(t)))
    names = sorted(alive(fullest), key=lambda b: (-b.size, b.name))
    together = ", ".join(f"{b.name} ({b.size})" for b in names)
    return TinyaotError(
        f"the arena needs {needed} bytes of RAM and there are {limit}; most is alive at operator "
        f"{fullest}: {together}",
        "choose a board with more RAM",
        "use a model with smaller activations there, such as a smaller input or fewer channels",
    )
