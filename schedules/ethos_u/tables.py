"""Which look-up tables lie in the accelerator's memory, and when DMA can bring them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyaot.targets.ethos_u import vela
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import Operation

_SLOTS = 8


@dataclass(frozen=True)
class TableLoad:
    """A look-up table that DMA puts into the accelerator's memory.

    Attributes:
        user: index of the operation that needs it first.
        data: the table.
        slot: where it lies.
        earliest: index of the operation before which its place is free.
    """

    user: int
    data: bytes
    slot: int
    earliest: int


def place_tables(
    operations: Sequence[Operation], npu: Npu
) -> tuple[dict[int, int], list[TableLoad]]:
    """The slot of each operation's table, by index, and the loads; what is there stays there."""
    # The smallest accelerator computes in that memory if an operation has no table.
    lost_by_others = vela.architecture(npu).shram_reserved_unused_banks == 0
    held: list[bytes] = [b""] * _SLOTS
    used = [0] * _SLOTS
    oldest = 0
    slots: dict[int, int] = {}
    loads: list[TableLoad] = []
    for index, one in enumerate(operations):
        if one.table is None:
            if lost_by_others:
                held = [b""] * _SLOTS
                used = [index + 1] * _SLOTS
            continue
        data = one.table.tobytes()
        size = -(-len(data) // vela.TABLE_BYTES)
        present = [slot for slot in range(0, _SLOTS, size) if held[slot] == data]
        if present:
            slot = present[0]
        else:
            # A table of int32 takes four slots, the first ones.
            free = [slot for slot in range(_SLOTS) if not held[slot]]
            slot = 0 if size > 1 else free[0] if free else oldest
            if size == 1 and not free:
                oldest = (oldest + 1) % _SLOTS
            loads.append(TableLoad(index, data, slot, max(used[slot : slot + size])))
            held[slot : slot + size] = [data] * size
        used[slot : slot + size] = [index + 1] * size
        slots[index] = slot
    return slots, loads
