"""Operations of a region on one name space of storages: views in place of copies, fused tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tinyaot.targets.ethos_u.operation import FeatureMap, Operation

Mapper = Callable[[FeatureMap], FeatureMap | None]


def renamed(operation: Operation, names: Mapping[str, str]) -> Operation:
    """The operation on other storages, given as old name to new."""

    def new(fm: FeatureMap) -> FeatureMap:
        return replace(fm, storage=names.get(fm.storage, fm.storage))

    return replace(
        operation,
        ifm=new(operation.ifm),
        ofm=new(operation.ofm),
        ifm2=None if operation.ifm2 is None else new(operation.ifm2),
    )


def fuse_tables(operations: Sequence[Operation], external: Collection[str]) -> list[Operation]:
    """Look-up tables that follow an operation become its last step.

    Args:
        operations: in order.
        external: storages that are read or written outside.
    """
    result = list(operations)
    for lookup in operations:
        if not _only_looks_up(lookup) or lookup not in result:
            continue
        name = lookup.ifm.storage
        makers = [one for one in result if one.ofm.storage == name]
        users = [one for one in result if any(fm.storage == name for fm in one.inputs)]
        if name in external or len(makers) != 1 or users != [lookup]:
            continue
        maker = makers[0]
        if maker.table is not None or maker.ofm.dtype != "int8" or not _is_all(maker.ofm, result):
            continue
        assert lookup.table is not None
        low, high = maker.clamp
        inputs = np.clip(np.arange(-128, 128), low, high)
        fused = replace(
            maker,
            ofm=replace(maker.ofm, storage=lookup.ofm.storage),
            table=lookup.table[inputs + 128],
            clamp=(-128, 127),
            origin=f"{maker.origin} + {lookup.origin}",
        )
        result[result.index(maker)] = fused
        result.remove(lookup)
    return result


def _only_looks_up(operation: Operation) -> bool:
    return (
        operation.kind == "average_pool"
        and operation.table is not None
        and operation.kernel == (1, 1)
        and operation.scale is None
        and operation.ifm.is_whole
        and operation.ofm.is_whole
        and operation.ofm.dtype == "int8"
    )


def forward_copies(operations: Sequence[Operation], external: Collection[str]) -> list[Operation]:
    """Copies go where the other users of the copied tensor can work on the view instead: a tensor
    that is concatenated is written to its place, a slice is read from the whole.

    Args:
        operations: in order.
        external: storages that are read or written outside.
    """
    result = list(operations)
    for one in operations:
        if not _is_copy(one):
            continue
        for fm, mapper in ((one.ifm, _into(one)), (one.ofm, _from(one))):
            name = fm.storage
            if mapper is None or name in external or not _is_all(fm, result):
                continue
            others = [other for other in result if other is not one]
            changed = _remapped(others, name, mapper)
            if changed is not None:
                result = changed
                break
    return result


def _is_all(fm: FeatureMap, operations: Sequence[Operation]) -> bool:
    """Whether a feature map is its whole storage: nothing that is used lies beyond it."""
    return fm.is_whole and all(
        other.end <= fm.nbytes
        for one in operations
        for other in (*one.inputs, one.ofm)
        if other.storage == fm.storage
    )


def _is_copy(operation: Operation) -> bool:
    limits = np.iinfo(operation.ofm.dtype)
    return (
        operation.kind == "average_pool"
        and operation.kernel == (1, 1)
        and operation.strides == (1, 1)
        and operation.scale is None
        and operation.table is None
        and operation.upscale == "none"
        and operation.ifm.zero_point == operation.ofm.zero_point == 0
        and operation.ifm.dtype == operation.ofm.dtype
        and operation.clamp == (limits.min, limits.max)
    )


def _remapped(operations: Sequence[Operation], name: str, mapper: Mapper) -> list[Operation] | None:
    """The operations with every use of a storage mapped; None if one cannot be."""
    result = []
    for operation in operations:
        changes: dict[str, Any] = {}
        for role in ("ifm", "ifm2", "ofm"):
            fm: FeatureMap | None = getattr(operation, role)
            if fm is not None and fm.storage == name:
                mapped = mapper(fm)
                if mapped is None:
                    return None
                changes[role] = mapped
        result.append(replace(operation, **changes) if changes else operation)
    return result


def _into(copy: Operation) -> Mapper | None:
    """Uses of what is copied, as uses of its place in the destination."""
    target, (height, width, depth) = copy.ofm, copy.ifm.shape
    if width == 1 and target.strides is None and target.whole[1] == 1:
        return _blocks(target, depth * target.itemsize, target.row_stride, target.address(), height)

    def same_axes(fm: FeatureMap) -> FeatureMap | None:
        if fm.whole != copy.ifm.whole or fm.strides is not None or fm.offset:
            return None
        first = [start + own for start, own in zip(target.first, fm.first, strict=True)]
        return replace(
            fm,
            storage=target.storage,
            whole=target.whole,
            first=(first[0], first[1], first[2]),
            offset=target.offset,
            strides=target.strides,
        )

    return same_axes


def _from(copy: Operation) -> Mapper | None:
    """Uses of a copy, as uses of where it came from."""
    source, (height, width, depth) = copy.ifm, copy.ofm.shape
    row, column = source.row_stride, source.column_stride
    inner = depth * source.itemsize
    if height == 1 or row == width * column:
        return _blocks(source, inner, column, source.address(), height * width)
    if width == 1 or column == inner:
        return _blocks(source, width * inner, row, source.address(), height)

    def same_axes(fm: FeatureMap) -> FeatureMap | None:
        if fm.whole != copy.ofm.whole or fm.strides is not None or fm.offset:
            return None
        return replace(fm, storage=source.storage, offset=source.address(), strides=(row, column))

    return same_axes


def _blocks(to: FeatureMap, inner: int, pitch: int, start: int, count: int) -> Mapper:
    """Maps a dense tensor that lies in `count` blocks of `inner` bytes, one every `pitch`."""

    def mapper(fm: FeatureMap) -> FeatureMap | None:
        if fm.strides is not None or fm.itemsize != to.itemsize:
            return None
        height, width, depth = (
            fm.whole[0] * fm.whole[1] * fm.whole[2],
            fm.whole[1] * fm.whole[2],
            fm.whole[2],
        )
        total, row, column = (size * fm.itemsize for size in (height, width, depth))
        index, rest = divmod(fm.offset, inner)
        offset = start + index * pitch
        if count == 1 or rest + total <= inner:
            return replace(fm, storage=to.storage, offset=offset + rest)
        if rest:
            return None
        if inner == row:
            return replace(fm, storage=to.storage, offset=offset, strides=(pitch, column))
        if inner == column:
            strides = (pitch * fm.whole[1], pitch)
            return replace(fm, storage=to.storage, offset=offset, strides=strides)
        return None

    return mapper
