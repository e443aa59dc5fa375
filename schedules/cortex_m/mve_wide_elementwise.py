"""Element-wise operators on int16 on Helium, eight elements a turn; outputs may overlay inputs."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.mve_calls import at, call
from tinyaot.schedules.cortex_m.rows import Rows
from tinyaot.schedules.cortex_m.wide_elementwise import (
    FULL_RANGE,
    HALF,
    is_addition,
    is_identity,
    is_line,
    is_product,
    is_ramp,
)
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload_elementwise import QuantizedBinary
from tinyaot.schedules.workload_wide import WideRamp, WideRequantize

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_mve.h", "tinyaot_mve_wide_elementwise.h")
_CLAMP_HEADERS = (*_HEADERS, "tinyaot_mve_wide.h")


def _of_rows(
    workload: QuantizedBinary, function: str, *constants: int, swapped: bool = False
) -> Kernel:
    """A call for each row, with the second input first if they are swapped."""
    rows = Rows.of(workload)
    size_a, size_b, size = rows.sizes
    clamped = workload.clamp != FULL_RANGE

    @T.prim_func
    def quantized_binary(
        a: T.Buffer((size_a,), "int16"),
        b: T.Buffer((size_b,), "int16"),
        y: T.Buffer((size,), "int16"),
    ):
        for i, j, k, n, o in T.grid(*rows.outer):
            inputs = T.meta_var(
                [
                    at(a, rows.place(0, [i, j, k, n, o])),
                    at(b, rows.place(1, [i, j, k, n, o])),
                ][:: -1 if swapped else 1]
            )
            call(
                function,
                *inputs,
                at(y, rows.place(2, [i, j, k, n, o])),
                rows.length,
                *constants,
            )
        if clamped:
            call("wide_clamp", at(y), size, *workload.clamp)

    headers = _CLAMP_HEADERS if clamped else _HEADERS
    return Kernel(quantized_binary, headers=headers, in_place_inputs=rows.in_place)


@rule(QuantizedBinary, features={"dsp", "mve"}, applies=is_addition)
def add(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """A sum or difference. Of the larger scale TFLite takes a half, which is a shift."""
    first, second, output = ((multiplier, -shift) for multiplier, shift in workload.factors)
    sign = {"add": 1, "subtract": -1}[workload.operation]
    if first == HALF:
        return _of_rows(workload, "wide_add_half", sign, *second, *output)
    if second == HALF and sign == 1:
        return _of_rows(workload, "wide_add_half", sign, *first, *output, swapped=True)
    return _of_rows(workload, "wide_add", sign, *first, *second, *output)


@rule(QuantizedBinary, features={"dsp", "mve"}, applies=is_product)
def multiply(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """A product."""
    multiplier, shift = workload.factors[2]
    return _of_rows(workload, "wide_multiply", multiplier, -shift)


def _of_elements(workload: WideRamp | WideRequantize, function: str, *constants: int) -> Kernel:
    size, clamped = workload.size, workload.clamp != FULL_RANGE

    @T.prim_func
    def elements(x: T.Buffer((size,), "int16"), y: T.Buffer((size,), "int16")):
        call(function, at(x), at(y), size, *constants)
        if clamped:
            call("wide_clamp", at(y), size, *workload.clamp)

    return Kernel(elements, headers=_CLAMP_HEADERS if clamped else _HEADERS, in_place_inputs=(0,))


def _parts(factor: tuple[int, int]) -> tuple[int, int, int]:
    """Left shift, multiplier and right shift."""
    multiplier, shift = factor
    return max(shift, 0), multiplier, max(-shift, 0)


@rule(WideRamp, features={"dsp", "mve"}, applies=is_ramp)
def wide_ramp(workload: WideRamp, decisions: Decisions) -> Kernel:
    """Both sides, and a choice."""
    negative = _parts(workload.negative)
    if is_identity(workload.positive):
        return _of_elements(workload, "wide_leaky", *negative)
    return _of_elements(workload, "wide_ramp", *_parts(workload.positive), *negative)


@rule(WideRequantize, features={"dsp", "mve"}, applies=is_line)
def wide_requantize(workload: WideRequantize, decisions: Decisions) -> Kernel:
    """One multiplication."""
    factor = workload.multiplier, workload.shift
    return _of_elements(workload, "wide_rescale", *_parts(factor))
