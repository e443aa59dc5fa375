"""From the operations of a group to steps: cascades, slices, blocks, and which constants are copied
to SRAM before which step."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from tinyaot.schedules.ethos_u.blocks import BlockChoice, Sizes, choose_block, unpack
from tinyaot.schedules.ethos_u.cascade import Cascade, apply_cascade, find_cascades
from tinyaot.schedules.ethos_u.layout import brick_candidates, fills_bricks, lay_in_bricks
from tinyaot.schedules.ethos_u.memory import spill, usage
from tinyaot.schedules.ethos_u.slices import can_slice, slice_operation
from tinyaot.schedules.ethos_u.streaming import (
    SRAM_PRICE,
    Streaming,
    StreamingPlanner,
    Transfer,
    command_place,
)
from tinyaot.schedules.ethos_u.tables import TableLoad, place_tables
from tinyaot.schedules.registry import Decisions
from tinyaot.targets.ethos_u import cost_model, vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import Operation

BLOCK, COPIED, SLICES, BRICKS = "block", "copied", "slices", "bricks"
CASCADE, STRIPE = "cascade", "stripe"
KNOBS = (BLOCK, COPIED, SLICES, BRICKS, CASCADE, STRIPE)
"""Of an operation: its output block, as `blocks.pack` writes it; whether its weights are copied to
SRAM; in how many slices it is computed; whether its output lies in NHCWB16; how many operations the
cascade has that ends with it, and rows of a stripe there, 0 for no cascade. What is left out is
chosen by estimate."""

_SLICES = (2, 3, 4, 8)
_WORTH_SLICING = 1024
"""Bytes of weights."""
_ROUNDS = 2
_GAIN = 0.999


@dataclass(frozen=True)
class Step:
    """An operation in its turn.

    Attributes:
        operation: what.
        choice: its block.
        group: number of its weights; None if it has none.
        copied_from: the step with which the copy of its weights starts; None for no copy.
        copied_at: the step before whose command that of the copy comes.
        slot: of its look-up table.
    """

    operation: Operation
    choice: BlockChoice
    group: int | None
    copied_from: int | None
    copied_at: int
    slot: int = 0


@dataclass(frozen=True)
class Plan:
    """How a group is computed.

    Attributes:
        steps: the operations in order.
        tables: the look-up tables to load, and the steps before which that begins.
        cycles: estimated.
    """

    steps: list[Step]
    tables: list[tuple[TableLoad, int]]
    cycles: int


class Encoder:
    """Encoded weights, made once for each block depth."""

    def __init__(self, npu: Npu) -> None:
        self._npu = npu
        # The operation is kept so that the ids of its arrays stay its own.
        self._known: dict[object, tuple[Operation, list[tuple[bytes, bytes]]]] = {}

    def streams(self, one: Operation, depth: int) -> list[tuple[bytes, bytes]]:
        """Weights and scales for each core."""
        key = (id(one.weights), id(one.bias), id(one.scales), depth, one.part_kernel)
        if key not in self._known:
            self._known[key] = one, vela.encode_weights(one, depth, self._npu)
        return self._known[key][1]

    def sizes(self, one: Operation, depth: int) -> tuple[int, int]:
        """Bytes of weights and of scales, of all cores."""
        streams = self.streams(one, depth)
        return sum(len(data) for data, _ in streams), sum(len(data) for _, data in streams)


@dataclass(frozen=True)
class _Schedule:
    operations: list[Operation]
    pairs: list[tuple[BlockChoice, BlockChoice]]
    group_of: dict[int, int]
    streaming: Streaming
    slots: dict[int, int]
    tables: list[TableLoad]

    def plan(self) -> Plan:
        """Its steps."""
        count = len(self.streaming.starts) - len(self.tables)
        starts, loads = self.streaming.starts[:count], self.streaming.starts[count:]
        first = {group: user for user, group in reversed(self.group_of.items())}
        steps = []
        for index, one in enumerate(self.operations):
            group = self.group_of.get(index)
            start = None if group is None else starts[group]
            choice = self.pairs[index][start is not None]
            place = index
            if start is not None and group is not None:
                place = command_place(start, first[group])
            steps.append(Step(one, choice, group, start, place, self.slots.get(index, 0)))
        tables = [
            (load, load.user if start is None else command_place(start, load.user))
            for load, start in zip(self.tables, loads, strict=True)
        ]
        return Plan(steps, tables, self.streaming.cycles)


class Planner:
    """Plans a group of operations, once or with many values of the knobs."""

    def __init__(
        self,
        operations: Sequence[Operation],
        external: Collection[str],
        npu: Npu,
        limit: int | None = None,
    ) -> None:
        """Prepares.

        Args:
            operations: in order.
            external: storages that lie elsewhere.
            npu: the accelerator.
            limit: bytes of SRAM that are enough; None for no limit.
        """
        self._candidates = brick_candidates(operations, external)
        filled = {name for name, fm in self._candidates.items() if fills_bricks(fm)}
        operations = lay_in_bricks(operations, filled)
        self.operations = [replace(one, number=n) for n, one in enumerate(operations)]
        self.encoder = Encoder(npu)
        self._external = external
        self._npu = npu
        self._limit = limit
        self._sliced: dict[tuple[int, int], list[Operation]] = {}

    def plan(self, knobs: Mapping[int, Decisions] | None = None, limit: int | None = None) -> Plan:
        """The plan.

        Args:
            knobs: for some operations, by number, values of some of `KNOBS`.
            limit: bytes of SRAM, if it is to be another one.

        Raises:
            ValueError: a value is not valid; says which.
        """
        given = knobs or {}
        room = self._limit if limit is None else limit
        for number, values in given.items():
            self.check(number, values)
        operations = self._cascaded(given)
        ways = [operations]
        if room is not None or self._npu.optimise == "size":
            ways = [
                find_cascades(
                    operations,
                    self._external,
                    lambda ops: self._schedule(ops, given, room, None, False).streaming.cycles,
                    room,
                )
            ]
        if room is not None and vela.has_cache(self._npu):
            if self._npu.optimise == "performance":
                ways.append(operations)
            ways = [spill(way, self._external, room) for way in ways]
        plans = [self._planned(way, given, room) for way in ways]
        return min(plans, key=lambda plan: plan.streaming.cycles).plan()

    def _planned(
        self, operations: Sequence[Operation], given: Mapping[int, Decisions], room: int | None
    ) -> _Schedule:
        decided = {
            one.number: count
            for one in operations
            if (count := given.get(one.number, {}).get(SLICES)) is not None
        }
        base = max(usage(operations, self._external), default=0)
        operations = self._laid_out(operations, decided, given, room, base)
        best = self._schedule(self._cut(operations, decided), given, room, base, True)
        return self._find_slices(operations, decided, given, room, base, best)

    def _laid_out(
        self,
        operations: Sequence[Operation],
        decided: Mapping[int, int],
        given: Mapping[int, Decisions],
        room: int | None,
        base: int,
    ) -> list[Operation]:
        """Operations with more tensors in NHCWB16: those whose channels do not fill it take more
        memory, but are read and written in longer bursts."""
        fixed = {
            self.operations[number].ofm.storage: bool(values[BRICKS])
            for number, values in given.items()
            if BRICKS in values
        }
        chosen = {fm.storage for one in operations for fm in (*one.inputs, one.ofm) if fm.bricks}
        chosen = (chosen - fixed.keys()) | {name for name, value in fixed.items() if value}
        free = [
            name
            for name, fm in self._candidates.items()
            if name not in fixed and not fills_bricks(fm) and fm.whole[0] * fm.whole[1] > 1
        ]

        def price(names: set[str]) -> float:
            laid = self._cut(lay_in_bricks(operations, names), decided)
            return self._schedule(laid, given, room, base, False).streaming.price

        if free:
            best = price(chosen)
            everything = {*chosen, *free}
            other = price(everything)
            if other < best:
                chosen, best = everything, other
            for name in free:
                trial = chosen ^ {name}
                other = price(trial)
                if other < best * _GAIN:
                    chosen, best = trial, other
        return lay_in_bricks(operations, chosen)

    def check(self, number: int, values: Decisions) -> None:
        """Whether the knobs of an operation are valid.

        Raises:
            ValueError: they are not; says which.
        """
        one = self.operations[number]
        if unknown := values.keys() - set(KNOBS):
            raise ValueError(f"there is no knob {min(unknown)}")
        if BLOCK in values:
            block = unpack(values[BLOCK])
            if block not in cost_model.blocks(cost_model.job_of(one, (0, 0, 0)), self._npu):
                text = "x".join(map(str, block))
                raise ValueError(f"{self._npu.name} cannot compute it in blocks of {text}")
        if values.get(COPIED, 0) not in (0, 1) or (values.get(COPIED) and one.weights is None):
            raise ValueError(f"copied={values[COPIED]} is not valid")
        if values.get(SLICES, 1) != 1 and self._slices(one, values[SLICES]) is None:
            raise ValueError(f"it cannot be computed in {values[SLICES]} slices")
        if BRICKS in values and (
            values[BRICKS] not in (0, 1) or one.ofm.storage not in self._candidates
        ):
            raise ValueError(f"bricks={values[BRICKS]} is not valid")
        if (CASCADE in values) != (STRIPE in values):
            raise ValueError("a cascade needs both cascade and stripe")
        self._cascaded({number: values})

    def _cascaded(self, given: Mapping[int, Decisions]) -> list[Operation]:
        """The operations with the cascades that are given; the last first, as indices move."""
        operations = list(self.operations)
        for number in sorted(given, reverse=True):
            length, height = given[number].get(CASCADE, 0), given[number].get(STRIPE, 0)
            if not length:
                continue
            first = number - length + 1
            whole = [one.number for one in operations[max(first, 0) : number + 1]]
            striped = None
            if 0 < length <= number + 1 and height > 0 and whole == [*range(first, number + 1)]:
                cascade = Cascade(first, number, height)
                striped = apply_cascade(operations, cascade, self._external)
            if striped is None:
                raise ValueError(f"cascade={length} stripe={height} is not valid at #{number}")
            operations = striped
        return operations

    def _slices(self, one: Operation, count: int) -> list[Operation] | None:
        parts = slice_operation(one, count)
        if parts is None:
            return None
        # Where tensors lie differs from plan to plan; the encoder knows weights by their arrays.
        known = self._sliced.setdefault((one.number, count), parts)
        return [
            replace(part, weights=held.weights, bias=held.bias, scales=held.scales)
            for part, held in zip(parts, known, strict=True)
        ]

    def _cut(self, operations: Sequence[Operation], counts: Mapping[int, int]) -> list[Operation]:
        result: list[Operation] = []
        for one in operations:
            parts = None
            if counts.get(one.number, 1) > 1 and can_slice(one):
                parts = self._slices(one, counts[one.number])
            result += parts or [one]
        return result

    def _find_slices(
        self,
        operations: Sequence[Operation],
        decided: dict[int, int],
        given: Mapping[int, Decisions],
        room: int | None,
        base: int,
        best: _Schedule,
    ) -> _Schedule:
        """Slices where the estimate gains, the largest weights first."""
        large = [
            one
            for one in operations
            if one.weights is not None
            and one.number not in decided
            and one.weights.size >= _WORTH_SLICING
            and can_slice(one)
            and given.get(one.number, {}).get(COPIED) != 0
        ]
        large.sort(key=lambda one: -(0 if one.weights is None else one.weights.size))
        counts = dict(decided)
        for _ in range(_ROUNDS):
            before = best
            for one in large:
                for count in (1, *_SLICES):
                    if counts.get(one.number, 1) == count or (
                        count > 1 and self._slices(one, count) is None
                    ):
                        continue
                    trial = {**counts, one.number: count}
                    found = self._schedule(self._cut(operations, trial), given, room, base, True)
                    if found.streaming.price < best.streaming.price * _GAIN:
                        best, counts = found, trial
            if best is before:
                break
        return best

    def _schedule(
        self,
        operations: Sequence[Operation],
        given: Mapping[int, Decisions],
        room: int | None,
        base: int | None,
        thorough: bool,
    ) -> _Schedule:
        """Blocks, and which weights are copied before which operation."""
        groups = _groups(operations)
        group_of = {user: number for number, group in enumerate(groups) for user in group}
        sides: list[list[BlockChoice]] = [[], []]
        for copied in (False, True):
            depths: dict[int, int] = {}
            for index, one in enumerate(operations):
                group = group_of.get(index)
                values = given.get(one.number, {})
                wanted = unpack(values[BLOCK]) if BLOCK in values else None
                depth = None if group is None else depths.get(group)
                sizes = self.sizes(one)
                choice = choose_block(one, self._npu, copied, sizes, depth, wanted)
                if group is not None:
                    depths.setdefault(group, choice.block[2])
                sides[copied].append(choice)
        pairs = list(zip(*sides, strict=True))
        transfers, forced = [], []
        for users in groups:
            first = operations[users[0]]
            size = sum(self.encoder.sizes(first, pairs[users[0]][1].block[2]))
            transfers.append(Transfer(size, users, 0, size))
            value = given.get(first.number, {}).get(COPIED)
            forced.append(None if value is None else bool(value))
        slots, tables = place_tables(operations, self._npu)
        transfers += [Transfer(len(one.data), (one.user,), one.earliest) for one in tables]
        alive = usage(operations, self._external)
        planner = StreamingPlanner(
            [(direct.cost, held.cost) for direct, held in pairs],
            transfers,
            alive,
            self._npu,
            room,
            max(alive, default=0) if base is None else base,
            # Nobody else uses an SRAM of that size of the accelerator's own.
            0.0 if room is not None and vela.has_cache(self._npu) else SRAM_PRICE,
        )
        streaming = planner.plan([*forced, *[True] * len(tables)], thorough)
        return _Schedule(list(operations), pairs, group_of, streaming, slots, tables)

    def sizes(self, one: Operation) -> Sizes:
        """Of an operation's weights, for each depth that its blocks can have."""
        if one.weights is None:
            return ()
        blocks = cost_model.blocks(cost_model.job_of(one, (0, 0, 0)), self._npu)
        depths = sorted({block[2] for block in blocks})
        return tuple((depth, self.encoder.sizes(one, depth)) for depth in depths)


def _groups(operations: Sequence[Operation]) -> list[tuple[int, ...]]:
    """The operations that read the same weights: the stripes of one, the images of a batch."""
    users: dict[tuple[int, int], list[int]] = {}
    for index, one in enumerate(operations):
        if one.weights is not None:
            users.setdefault((id(one.weights), id(one.bias)), []).append(index)
    return [tuple(group) for group in users.values()]
