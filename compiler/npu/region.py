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
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload import Reshape, Workload
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import (
    BRICK,
    ELEMENTWISE,
    Command,
    Copy,
    FeatureMap,
    Operation,
    Place,
)

CONSTANTS, WORKSPACE, CACHE, FIRST_PORT, MOST_REGIONS = 0, 1, 2, 3, 8
"""Base pointers: what the driver is given, in this order; inputs and outputs come last."""

_ALIGNMENT = 16
_TABLE_SLOTS = 8


@dataclass(frozen=True)
class CompiledRegion:
    """A group of nodes as one node.

    Attributes:
        node: with the workload `NpuRegion`, its stream and its weights.
        stream: the register commands, without the driver's header.
        operations: what they compute, for reports; each with its block.
    """

    node: Node
    stream: NDArray[np.uint32]
    operations: tuple[tuple[Operation, BlockChoice], ...]


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
    knobs = {node.origin: (decisions or {}).get(node.workload) for node in nodes}
    operations = _in_bricks(operations, {*inputs, *outputs, *graph.constants})
    chosen = [(one, choose_block(one, npu, knobs.get(one.origin))) for one in operations]
    return _emit(nodes, graph, inputs, outputs, npu, chosen)


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
    kept = {*external, *graph.constants}
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
    chosen: Sequence[tuple[Operation, BlockChoice]],
) -> CompiledRegion:
    """Places everything in memory and generates the commands."""
    constants = _Constants()
    places: dict[str, Place] = {}
    for name, array in graph.constants.items():
        if any(fm.storage == name for one, _ in chosen for fm in one.inputs):
            places[name] = constants.add(np.ascontiguousarray(array).tobytes())
    ports = [*dict.fromkeys((*inputs, *outputs))]
    for index, name in enumerate(ports):
        places[name] = Place(FIRST_PORT + index, 0, graph.tensors[name].nbytes)

    encoded: list[_Encoded | None] = []
    for one, choice in chosen:
        if one.weights is None:
            encoded.append(None)
            continue
        streams = vela.encode_weights(one, choice.block[2], npu)
        blob = b"".join(scales + weights for weights, scales in streams)
        encoded.append(_Encoded(streams, constants.add(blob)))

    issued = _prefetch(chosen, encoded, npu)
    buffers, in_place = _buffers(chosen, places, encoded, issued)
    plan = plan_arena(buffers, in_place)
    check_plan(buffers, plan)
    for name, offset in plan.offsets.items():
        places[name] = Place(WORKSPACE, offset)

    commands: list[Command | Copy] = []
    tables = _Tables(npu)
    for index, (one, choice) in enumerate(chosen):
        for later, when in enumerate(issued):
            if when == index:
                source = encoded[later]
                assert source is not None
                commands.append(Copy(_aligned(source.home), places[_buffer_name(later)]))
        slot = 0
        if one.table is not None:
            slot, copy = tables.slot(one.table, constants)
            if copy is not None:
                commands.append(copy)
        else:
            tables.computed()
        weights: list[Place] = []
        scales: list[Place] = []
        held = encoded[index]
        if held is not None:
            base = held.home if issued[index] is None else places[_buffer_name(index)]
            at = base.address
            for weight_bytes, scale_bytes in held.streams:
                scales.append(Place(base.region, at, len(scale_bytes)))
                at += len(scale_bytes)
                weights.append(Place(base.region, at, len(weight_bytes)))
                at += len(weight_bytes)
        commands.append(Command(one, choice.block, tuple(weights), tuple(scales), slot, places))
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
    return CompiledRegion(node, stream, tuple(chosen))


def _origin(nodes: Sequence[Node], npu: Npu) -> str:
    computed = [node for node in nodes if not isinstance(node.workload, Reshape)]
    first, last = computed[0].origin, computed[-1].origin
    count = f"{len(computed)} operators" if len(computed) > 1 else "1 operator"
    return f"{npu.name}: {count}, {first} to {last}" if first != last else f"{npu.name}: {first}"


def _aligned(place: Place) -> Place:
    return replace(place, nbytes=-(-place.nbytes // _ALIGNMENT) * _ALIGNMENT)


def _buffer_name(index: int) -> str:
    return f"weights of command {index}"


def _prefetch(
    chosen: Sequence[tuple[Operation, BlockChoice]],
    encoded: Sequence[_Encoded | None],
    npu: Npu,
) -> list[int | None]:
    """For each operation the one before which the copy of its weights starts; None for no copy.

    Copies end when their weights are needed, and one is not before the next: they start as late as
    that allows, so that buffers live shortly.
    """
    starts = [0]
    for _, choice in chosen:
        starts.append(starts[-1] + choice.cost.cycles)
    issued: list[int | None] = [None] * len(chosen)
    free = starts[-1]
    for index in range(len(chosen) - 1, -1, -1):
        source = encoded[index]
        if source is None or not chosen[index][1].copied:
            continue
        free = min(free, starts[index]) - vela.copy_cycles(source.home.nbytes, npu)
        issued[index] = max((i for i in range(index + 1) if starts[i] <= free), default=0)
    return issued


def _buffers(
    chosen: Sequence[tuple[Operation, BlockChoice]],
    places: Mapping[str, Place],
    encoded: Sequence[_Encoded | None],
    issued: Sequence[int | None],
) -> tuple[list[Buffer], list[InPlace]]:
    """What lies in the workspace, and which results may overlay an operand."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for index, (one, _) in enumerate(chosen):
        for fm in (*one.inputs, one.ofm):
            if fm.storage in places:
                continue
            first.setdefault(fm.storage, index)
            last[fm.storage] = index
            end = fm.nbytes + fm.offset
            if fm.strides is not None:
                height, width, depth = fm.whole
                end = fm.offset + (height - 1) * fm.row_stride + (width - 1) * fm.column_stride
                end += depth * fm.itemsize
            sizes[fm.storage] = max(sizes.get(fm.storage, 0), end)
    buffers = [Buffer(n, sizes[n], first[n], last[n], _ALIGNMENT) for n in first]
    for index, when in enumerate(issued):
        source = encoded[index]
        if when is not None and source is not None:
            size = _aligned(source.home).nbytes
            buffers.append(Buffer(_buffer_name(index), size, when, index, _ALIGNMENT))
    offers = [
        InPlace(one.ofm.storage, fm.storage)
        for one, _ in chosen
        if one.kind in ELEMENTWISE and one.ofm.is_whole and one.ofm.storage in first
        for fm in one.inputs
        if fm.storage in first and fm.is_whole and _same_form(fm, one.ofm)
    ]
    return buffers, offers


def _same_form(a: FeatureMap, b: FeatureMap) -> bool:
    return (a.whole, a.bricks, a.dtype) == (b.whole, b.bricks, b.dtype)


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

    def slot(self, table: NDArray[np.int8], constants: _Constants) -> tuple[int, Copy | None]:
        """The slot of a table, and the copy that puts it there if it is not."""
        data = table.astype(np.int8).tobytes()
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
