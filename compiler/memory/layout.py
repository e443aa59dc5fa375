"""Where every tensor and workspace of a scheduled graph lies: in the arena or with the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.memory.check import check_plan, format_map
from tinyaot.compiler.memory.planner import ArenaPlan, Buffer, InPlace, plan_arena
from tinyaot.compiler.scheduling import Operator
from tinyaot.schedules.workload import Reshape
from tinyaot.targets import TinyaotError

# Kernels read activations in words and keep int16 and int32 in their workspace.
_TENSOR_ALIGNMENT = 4
_WORKSPACE_ALIGNMENT = 8


@dataclass(frozen=True)
class MemoryLayout:
    """The plan of a model's RAM.

    Attributes:
        buffers: what was planned.
        plan: their offsets.
        owners: for each tensor the one whose bytes it is (itself, or what it is a reshape of).
        workspaces: for each operator the name of its workspace buffer, or None.
        aliased: operators whose output overlays one of their inputs.
    """

    buffers: tuple[Buffer, ...]
    plan: ArenaPlan
    owners: dict[str, str]
    workspaces: tuple[str | None, ...]
    aliased: frozenset[int]

    def offset(self, tensor: str) -> int | None:
        """Offset in the arena of a tensor; None for inputs and outputs of the model."""
        return self.plan.offsets.get(self.owners[tensor])

    def format(self) -> str:
        """The memory map as text."""
        return format_map(self.buffers, self.plan)


def plan_memory(graph: Graph, operators: Sequence[Operator]) -> MemoryLayout:
    """Finds lifetimes and in-place pairs and plans the arena.

    Inputs and outputs of the model are the caller's buffers, constants lie in flash and states in
    arrays of their own: none of them is part of the arena.
    """
    owners = _owners(graph)
    states = [state.tensor for state in graph.states]
    outside = (*graph.inputs, *graph.outputs, *graph.constants, *states)
    external = {owners[name] for name in outside}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    alignment = dict.fromkeys(owners.values(), _TENSOR_ALIGNMENT)
    for index, operator in enumerate(operators):
        for name in operator.node.outputs:
            first.setdefault(owners[name], index)
        for name in (*operator.node.inputs, *operator.node.outputs):
            last[owners[name]] = index
            alignment[owners[name]] = max(alignment[owners[name]], operator.kernel.alignment)
    buffers = [
        Buffer(name, graph.tensors[name].nbytes, begin, last[name], alignment[name])
        for name, begin in first.items()
        if name not in external
    ]
    workspaces: list[str | None] = []
    offers: list[InPlace] = []
    for index, operator in enumerate(operators):
        size = operator.function.workspace
        workspace = f"workspace of {operator.node.output}" if size else None
        workspaces.append(workspace)
        if workspace is not None:
            strictest = max(_WORKSPACE_ALIGNMENT, operator.kernel.alignment)
            buffers.append(Buffer(workspace, size, index, index, strictest))
        output = owners[operator.node.output]
        for position in operator.kernel.in_place_inputs:
            source = owners[operator.node.inputs[position]]
            if output not in external and source not in external and source != output:
                offers.append(InPlace(output, source))
    plan = plan_arena(buffers, offers)
    check_plan(buffers, plan)
    overlays = {(pair.output, pair.input) for pair in plan.in_place}
    aliased = frozenset(
        index
        for index, operator in enumerate(operators)
        for name in operator.node.inputs
        if (owners[operator.node.output], owners[name]) in overlays
    )
    return MemoryLayout(tuple(buffers), plan, owners, tuple(workspaces), aliased)


def check_size(layout: MemoryLayout, limit: int) -> None:
    """Holds an arena against the memory there is for it.

    Raises:
        TinyaotError: it is larger; names what takes most.
    """
    if layout.plan.size <= limit:
        return
    largest = max(layout.buffers, key=lambda buffer: buffer.size)
    raise TinyaotError(
        f"the arena needs {layout.plan.size} bytes of RAM and there are {limit}; the largest part "
        f"is {largest.name} ({largest.size})",
        "allow a larger arena",
        "use a model with smaller activations, such as a smaller input or fewer channels",
    )


def _owners(graph: Graph) -> dict[str, str]:
    """The tensor whose bytes each tensor is; a reshape that is a model output owns them."""
    owners = {name: name for name in graph.tensors}
    for node in graph.nodes:
        if isinstance(node.workload, Reshape):
            owners[node.output] = owners[node.inputs[0]]
    for name in graph.outputs:
        owner = owners[name]
        if owner != name:
            owners = {key: name if value == owner else value for key, value in owners.items()}
    return owners
