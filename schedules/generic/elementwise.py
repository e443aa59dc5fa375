"""Element-wise operators for any core: one pass, an element at a time."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Add, Lookup, Requantize


@rule(Add)
def add(workload: Add, decisions: Decisions) -> Kernel:
    """TFLite's integer addition; the output may overlay either input."""
    size = workload.size
    zero_point_a, zero_point_b = workload.input_zero_points
    multiplier_a, multiplier_b = workload.multipliers
    shift_a, shift_b = workload.shifts
    unit = 1 << workload.left_shift

    @T.prim_func
    def add(
        a: T.Buffer((size,), "int8"),
        b: T.Buffer((size,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i in T.serial(size):
            scaled_a: T.let[T.int32] = requantized(
                (T.cast(a[i], "int32") - zero_point_a) * unit,
                multiplier_a,
                shift_a,
                workload.rounding,
            )
            scaled_b: T.let[T.int32] = requantized(
                (T.cast(b[i], "int32") - zero_point_b) * unit,
                multiplier_b,
                shift_b,
                workload.rounding,
            )
            y[i] = store_int8(
                requantized(
                    scaled_a + scaled_b,
                    workload.output_multiplier,
                    workload.output_shift,
                    workload.rounding,
                ),
                workload.output_zero_point,
                workload.clamp,
            )

    return Kernel(add, in_place_inputs=(0, 1))


@rule(Requantize)
def requantize(workload: Requantize, decisions: Decisions) -> Kernel:
    """Change of scale, zero point or type; the output may overlay the input."""
    size = workload.size
    input_dtype, output_dtype = workload.input_dtype, workload.output_dtype
    low, high = workload.clamp

    @T.prim_func
    def requantize(
        x: T.Buffer((size,), input_dtype),
        y: T.Buffer((size,), output_dtype),
    ):
        for i in T.serial(size):
            value: T.let[T.int32] = (
                requantized(
                    T.cast(x[i], "int32") - workload.input_zero_point,
                    workload.multiplier,
                    workload.shift,
                    workload.rounding,
                )
                + workload.output_zero_point
            )
            y[i] = T.cast(
                T.call_pure_extern("int32", "tinyaot_clamp", value, low, high), output_dtype
            )

    return Kernel(requantize, in_place_inputs=(0,))


@rule(Lookup)
def lookup(workload: Lookup, decisions: Decisions) -> Kernel:
    """One load from the table an element; the output may overlay the input."""
    size = workload.size

    @T.prim_func
    def lookup(
        x: T.Buffer((size,), "int8"),
        table: T.Buffer((256,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i in T.serial(size):
            y[i] = table[T.cast(x[i], "int32") + 128]

    return Kernel(lookup, in_place_inputs=(0,))
