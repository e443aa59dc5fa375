"""Interpolation, for any core."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import LinearResize


@rule(LinearResize)
def linear_resize(workload: LinearResize, decisions: Decisions) -> Kernel:
    """Four elements, their weights as integers, and one requantization an output element."""
    outer, inner = workload.outer, workload.inner
    height, width = workload.input_size
    out_height, out_width = workload.output_size
    rows, columns = workload.denominators
    zero_point = workload.input_zero_point

    @T.prim_func
    def linear_resize(
        x: T.Buffer((outer * height * width * inner,), "int8"),
        first_0: T.Buffer((out_height,), "int32"),
        second_0: T.Buffer((out_height,), "int32"),
        weight_0: T.Buffer((out_height,), "int32"),
        first_1: T.Buffer((out_width,), "int32"),
        second_1: T.Buffer((out_width,), "int32"),
        weight_1: T.Buffer((out_width,), "int32"),
        y: T.Buffer((outer * out_height * out_width * inner,), "int8"),
    ):
        for n, oh, ow in T.grid(outer, out_height, out_width):
            top: T.let[T.int32] = (n * height + first_0[oh]) * width
            bottom: T.let[T.int32] = (n * height + second_0[oh]) * width
            left: T.let[T.int32] = first_1[ow]
            right: T.let[T.int32] = second_1[ow]
            for c in T.serial(inner):
                above: T.let[T.int32] = (columns - weight_1[ow]) * T.cast(
                    x[(top + left) * inner + c], "int32"
                ) + weight_1[ow] * T.cast(x[(top + right) * inner + c], "int32")
                below: T.let[T.int32] = (columns - weight_1[ow]) * T.cast(
                    x[(bottom + left) * inner + c], "int32"
                ) + weight_1[ow] * T.cast(x[(bottom + right) * inner + c], "int32")
                y[((n * out_height + oh) * out_width + ow) * inner + c] = store_int8(
                    requantized(
                        (rows - weight_0[oh]) * above
                        + weight_0[oh] * below
                        - rows * columns * zero_point,
                        workload.multiplier,
                        workload.shift,
                        workload.rounding,
                    ),
                    workload.output_zero_point,
                    workload.clamp,
                )

    return Kernel(linear_resize)
