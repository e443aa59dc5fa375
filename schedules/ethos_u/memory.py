"""How much SRAM a sequence of operations keeps at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from tinyaot.targets.ethos_u.operation import ELEMENTWISE, FeatureMap, Operation


@dataclass(frozen=True)
class Lifetime:
    """A storage: bytes, and the operations that use it first and last."""

    nbytes: int
    first: int
    last: int


def lifetimes(operations: Sequence[Operation], external: Collection[str]) -> dict[str, Lifetime]:
    """The storages of some operations, but for those that lie elsewhere."""
    result: dict[str, Lifetime] = {}
    for index, one in enumerate(operations):
        for fm in (*one.inputs, one.ofm):
            if fm.storage in external:
                continue
            before = result.get(fm.storage, Lifetime(0, index, index))
            result[fm.storage] = Lifetime(max(before.nbytes, fm.end), before.first, index)
    return result


def mark_outside(operations: Sequence[Operation], storages: Collection[str]) -> list[Operation]:
    """Operations some of whose feature maps lie outside the accelerator's own SRAM."""

    def marked(fm: FeatureMap) -> FeatureMap:
        return replace(fm, outside=True) if fm.storage in storages else fm

    return [
        replace(
            one,
            ifm=marked(one.ifm),
            ifm2=None if one.ifm2 is None else marked(one.ifm2),
            ofm=marked(one.ofm),
        )
        for one in operations
    ]


def spill(
    operations: Sequence[Operation], external: Collection[str], limit: int
) -> list[Operation]:
    """Operations whose feature maps take no more of the accelerator's own SRAM than there is: the
    largest of those at the peak lie outside."""
    result = list(operations)
    while True:
        alive = usage(result, external)
        peak = max(alive, default=0)
        if peak <= limit:
            return result
        place = alive.index(peak)
        lives = lifetimes(result, {*external, *_outside(result)})
        here = [name for name, one in lives.items() if one.first <= place <= one.last]
        result = mark_outside(result, {max(here, key=lambda name: lives[name].nbytes)})


def _outside(operations: Sequence[Operation]) -> set[str]:
    return {fm.storage for one in operations for fm in (*one.inputs, one.ofm) if fm.outside}


def in_place(operation: Operation, external: Collection[str]) -> list[str]:
    """The operands that the output of an element-wise operation may overlay."""
    if operation.kind not in ELEMENTWISE or not operation.ofm.is_whole:
        return []
    if operation.ofm.storage in external:
        return []
    return [
        fm.storage
        for fm in operation.inputs
        if fm.storage not in external
        and fm.is_whole
        and (fm.whole, fm.bricks, fm.dtype)
        == (operation.ofm.whole, operation.ofm.bricks, operation.ofm.dtype)
    ]


def usage(operations: Sequence[Operation], external: Collection[str]) -> list[int]:
    """Bytes alive at each operation, results in place of operands where that is possible; but for
    what lies outside the accelerator's own SRAM."""
    alive = [0] * len(operations)
    external = {*external, *_outside(operations)}
    lives = lifetimes(operations, external)
    for life in lives.values():
        for index in range(life.first, life.last + 1):
            alive[index] += -(-life.nbytes // 16) * 16
    for index, one in enumerate(operations):
        over = [name for name in in_place(one, external) if lives[name].last == index]
        if over and lives[one.ofm.storage].first == index:
            alive[index] -= lives[one.ofm.storage].nbytes // 16 * 16
    return alive


def add_buffers(alive: Sequence[int], buffers: Iterable[tuple[int, int, int]]) -> list[int]:
    """`usage` with further buffers: bytes, first and last operation."""
    result = list(alive)
    for nbytes, first, last in buffers:
        for index in range(first, last + 1):
            result[index] += nbytes
    return result
