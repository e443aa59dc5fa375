"""Compiles a group of nodes to a command stream, its constants and its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu.emit import CompiledRegion, emit_region
from tinyaot.compiler.npu.estimate import estimate_stream
from tinyaot.compiler.npu.lower import lower
from tinyaot.compiler.npu.plan import KNOBS, Planner
from tinyaot.compiler.npu.tuned import (
    GIVEN,
    NEAREST,
    NpuRecords,
    Pick,
    knobs_of,
    operation_workloads,
)
from tinyaot.compiler.npu.views import forward_copies, fuse_tables, renamed
from tinyaot.schedules.ethos_u.folding import fold_columns
from tinyaot.schedules.ethos_u.memory import mark_outside
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload import Reshape, Workload
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import Operation

_ATTEMPTS = 8


class RegionCompiler:
    """Compiles a group of nodes, once or with many values of the knobs."""

    def __init__(
        self,
        nodes: Sequence[Node],
        graph: Graph,
        inputs: Sequence[str],
        outputs: Sequence[str],
        npu: Npu,
    ) -> None:
        """Prepares.

        Args:
            nodes: in execution order.
            graph: that they are of.
            inputs, outputs: tensors that are read from and written to the outside.
            npu: the accelerator.
        """
        operations = region_operations(nodes, graph, (*inputs, *outputs))
        external = {*inputs, *outputs, *graph.constants}
        external |= {name for one in operations for name in one.constants}
        limit = npu.sram_limit
        if limit is not None and not vela.has_cache(npu):
            # What goes in and out lies in the same arena, but for the model's own inputs and
            # outputs.
            ports = {*inputs, *outputs} - {*graph.inputs, *graph.outputs}
            limit -= sum(graph.tensors[name].nbytes for name in ports)
        operations = [fold_columns(one, {*inputs, *outputs}, npu) for one in operations]
        if vela.has_cache(npu):
            operations = mark_outside(operations, external)
        self.nodes, self.inputs, self.outputs = nodes, inputs, outputs
        self.planner = Planner(operations, external, npu, limit)
        self.workloads = operation_workloads(self.planner.operations, npu, limit)
        self._limit = limit
        self._graph = graph
        self._npu = npu

    def compile(self, knobs: Mapping[int, Decisions] | None = None) -> CompiledRegion:
        """The commands, with the knobs of some operations by number; see `plan.KNOBS`.

        Raises:
            ValueError: a value is not valid; says which.
        """
        region = self._compile(knobs, self._limit)
        if self._limit is None or not vela.has_cache(self._npu):
            return region
        # Lifetimes say what must fit; holes between buffers may still make it larger.
        room = self._limit
        for attempt in range(_ATTEMPTS):
            assert isinstance(region.node.workload, NpuRegion)
            excess = region.node.workload.cache - self._limit
            if excess <= 0:
                break
            room = max(room - excess, 0) if attempt + 1 < _ATTEMPTS else 0
            region = self._compile(knobs, room)
        return region

    def _compile(self, knobs: Mapping[int, Decisions] | None, limit: int | None) -> CompiledRegion:
        plan = self.planner.plan(knobs, limit)
        ports = self.inputs, self.outputs
        return emit_region(self.nodes, self._graph, *ports, self._npu, plan, self.planner.encoder)

    def given(self, decisions: Mapping[Workload, Decisions]) -> dict[int, Pick]:
        """Knobs by number, of decisions by workload."""
        by_origin = {node.origin: decisions.get(node.workload) for node in self.nodes}
        picks = {}
        for one in self.planner.operations:
            values = by_origin.get(one.origin) or {}
            knobs = {knob: value for knob, value in values.items() if knob in KNOBS}
            if knobs:
                picks[one.number] = Pick(knobs, GIVEN)
        return picks


def compile_region(
    nodes: Sequence[Node],
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    npu: Npu,
    decisions: Mapping[Workload, Decisions] | None = None,
    records: NpuRecords | None = None,
) -> CompiledRegion:
    """The commands of some nodes.

    Args:
        nodes: in execution order.
        graph: that they are of.
        inputs, outputs: tensors that are read from and written to the outside.
        npu: the accelerator.
        decisions: knobs by workload, before what tuning has found.
        records: what tuning has found; nothing of it makes the group need more SRAM.

    Raises:
        ValueError: a decision is not valid.
    """
    compiler = RegionCompiler(nodes, graph, inputs, outputs, npu)
    given = compiler.given(decisions or {})
    default = compiler.compile(knobs_of(given))
    sources = {place: pick.source for place, pick in given.items()}
    if records is None or not records.records:
        return replace(default, sources=sources)
    picks, notes = records.picks(compiler.planner, compiler.workloads)
    picks |= given
    needed = default.sram_bytes
    while any(pick.source != GIVEN for pick in picks.values()):
        tuned = compiler.compile(knobs_of(picks))
        near = [place for place, pick in picks.items() if pick.source == NEAREST]
        more = tuned.sram_bytes - needed
        slower = near and _cycles(tuned, npu) > _cycles(default, npu)
        if more <= 0 and not slower:
            sources = {place: pick.source for place, pick in picks.items()}
            return replace(tuned, sources=sources, notes=tuple(notes))
        if not near:
            notes.append(
                f"tuning records of {default.node.origin} are skipped: they need {more:,} bytes "
                "more SRAM than the default"
            )
            break
        picks = {place: pick for place, pick in picks.items() if place not in near}
    return replace(default, sources=sources, notes=tuple(notes))


def _cycles(region: CompiledRegion, npu: Npu) -> int:
    return estimate_stream(region.stream, npu).cycles


def region_operations(
    nodes: Sequence[Node], graph: Graph, external: Sequence[str]
) -> list[Operation]:
    """The operations of some nodes, without copies and reshapes that views make needless."""
    operations: list[Operation] = []
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node.workload, Reshape):
            names[node.output] = names.get(node.inputs[0], node.inputs[0])
            continue
        operations += [renamed(one, names) for one in lower(node, graph)]
    known = {name for one in operations for name in one.constants}
    kept = {*external, *graph.constants, *known}
    return forward_copies(fuse_tables(operations, kept), kept)
