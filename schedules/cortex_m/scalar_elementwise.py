"""Element-wise operators on cores without the DSP extension."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.addition import as_addition, is_addition, solve_add_linear
from tinyaot.schedules.cortex_m.rows import Rows
from tinyaot.schedules.generic.arithmetic import store_int8
from tinyaot.schedules.registry import Constants, Decisions, Kernel, rule
from tinyaot.schedules.workload import Add
from tinyaot.schedules.workload_elementwise import QuantizedBinary

Expr = Any

# The finest first: a sum of two int8 products has room for these.
_FRACTIONS = tuple(range(22, 11, -1))


def _derive(workload: Add, constants: Constants) -> dict[str, int]:
    return solve_add_linear(workload, _FRACTIONS)


def _sum(a: Expr, b: Expr, decisions: Decisions, clamp: tuple[int, int]) -> Expr:
    total = (
        T.cast(a, "int32") * decisions["factor_0"]
        + T.cast(b, "int32") * decisions["factor_1"]
        + decisions["addend"]
    )
    return store_int8(T.shift_right(total, T.int32(decisions["fraction"])), 0, clamp)


@rule(Add, derive=_derive)
def add(workload: Add, decisions: Decisions) -> Kernel:
    """Two multiplications of 32 bits an element; the output may overlay either input."""
    size = workload.size

    @T.prim_func
    def add(
        a: T.Buffer((size,), "int8"),
        b: T.Buffer((size,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i in T.serial(size):
            y[i] = _sum(a[i], b[i], decisions, workload.clamp)

    return Kernel(add, in_place_inputs=(0, 1))


def _derive_broadcast(workload: QuantizedBinary, constants: Constants) -> dict[str, int]:
    addition, sign = as_addition(workload)
    return solve_add_linear(addition, _FRACTIONS, sign)


@rule(QuantizedBinary, applies=is_addition, derive=_derive_broadcast)
def add_rows(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """The same on tensors that may be broadcast, and for differences."""
    rows = Rows.of(workload)
    size_a, size_b, size = rows.sizes

    @T.prim_func
    def add_rows(
        a: T.Buffer((size_a,), "int8"),
        b: T.Buffer((size_b,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i, j, k, n, o, p in T.grid(*rows.outer, rows.length):
            y[rows.place(2, [i, j, k, n, o]) + p] = _sum(
                a[rows.place(0, [i, j, k, n, o]) + p],
                b[rows.place(1, [i, j, k, n, o]) + p],
                decisions,
                workload.clamp,
            )

    return Kernel(add_rows, in_place_inputs=rows.in_place)
