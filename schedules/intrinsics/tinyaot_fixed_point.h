/* Fixed-point arithmetic of quantized operators, to the bit as TensorFlow Lite Micro computes it.
 *
 * A multiplier is a Q0.31 fraction, a shift a power of two (positive is left). Right shifts of
 * negative values are arithmetic, as every supported compiler implements them.
 */
#ifndef TINYAOT_FIXED_POINT_H
#define TINYAOT_FIXED_POINT_H

#include <stdint.h>

/* round(a * b / 2^31), ties up: equal to gemmlowp's SaturatingRoundingDoublingHighMul for every
 * pair but (-2^31, -2^31), which a normalized multiplier (below 2^31) excludes. */
static inline int32_t tinyaot_high_mul(int32_t a, int32_t b)
{
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
}

/* x / 2^exponent, ties away from zero: gemmlowp's RoundingDivideByPOT. */
static inline int32_t tinyaot_rounding_shift_right(int32_t x, int32_t exponent)
{
    const int32_t mask = (int32_t)(((uint32_t)1 << exponent) - 1u);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

/* acc * multiplier * 2^(shift - 31), rounded after the product and again after the right shift:
 * TFLite's MultiplyByQuantizedMultiplier with double rounding. */
static inline int32_t tinyaot_requantize(int32_t acc, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t shifted = (int32_t)((uint32_t)acc << left);
    return tinyaot_rounding_shift_right(tinyaot_high_mul(shifted, multiplier), left - shift);
}

/* The same product rounded once, ties up; shift is below 31. */
static inline int32_t tinyaot_requantize_single(int32_t acc, int32_t multiplier, int32_t shift)
{
    const int32_t total = 31 - shift;
    return (int32_t)(((int64_t)acc * multiplier + ((int64_t)1 << (total - 1))) >> total);
}

/* (x * factor + offset) / 2^shift, rounded down; the quotient fits 32 bits. */
static inline int32_t tinyaot_affine(int32_t x, int32_t factor, int64_t offset, int32_t shift)
{
    return (int32_t)(((int64_t)x * factor + offset) >> shift);
}

/* x / count for count > 0, ties away from zero, as TFLite's AveragePool. */
static inline int32_t tinyaot_rounding_divide(int32_t x, int32_t count)
{
    return (x > 0 ? x + count / 2 : x - count / 2) / count;
}

/* round(part * multiplier / 2^16 / total) for values that are not negative, ties up. */
static inline int32_t tinyaot_ratio(int32_t part, int32_t multiplier, int64_t total)
{
    const uint64_t scaled = (uint64_t)part * (uint64_t)multiplier;
    return (int32_t)((scaled + ((uint64_t)total << 15)) / ((uint64_t)total << 16));
}

static inline int32_t tinyaot_clamp(int32_t x, int32_t low, int32_t high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline int32_t tinyaot_min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t tinyaot_max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* Division and remainder that round down; b > 0. */
static inline int32_t tinyaot_floor_divide(int32_t a, int32_t b)
{
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

static inline int32_t tinyaot_floor_modulo(int32_t a, int32_t b)
{
    return a - tinyaot_floor_divide(a, b) * b;
}

/* Leading zeros of a value that is not 0. */
static inline int32_t tinyaot_leading_zeros(uint32_t x)
{
    int32_t count = 0;
    while ((x & 0x80000000u) == 0u) {
        x <<= 1;
        ++count;
    }
    return count;
}

/* 1 / (1 + x) for x in [0, 1), both Q0.31: gemmlowp's one_over_one_plus_x_for_x_in_0_1, three
 * Newton-Raphson steps in Q2.29. */
static inline int32_t tinyaot_reciprocal_of_one_plus(int32_t x)
{
    const int32_t half_denominator = (int32_t)(((int64_t)x + INT32_MAX + 1) >> 1);
    int32_t estimate = 1515870810 + tinyaot_high_mul(half_denominator, -1010580540);
    for (int32_t i = 0; i < 3; ++i) {
        const int32_t error = (1 << 29) - tinyaot_high_mul(half_denominator, estimate);
        estimate += tinyaot_high_mul(estimate, error) * 4;
    }
    return estimate > INT32_MAX / 2 ? INT32_MAX : estimate * 2;
}

/* One output of int8 softmax: exponential is Q0.31, sum is the row's sum of exponentials in
 * Q12.19, reciprocal comes from tinyaot_softmax_reciprocal(sum). */
static inline int32_t tinyaot_softmax_reciprocal(int32_t sum)
{
    const int32_t headroom = tinyaot_leading_zeros((uint32_t)sum);
    return tinyaot_reciprocal_of_one_plus(
        (int32_t)(((uint32_t)sum << headroom) - ((uint32_t)1 << 31)));
}

static inline int32_t tinyaot_softmax_output(int32_t exponential, int32_t reciprocal, int32_t sum)
{
    const int32_t exponent = 12 - tinyaot_leading_zeros((uint32_t)sum) + 31 - 8;
    const int32_t scaled = tinyaot_high_mul(reciprocal, exponential);
    /* Sums above 512 make every output less than half a step. */
    const int32_t rounded = exponent > 31 ? 0 : tinyaot_rounding_shift_right(scaled, exponent);
    return tinyaot_clamp(rounded - 128, -128, 127);
}

#endif
