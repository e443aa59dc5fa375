"""Element-wise operators on cores without the DSP extension."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.addition import solve_add_linear
from tinyaot.schedules.generic.arithmetic import store_int8
from tinyaot.schedules.registry import Constants, Decisions, Kernel, rule
from tinyaot.schedules.workload import Add

# The finest first: a sum of two int8 products has room for these.
_FRACTIONS = tuple(range(22, 11, -1))


def _derive(workload: Add, constants: Constants) -> dict[str, int]:
    return solve_add_linear(workload, _FRACTIONS)


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
            total: T.let[T.int32] = (
                T.cast(a[i], "int32") * decisions["factor_0"]
                + T.cast(b[i], "int32") * decisions["factor_1"]
                + decisions["addend"]
            )
            y[i] = store_int8(T.shift_right(total, decisions["fraction"]), 0, workload.clamp)

    return Kernel(add, in_place_inputs=(0, 1))
