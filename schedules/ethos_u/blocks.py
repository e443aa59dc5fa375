"""The output block of an operation.

Blocks are chosen by measured cost: Vela's cycle model is asked for every block that fits the
accelerator's internal memory.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from tinyaot.targets.ethos_u import cost_model
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
    cost: cost_model.Cost


def pack(block: Shape) -> int:
    """A block as the value of a knob."""
    return block[0] << 16 | block[1] << 8 | block[2]


def unpack(value: int) -> Shape:
    """The block of a knob's value."""
    return value >> 16, value >> 8 & 255, value & 255


Sizes = tuple[tuple[int, tuple[int, int]], ...]
"""Bytes of weights and of scales, as they are encoded for each depth of a block; empty where there
are none."""


def ranked_blocks(operation: Operation, npu: Npu, copied: bool, sizes: Sizes) -> list[Shape]:
    """All blocks that an operation can work in, the cheapest first.

    Args:
        operation: what to compute.
        npu: the accelerator.
        copied: whether its weights come from SRAM.
        sizes: of its weights.
    """
    ranked = _ranked(cost_model.job_of(operation, (0, 0, 0)), sizes, copied, npu)
    return [choice.block for choice in ranked]


def choose_block(
    operation: Operation,
    npu: Npu,
    copied: bool,
    sizes: Sizes,
    depth: int | None = None,
    block: Shape | None = None,
) -> BlockChoice:
    """The block of an operation: the cheapest, unless something else is wanted.

    Args:
        operation: what to compute.
        npu: the accelerator.
        copied: whether its weights come from SRAM.
        sizes: of its weights.
        depth: of the block, where it is decided: all that read the same weights have the same.
        block: what is wanted; of a part of an operation the largest block within it.

    Raises:
        ValueError: no block of the accelerator lies within the one that is wanted.
    """
    ranked = _ranked(cost_model.job_of(operation, (0, 0, 0)), sizes, copied, npu)
    if block is not None:
        within = [one for one in ranked if _within(one.block, block)]
        if not within:
            wanted = "x".join(map(str, block))
            raise ValueError(f"{operation.origin} cannot take the block {wanted}")
        if depth is not None:
            within = [one for one in within if one.block[2] == depth] or within
        return max(within, key=lambda one: one.block[0] * one.block[1] * one.block[2])
    return next((one for one in ranked if depth in (None, one.block[2])), ranked[0])


def _within(block: Shape, limit: Shape) -> bool:
    return all(size <= most for size, most in zip(block, limit, strict=True))


@functools.lru_cache(maxsize=4096)
def _ranked(job: cost_model.Job, sizes: Sizes, copied: bool, npu: Npu) -> tuple[BlockChoice, ...]:
    """Blocks with their cost, the cheapest first; of equal ones that with less traffic."""
    known = dict(sizes)
    result = []
    for block in cost_model.blocks(job, npu):
        weights, scales = known.get(block[2], (0, 0))
        cost = cost_model.cost(cost_model.with_block(job, block, weights, scales, copied), npu)
        traffic = weights + scales if copied else cost.constants
        result.append(((cost.cycles, traffic, cost.arena), BlockChoice(block, copied, cost)))
    if not result:
        raise ValueError(f"no block fits {npu.name}: {job}")
    return tuple(choice for _, choice in sorted(result, key=lambda one: one[0]))
