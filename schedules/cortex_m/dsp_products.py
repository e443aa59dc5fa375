"""Products of two tensors on cores with the DSP extension, by the upper word of a long product."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import WHOLE_RANGE, at, call
from tinyaot.schedules.cortex_m.products import Products, are_products
from tinyaot.schedules.cortex_m.rows import Rows
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import Multiply
from tinyaot.schedules.workload_elementwise import QuantizedBinary

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_elementwise.h")


def _derive(workload: Multiply | QuantizedBinary, constants: Constants) -> dict[str, int]:
    # The sum before the last shift stays inside 32 bits: a scaled product is less than 2^16.
    if not 1 <= -Products.of(workload).shift <= 22:
        raise UnsuitableError("the shift does not end in a saturation")
    return {}


@rule(Multiply, features={"dsp"}, applies=are_products, derive=_derive)
def multiply(workload: Multiply | QuantizedBinary, decisions: Decisions) -> Kernel:
    """A row at a time; the output may overlay an input of its size."""
    whole = Products.of(workload)
    rows = Rows.of(workload)
    size_a, size_b, size = rows.sizes
    right = -whole.shift
    addend = (whole.zero_point << right) + (1 << (right - 1))
    function = f"tinyaot_dsp_multiply_{whole.rounding}"
    clamped = whole.clamp != WHOLE_RANGE

    @T.prim_func
    def multiply(
        a: T.Buffer((size_a,), "int8"),
        b: T.Buffer((size_b,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i, j, k, n, o in T.grid(*rows.outer):
            call(
                function,
                at(a, rows.place(0, [i, j, k, n, o])),
                at(b, rows.place(1, [i, j, k, n, o])),
                at(y, rows.place(2, [i, j, k, n, o])),
                rows.length,
                *whole.zero_points,
                whole.multiplier,
                addend,
                right,
            )
        if clamped:
            call("tinyaot_dsp_clamp", at(y), size, *whole.clamp)

    return Kernel(multiply, headers=_HEADERS, in_place_inputs=rows.in_place)


@rule(QuantizedBinary, features={"dsp"}, applies=are_products, derive=_derive)
def quantized_multiply(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """The same."""
    return multiply(workload, decisions)
