"""Element-wise operators on Helium, sixteen elements a turn; outputs may overlay inputs.

Addition takes two multiply-adds and two narrowings, which round. What depends on one input alone is
a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.addition import solve_add_linear
from tinyaot.schedules.cortex_m.mve_calls import at, call
from tinyaot.schedules.cortex_m.requantize import output_steps
from tinyaot.schedules.registry import Constants, Decisions, Kernel, rule
from tinyaot.schedules.workload import Add, Lookup, Requantize

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_elementwise.h")

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
    fraction = decisions["fraction"]
    function = f"add_{fraction - _LAST}"
    # Both narrowings add one half of what they drop.
    addend = decisions["addend"] - (1 << (fraction - 1)) - (1 << (fraction - _LAST - 1))
    factors = [decisions["factor_0"], decisions["factor_1"], addend]
    low, high = workload.clamp

    def compute(a: Any, b: Any, y: Any) -> Any:
        return call(function, at(a), at(b), at(y), size, *factors, low, high)

    @T.prim_func
    def add(
        a: T.Buffer((size,), "int8"),
        b: T.Buffer((size,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        compute(a, b, y)

    return Kernel(add, headers=_HEADERS, in_place_inputs=(0, 1))


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
