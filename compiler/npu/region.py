"""Compiles a group of nodes to a command stream, its constants and its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.memory.check import check_plan
from tinyaot.compiler.memory.planner import Buffer, InPlace, plan_arena
from tinyaot.compiler.npu.lower import lower
from tinyaot.compiler.npu.views import forward_copies, fuse_tables, renamed
from tinyaot.schedules.ethos_u.blocks import BlockChoice, choose_block
from tinyaot.schedules.ethos_u.cascade import find_cascades
from tinyaot.schedules.ethos_u.memory import in_place, lifetimes, usage
from tinyaot.schedules.ethos_u.streaming import Weights, plan_streaming
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
_TABLE_SLOTS = 8
_TABLE_BYTES = 256


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
    """

    node: Node
    stream: NDArray[np.uint32]
    operations: tuple[tuple[Operation, BlockChoice], ...]
    generator: str = "own"
    choice: str = ""
    network: CompiledNetwork | None = None


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
class _Step:
    """An operation in its turn.

    Attributes:
        operation: what.
        choice: its block.
        group: number of its weights; None if it has none.
        copied_at: the step before which the copy of its weights starts; None for no copy.
    """

    operation: Operation
    choice: BlockChoice
    group: int | None
    copied_at: int | None


@dataclass(frozen=True)
class _Encoded:
    """Weights and scales of each core, one after the other, and where they lie among the
    constants."""

    streams: list[tuple[bytes, bytes]]
    home: Place


def compile_region(
    nodes: Sequence[Node],
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    npu: Npu,
    decisions: Mapping[Workload, Decisions] | None = None,
) -> CompiledRegion:
    """The commands of some nodes.

    Args:
        nodes: in execution order.
        graph: that they are of.
        inputs, outputs: tensors that are read from and written to the outside.
        npu: the accelerator.
        decisions: block and weight streaming by workload; the cheapest where there are none.
    """
    operations = region_operations(nodes, graph, (*inputs, *outputs))
    external = {*inputs, *outputs, *graph.constants}
    external |= {name for one in operations for name in one.constants}
    operations = _in_bricks(operations, external)
    limit = None
    if npu.arena_size is not None:
        # What goes in and out lies in the same arena, but for the model's own inputs and outputs.
        ports = {*inputs, *outputs} - {*graph.inputs, *graph.outputs}
        limit = npu.arena_size - sum(graph.tensors[name].nbytes for name in ports)
    if limit is not None or npu.optimise == "size":
        operations = find_cascades(
            operations, external, lambda ops: _choose(ops, external, npu, {})[1], limit
        )
    knobs = {node.origin: (decisions or {}).get(node.workload) for node in nodes}
    chosen, _ = _choose(operations, external, npu, knobs)
    return _emit(nodes, graph, inputs, outputs, npu, chosen)


def _smallest_weights(one: Operation, npu: Npu, best: BlockChoice) -> int:
    """The block depth of an operation that waits for weights from flash: weights compress
    differently for each."""
    if best.cost.constants <= max(best.cost.compute, best.cost.arena):
        return best.block[2]
    waits: dict[int, tuple[float, int]] = {}
    raw = vela.job_of(one, best.block)
    for depth in sorted({block[2] for block in vela.blocks(raw, npu)}):
        choice = choose_block(one, npu, None, False, depth)
        streams = vela.encode_weights(one, depth, npu)
        assert one.weights is not None
        share = sum(len(data) for pair in streams for data in pair) / (
            one.weights.size + 10 * one.ofm.shape[2]
        )
        bounds = (choice.cost.constants * share, choice.cost.compute, choice.cost.arena)
        waits[depth] = (max(bounds), depth)
    return min(waits, key=lambda depth: waits[depth])


def _groups(operations: Sequence[Operation]) -> list[tuple[int, ...]]:
    """The operations that read the same weights: the stripes of one, the images of a batch."""
    users: dict[tuple[int, int], list[int]] = {}
    for index, one in enumerate(operations):
        if one.weights is not None:
            users.setdefault((id(one.weights), id(one.bias)), []).append(index)
    return [tuple(group) for group in users.values()]


def _choose(
    operations: Sequence[Operation],
    external: set[str],
    npu: Npu,
    knobs: Mapping[str, Decisions | None],
) -> tuple[list[_Step], int]:
    """Blocks, and which weights are copied before which operation; the cycles of all."""
    pairs: list[list[BlockChoice]] = [[] for _ in operations]
    groups = _groups(operations)
    group_of = {user: number for number, group in enumerate(groups) for user in group}
    for copy in (False, True):
        depths: dict[int, int] = {}
        for index, one in enumerate(operations):
            group = group_of.get(index, -1)
            given = knobs.get(one.origin)
            depth = depths.get(group)
            if depth is None and group >= 0 and not copy:
                depth = _smallest_weights(one, npu, choose_block(one, npu, given, copy))
            choice = choose_block(one, npu, given, copy, depth)
            if group >= 0:
                depths.setdefault(group, choice.block[2])
            pairs[index].append(choice)
    weights, forced = [], []
    for users in groups:
        first = operations[users[0]]
        assert first.weights is not None
        weights.append(Weights(first.weights.size, users))
        given = knobs.get(first.origin) or {}
        forced.append(bool(given["copied"]) if "copied" in given else None)
    costs = [(direct.cost, held.cost) for direct, held in pairs]
    plan = plan_streaming(costs, weights, usage(operations, external), npu, forced)
    issued = {user: when for group, when in zip(groups, plan.issued, strict=True) for user in group}
    steps = [
        _Step(
            one,
            pairs[index][issued.get(index) is not None],
            group_of.get(index),
            issued.get(index),
        )
        for index, one in enumerate(operations)
    ]
    return steps, plan.cycles


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
    steps: Sequence[_Step],
) -> CompiledRegion:
    """Places everything in memory and generates the commands."""
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

    encoded = _encode(steps, constants, npu)
    buffers, offers = _buffers(steps, places, encoded)
    plan = plan_arena(buffers, offers)
    check_plan(buffers, plan)
    for name, offset in plan.offsets.items():
        places[name] = Place(WORKSPACE, offset)

    commands: list[Command | Copy] = []
    tables = _Tables(npu)
    copies: dict[int, list[tuple[Place, str]]] = {}
    for index, step in enumerate(steps):
        if step.copied_at is not None:
            copy = (_aligned(encoded[index].home), _buffer_name(step.group))
            if copy not in copies.setdefault(step.copied_at, []):
                copies[step.copied_at].append(copy)
    for index, step in enumerate(steps):
        one = step.operation
        for source, name in copies.get(index, ()):
            commands.append(Copy(source, places[name]))
        slot = 0
        if one.table is not None:
            slot, fetch = tables.slot(one.table, constants)
            if fetch is not None:
                commands.append(fetch)
        else:
            tables.computed()
        weights: list[Place] = []
        scales: list[Place] = []
        if index in encoded:
            held = encoded[index]
            base = held.home if step.copied_at is None else places[_buffer_name(step.group)]
            at = base.address
            for weight_bytes, scale_bytes in held.streams:
                scales.append(Place(base.region, at, len(scale_bytes)))
                at += len(scale_bytes)
                weights.append(Place(base.region, at, len(weight_bytes)))
                at += len(weight_bytes)
        commands.append(
            Command(one, step.choice.block, tuple(weights), tuple(scales), slot, places)
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


def _encode(steps: Sequence[_Step], constants: _Constants, npu: Npu) -> dict[int, _Encoded]:
    """The weights of each step that has any, in the order of its block."""
    known: dict[tuple[int | None, int], _Encoded] = {}
    result = {}
    for index, step in enumerate(steps):
        if step.operation.weights is None:
            continue
        key = (step.group, step.choice.block[2])
        if key not in known:
            streams = vela.encode_weights(step.operation, step.choice.block[2], npu)
            blob = b"".join(scales + weights for weights, scales in streams)
            known[key] = _Encoded(streams, constants.add(blob))
        result[index] = known[key]
    return result


def _buffers(
    steps: Sequence[_Step], places: Mapping[str, Place], encoded: Mapping[int, _Encoded]
) -> tuple[list[Buffer], list[InPlace]]:
    """What lies in the workspace, and which results may overlay an operand."""
    operations = [step.operation for step in steps]
    buffers = [
        Buffer(name, life.nbytes, life.first, life.last, _ALIGNMENT)
        for name, life in lifetimes(operations, places).items()
    ]
    held: dict[str, Buffer] = {}
    for index, step in enumerate(steps):
        if step.copied_at is not None:
            name, size = _buffer_name(step.group), _aligned(encoded[index].home).nbytes
            held[name] = Buffer(name, size, step.copied_at, index, _ALIGNMENT)
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


class _Tables:
    """Which look-up tables lie in the accelerator's memory."""

    def __init__(self, npu: Npu) -> None:
        self._slots: list[bytes] = []
        self._next = 0
        self._lost_by_others = vela.architecture(npu).shram_reserved_unused_banks == 0

    def computed(self) -> None:
        """After an operation without a table: small accelerators use that memory for it."""
        if self._lost_by_others:
            self._slots = []

    def slot(self, table: NDArray[np.generic], constants: _Constants) -> tuple[int, Copy | None]:
        """The slot of a table, and the copy that puts it there if it is not."""
        data = table.tobytes()
        if len(data) > _TABLE_BYTES:
            # A table of int32 takes four slots, the first ones, from whatever is there.
            self._slots = [data] * (len(data) // _TABLE_BYTES)
            return 0, Copy(constants.add(data), None, 0)
        if data in self._slots:
            return self._slots.index(data), None
        if len(self._slots) < _TABLE_SLOTS:
            self._slots.append(data)
            slot = len(self._slots) - 1
        else:
            slot = self._next
            self._next = (self._next + 1) % _TABLE_SLOTS
            self._slots[slot] = data
        return slot, Copy(constants.add(data), None, slot)
