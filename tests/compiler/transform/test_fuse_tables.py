"""Chains of operators on one element are one table or a clamp, and compute the same."""

from __future__ import annotations

import numpy as np

from tinyaot.compiler.graph import Graph, Node, State, Tensor
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.transform.fuse_tables import fuse_tables
from tinyaot.schedules.workload import Add, Lookup, Requantize, Reshape, Workload

SIZE = 1024
RNG = np.random.default_rng(0)
ADD = Add(SIZE, (1, 2), (2**30, 2**30), (0, -1), 20, 2**30, -18, 3, (-100, 120))


def table() -> dict[str, np.ndarray]:
    return {"table": RNG.integers(-128, 128, 256).astype(np.int8)}


def rescale(multiplier: int = 1_500_000_000, shift: int = 0, size: int = SIZE) -> Requantize:
    return Requantize(size, "int8", "int8", 4, -7, multiplier, shift, (-128, 127))


def limit(low: int, high: int) -> Requantize:
    """Only a clamp."""
    return Requantize(SIZE, "int8", "int8", 0, 0, 2**30, 1, (low, high))


def graph(
    *nodes: tuple[Workload, str, str],
    outputs: str = "y",
    size: int = SIZE,
    states: tuple[State, ...] = (),
) -> Graph:
    """A graph of (workload, inputs, output); its inputs are `x` and `x2`."""
    made = tuple(
        Node(
            *(workload, tuple(inputs.split()), output),
            constants=table() if isinstance(workload, Lookup) else {},
            origin=output.upper(),
        )
        for workload, inputs, output in nodes
    )
    names = {"x": None, "x2": None} | dict.fromkeys(node.output for node in made)
    tensors = {name: Tensor(name, (size,), "int8") for name in names}
    return Graph("test", tensors, ("x", "x2"), tuple(outputs.split()), made, states=states)


def check(before: Graph) -> Graph:
    after = fuse_tables(before)
    size = before.tensors["x"].shape[0]
    inputs = [RNG.integers(-128, 128, size).astype(np.int8) for _ in before.inputs]
    expected, got = evaluate(before, inputs), evaluate(after, inputs)
    for name in before.outputs:
        np.testing.assert_array_equal(got[name].reshape(-1), expected[name].reshape(-1))
    assert set(after.tensors) == {*after.inputs, *(node.output for node in after.nodes)}
    return after


def kinds(graph: Graph) -> list[type[Workload]]:
    return [type(node.workload) for node in graph.nodes]


def test_a_chain_is_one_table() -> None:
    lookup = Lookup(SIZE)
    after = check(graph((rescale(), "x", "a"), (lookup, "a", "b"), (rescale(), "b", "y")))
    assert kinds(after) == [Lookup]
    assert after.nodes[0].origin == "A, B, Y"


def test_what_another_node_reads_stays() -> None:
    lookup = Lookup(SIZE)
    assert kinds(
        check(graph((lookup, "x", "a"), (lookup, "a", "y"), (ADD, "a y", "z"), outputs="z"))
    )
    after = check(graph((lookup, "x", "a"), (lookup, "a", "y"), outputs="y a"))
    assert kinds(after) == [Lookup, Lookup]
    after = check(graph((lookup, "x", "a"), (ADD, "a a", "b"), (lookup, "b", "y")))
    assert kinds(after) == [Lookup, Add, Lookup]


def test_a_limit_becomes_the_clamp_of_the_operator_before() -> None:
    after = check(graph((ADD, "x x2", "a"), (limit(-50, 60), "a", "y")))
    assert kinds(after) == [Add]
    assert after.nodes[0].workload.clamp == (-50, 60)  # type: ignore[attr-defined]
    wider = check(graph((ADD, "x x2", "a"), (limit(-120, 60), "a", "y")))
    assert wider.nodes[0].workload.clamp == (-100, 60)  # type: ignore[attr-defined]


def test_a_limit_to_one_value_is_a_clamp_too() -> None:
    after = check(graph((ADD, "x x2", "a"), (limit(-128, -110), "a", "y")))
    assert after.nodes[0].workload.clamp == (-110, -110)  # type: ignore[attr-defined]


def test_a_rescaling_of_a_few_elements_needs_no_table() -> None:
    small = graph((rescale(size=8), "x", "y"), size=8)
    assert check(small) == small
    assert kinds(check(graph((rescale(), "x", "y")))) == [Lookup]


def test_what_changes_nothing_is_a_name_but_not_of_an_output() -> None:
    nothing = limit(-128, 127)
    after = check(graph((nothing, "x", "a"), (ADD, "a x2", "y")))
    assert kinds(after) == [Reshape, Add]
    assert Reshape not in kinds(check(graph((nothing, "x", "y"))))
    reshape = Reshape((SIZE,), (SIZE,))
    assert kinds(check(graph((nothing, "x", "a"), (reshape, "a", "y"))))[0] is not Reshape


def test_what_is_read_from_a_state_is_read_when_it_was() -> None:
    """The state changes before the second table runs."""
    lookup = Lookup(SIZE)
    state = State("s", np.zeros(SIZE, np.int8))
    nodes = ((lookup, "s", "a"), (lookup, "x", "s"), (lookup, "a", "y"))
    before = graph(*nodes, states=(state,))
    assert fuse_tables(before) == before
