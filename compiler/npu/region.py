"""Compiles a group of nodes to a command stream, its constants and its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.memory.check import check_plan
from tinyaot.compiler.memory.planner import Buffer, InPlace, plan_arena
from tinyaot.compiler.npu.estimate import estimate_stream
from tinyaot.compiler.npu.lower import lower
from tinyaot.compiler.npu.plan import KNOBS, Encoder, Plan, Planner, Step
from tinyaot.compiler.npu.tuned import (
    GIVEN,
    NEAREST,
    NpuRecords,
    Pick,
    knobs_of,
    operation_workloads,
)
from tinyaot.compiler.npu.views import forward_copies, fuse_tables, renamed
from tinyaot.schedules.ethos_u.blocks import BlockChoice
from tinyaot.schedules.ethos_u.memory import in_place, lifetimes
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload import Reshape, Workload
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import (
    BRICK,
    Command,
    Copy,
    FeatureMap,
    Operation,
    Place,
)
from tinyaot.targets.ethos_u.regor import CompiledNetwork

CONSTANTS, WORKSPACE, CACHE, FIRST_PORT, MOST_REGIONS = 0, 1, 2, 3, 8
"""Base pointers: what the driver is given, in this order; inputs and outputs come last."""

_ALIGNMENT = 16


@dataclass(frozen=True)
class CompiledRegion:
    """A group of nodes as one node.

    Attributes:
        node: with the workload `NpuRegion`, its stream and its weights.
        stream: the register commands, without the driver's header.
        operations: what they compute, for reports; each with its block. None if Vela made it.
        generator: who made the commands: `own` or `vela`.
        choice: why that one, for people; empty if there was no choice.
        network: what Vela says about it; None if it is our own.
        sources: where the knobs of operations come from, by number, but for defaults.
        notes: on tuning records that are not used.
    """

    node: Node
    stream: NDArray[np.uint32]
    operations: tuple[tuple[Operation, BlockChoice], ...]
    generator: str = "own"
    choice: str = ""
    network: CompiledNetwork | None = None
    sources: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Constants:
    """One array of all constants; equal ones once, each aligned for the NPU."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._known: dict[bytes, int] = {}

    def add(self, data: bytes) -> Place:
        if data not in self._known:
            self._known[data] = len(self.data)
            self.data += data + bytes(-len(data) % _ALIGNMENT)
        return Place(CONSTANTS, self._known[data], len(data))


@dataclass(frozen=True)
class _Encoded:
    """Weights and scales of each core, one after the other, and where they lie among the
    constants."""

    streams: list[tuple[bytes, bytes]]
    home: Place


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
        limit = None
        if npu.arena_size is not None:
            # What goes in and out lies in the same arena, but for the model's own inputs and
            # outputs.
            ports = {*inputs, *outputs} - {*graph.inputs, *graph.outputs}
            limit = npu.arena_size - sum(graph.tensors[name].nbytes for name in ports)
        self.nodes, self.inputs, self.outputs = nodes, inputs, outputs
        self.planner = Planner(_in_bricks(operations, external), external, npu, limit)
        self.workloads = operation_workloads(self.planner.operations, npu, limit)
        self._graph = graph
        self._npu = npu

    def compile(self, knobs: Mapping[int, Decisions] | None = None) -> CompiledRegion:
        """The commands, with the knobs of some operations by number; see `plan.KNOBS`.

        Raises:
            ValueError: a value is not valid; says which.
        """
        plan = self.planner.plan(knobs)
        ports = self.inputs, self.outputs
        return _emit(self.nodes, self._graph, *ports, self._npu, plan, self.planner.encoder)

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
    needed = _workspace(default)
    while any(pick.source != GIVEN for pick in picks.values()):
        tuned = compiler.compile(knobs_of(picks))
        near = [place for place, pick in picks.items() if pick.source == NEAREST]
        more = _workspace(tuned) - needed
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


def _workspace(region: CompiledRegion) -> int:
    assert isinstance(region.node.workload, NpuRegion)
    return region.node.workload.workspace


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


def _in_bricks(operations: Sequence[Operation], external: set[str]) -> list[Operation]:
    """Tensors between operations get the layout NHCWB16 where all see them alike and their
    channels fill it."""
    uses: dict[str, list[tuple[Operation, FeatureMap]]] = {}
    for one in operations:
        for fm in (*one.inputs, one.ofm):
            uses.setdefault(fm.storage, []).append((one, fm))
    bricks = {
        name
        for name, users in uses.items()
        if name not in external
        and len({fm.whole for _, fm in users}) == 1
        and users[0][1].whole[2] % BRICK == 0
        and all(
            fm.strides is None
            and fm.offset == 0
            and fm.first[2] % BRICK == 0
            and one.kind != "reduce_sum"
            for one, fm in users
        )
    }

    def laid(fm: FeatureMap) -> FeatureMap:
        return replace(fm, bricks=fm.storage in bricks)

    return [
        replace(
            one,
            ifm=laid(one.ifm),
            ofm=laid(one.ofm),
            ifm2=None if one.ifm2 is None else laid(one.ifm2),
        )
        for one in operations
    ]


def _emit(
    nodes: Sequence[Node],
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    npu: Npu,
    schedule: Plan,
    encoder: Encoder,
) -> CompiledRegion:
    """Places everything in memory and generates the commands."""
    steps = schedule.steps
    constants = _Constants()
    places: dict[str, Place] = {}
    for name, array in graph.constants.items():
        if any(fm.storage == name for step in steps for fm in step.operation.inputs):
            places[name] = constants.add(np.ascontiguousarray(array).tobytes())
    for step in steps:
        for name, array in step.operation.constants.items():
            places[name] = constants.add(array.tobytes())
    for index, name in enumerate(dict.fromkeys((*inputs, *outputs))):
        places[name] = Place(FIRST_PORT + index, 0, graph.tensors[name].nbytes)

    encoded = _encode(steps, constants, encoder)
    buffers, offers = _buffers(steps, places, encoded)
    plan = plan_arena(buffers, offers)
    check_plan(buffers, plan)
    for name, offset in plan.offsets.items():
        places[name] = Place(WORKSPACE, offset)

    commands: list[Command | Copy] = []
    # In the order in which they are needed: transfers are made one after the other.
    copies: dict[int, list[Copy]] = {}
    loads = {load.user: (load, when) for load, when in schedule.tables}
    known: set[int | None] = set()
    for index, step in enumerate(steps):
        if index in loads:
            load, when = loads[index]
            copies.setdefault(when, []).append(Copy(constants.add(load.data), None, load.slot))
        if step.copied_from is not None and step.group not in known:
            known.add(step.group)
            source, name = _aligned(encoded[index].home), _buffer_name(step.group)
            copies.setdefault(step.copied_at, []).append(Copy(source, places[name]))
    for index, step in enumerate(steps):
        one = step.operation
        commands += copies.get(index, ())
        weights: list[Place] = []
        scales: list[Place] = []
        if index in encoded:
            held = encoded[index]
            base = held.home if step.copied_from is None else places[_buffer_name(step.group)]
            at = base.address
            for weight_bytes, scale_bytes in held.streams:
                scales.append(Place(base.region, at, len(scale_bytes)))
                at += len(scale_bytes)
                weights.append(Place(base.region, at, len(weight_bytes)))
                at += len(weight_bytes)
        commands.append(
            Command(one, step.choice.block, tuple(weights), tuple(scales), step.slot, places)
        )
    stream = vela.command_stream(commands, npu)
    tensors = graph.tensors
    workload = NpuRegion(
        npu.name,
        tuple(tensors[name].nbytes for name in inputs),
        tuple(tensors[name].nbytes for name in outputs),
        plan.size,
        0,
        len(commands),
        sum(node.workload.macs for node in nodes),
    )
    arrays = {
        "stream": np.frombuffer(vela.driver_payload(stream, npu), np.uint8),
        "weights": np.frombuffer(bytes(constants.data) or bytes(_ALIGNMENT), np.uint8),
    }
    node = Node(
        workload, tuple(inputs), outputs[0], arrays, _origin(nodes, npu), (), tuple(outputs[1:])
    )
    return CompiledRegion(node, stream, tuple((step.operation, step.choice) for step in steps))


def _encode(steps: Sequence[Step], constants: _Constants, encoder: Encoder) -> dict[int, _Encoded]:
    """The weights of each step that has any, in the order of its block."""
    known: dict[tuple[int | None, int], _Encoded] = {}
    result = {}
    for index, step in enumerate(steps):
        if step.operation.weights is None:
            continue
        key = (step.group, step.choice.block[2])
        if key not in known:
            streams = encoder.streams(step.operation, step.choice.block[2])
            blob = b"".join(scales + weights for weights, scales in streams)
            known[key] = _Encoded(streams, constants.add(blob))
        result[index] = known[key]
    return result


def _buffers(
    steps: Sequence[Step], places: Mapping[str, Place], encoded: Mapping[int, _Encoded]
) -> tuple[list[Buffer], list[InPlace]]:
    """What lies in the workspace, and which results may overlay an operand."""
    operations = [step.operation for step in steps]
    buffers = [
        Buffer(name, life.nbytes, life.first, life.last, _ALIGNMENT)
        for name, life in lifetimes(operations, places).items()
    ]
    held: dict[str, Buffer] = {}
    for index, step in enumerate(steps):
        if step.copied_from is not None:
            name, size = _buffer_name(step.group), _aligned(encoded[index].home).nbytes
            held[name] = Buffer(name, size, step.copied_from, index, _ALIGNMENT)
    offers = [
        InPlace(one.ofm.storage, name) for one in operations for name in in_place(one, places)
    ]
    return [*buffers, *held.values()], offers


def _origin(nodes: Sequence[Node], npu: Npu) -> str:
    computed = [node for node in nodes if not isinstance(node.workload, Reshape)]
    first, last = computed[0].origin, computed[-1].origin
    count = f"{len(computed)} operators" if len(computed) > 1 else "1 operator"
    return f"{npu.name}: {count}, {first} to {last}" if first != last else f"{npu.name}: {first}"


def _aligned(place: Place) -> Place:
    return replace(place, nbytes=-(-place.nbytes // _ALIGNMENT) * _ALIGNMENT)


def _buffer_name(group: int | None) -> str:
    return f"weights {group}"
