"""From a scheduled graph to the plan: reshapes, ports, workspaces, in-place pairs."""

from __future__ import annotations

from dataclasses import replace

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.memory.layout import MemoryLayout, plan_memory
from tinyaot.compiler.scheduling import Operator, schedule_graph
from tinyaot.schedules.workload import Add, Pad, Requantize, Reshape, Workload
from tinyaot.targets import get_target

SIZE = 24
FULL = (-128, 127)
COPY = Requantize(SIZE, "int8", "int8", 0, 0, 1 << 30, 1, FULL)
SUM = Add(SIZE, (0, 0), (1 << 30, 1 << 30), (0, 0), 20, 1 << 30, -19, 0, FULL)
# Neither may work in place.
GROW = Pad((SIZE,), (SIZE + 8,), ((4, 4),), 0)


def graph(nodes: list[tuple[Workload, str, str]], outputs: str) -> Graph:
    """A graph with the input `x` from (workload, inputs, output); tensor `a4x6` has shape 4x6."""
    tensors = {"x": Tensor("x", (SIZE,), "int8")}
    for workload, _, output in nodes:
        shape = tuple(map(int, output[1:].split("x"))) if output[1:] else (SIZE,)
        shape = workload.output_shape if isinstance(workload, Pad) else shape
        tensors[output] = Tensor(output, shape, "int8")
    return Graph(
        "test",
        tensors,
        ("x",),
        tuple(outputs.split()),
        tuple(Node(workload, tuple(inputs.split()), output) for workload, inputs, output in nodes),
    )


def reshape(graph_shape: tuple[int, ...], shape: tuple[int, ...]) -> Reshape:
    return Reshape(graph_shape, shape)


def layout(graph: Graph, *, in_place: bool = True) -> MemoryLayout:
    operators = schedule_graph(graph, get_target("host"))
    if not in_place:
        operators = tuple(
            replace(one, kernel=replace(one.kernel, in_place_inputs=())) for one in operators
        )
    return plan_memory(graph, operators)


def lifetimes(plan: MemoryLayout) -> dict[str, tuple[int, int]]:
    return {buffer.name: (buffer.first, buffer.last) for buffer in plan.buffers}


def test_inputs_and_outputs_are_not_in_the_arena() -> None:
    plan = layout(graph([(COPY, "x", "a"), (COPY, "a", "b"), (COPY, "b", "y")], "y"))
    assert set(plan.plan.offsets) == {"a", "b"}
    assert (plan.offset("x"), plan.offset("y")) == (None, None)


def test_reshapes_are_their_source_for_as_long_as_one_is_read() -> None:
    chain = [
        (COPY, "x", "a"),
        (reshape((SIZE,), (4, 6)), "a", "b4x6"),
        (reshape((4, 6), (2, 12)), "b4x6", "c2x12"),
        (COPY, "a", "d"),
        (SUM, "d c2x12", "y"),
    ]
    plan = layout(graph(chain, "y"), in_place=False)
    assert lifetimes(plan) == {"a": (0, 2), "d": (1, 2)}
    assert plan.owners["b4x6"] == plan.owners["c2x12"] == "a"
    assert plan.offset("c2x12") == plan.offset("a") != plan.offset("d")


def test_an_output_that_is_a_reshape_holds_the_bytes_of_its_source() -> None:
    nodes = [
        (COPY, "x", "a"),
        (reshape((SIZE,), (4, 6)), "a", "b4x6"),
        (COPY, "a", "c"),
        (COPY, "c", "y"),
    ]
    plan = layout(graph(nodes, "b4x6 y"))
    assert plan.owners["a"] == plan.owners["b4x6"] == "b4x6"
    assert set(plan.plan.offsets) == {"c"}


def test_a_reshape_of_an_input_stays_with_the_caller() -> None:
    nodes = [(reshape((SIZE,), (4, 6)), "x", "a4x6"), (COPY, "a4x6", "y")]
    plan = layout(graph(nodes, "y"))
    assert plan.owners["a4x6"] == "x"
    assert plan.plan.size == 0


def test_in_place_where_the_input_is_read_for_the_last_time() -> None:
    chain = [(COPY, "x", "a"), (COPY, "a", "b"), (COPY, "b", "c"), (COPY, "c", "y")]
    plan = layout(graph(chain, "y"))
    assert plan.plan.size == SIZE
    # The first reads the caller's input and the last writes its output.
    assert plan.aliased == {1, 2}
    assert layout(graph(chain, "y"), in_place=False).plan.size == 2 * SIZE


def test_not_in_place_where_the_input_is_read_again() -> None:
    nodes = [(COPY, "x", "a"), (COPY, "a", "b"), (SUM, "a b", "c"), (COPY, "c", "y")]
    plan = layout(graph(nodes, "y"))
    assert plan.offset("a") != plan.offset("b")
    assert plan.aliased == {2}
    assert plan.plan.size == plan.plan.lower_bound == 2 * SIZE


def test_in_place_through_a_reshape() -> None:
    """The reshaped tensor is overwritten, and a reshape that is read later keeps it."""
    nodes = [
        (COPY, "x", "a"),
        (reshape((SIZE,), (4, 6)), "a", "b4x6"),
        (COPY, "b4x6", "c"),
        (COPY, "c", "y"),
    ]
    assert layout(graph(nodes, "y")).aliased == {1}
    kept = [*nodes[:3], (SUM, "c a", "d"), (COPY, "d", "y")]
    plan = layout(graph(kept, "y"))
    assert plan.offset("c") != plan.offset("a")


def test_a_sum_of_one_tensor_may_overwrite_it() -> None:
    plan = layout(graph([(COPY, "x", "a"), (SUM, "a a", "b"), (COPY, "b", "y")], "y"))
    assert plan.aliased == {1}
    assert plan.plan.size == SIZE


def test_kernels_that_do_not_offer_it_are_not_in_place() -> None:
    shrunk = replace(COPY, size=SIZE + 8)
    plan = layout(graph([(COPY, "x", "a"), (GROW, "a", "b"), (shrunk, "b", "y")], "y"))
    assert plan.aliased == frozenset()
    assert plan.plan.size == SIZE + SIZE + 8


def test_workspaces_live_at_their_operator() -> None:
    given = graph([(COPY, "x", "a"), (COPY, "a", "b"), (COPY, "b", "y")], "y")
    operators = list(schedule_graph(given, get_target("host")))
    operators[1] = with_workspace(operators[1], 100)
    plan = plan_memory(given, operators)
    assert plan.workspaces == (None, "workspace of b", None)
    assert lifetimes(plan)["workspace of b"] == (1, 1)
    offset = plan.plan.offsets["workspace of b"]
    assert offset % 8 == 0
    assert plan.plan.size == 100 + SIZE
    assert "workspace of b" in plan.format()


def with_workspace(operator: Operator, nbytes: int) -> Operator:
    return replace(operator, function=replace(operator.function, workspace=nbytes))
