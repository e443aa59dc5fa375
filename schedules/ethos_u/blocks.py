"""The output block of each operation, and whether its weights are copied to SRAM before.

Blocks are chosen by measured cost: Vela's cycle model is asked for every block that fits the
accelerator's internal memory.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tinyaot.schedules.registry import Decisions, Space
from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import WEIGHTED, Operation, Shape

# Encoded weights are about as large as they are; exact sizes are known once blocks are.
_WORTH_COPYING = 0.02


@dataclass(frozen=True)
class BlockChoice:
    """How an operation is computed.

    Attributes:
        block: height, width, depth.
        copied: whether the weights come from SRAM, where a DMA transfer puts them.
        cost: the estimate.
    """

    block: Shape
    copied: bool
    cost: vela.Cost


def pack(block: Shape) -> int:
    """A block as the value of a knob."""
    return block[0] << 16 | block[1] << 8 | block[2]


def unpack(value: int) -> Shape:
    """The block of a knob's value."""
    return value >> 16, value >> 8 & 255, value & 255


def space(operation: Operation, npu: Npu) -> Space:
    """The knobs of an operation: `block`, as of `pack`, the cheapest first, and `copied`."""
    ranked = _ranked(vela.job_of(operation, (0, 0, 0)), _weight_bytes(operation), npu)
    if operation.kind not in WEIGHTED:
        return {"block": tuple(pack(block) for block, _, _ in ranked), "copied": (0,)}
    best = min(direct.cycles for _, direct, _ in ranked)
    copied = min(held.cycles for _, _, held in ranked)
    copy = int(copied < best * (1 - _WORTH_COPYING))
    order = sorted(ranked, key=lambda one: (one[2] if copy else one[1]).cycles)
    return {"block": tuple(pack(one[0]) for one in order), "copied": (copy, 1 - copy)}


def choose_block(
    operation: Operation,
    npu: Npu,
    decisions: Decisions | None = None,
    copy: bool | None = None,
    depth: int | None = None,
) -> BlockChoice:
    """The block of an operation.

    Args:
        operation: what to compute.
        npu: the accelerator.
        decisions: values of the knobs; the cheapest where there are none.
        copy: overrides whether weights are copied.
        depth: of the block, where it is decided: all that read the same weights have the same.

    Raises:
        ValueError: a decision is not valid for the operation.
    """
    job, weight_bytes = vela.job_of(operation, (0, 0, 0)), _weight_bytes(operation)
    if copy is not None and not decisions:
        return _cheapest(job, weight_bytes, npu, copy, depth)
    ranked = list(_ranked(job, weight_bytes, npu))
    costs = {block: (direct, held) for block, direct, held in ranked}
    knobs = space(operation, npu)
    values = {knob: valid[0] for knob, valid in knobs.items()}
    for knob, value in (decisions or {}).items():
        if knob not in knobs:
            continue
        if value not in knobs[knob]:
            raise ValueError(f"{operation.origin} cannot take {knob}={value}")
        values[knob] = value
    if copy is not None:
        values["copied"] = int(copy)
        if "block" not in (decisions or {}):
            if depth is not None:
                ranked = [one for one in ranked if one[0][2] == depth] or ranked
            block = min(ranked, key=lambda one: (one[2] if copy else one[1]).cycles)[0]
            values["block"] = pack(block)
    block = unpack(values["block"])
    return BlockChoice(block, bool(values["copied"]), costs[block][values["copied"]])


@functools.cache
def _cheapest(
    job: vela.Job, weight_bytes: int, npu: Npu, copy: bool, depth: int | None
) -> BlockChoice:
    ranked = _ranked(job, weight_bytes, npu)
    fitting = [one for one in ranked if depth is None or one[0][2] == depth] or ranked
    block, direct, held = min(fitting, key=lambda one: (one[2] if copy else one[1]).cycles)
    return BlockChoice(block, copy, held if copy else direct)


def _weight_bytes(operation: Operation) -> int:
    return 0 if operation.weights is None else operation.weights.size


@functools.cache
def _ranked(
    job: vela.Job, weight_bytes: int, npu: Npu
) -> tuple[tuple[Shape, vela.Cost, vela.Cost], ...]:
    """Blocks with their cost, weights read from flash and from SRAM; larger blocks first."""
    result = []
    scale_bytes = 10 * job.ofm[2] if weight_bytes else 0
    for block in vela.blocks(job, npu):
        direct, held = (
            vela.cost(vela.with_block(job, block, weight_bytes, scale_bytes, in_arena), npu)
            for in_arena in (False, True)
        )
        result.append((block, direct, held))
    if not result:
        raise ValueError(f"no block fits {npu.name}: {job}")
    return tuple(sorted(result, key=lambda one: one[1].cycles))
