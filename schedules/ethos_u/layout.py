"""Which tensors lie in NHCWB16: 16 channels of a column together, then those of the next column."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from tinyaot.targets.ethos_u.operation import BRICK, FeatureMap, Operation


def brick_candidates(
    operations: Sequence[Operation], external: Collection[str]
) -> dict[str, FeatureMap]:
    """The tensors that can lie so, by storage: those between operations that all see alike."""
    uses: dict[str, list[tuple[Operation, FeatureMap]]] = {}
    for one in operations:
        for fm in (*one.inputs, one.ofm):
            uses.setdefault(fm.storage, []).append((one, fm))
    return {
        name: users[0][1]
        for name, users in uses.items()
        if name not in external
        and len({fm.whole for _, fm in users}) == 1
        and all(
            fm.strides is None
            and fm.offset == 0
            and fm.first[2] % BRICK == 0
            and one.kind != "reduce_sum"
            for one, fm in users
        )
    }


def fills_bricks(fm: FeatureMap) -> bool:
    """Whether the layout costs no memory."""
    return fm.whole[2] % BRICK == 0


def lay_in_bricks(operations: Sequence[Operation], names: Collection[str]) -> list[Operation]:
    """Operations with just these tensors in NHCWB16."""

    def laid(fm: FeatureMap) -> FeatureMap:
        bricks = fm.storage in names
        return fm if fm.bricks == bricks else replace(fm, bricks=bricks)

    return [
        replace(
            one,
            ifm=laid(one.ifm),
            ofm=laid(one.ofm),
            ifm2=None if one.ifm2 is None else laid(one.ifm2),
        )
        for one in operations
    ]
