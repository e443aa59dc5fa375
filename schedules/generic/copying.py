"""Operators that copy elements in a regular order, of any rank and number of inputs, for any core.

Their signatures depend on the workload, so they are made with TVM's builder and not as a script.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Concatenate, Pad, Rearrange

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


@rule(Pad)
def pad(workload: Pad, decisions: Decisions) -> Kernel:
    """A row at a time; rows hold all axes from the last padded one on."""
    dtype, value = workload.dtype, workload.value
    last = max((axis for axis, pair in enumerate(workload.padding) if any(pair)), default=0)
    inner = math.prod(workload.input_shape[last + 1 :])
    begin, end = (width * inner for width in workload.padding[last])
    row = workload.input_shape[last] * inner
    outer_in, outer = workload.input_shape[:last], workload.output_shape[:last]
    before = [pair[0] for pair in workload.padding[:last]]
    whole = begin + row + end
    with IRBuilder() as builder, T.prim_func():
        T.func_name("pad")
        x = T.arg("x", T.buffer((math.prod(workload.input_shape),), dtype))
        y = T.arg("y", T.buffer((math.prod(workload.output_shape),), dtype))

        def body(indices: tuple[Any, ...]) -> None:
            target: Any = 0
            source: Any = 0
            tests = []
            for axis, index in enumerate(indices):
                target = target + index * (math.prod(outer[axis + 1 :]) * whole)
                place = index - before[axis]
                source = source + place * (math.prod(outer_in[axis + 1 :]) * row)
                if outer[axis] != outer_in[axis]:
                    tests += [place >= 0, place < outer_in[axis]]
            if not tests:
                inside_row(target, source)
                return
            with T.If(functools.reduce(T.And, tests)):
                with T.Then():
                    inside_row(target, source)
                with T.Else():
                    _fill(y, target, value, whole, dtype)

        def inside_row(target: Any, source: Any) -> None:
            _fill(y, target, value, begin, dtype)
            _move(y, target + begin, x, source, row, dtype)
            _fill(y, target + (begin + row), value, end, dtype)

        _over(outer, body)
    return Kernel(builder.get(), headers=_HEADERS)


def _fill(y: Any, target: Any, value: int, count: int, dtype: str) -> None:
    """`count` times the same value."""
    if dtype == "int8" and count >= _SHORTEST_RUN:
        size = T.uint32(count)
        T.evaluate(T.call_extern("int32", "memset", T.address_of(y[target]), T.int32(value), size))
        return
    _each(count, lambda i: T.buffer_store(y, T.Cast(dtype, T.int32(value)), [target + i]))


def _move(y: Any, target: Any, x: Any, source: Any, count: int, dtype: str) -> None:
    """`count` neighbours."""
    width = np.dtype(dtype).itemsize
    if count * width >= _SHORTEST_RUN:
        _copy(y, target, x, source, count * width)
        return
    _each(count, lambda i: T.buffer_store(y, x[source + i], [target + i]))


def _each(count: int, body: Any) -> None:
    if count == 1:
        body(0)
    elif count > 1:
        with T.serial(0, count) as i:
            body(i)


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
