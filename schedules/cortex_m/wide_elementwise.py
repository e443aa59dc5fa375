"""What element-wise rules on int16 share: which operators they take, and constants of lines.

Away from 0 the sign of a scaled number is known from the number, so that rounding twice, as TFLite
does (up at first, then away from zero), is rounding once with an addend for each sign: with a right
shift r of at least 1

    round(round(x * m / 2^31) / 2^r)
        = floor((x * m + 2^30 + 2^31 * (2^(r - 1) - (x < 0))) / 2^(31 + r)).
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyaot.schedules.cortex_m.rows import in_rows
from tinyaot.schedules.workload_elementwise import QuantizedBinary
from tinyaot.schedules.workload_wide import WideRamp, WideRequantize

FULL_RANGE = (-(2**15), 2**15 - 1)

HALF = (1 << 30, 0)
"""The factor 1/2."""

_LEFT_SHIFT = 15


@dataclass(frozen=True)
class Line:
    """sat16((addend + (multiplier * x >> 16)) >> shift), for x of one sign."""

    multiplier: int
    addend: int
    shift: int

    @classmethod
    def of(cls, factor: tuple[int, int], negative: bool) -> Line:
        """TFLite's scaling by a multiplier and a shift; see the module's text."""
        multiplier, left = factor
        second = 0 if left >= 0 else (1 << (-left - 1)) - negative
        return cls(multiplier, (1 << 14 >> max(left, 0)) + (second << 15), 15 - left)


def _fits_line(factor: tuple[int, int]) -> bool:
    """Whether no sum of a line leaves 32 bits, and it has a bit to round."""
    return factor[0] >= 0 and -15 <= factor[1] <= 14


def is_identity(factor: tuple[int, int]) -> bool:
    """Whether the factor is 1."""
    return factor == (HALF[0], 1)


def is_line(workload: WideRequantize) -> bool:
    """Whether it scales int16 to int16."""
    return (
        workload.input_dtype == workload.output_dtype == "int16"
        and workload.input_zero_point == workload.output_zero_point == 0
        and workload.rounding == "double"
        and _fits_line((workload.multiplier, workload.shift))
    )


def is_ramp(workload: WideRamp) -> bool:
    """Whether it scales either sign of int16."""
    scales = _fits_line(workload.positive) and _fits_line(workload.negative)
    return scales and not workload.mirror


def is_addition(workload: QuantizedBinary) -> bool:
    """Whether it is a sum or difference of int16 tensors in rows, with factors as TFLite's ADD has
    them: of either input at most 1/2, and of the output with a shift to the right."""
    return (
        workload.operation in ("add", "subtract")
        and workload.dtype == "int16"
        and workload.left_shift == _LEFT_SHIFT
        and workload.input_zero_points == (0, 0)
        and workload.output_zero_point == 0
        and all(_is_at_most_half(factor) for factor in workload.factors[:2])
        and _shifts_right(workload.factors[2])
        and in_rows(workload)
    )


def is_product(workload: QuantizedBinary) -> bool:
    """Whether it is a product of int16 tensors in rows whose factor shifts to the right."""
    return (
        workload.operation == "multiply"
        and workload.dtype == "int16"
        and workload.input_zero_points == (0, 0)
        and workload.output_zero_point == 0
        and _shifts_right(workload.factors[2])
        and in_rows(workload)
    )


def _is_at_most_half(factor: tuple[int, int]) -> bool:
    multiplier, shift = factor
    return multiplier >= 0 and -31 <= shift <= 0 and (shift < 0 or multiplier <= HALF[0])


def _shifts_right(factor: tuple[int, int]) -> bool:
    return factor[0] >= HALF[0] and 1 <= -factor[1] <= 30
