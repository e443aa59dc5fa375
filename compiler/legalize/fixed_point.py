"""Fixed-point arithmetic of quantized operators: the one place where it is written down.

Parameters are computed in double or exact integer arithmetic at compile time; the numpy
functions here define, to the bit, what `tinyaot_fixed_point.h` computes on the device.
Sources: TensorFlow Lite's `kernels/internal/quantization_util.cc` (QuantizeMultiplier,
PreprocessSoftmaxScaling, CalculateInputRadius), `kernels/internal/common.h`
(MultiplyByQuantizedMultiplier) and gemmlowp's `fixedpoint/fixedpoint.h`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


class FactorError(ValueError):
    """A requantization factor that fixed-point arithmetic cannot apply."""


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Splits a non-negative real factor into (Q0.31 multiplier, power-of-two shift).

    TFLite's `QuantizeMultiplier`: real ~ multiplier * 2^(shift - 31) with the
    multiplier in [2^30, 2^31), or 0.

    Raises:
        FactorError: the factor is negative, not finite, or too large for a 32-bit shift.
    """
    if not math.isfinite(real) or real < 0:
        raise FactorError(f"a requantization factor must be finite and not negative, not {real}")
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = _round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        raise FactorError(f"a requantization factor of {real} does not fit in 31 bits")
    return multiplier, shift


def quantize_multipliers(reals: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`quantize_multiplier` of each element: int32 arrays of multipliers and shifts."""
    pairs = [quantize_multiplier(float(real)) for real in reals]
    multipliers = np.array([multiplier for multiplier, _ in pairs], np.int32)
    return multipliers, np.array([shift for _, shift in pairs], np.int32)


def saturating_rounding_doubling_high_mul(a: Int64, b: Int64) -> Int64:
    """gemmlowp's SRDHM on int32 values held as int64: round(a * b / 2^31), ties away from zero
    for positive and towards zero for negative products; saturates -2^31 * -2^31."""
    product = a * b
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    total = product + nudge
    quotient = np.sign(total) * (np.abs(total) >> 31)
    result: Int64 = np.minimum(quotient, INT32_MAX)
    return result


def rounding_divide_by_pot(x: Int64, exponent: Int64 | int) -> Int64:
    """gemmlowp's RoundingDivideByPOT: x / 2^exponent, ties away from zero."""
    mask = (np.int64(1) << exponent) - 1
    remainder = x & mask
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + (remainder > threshold)


def requantize(acc: Int64, multiplier: Int64, shift: Int64, rounding: str) -> Int64:
    """acc * multiplier * 2^(shift - 31) on int32 values held as int64.

    "double" rounds the high product, then the right shift, as TFLite Micro's
    `MultiplyByQuantizedMultiplier`; "single" rounds once, ties up.
    """
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    if rounding == "double":
        shifted = _wrap_int32(acc << left)
        return rounding_divide_by_pot(
            saturating_rounding_doubling_high_mul(shifted, multiplier), right
        )
    if rounding == "single":
        total = 31 - shift
        return (acc * multiplier + (np.int64(1) << (total - 1))) >> total
    raise ValueError(f"unknown rounding {rounding!r}")


def requantize_by(acc: Int64, factor: tuple[int, int]) -> Int64:
    """`requantize` by one factor with double rounding, the factor as of `quantize_multiplier`."""
    multiplier, shift = (np.array(number, np.int64) for number in factor)
    return requantize(acc, multiplier, shift, "double")


def softmax_exp_table(scale: float, beta: float) -> NDArray[np.int32]:
    """exp(-d * scale * beta) for d in 0..255 in Q0.31, as TFLite's int8 softmax computes it.

    Entries whose difference is below TFLite's `diff_min` are 0: they add nothing and their
    output is the lowest value. Source: `reference/softmax.h`, `activations.cc` (SoftmaxPrepare).
    """
    integer_bits = 5
    real = min(beta * scale * 2.0 ** (31 - integer_bits), 2.0**31 - 1.0)
    multiplier, left_shift = quantize_multiplier(real)
    radius = math.floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**left_shift)
    differences = -np.arange(256, dtype=np.int64)
    scaled = saturating_rounding_doubling_high_mul(
        _wrap_int32(differences << left_shift), np.full(256, multiplier, np.int64)
    )
    table = _exp_on_negative_values(scaled, integer_bits)
    return np.where(differences >= -radius, table, 0).astype(np.int32)


def softmax_outputs(exponentials: Int64, total: Int64, bits: int = 8) -> Int64:
    """Softmax in signed integers of so many bits, from exponentials in Q0.31 and their sum in
    Q12.19, both held as int64.

    Source: `reference/softmax.h` and gemmlowp's GetReciprocal.
    """
    headroom = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)
    reciprocal = reciprocal_of_one_plus((total << headroom) - (np.int64(1) << 31))
    scaled = saturating_rounding_doubling_high_mul(reciprocal, exponentials)
    rounded = rounding_divide_by_pot(scaled, 12 - headroom + 31 - bits)
    lowest = -(1 << (bits - 1))
    clipped: Int64 = np.clip(rounded + lowest, lowest, -lowest - 1)
    return clipped


def reciprocal_of_one_plus(x: Int64) -> Int64:
    """gemmlowp's one_over_one_plus_x_for_x_in_0_1 on Q0.31."""
    return _saturate_int32(_inverse_of_half_of_one_plus(x) * 2)


def _one_minus_x_over_one_plus_x(x: Int64) -> Int64:
    """gemmlowp's one_minus_x_over_one_plus_x_for_x_in_0_1 on Q0.31."""
    return _saturate_int32((_inverse_of_half_of_one_plus(x) - (1 << 29)) * 4)


def _inverse_of_half_of_one_plus(x: Int64) -> Int64:
    """2 / (1 + x) in Q2.29 for x in Q0.31, by Newton-Raphson steps."""
    half_denominator = (x + 2**31) >> 1
    constants = np.array([[1515870810], [-1010580540]], np.int64)
    estimate: Int64 = constants[0] + saturating_rounding_doubling_high_mul(
        half_denominator, constants[1]
    )
    for _ in range(3):
        product = saturating_rounding_doubling_high_mul(half_denominator, estimate)
        error = (np.int64(1) << 29) - product
        estimate = estimate + 4 * saturating_rounding_doubling_high_mul(estimate, error)
    return estimate


def _exp_on_negative_values(a: Int64, integer_bits: int) -> Int64:
    """gemmlowp's exp_on_negative_values on Q(integer_bits).(31-integer_bits), result Q0.31."""
    fractional_bits = 31 - integer_bits
    one_quarter = np.int64(1) << (fractional_bits - 2)
    mod_quarter = (a & (one_quarter - 1)) - one_quarter
    result = _exp_on_interval_between_negative_one_quarter_and_0(mod_quarter << integer_bits)
    remainder = mod_quarter - a
    barrel_shifter = {
        -2: 1672461947,
        -1: 1302514674,
        0: 790015084,
        1: 290630308,
        2: 39332535,
        3: 720401,
        4: 242,
    }
    for exponent, constant in barrel_shifter.items():
        if integer_bits > exponent:
            bit = np.int64(1) << (fractional_bits + exponent)
            scaled = saturating_rounding_doubling_high_mul(result, np.array(constant, np.int64))
            result = np.where(remainder & bit, scaled, result)
    exponential: Int64 = np.where(a == 0, INT32_MAX, result)
    return exponential


def _exp_on_interval_between_negative_one_quarter_and_0(a: Int64) -> Int64:
    """gemmlowp's polynomial for exp on [-1/4, 0) in Q0.31."""
    constant_term, constant_1_over_3 = np.array([[1895147668], [715827883]], np.int64)
    x = a + (np.int64(1) << 28)
    x2 = saturating_rounding_doubling_high_mul(x, x)
    x3 = saturating_rounding_doubling_high_mul(x2, x)
    x4 = saturating_rounding_doubling_high_mul(x2, x2)
    x4_over_4 = rounding_divide_by_pot(x4, 2)
    x4_over_24_plus_x3_over_6_plus_x2_over_2 = rounding_divide_by_pot(
        saturating_rounding_doubling_high_mul(x4_over_4 + x3, constant_1_over_3) + x2, 1
    )
    return _saturate_int32(
        constant_term
        + saturating_rounding_doubling_high_mul(
            constant_term, x + x4_over_24_plus_x3_over_6_plus_x2_over_2
        )
    )


def logistic(
    centred: Int64, radius: int, multiplier: int, left_shift: int, integer_bits: int
) -> Int64:
    """int8 logistic of values less their zero point, as TFLite's `integer_ops/logistic.h`.

    Args:
        centred: input values less the zero point, int64.
        radius: differences beyond this saturate the output.
        multiplier, left_shift: take an input step to Q(integer_bits).(31 - integer_bits).
        integer_bits: of the fixed-point input.

    Returns:
        Outputs with scale 1/256 and zero point -128.
    """
    scaled = requantize(
        centred, np.array(multiplier, np.int64), np.array(left_shift, np.int64), "double"
    )
    exponential = _exp_on_negative_values(-np.abs(scaled), integer_bits)
    positive = reciprocal_of_one_plus(exponential)
    in_q31 = np.where(scaled > 0, positive, INT32_MAX - positive)
    in_q31 = np.where(scaled == 0, 1 << 30, in_q31)
    rounded = np.minimum(rounding_divide_by_pot(in_q31, 23), 255)
    inside = rounded - 128
    result: Int64 = np.where(centred <= -radius, -128, np.where(centred >= radius, 127, inside))
    return result


def tanh(centred: Int64, radius: int, multiplier: int, left_shift: int, integer_bits: int) -> Int64:
    """int8 tanh of values less their zero point, as TFLite's `integer_ops/tanh.h` and gemmlowp's
    `tanh`; arguments as of `logistic`.

    Returns:
        Outputs with scale 1/128 and zero point 0.
    """
    scaled = requantize(
        centred, np.array(multiplier, np.int64), np.array(left_shift, np.int64), "double"
    )
    # (1 - exp(-2x)) / (1 + exp(-2x)): doubling x is one integer bit more.
    exponential = _exp_on_negative_values(-np.abs(scaled), integer_bits + 1)
    magnitude = _one_minus_x_over_one_plus_x(exponential)
    in_q31 = np.sign(scaled) * magnitude
    inside = np.clip(rounding_divide_by_pot(in_q31, 24), -128, 127)
    result: Int64 = np.where(centred <= -radius, -128, np.where(centred >= radius, 127, inside))
    return result


def hard_swish(centred: Int64, output: tuple[int, int], reluish: tuple[int, int]) -> Int64:
    """int8 hard swish of values less their zero point, as TFLite's `reference/hard_swish.h`.

    Args:
        centred: input values less the zero point, int64.
        output: 31-bit multiplier and exponent from 1/128 of an input step to an output step.
        reluish: the same to 3 / 2^15.

    Returns:
        Outputs less the zero point.
    """
    fine = centred << 7
    unshifted = _high_mul_int16(fine, _down_scaled(output[0]))
    exponent = reluish[1]
    gate = fine
    if exponent > 0:
        gate = np.clip(gate << min(exponent - 1, 31), -(2**15), 2**15 - 1)
    gate = _high_mul_int16(gate, _down_scaled(reluish[0]))
    if exponent > 0:
        gate = np.clip(gate << 1, -(2**15), 2**15 - 1)
    elif exponent < 0:
        gate = rounding_divide_by_pot(gate, -exponent)
    gate = (gate + (1 << 15)) >> 1
    product = gate * unshifted
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return rounding_divide_by_pot(truncated, -output[1])


def _down_scaled(multiplier: int) -> int:
    """TFLite's `DownScaleInt32ToInt16Multiplier`."""
    return 2**15 - 1 if multiplier >= INT32_MAX - 2**15 else (multiplier + 2**15) >> 16


def _high_mul_int16(a: Int64, b: int) -> Int64:
    """gemmlowp's SaturatingRoundingDoublingHighMul on int16 values."""
    product = a * b
    total = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    quotient: Int64 = np.minimum(np.sign(total) * (np.abs(total) >> 15), 2**15 - 1)
    return quotient


def inverse_sqrt(x: Int64) -> tuple[Int64, Int64]:
    """Multiplier and left shift of 1 / sqrt(x) for x > 0, as TFLite's
    `GetInvSqrtQuantizedMultiplierExp` has them for `kReverseShift`."""
    pairs = [_inverse_sqrt(int(value)) for value in x.reshape(-1)]
    multipliers, shifts = np.array(pairs, np.int64).T
    return multipliers.reshape(x.shape), shifts.reshape(x.shape)


def _inverse_sqrt(x: int) -> tuple[int, int]:
    if x <= 1:
        return INT32_MAX, 0
    shift = 11
    while x >= 1 << 29:
        x //= 4
        shift += 1
    pairs = (31 - x.bit_length()) // 2 - 1
    shift -= pairs
    x <<= 2 * pairs

    def product(a: int, b: int) -> int:
        return int(saturating_rounding_doubling_high_mul(np.array(a), np.array(b)))

    # Newton-Raphson steps in Q3.28, each product rescaled to it.
    source = x >> 1
    half = int(rounding_divide_by_pot(np.array(source), 1))
    estimate = 1 << 28
    for _ in range(5):
        cube = _rescaled(product(product(estimate, estimate), estimate), 6)
        difference = product((1 << 28) + (1 << 27), estimate) - product(half, cube)
        estimate = _rescaled(difference, 3)
    estimate = product(estimate, 1518500250)
    if shift < 0:
        estimate, shift = estimate << -shift, 0
    return estimate, -shift


def _rescaled(value: int, left: int) -> int:
    """gemmlowp's `SaturatingRoundingMultiplyByPOT` by 2^left."""
    return max(INT32_MIN, min(INT32_MAX, value << left))


def activation_range(
    low: float, high: float, scale: float, zero_point: int, dtype: str
) -> tuple[int, int]:
    """The clamp of a fused activation in quantized values, inside the range of `dtype`.

    TFLite's `CalculateActivationRangeQuantized`: zero_point + round(bound / scale) in float32,
    ties away from zero. Infinite bounds stand for the type's own.
    """
    info = np.iinfo(dtype)

    def quantized(bound: float, limit: int) -> int:
        if math.isinf(bound):
            return limit
        value = zero_point + _round_half_away(float(np.float32(bound) / np.float32(scale)))
        # ONNX's Clip may lie outside the type; TFLite's bounds hold the zero point between them.
        return min(max(value, lowest), highest)

    lowest, highest = int(info.min), int(info.max)
    return quantized(low, lowest), quantized(high, highest)


def _round_half_away(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def _wrap_int32(value: Int64) -> Int64:
    return ((value + 2**31) & 0xFFFFFFFF) - 2**31


def _saturate_int32(value: Int64) -> Int64:
    return np.clip(value, INT32_MIN, INT32_MAX)
