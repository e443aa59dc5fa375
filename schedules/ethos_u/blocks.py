"""The output block of an operation.

Blocks are chosen by measured cost: Vela's cycle model is asked for every block that fits the
accelerator's internal memory.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import Operation, Shape


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


def ranked_blocks(operation: Operation, npu: Npu, copied: bool = False) -> list[Shape]:
    """All blocks that an operation can work in, the cheapest first.

    Args:
        operation: what to compute.
        npu: the accelerator.
        copied: whether its weights come from SRAM.
    """
    known = _ranked(vela.job_of(operation, (0, 0, 0)), _weight_bytes(operation), npu)
    ranked = sorted(known, key=lambda one: (one[2] if copied else one[1]).cycles)
    return [block for block, _, _ in ranked]


def choose_block(
    operation: Operation,
    npu: Npu,
    copied: bool,
    depth: int | None = None,
    block: Shape | None = None,
) -> BlockChoice:
    """The block of an operation: the cheapest, unless something else is wanted.

    Args:
        operation: what to compute.
        npu: the accelerator.
        copied: whether its weights come from SRAM.
        depth: of the block, where it is decided: all that read the same weights have the same.
        block: what is wanted; of a part of an operation the largest block within it.

    Raises:
        ValueError: no block of the accelerator lies within the one that is wanted.
    """
    job, weight_bytes = vela.job_of(operation, (0, 0, 0)), _weight_bytes(operation)
    return _choose(job, weight_bytes, npu, copied, depth, block, operation.origin)


@functools.cache
def _choose(
    job: vela.Job,
    weight_bytes: int,
    npu: Npu,
    copied: bool,
    depth: int | None,
    wanted: Shape | None,
    origin: str,
) -> BlockChoice:
    ranked = _ranked(job, weight_bytes, npu)
    fitting = [one for one in ranked if depth is None or one[0][2] == depth] or list(ranked)
    if wanted is not None:
        within = [one for one in fitting if _within(one[0], wanted)]
        if not within:
            raise ValueError(f"{origin} cannot take the block {'x'.join(map(str, wanted))}")
        block, direct, held = max(within, key=lambda one: one[0][0] * one[0][1] * one[0][2])
    else:
        block, direct, held = min(fitting, key=lambda one: (one[2] if copied else one[1]).cycles)
    return BlockChoice(block, copied, held if copied else direct)


def _within(block: Shape, limit: Shape) -> bool:
    return all(size <= most for size, most in zip(block, limit, strict=True))


def _weight_bytes(operation: Operation) -> int:
    return 0 if operation.weights is None else operation.weights.size


@functools.cache
def _ranked(
    job: vela.Job, weight_bytes: int, npu: Npu
) -> tuple[tuple[Shape, vela.Cost, vela.Cost], ...]:
    """Blocks with their cost, weights read from flash and from SRAM; the cheapest first."""
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
