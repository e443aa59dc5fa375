"""The arena planner: what it must never get wrong, and how small its arenas must be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyaot.compiler.memory import Buffer, InPlace, check_plan, plan_arena
from tinyaot.compiler.memory.placement import Problem, first_fit
from tinyaot.targets.errors import TinyaotError


@st.composite
def problems(
    draw: st.DrawFn, *, count: int, size: int, alignments: Sequence[int]
) -> tuple[list[Buffer], list[InPlace]]:
    """Random buffers, and offers between random pairs, most of which the lifetimes forbid."""
    buffers = []
    for index in range(draw(st.integers(0, count))):
        first = draw(st.integers(0, count))
        last = first + draw(st.integers(0, 3))
        alignment = draw(st.sampled_from(alignments))
        buffers.append(Buffer(f"b{index}", draw(st.integers(0, size)), first, last, alignment))
    meeting = [
        InPlace(b.name, a.name) for a in buffers for b in buffers if a != b and a.last == b.first
    ]
    anything = [InPlace(b.name, a.name) for a in buffers for b in buffers if a != b]
    offers = []
    if anything:
        offers = draw(st.lists(st.sampled_from(meeting or anything), max_size=4))
        offers += draw(st.lists(st.sampled_from(anything), max_size=1))
    return buffers, offers


def selections(buffers: list[Buffer], offers: list[InPlace]) -> Iterator[set[tuple[str, str]]]:
    """Every set of offers that may be taken together, as the docstring of plan_arena defines it."""
    by_name = {b.name: b for b in buffers}
    valid = [p for p in dict.fromkeys(offers) if by_name[p.input].last == by_name[p.output].first]
    for count in range(len(valid) + 1):
        for taken in combinations(valid, count):
            ends = [(by_name[p.output].first, n) for p in taken for n in (p.input, p.output)]
            if len(set(ends)) == len(ends):
                yield {(p.input, p.output) for p in taken}


def rounded(buffers: list[Buffer]) -> dict[str, int]:
    quantum = min(b.alignment for b in buffers)
    return {b.name: (b.size + quantum - 1) // quantum * quantum for b in buffers}


def most_alive(buffers: list[Buffer], offers: list[InPlace]) -> int:
    """The lower bound from its definition: per operator the pairs that save most there."""
    sizes = rounded(buffers)
    bound = 0
    for operator in range(min(b.first for b in buffers), max(b.last for b in buffers) + 1):
        alive = {b.name for b in buffers if b.first <= operator <= b.last}
        starts = {b.name for b in buffers if b.first == operator}
        here = [p for p in offers if p.output in starts]
        savings = [
            sum(min(sizes[i], sizes[o]) for i, o in taken) for taken in selections(buffers, here)
        ]
        bound = max(bound, sum(sizes[name] for name in alive) - max(savings))
    return bound


def fits(buffers: list[Buffer], taken: set[tuple[str, str]], size: int) -> bool:
    """Whether some offsets keep the rules in an arena of this size: all are tried."""
    sizes = rounded(buffers)

    def compatible(a: Buffer, start_a: int, b: Buffer, start_b: int) -> bool:
        if {(a.name, b.name), (b.name, a.name)} & taken:
            return start_a == start_b
        apart = start_a + sizes[a.name] <= start_b or start_b + sizes[b.name] <= start_a
        empty = not a.size or not b.size
        return apart or empty or a.last < b.first or b.last < a.first

    def place(placed: list[tuple[Buffer, int]], rest: list[Buffer]) -> bool:
        if not rest:
            return True
        b = rest[0]
        return any(
            all(compatible(b, start, *other) for other in placed)
            and place([*placed, (b, start)], rest[1:])
            for start in range(0, size - sizes[b.name] + 1, b.alignment)
        )

    return place([], buffers)


def optimum(buffers: list[Buffer], offers: list[InPlace]) -> int:
    quantum = min(b.alignment for b in buffers)
    size = most_alive(buffers, offers)
    while not any(fits(buffers, taken, size) for taken in selections(buffers, offers)):
        size += quantum
    return size


@settings(deadline=None)
@given(problems(count=14, size=200, alignments=(1, 2, 4, 16, 64)))
def test_no_two_live_buffers_overlap(problem: tuple[list[Buffer], list[InPlace]]) -> None:
    """Protects every byte on the device: an overlap is silent corruption there."""
    buffers, offers = problem
    plan = plan_arena(buffers, offers)
    check_plan(buffers, plan)
    assert list(plan.offsets) == [b.name for b in buffers]
    assert set(plan.in_place) <= set(offers)
    assert plan == plan_arena(buffers, offers), "two runs gave different plans"


@settings(deadline=None, max_examples=200)
@given(problems(count=4, size=5, alignments=(1, 2, 4)))
def test_small_problems_are_solved_exactly(problem: tuple[list[Buffer], list[InPlace]]) -> None:
    """Protects the arena's size, the choice of in-place pairs and the meaning of lower_bound."""
    buffers, offers = problem
    plan = plan_arena(buffers, offers)
    if buffers:
        assert plan.lower_bound == most_alive(buffers, offers)
        assert plan.size == optimum(buffers, offers)
    else:
        assert (plan.size, plan.lower_bound) == (0, 0)


# Where every greedy order leaves a hole that the last large buffer does not fit into.
FRAGMENTING = [
    Buffer("a", 24, 4, 4),
    Buffer("b", 16, 0, 3),
    Buffer("c", 24, 1, 2),
    Buffer("d", 8, 0, 0),
    Buffer("e", 16, 3, 4),
]


def test_search_solves_what_greedy_by_size_does_not() -> None:
    """Protects the search: greedy by size needs 56 bytes here, 40 are enough."""
    steps = range(5)
    problem = Problem(
        tuple(tuple(b.size * (b.first <= t <= b.last) for t in steps) for b in FRAGMENTING),
        (4,) * 5,
    )
    by_size = sorted(range(5), key=lambda i: -FRAGMENTING[i].size)
    assert first_fit(problem, by_size).size == 56
    plan = plan_arena(FRAGMENTING)
    assert (plan.size, plan.lower_bound) == (40, 40)


def chain(sizes: Sequence[int], in_place: Sequence[int] = ()) -> tuple[list[Buffer], list[InPlace]]:
    """A network without branches: operator i reads tensor i and writes tensor i + 1."""
    buffers = [
        Buffer(f"t{i}", size, max(0, i - 1), min(i, len(sizes) - 2)) for i, size in enumerate(sizes)
    ]
    return buffers, [InPlace(f"t{i + 1}", f"t{i}") for i in in_place]


def resnet8() -> tuple[list[Buffer], list[InPlace]]:
    """MLPerf Tiny's image classification network: three residual blocks, int8."""
    large, middle, small = 32 * 32 * 16, 16 * 16 * 32, 8 * 8 * 64
    lifetimes = [
        ("input", 3072, 0, 0),
        ("conv0", large, 0, 3),
        ("conv1", large, 1, 2),
        ("conv2", large, 2, 3),
        ("add0", large, 3, 6),
        ("conv3", middle, 4, 5),
        ("conv4", middle, 5, 7),
        ("skip1", middle, 6, 7),
        ("add1", middle, 7, 10),
        ("conv5", small, 8, 9),
        ("conv6", small, 9, 11),
        ("skip2", small, 10, 11),
        ("add2", small, 11, 12),
        ("pool", 64, 12, 13),
        ("dense", 10, 13, 14),
        ("softmax", 10, 14, 14),
    ]
    adds = [
        ("add0", "conv0"),
        ("add0", "conv2"),
        ("add1", "skip1"),
        ("add1", "conv4"),
        ("add2", "skip2"),
        ("add2", "conv6"),
        ("softmax", "dense"),
    ]
    return [Buffer(*row) for row in lifetimes], [InPlace(*row) for row in adds]


KWS = (490, *(25 * 5 * 64,) * 9, 64, 12, 12)
VWW = (
    *(96 * 96 * 3, 48 * 48 * 8, 48 * 48 * 8, 48 * 48 * 16, 24 * 24 * 16),
    *(24 * 24 * 32,) * 3,
    12 * 12 * 32,
    *(12 * 12 * 64,) * 3,
    6 * 6 * 64,
    *(6 * 6 * 128,) * 11,
    *(3 * 3 * 128, 3 * 3 * 256, 3 * 3 * 256, 3 * 3 * 256, 256, 2, 2),
)
STREAMING = (1200, 1120, 3584, 3072, 3072, 1920, 1920, 128, 32, 3, 3)
AUTOENCODER = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
NETWORKS = {
    "ad": (chain(AUTOENCODER), 768),
    "kws": (chain(KWS), 16000),
    "kws, depthwise in place": (chain(KWS, (1, 3, 5, 7, 11)), 16000),
    "resnet8": (resnet8(), 49152),
    "vww": (chain(VWW), 55296),
    "vww, depthwise in place": (chain(VWW, (1, 3, 5, 9, 13, 15, 17, 19, 21, 25)), 55296),
    "streaming": (chain(STREAMING), 6656),
    "streaming, depthwise in place": (chain(STREAMING, (0, 2, 4, 6)), 6144),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_reach_the_lower_bound(name: str) -> None:
    """Protects the RAM figures of MLPerf Tiny's networks; the project promises 1.05 times."""
    (buffers, offers), size = NETWORKS[name]
    plan = plan_arena(buffers, offers)
    check_plan(buffers, plan)
    assert plan.size == plan.lower_bound == size


def test_in_place_operators_chain() -> None:
    """Protects chains: four tensors, each computed over the one before, need the room of one."""
    buffers, offers = chain((100, 100, 100, 100), in_place=(0, 1, 2))
    plan = plan_arena(buffers, offers)
    assert plan.size == plan.lower_bound == 100
    assert set(plan.offsets.values()) == {0}
    assert plan.in_place == tuple(offers)


def test_an_output_may_grow_over_its_input() -> None:
    """Protects in-place pairs of unequal sizes: the pair counts with the larger."""
    buffers, offers = chain((40, 100), in_place=(0,))
    assert plan_arena(buffers, offers).size == 100


def test_only_one_of_two_inputs_is_overlaid() -> None:
    """Protects exclusive offers: an addition can overwrite either operand, not both."""
    buffers = [Buffer("x", 64, 0, 2), Buffer("y", 48, 1, 2), Buffer("sum", 64, 2, 3)]
    plan = plan_arena(buffers, [InPlace("sum", "y"), InPlace("sum", "x")])
    assert plan.in_place == (InPlace("sum", "x"),)
    assert plan.size == plan.lower_bound == 112


def test_an_offer_that_would_cost_room_is_left() -> None:
    """Protects the choice of pairs: with both taken, c's room and a's are apart, and d needs 28."""
    buffers = [
        Buffer("a", 16, 0, 1),
        Buffer("c", 4, 0, 2),
        Buffer("b", 4, 1, 3),
        Buffer("d", 12, 2, 3),
    ]
    plan = plan_arena(buffers, [InPlace("b", "a"), InPlace("d", "c")])
    assert plan.in_place == (InPlace("b", "a"),)
    assert plan.size == plan.lower_bound == 20


@pytest.mark.parametrize("reader", [1, 3])
def test_offers_against_lifetimes_are_passed_over(reader: int) -> None:
    """Protects the input of an in-place offer that is still needed, or long gone."""
    buffers = [Buffer("a", 8, 0, reader), Buffer("b", 8, 2, 4)]
    plan = plan_arena(buffers, [InPlace("b", "a")])
    assert plan.in_place == ()
    assert plan.size == (8 if reader < 2 else 16)


def test_empty_and_single() -> None:
    """Protects the edges: nothing to place, one buffer, and buffers without bytes."""
    assert plan_arena([]).size == 0
    one = plan_arena([Buffer("only", 13, 0, 0, alignment=64)])
    assert (one.offsets, one.size) == ({"only": 0}, 64)
    empty = plan_arena([Buffer("none", 0, 0, 5), Buffer("some", 8, 0, 5)])
    assert empty.size == empty.lower_bound == 8


def test_offsets_are_aligned() -> None:
    """Protects alignment where a chain joins buffers of different alignments."""
    buffers = [
        Buffer("byte", 3, 0, 4, alignment=1),
        Buffer("a", 8, 0, 2, alignment=2),
        Buffer("b", 8, 2, 3, alignment=32),
    ]
    plan = plan_arena(buffers, [InPlace("b", "a")])
    check_plan(buffers, plan)
    assert plan.offsets["a"] == plan.offsets["b"] == 0
    assert plan.size == 11


@pytest.mark.parametrize(
    ("buffers", "offers", "message"),
    [
        ([Buffer("a", 4, 0, 1), Buffer("a", 4, 2, 3)], [], "'a' is listed 2 times"),
        ([Buffer("a", -4, 0, 1)], [], "negative"),
        ([Buffer("a", 4, 2, 1)], [], "negative"),
        ([Buffer("a", 4, 0, 1, alignment=12)], [], "no power of two"),
        ([Buffer("a", 4, 0, 1, alignment=0)], [], "no power of two"),
        ([Buffer("a", 4, 0, 1)], [InPlace("b", "a")], "not planned: b"),
        ([Buffer("a", 4, 0, 1)], [InPlace("a", "a")], "with itself"),
    ],
)
def test_malformed_input_is_refused(
    buffers: list[Buffer], offers: list[InPlace], message: str
) -> None:
    """Protects against bugs upstream: a plan of nonsense must not look like a plan."""
    with pytest.raises(ValueError, match=message):
        plan_arena(buffers, offers)


def test_what_does_not_fit_is_named() -> None:
    """Protects the error for a model too large for the board: how much, and which tensors."""
    buffers, offers = chain((100, 60, 200, 4))
    assert plan_arena(buffers, offers, limit=260).size == 260
    with pytest.raises(TinyaotError, match=r"260 bytes .* 259; .* operator 1: t2 \(200\), t1"):
        plan_arena(buffers, offers, limit=259)


def test_hard_problems_end_soon() -> None:
    """Protects compile time: the search is bounded by work, whatever it is given."""
    buffers = [
        Buffer(f"b{i}", (i * 7919) % 997, i, i + (i * 31) % 40, alignment=1 << (i % 7))
        for i in range(120)
    ]
    plan = plan_arena(buffers)
    check_plan(buffers, plan)
    assert plan.size <= 1.25 * plan.lower_bound
