"""Element-wise operators on int16 on cores with the DSP extension, two elements at a time."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import at, call
from tinyaot.schedules.cortex_m.rows import Rows
from tinyaot.schedules.cortex_m.wide_elementwise import (
    FULL_RANGE,
    Line,
    is_addition,
    is_identity,
    is_line,
    is_product,
    is_ramp,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload_elementwise import QuantizedBinary
from tinyaot.schedules.workload_wide import WideRamp, WideRequantize

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp_wide_elementwise.h")
_CLAMP_HEADERS = (*_HEADERS, "tinyaot_dsp.h", "tinyaot_dsp_wide.h")


def _of_rows(workload: QuantizedBinary, function: str, *constants: int) -> Kernel:
    """A call for each row."""
    rows = Rows.of(workload)
    size_a, size_b, size = rows.sizes

    @T.prim_func
    def quantized_binary(
        a: T.Buffer((size_a,), "int16"),
        b: T.Buffer((size_b,), "int16"),
        y: T.Buffer((size,), "int16"),
    ):
        for i, j, k, n, o in T.grid(*rows.outer):
            call(
                function,
                at(a, rows.place(0, [i, j, k, n, o])),
                at(b, rows.place(1, [i, j, k, n, o])),
                at(y, rows.place(2, [i, j, k, n, o])),
                rows.length,
                *constants,
                *workload.clamp,
            )

    return Kernel(quantized_binary, headers=_HEADERS, in_place_inputs=rows.in_place)


@rule(QuantizedBinary, features={"dsp"}, applies=is_addition)
def add(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """A sum or difference; the output may overlay an input of its size."""
    factors = [part for multiplier, shift in workload.factors for part in (multiplier, -shift)]
    sign = {"add": 1, "subtract": -1}[workload.operation]
    return _of_rows(workload, "tinyaot_dsp_wide_add", sign, *factors)


def _check_square(workload: QuantizedBinary, constants: Constants) -> dict[str, int]:
    """Twice the square of -2^15 is one less than it should be: that must not show."""
    multiplier, shift = workload.factors[2]
    right = -shift
    scaled = ((2**31 - 1) * multiplier + 2**31) >> 32
    found = min((scaled + (1 << (right - 1))) >> right, FULL_RANGE[1])
    high = (2**30 * multiplier + 2**30) >> 31
    if found != min((high + (1 << (right - 1))) >> right, FULL_RANGE[1]):
        raise UnsuitableError("the square of -2^15 is not exact")
    return {}


@rule(QuantizedBinary, features={"dsp"}, applies=is_product, derive=_check_square)
def multiply(workload: QuantizedBinary, decisions: Decisions) -> Kernel:
    """A product; the output may overlay an input of its size."""
    multiplier, shift = workload.factors[2]
    return _of_rows(workload, "tinyaot_dsp_wide_multiply", multiplier, -shift)


def _bent(
    size: int, positive: tuple[int, int], negative: tuple[int, int], clamp: tuple[int, int]
) -> Kernel:
    """One line on either side of 0."""
    sides = Line.of(positive, negative=False), Line.of(negative, negative=True)
    parts = [part for line in sides for part in (line.multiplier, line.addend, line.shift)]
    same = int(is_identity(positive))
    clamped = clamp != FULL_RANGE

    @T.prim_func
    def bent(x: T.Buffer((size,), "int16"), y: T.Buffer((size,), "int16")):
        call("tinyaot_dsp_wide_ramp", at(x), at(y), size, same, *parts)
        if clamped:
            call("tinyaot_dsp_wide_clamp", at(y), size, *clamp)

    return Kernel(bent, headers=_CLAMP_HEADERS if clamped else _HEADERS, in_place_inputs=(0,))


@rule(WideRamp, features={"dsp"}, applies=is_ramp)
def wide_ramp(workload: WideRamp, decisions: Decisions) -> Kernel:
    """Both lines and a choice; the output may overlay the input."""
    return _bent(workload.size, workload.positive, workload.negative, workload.clamp)


@rule(WideRequantize, features={"dsp"}, applies=is_line)
def wide_requantize(workload: WideRequantize, decisions: Decisions) -> Kernel:
    """A line for each sign, as they round apart; the output may overlay the input."""
    factor = workload.multiplier, workload.shift
    return _bent(workload.size, factor, factor, workload.clamp)
