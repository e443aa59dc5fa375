"""Operators that copy elements in a regular order, of any rank and number of inputs, for any core.

Their signatures depend on the workload, so they are made with TVM's builder and not as a script.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Concatenate, Rearrange

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_bytes.h")
# Below this many bytes a call of memcpy costs more than a loop.
_SHORTEST_RUN = 8


@rule(Rearrange)
def rearrange(workload: Rearrange, decisions: Decisions) -> Kernel:
    """One pass over the output; runs of neighbours by memcpy."""
    shape, steps = workload.shape, workload.steps
    width = np.dtype(workload.dtype).itemsize
    tables = [axis for axis, step in enumerate(steps) if step is None]
    run = shape[-1] if steps[-1] == 1 and shape[-1] * width >= _SHORTEST_RUN else 1
    loops = shape[:-1] if run > 1 else shape
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    with IRBuilder() as builder, T.prim_func():
        T.func_name("rearrange")
        x = T.arg("x", T.buffer((workload.input_size,), workload.dtype))
        places = {
            axis: T.arg(f"places_{axis}", T.buffer((shape[axis],), "int32")) for axis in tables
        }
        y = T.arg("y", T.buffer((math.prod(shape),), workload.dtype))

        def body(indices: tuple[Any, ...]) -> None:
            source: Any = workload.offset
            target: Any = 0
            for axis, index in enumerate(indices):
                target = target + index * strides[axis]
                step = steps[axis]
                moved = places[axis][index] if step is None else index * step
                source = source + moved
            if run == 1:
                T.buffer_store(y, x[source], [target])
            else:
                _copy(y, target, x, source, run * width)

        _over(loops, body)
    return Kernel(builder.get(), headers=_HEADERS)


@rule(Concatenate)
def concatenate(workload: Concatenate, decisions: Decisions) -> Kernel:
    """A memcpy for each input and place along the axes before the joined one."""
    outer, inners = workload.outer, workload.inners
    width = np.dtype(workload.dtype).itemsize
    total = sum(inners)
    with IRBuilder() as builder, T.prim_func():
        T.func_name("concatenate")
        sources = [
            T.arg(f"x{place}", T.buffer((outer * inner,), workload.dtype))
            for place, inner in enumerate(inners)
        ]
        y = T.arg("y", T.buffer((outer * total,), workload.dtype))

        def body(indices: tuple[Any, ...]) -> None:
            row = indices[0] if indices else 0
            for place, (x, inner) in enumerate(zip(sources, inners, strict=True)):
                before = sum(inners[:place])
                if inner * width >= _SHORTEST_RUN or inner > _SHORTEST_RUN:
                    _copy(y, row * total + before, x, row * inner, inner * width)
                    continue
                for offset in range(inner):
                    target = row * total + before + offset
                    T.buffer_store(y, x[row * inner + offset], [target])

        _over((outer,) if outer > 1 else (), body)
    return Kernel(builder.get(), headers=_HEADERS)


def _copy(y: Any, target: Any, x: Any, source: Any, nbytes: int) -> None:
    T.evaluate(
        T.call_extern(
            "int32", "memcpy", T.address_of(y[target]), T.address_of(x[source]), T.uint32(nbytes)
        )
    )


def _over(shape: tuple[int, ...], body: Any) -> None:
    """The body in a loop for each axis."""
    if not shape:
        body(())
        return
    with T.grid(*shape) as indices:
        # One axis gives one variable in some places and a sequence of one in others.
        body(tuple(indices) if hasattr(indices, "__len__") else (indices,))
