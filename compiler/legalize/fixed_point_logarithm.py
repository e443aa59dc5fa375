"""Fixed-point logarithms and what is made of them; see `fixed_point.py`.

Sources: TensorFlow Lite's `kernels/internal/common.h` (log_x_for_x_greater_than_or_equal_to_1),
`reference/log_softmax.h` and `quantization_util.cc` (PreprocessLogSoftmaxScalingExp).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import (
    INT32_MAX,
    INT32_MIN,
    FactorError,
    Int64,
    quantize_multiplier,
    reciprocal_of_one_plus,
    requantize_by,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

_INPUT_INTEGER_BITS = 5


def log_softmax_scaling(scale: float) -> tuple[NDArray[np.int32], tuple[int, int], int]:
    """What int8 LOG_SOFTMAX needs to know of its input's scale.

    Returns:
        -d * scale in Q5.26 for d in 0..255, the factor from Q5.26 back to input steps, and the
        smallest difference that adds to a sum.

    Raises:
        FactorError: the scale is out of range.
    """
    real = min(scale * 2.0 ** (31 - _INPUT_INTEGER_BITS), 2.0**31 - 1.0)
    multiplier, left_shift = quantize_multiplier(real)
    if left_shift < 1:
        raise FactorError(f"a softmax cannot scale differences of {scale:g}")
    reverse = quantize_multiplier((1 << (31 - left_shift)) / multiplier)
    radius = ((1 << _INPUT_INTEGER_BITS) - 1) << (31 - _INPUT_INTEGER_BITS) >> left_shift
    differences = requantize_by(-np.arange(256, dtype=np.int64), (multiplier, left_shift))
    return differences.astype(np.int32), reverse, -radius


def logarithm(x: Int64) -> Int64:
    """log(x) in Q5.26 of x >= 1 in Q12.19."""
    half_root, quarter_root = 1518500250, 1805811301
    leading = 32 - _bit_length(x)
    first = _shift_left(_mul(x << (leading - 1), half_root), 1)
    first_power = ((12 - leading) << 25) + (1 << 23)
    headroom = 31 - _bit_length(_mul(x, half_root))
    second = _shift_left(x, headroom)
    second_power = ((12 - headroom) << 25) - (1 << 23)
    r, power = np.minimum(first, second), np.maximum(first_power, second_power)
    p = (r + quarter_root + 1) >> 1
    q = _wrap(2 * (r - quarter_root))
    square = _mul(q, q)
    numerator = _wrap(_mul(q, r) + _mul(_mul(q, square), 117049297))
    inner = _wrap(1057819769 + q + _mul(square, 127690142))
    denominator = _wrap(_mul(p, inner) + _mul(q, 638450708))
    ratio = _mul(rounding_divide_by_pot(numerator, 6), reciprocal_of_one_plus(denominator))
    return _shift_left(_wrap(_mul(power, 1488522236) + ratio), 1)


def log_softmax(
    differences: Int64, scaled: Int64, total: Int64, reverse: tuple[int, int], smallest: int
) -> Int64:
    """int8 log softmax in steps of 1/16 with zero point 127.

    Args:
        differences: of inputs to their row's largest.
        scaled: the same in Q5.26.
        total: sums of exponentials in Q12.19.
        reverse, smallest: see `log_softmax_scaling`.
    """
    sums = logarithm(total)
    limit = np.maximum(smallest - 1, requantize_by(sums + INT32_MIN, reverse))
    inside = rounding_divide_by_pot(scaled - sums, 22) + 127
    result: Int64 = np.where(differences > limit, np.clip(inside, -128, 127), -128)
    return result


def _mul(a: Int64, b: Int64 | int) -> Int64:
    return saturating_rounding_doubling_high_mul(a, np.asarray(b, np.int64))


def _shift_left(x: Int64, left: Int64 | int) -> Int64:
    clipped: Int64 = np.clip(x << left, INT32_MIN, INT32_MAX)
    return clipped


def _wrap(x: Int64) -> Int64:
    return x.astype(np.int32).astype(np.int64)


def _bit_length(x: Int64) -> Int64:
    """Of values from 0 on."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)
