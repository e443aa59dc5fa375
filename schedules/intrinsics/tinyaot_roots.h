/* Roots in fixed point, to the bit as TensorFlow Lite Micro computes them. */
#ifndef TINYAOT_ROOTS_H
#define TINYAOT_ROOTS_H

#include "tinyaot_fixed_point.h"

/* value * 2^left, saturated. */
static inline int32_t tinyaot_saturating_shift_left(int32_t value, int32_t left)
{
    const int32_t limit = INT32_MAX >> left;
    if (value > limit) {
        return INT32_MAX;
    }
    return value < -limit - 1 ? INT32_MIN : (int32_t)((uint32_t)value << left);
}

/* 1 / sqrt(x) as a Q0.31 multiplier; its left shift is stored. 0 counts as 1. TFLite's
 * GetInvSqrtQuantizedMultiplierExp: Newton-Raphson steps in Q3.28. */
static inline int32_t tinyaot_inverse_sqrt(int32_t x, int32_t *shift)
{
    if (x <= 1) {
        *shift = 0;
        return INT32_MAX;
    }
    int32_t right = 11;
    while (x >= (1 << 29)) {
        x /= 4;
        ++right;
    }
    const int32_t pairs = (tinyaot_leading_zeros((uint32_t)x) - 1) / 2 - 1;
    right -= pairs;
    x <<= 2 * pairs;
    const int32_t half = tinyaot_rounding_shift_right(x >> 1, 1);
    int32_t estimate = 1 << 28;
    for (int32_t i = 0; i < 5; ++i) {
        const int32_t square = tinyaot_high_mul(estimate, estimate);
        const int32_t cube = tinyaot_saturating_shift_left(tinyaot_high_mul(square, estimate), 6);
        const int32_t next =
            tinyaot_high_mul((1 << 28) + (1 << 27), estimate) - tinyaot_high_mul(half, cube);
        estimate = tinyaot_saturating_shift_left(next, 3);
    }
    estimate = tinyaot_high_mul(estimate, 1518500250);
    if (right < 0) {
        estimate = (int32_t)((uint32_t)estimate << -right);
        right = 0;
    }
    *shift = -right;
    return estimate;
}

#endif
