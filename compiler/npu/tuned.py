"""From tuning records to the knobs of the operations of a group.

A record belongs to an operation of one group: how the group's other operations are computed decides
what a copy or a cascade is worth. Its cost is the estimate of the whole group. Records of the same
operation in other groups say what may be good here; they are taken where the estimate agrees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tinyaot.compiler.npu.plan import BLOCK, CASCADE, Planner
from tinyaot.compiler.tuning.records import Record, best_npu_record
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload_npu import NpuOperation
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import Operation

TUNED, NEAREST, DEFAULT, GIVEN = "tuned", "nearest", "default", "given"
"""Where knobs come from: a record of this operation in this group or in any, a record of another
group, the estimate of single operations, or the caller."""

RULE = "ethos_u.operation"
"""The rule that records name."""


@dataclass(frozen=True)
class Pick:
    """The knobs of an operation.

    Attributes:
        knobs: values of some of `plan.KNOBS`; empty for the default.
        source: `TUNED`, `NEAREST` or `GIVEN`.
    """

    knobs: Decisions
    source: str


def operation_workloads(
    operations: Sequence[Operation], npu: Npu, limit: int | None
) -> list[NpuOperation]:
    """What records of the operations of a group are kept under.

    Args:
        operations: of the group, in order, whole.
        npu: the accelerator in its system.
        limit: of SRAM, bytes.
    """
    bare = [_workload(one, npu) for one in operations]
    digest = hashlib.sha256()
    for text in (
        *(one.key() for one in bare),
        *_wiring(operations),
        f"{npu.optimise} {limit}",
        "" if npu.config is None else npu.config.read_text(encoding="utf-8", errors="replace"),
    ):
        digest.update(text.encode())
    group = digest.hexdigest()[:16]
    return [replace(one, group=group, place=place) for place, one in enumerate(bare)]


def _workload(one: Operation, npu: Npu) -> NpuOperation:
    second = () if one.ifm2 is None or one.scalar is not None else one.ifm2.shape
    return NpuOperation(
        one.kind,
        one.ifm.shape,
        second,
        one.ofm.shape,
        one.kernel,
        one.strides,
        one.dilation,
        one.padding,
        one.ifm.dtype,
        one.ofm.dtype,
        one.table is not None,
        one.upscale,
        npu.name,
        npu.system,
        npu.memory,
    )


def _wiring(operations: Sequence[Operation]) -> list[str]:
    """What each operation reads and writes, and in which layout. Storages are numbered by first
    use, so that equal groups are equal whatever their tensors are called."""
    numbers: dict[str, int] = {}
    return [
        " ".join(
            f"{numbers.setdefault(fm.storage, len(numbers))}{'b' * fm.bricks}"
            for fm in (*one.inputs, one.ofm)
        )
        for one in operations
    ]


@dataclass(frozen=True)
class NpuRecords:
    """Records of operations on NPUs, in the order of their logs."""

    records: tuple[Record, ...] = ()

    def picks(
        self, planner: Planner, workloads: Sequence[NpuOperation]
    ) -> tuple[dict[int, Pick], list[str]]:
        """The knobs of the operations of a group, by number, and notes on records that are skipped.

        Args:
            planner: of the group.
            workloads: what its operations are, by `operation_workloads`.
        """
        known: dict[NpuOperation, list[Record]] = {}
        near: dict[NpuOperation, list[Record]] = {}
        for record in self.records:
            assert isinstance(record.workload, NpuOperation)
            known.setdefault(record.workload, []).append(record)
            near.setdefault(_anywhere(record.workload), []).append(record)
        picks: dict[int, Pick] = {}
        notes: list[str] = []
        striped: set[int] = set()
        for place, workload in enumerate(workloads):
            anywhere = _anywhere(workload)
            found, source = known.get(workload), TUNED
            if found is None:
                found = known.get(anywhere)
            if found is None:
                found, source = near.get(anywhere), NEAREST
            best = None if found is None else best_npu_record(found)
            if best is None:
                continue
            knobs = best.knobs
            if source == NEAREST:
                knobs = {knob: value for knob, value in knobs.items() if knob == BLOCK}
                if not knobs:
                    continue
            try:
                if best.rule != RULE:
                    raise ValueError(f"there is no rule {best.rule}")
                planner.check(place, knobs)
                members = {*range(place - knobs.get(CASCADE, 0) + 1, place + 1)}
                if members & striped:
                    raise ValueError("its cascade overlaps another")
            except ValueError as error:
                notes.append(
                    f"a tuning record of {planner.operations[place].origin} is skipped: {error}"
                )
                continue
            striped |= members
            picks[place] = Pick(knobs, source)
        return picks, notes


def _anywhere(workload: NpuOperation) -> NpuOperation:
    return replace(workload, group="", place=-1)


def knobs_of(picks: Mapping[int, Pick]) -> dict[int, Decisions]:
    """The knobs alone."""
    return {place: pick.knobs for place, pick in picks.items() if pick.knobs}
