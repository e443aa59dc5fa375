/* Logarithms in fixed point, to the bit as TensorFlow Lite Micro computes them. */
#ifndef TINYAOT_LOGARITHM_H
#define TINYAOT_LOGARITHM_H

#include "tinyaot_elementwise.h"
#include "tinyaot_roots.h"

/* log(x) in Q5.26 of x >= 1 in Q12.19: TFLite's log_x_for_x_greater_than_or_equal_to_1. */
static inline int32_t tinyaot_logarithm(int32_t x)
{
    const int32_t half_root = 1518500250;
    const int32_t quarter_root = 1805811301;
    const int32_t leading = tinyaot_leading_zeros((uint32_t)x);
    const int32_t first = tinyaot_saturating_shift_left(
        tinyaot_high_mul((int32_t)((uint32_t)x << (leading - 1)), half_root), 1);
    const int32_t first_power = (12 - leading) * (1 << 25) + (1 << 23);
    const int32_t headroom = tinyaot_leading_zeros((uint32_t)tinyaot_high_mul(x, half_root)) - 1;
    const int32_t second = tinyaot_saturating_shift_left(x, headroom);
    const int32_t second_power = (12 - headroom) * (1 << 25) - (1 << 23);
    const int32_t r = tinyaot_min(first, second);
    const int32_t p = (int32_t)(((int64_t)r + quarter_root + 1) >> 1);
    const int32_t q = tinyaot_wrapping_multiply(r - quarter_root, 2);
    const int32_t square = tinyaot_high_mul(q, q);
    const int32_t numerator = tinyaot_wrapping_add(
        tinyaot_high_mul(q, r), tinyaot_high_mul(tinyaot_high_mul(q, square), 117049297));
    const int32_t inner = tinyaot_wrapping_add(
        tinyaot_wrapping_add(1057819769, q), tinyaot_high_mul(square, 127690142));
    const int32_t denominator =
        tinyaot_wrapping_add(tinyaot_high_mul(p, inner), tinyaot_high_mul(q, 638450708));
    const int32_t ratio = tinyaot_high_mul(
        tinyaot_rounding_shift_right(numerator, 6), tinyaot_reciprocal_of_one_plus(denominator));
    const int32_t power = tinyaot_high_mul(tinyaot_max(first_power, second_power), 1488522236);
    return tinyaot_saturating_shift_left(tinyaot_wrapping_add(power, ratio), 1);
}

#endif
