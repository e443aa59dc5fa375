"""Operators whose results nothing reads are gone, and nothing else is."""

from __future__ import annotations

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.transform.dead_nodes import remove_dead_nodes
from tinyaot.schedules.workload import Reshape


def graph(*nodes: tuple[str, str], outputs: str = "y") -> Graph:
    """A graph of reshapes from (inputs, output); its inputs are `x` and `unused`."""
    names = {"x": None, "unused": None} | {output: None for _, output in nodes}
    return Graph(
        "test",
        {name: Tensor(name, (4,), "int8") for name in names},
        ("x", "unused"),
        tuple(outputs.split()),
        tuple(Node(Reshape((4,), (4,)), tuple(inputs.split()), out) for inputs, out in nodes),
    )


def test_a_dead_chain_goes_with_its_tensors() -> None:
    got = remove_dead_nodes(graph(("x", "a"), ("a", "dead"), ("dead", "deader"), ("a", "y")))
    assert [node.output for node in got.nodes] == ["a", "y"]
    assert set(got.tensors) == {"x", "unused", "a", "y"}


def test_inputs_stay_though_nothing_reads_them() -> None:
    got = remove_dead_nodes(graph(("x", "y")))
    assert got.inputs == ("x", "unused")
    assert "unused" in got.tensors


def test_what_any_output_needs_stays_in_order() -> None:
    whole = graph(("x", "a"), ("x", "b"), ("a b", "z"), ("a", "y"), outputs="y z")
    assert remove_dead_nodes(whole) == whole


def test_an_output_that_is_read_inside_stays() -> None:
    whole = graph(("x", "y"), ("y", "z"), outputs="z y")
    assert remove_dead_nodes(whole) == whole
