"""Element-wise operators on Helium, sixteen elements a turn; outputs may overlay inputs.

Addition takes two multiply-adds and two narrowings, which round. What depends on one input alone is
a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.addition import as_addition, is_addition, solve_add_linear
from tinyaot.schedules.cortex_m.mve_calls import at, call
from tinyaot.schedules.cortex_m.requantize import output_steps
from tinyaot.schedules.cortex_m.rows import Rows
from tinyaot.schedules.registry import Constants, Decisions, Kernel, rule
from tinyaot.schedules.workload import Add, Lookup, Requantize
from tinyaot.schedules.workload_elementwise import QuantizedBinary

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_elementwise.h")

Expr = Any

# The fractions that there are functions for, the finest first.
_FRACTIONS = (22, 21, 20, 19, 18, 16)
# Bits of the second narrowing.
_LAST = 8


def _derive_add(workload: Add, constants: Constants) -> dict[str, int]:
    return solve_add_linear(workload, _FRACTIONS)


@rule(Add, features={"dsp", "mve"}, derive=_derive_add)
def add(workload: Add, decisions: Decisions) -> Kernel:
    """Two multiply-adds a pair."""
    size = workload.size
    low, high = workload.clamp

    @T.prim_func
    def add(
        a: T.Buffer((size,), "int8"),
        b: T.Buffer((size,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        _sums(decisions, at(a), at(b), at(y), size, low, high)

    return Kernel(add, headers=_HEADERS, in_place_inputs=(0, 1))


def _sums(decisions: Decisions, a: Expr, b: Expr, y: Expr, size: int, low: int, high: int) -> Expr:
    fraction = decisions["fraction"]
    # Both narrowings add one half of what they drop.
    addend = decisions["addend"] - (1 << (fraction - 1)) - (1 << (fraction - _LAST - 1))
    factors = decisions["factor_0"], decisions["factor_1"], addend
    return call(f"add_{fraction - _LAST}", a, b, y, size, *factors, low, high)


def _derive_rows(workload: QuantizedBinary, constants: Constants) -> dict[str, int]:
    addition, sign = as_addition(workload)
    return solve_add_linear(addition, _FRACTIONS, sign)


@rule(
    QuantizedBinary,
    features={"dsp", "mve"},
    applies=is_addition,
    derive=_derive_rows,
)
def add_rows(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """The same on tensors that may be broadcast, and for differences."""
    rows = Rows.of(workload)
    size_a, size_b, size = rows.sizes
    low, high = workload.clamp

    @T.prim_func
    def add_rows(
        a: T.Buffer((size_a,), "int8"),
        b: T.Buffer((size_b,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i, j, k, n, o in T.grid(*rows.outer):
            _sums(
                decisions,
                at(a, rows.place(0, [i, j, k, n, o])),
                at(b, rows.place(1, [i, j, k, n, o])),
                at(y, rows.place(2, [i, j, k, n, o])),
                rows.length,
                low,
                high,
            )

    return Kernel(add_rows, headers=_HEADERS, in_place_inputs=rows.in_place)


def _by_table(size: int, input_dtype: str, output_dtype: str) -> Any:
    @T.prim_func
    def lookup(
        x: T.Buffer((size,), input_dtype),
        table: T.Buffer((256,), "int8"),
        y: T.Buffer((size,), output_dtype),
    ):
        call("lookup", at(x), at(table), at(y), size)

    return lookup


@rule(Lookup, features={"dsp", "mve"})
def lookup(workload: Lookup, decisions: Decisions) -> Kernel:
    """A gather for sixteen elements."""

    def pack(constants: Constants) -> Constants:
        # Elements index the table as unsigned bytes.
        return {"table": np.roll(constants["table"], 128)}

    function = _by_table(workload.size, "int8", "int8")
    return Kernel(function, pack, _HEADERS, in_place_inputs=(0,))


def _is_bytes(workload: Requantize) -> bool:
    return {workload.input_dtype, workload.output_dtype} <= {"int8", "uint8"}


@rule(Requantize, features={"dsp", "mve"}, applies=_is_bytes)
def requantize(workload: Requantize, decisions: Decisions) -> Kernel:
    """By a table of all inputs."""
    steps = output_steps(
        np.array([workload.multiplier]),
        np.array([workload.shift]),
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )[0]

    def pack(constants: Constants) -> Constants:
        codes = np.arange(256)
        signed = workload.input_dtype == "int8"
        values = np.where(codes < 128, codes, codes - 256) if signed else codes
        reached = (values[:, None] - workload.input_zero_point >= steps).sum(axis=1)
        return {"table": (workload.clamp[0] + reached).astype(np.uint8).view(np.int8)}

    function = _by_table(workload.size, workload.input_dtype, workload.output_dtype)
    return Kernel(function, pack, _HEADERS, in_place_inputs=(0,))
