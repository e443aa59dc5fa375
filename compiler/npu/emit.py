"""Places a planned group in memory and generates its command stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.memory.check import check_plan
from tinyaot.compiler.memory.planner import Buffer, InPlace, plan_arena
from tinyaot.compiler.npu.plan import Encoder, Plan, Step
from tinyaot.schedules.ethos_u.blocks import BlockChoice
from tinyaot.schedules.ethos_u.memory import in_place, lifetimes
from tinyaot.schedules.workload import Reshape
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import (
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
        own_sram: whether the accelerator has an SRAM of its own beside the arena.
    """

    node: Node
    stream: NDArray[np.uint32]
    operations: tuple[tuple[Operation, BlockChoice], ...]
    generator: str = "own"
    choice: str = ""
    network: CompiledNetwork | None = None
    sources: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    own_sram: bool = False

    @property
    def sram_bytes(self) -> int:
        """Of the memory beside the NPU: its own if there is one, else the arena."""
        assert isinstance(self.node.workload, NpuRegion)
        return self.node.workload.cache if self.own_sram else self.node.workload.workspace


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


def emit_region(
    nodes: Sequence[Node],
    graph: Graph,
    inputs: Sequence[str],
    outputs: Sequence[str],
    npu: Npu,
    schedule: Plan,
    encoder: Encoder,
) -> CompiledRegion:
    """Places everything in memory and generates the commands.

    Args:
        nodes: in execution order.
        graph: that they are of.
        inputs, outputs: tensors that are read from and written to the outside.
        npu: the accelerator.
        schedule: how the group is computed.
        encoder: of its weights.
    """
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
    outside = {fm.storage for step in steps for fm in _feature_maps(step.operation) if fm.outside}
    sizes = {WORKSPACE: 0, CACHE: 0}
    for region, inside in ((WORKSPACE, False), (CACHE, True)):
        here = [one for one in buffers if vela.has_cache(npu) * (one.name not in outside) == inside]
        names = {one.name for one in here}
        pairs = [one for one in offers if {one.output, one.input} <= names]
        plan = plan_arena(here, pairs)
        check_plan(here, plan)
        sizes[region] = plan.size
        places |= {name: Place(region, offset) for name, offset in plan.offsets.items()}

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
        sizes[WORKSPACE],
        sizes[CACHE],
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
    operations = tuple((step.operation, step.choice) for step in steps)
    return CompiledRegion(node, stream, operations, own_sram=vela.has_cache(npu))


def _feature_maps(one: Operation) -> tuple[FeatureMap, ...]:
    return *one.inputs, one.ofm


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
