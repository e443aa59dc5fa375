"""Copies whose source is found axis by axis: slices, reversals, tables of rows and the like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import GraphBuilder, element_type
from tinyaot.schedules.workload import Concatenate, Rearrange

Places = Sequence[NDArray[np.integer[Any]]]


def strides_of(shape: Sequence[int]) -> list[int]:
    """Elements from one index of an axis to the next, in row-major order."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def rearrange(
    builder: GraphBuilder, source: Tensor, output: Tensor, places: Places, origin: str
) -> Tensor:
    """Adds a node for y[i0, i1, ...] = x[places[0][i0] + places[1][i1] + ...], x flat.

    Args:
        builder: of the graph.
        source: x.
        output: y; as many elements as the axes of `places` span, in their order.
        places: for each axis the offset in x of each of its indices; any number of axes.
        origin: the model node.

    Returns:
        The output; a view of x where the elements keep their order.
    """
    offset = sum(int(axis[0]) for axis in places)
    axes: list[tuple[int, int | None]] = []
    tables: dict[str, NDArray[np.int32]] = {}
    for axis in places:
        if len(axis) == 1:
            continue
        relative = axis - axis[0]
        step = int(relative[1])
        if not np.array_equal(relative, np.arange(len(axis)) * step):
            tables[f"places_{len(axes)}"] = relative.astype(np.int32)
            axes.append((len(axis), None))
            continue
        previous = axes[-1] if axes else (0, None)
        if previous[1] is not None and previous[1] == step * len(axis):
            axes[-1] = (previous[0] * len(axis), step)
        else:
            axes.append((len(axis), step))
    axes = axes or [(1, 1)]
    size = math.prod(source.shape)
    if axes == [(size, 1)]:
        return builder.reshape(source, output.shape, origin, output)
    workload = Rearrange(
        dtype=element_type(source.dtype),
        input_size=size,
        shape=tuple(extent for extent, _ in axes),
        offset=offset,
        steps=tuple(step for _, step in axes),
    )
    return builder.emit(workload, (source,), output, origin, tables)


def concatenate(
    builder: GraphBuilder, sources: Sequence[Tensor], output: Tensor, axis: int, origin: str
) -> Tensor:
    """Adds a node that joins tensors along an axis of theirs.

    Args:
        builder: of the graph.
        sources: of one rank and element type, equal in size on all other axes.
        output: the joined tensor; its shape may have the joined axis split in two.
        axis: non-negative.
        origin: the model node.
    """
    if len(sources) == 1:
        return builder.reshape(sources[0], output.shape, origin, output)
    workload = Concatenate(
        dtype=element_type(output.dtype),
        outer=math.prod(sources[0].shape[:axis]),
        inners=tuple(math.prod(source.shape[axis:]) for source in sources),
    )
    return builder.emit(workload, tuple(sources), output, origin)
