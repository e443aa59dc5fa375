"""Products of two tensors on Helium: products of a stretch, then their requantization."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import at, call, round_up
from tinyaot.schedules.cortex_m.mve_requantize import Vector, form, is_signed, solve_vector
from tinyaot.schedules.cortex_m.products import Products, are_products
from tinyaot.schedules.cortex_m.rows import Rows
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import Multiply
from tinyaot.schedules.workload_elementwise import QuantizedBinary

_HEADERS = (
    *("tinyaot_fixed_point.h", "tinyaot_mve.h"),
    *("tinyaot_mve_elementwise.h", "tinyaot_mve_dense.h"),
)

# Elements whose products are kept in 32 bits.
_STRETCH = 256


def _solve(whole: Products) -> Vector:
    low, high = whole.bounds
    if max(-low, high) << max(whole.shift, 0) >= 2**31:
        raise UnsuitableError("the reference's own arithmetic overflows")
    signed = is_signed(whole.zero_point, whole.clamp, whole.rounding)
    return solve_vector(whole.channels(), whole.zero_point if signed else None)


def _derive(workload: Multiply | QuantizedBinary, constants: Constants) -> dict[str, int]:
    return {"fraction": _solve(Products.of(workload)).fraction}


@rule(Multiply, features={"dsp", "mve"}, applies=are_products, derive=_derive)
def multiply(workload: Multiply | QuantizedBinary, decisions: Decisions) -> Kernel:
    """Four lanes at a time; the output may overlay an input of its size."""
    whole = Products.of(workload)
    rows = Rows.of(workload)
    size_a, size_b, size = rows.sizes
    signed = is_signed(whole.zero_point, whole.clamp, whole.rounding)
    requantize = f"requantize_flat{form(signed, whole.clamp, decisions['fraction'])}"
    stretch = min(_STRETCH, round_up(rows.length, 16))
    stretches = -(-rows.length // stretch)

    @T.prim_func
    def multiply(
        a: T.Buffer((size_a,), "int8"),
        b: T.Buffer((size_b,), "int8"),
        stream: T.Buffer((7,), "int32"),
        y: T.Buffer((size,), "int8"),
    ):
        products = T.alloc_buffer((stretch,), "int32")
        for i, j, k, n, o, s in T.grid(*rows.outer, stretches):
            count: T.let[T.int32] = T.min(rows.length - s * stretch, stretch)
            call(
                "products",
                at(products),
                at(a, rows.place(0, [i, j, k, n, o]) + s * stretch),
                at(b, rows.place(1, [i, j, k, n, o]) + s * stretch),
                count,
                *whole.zero_points,
            )
            call(
                requantize,
                at(products),
                at(stream),
                at(y, rows.place(2, [i, j, k, n, o]) + s * stretch),
                count,
            )

    def pack(constants: Constants) -> Constants:
        return {"stream": _solve(whole).flat(0, whole.clamp)}

    return Kernel(multiply, pack, _HEADERS, rows.in_place)


@rule(QuantizedBinary, features={"dsp", "mve"}, applies=are_products, derive=_derive)
def quantized_multiply(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """The same."""
    return multiply(workload, decisions)
