/* Fixed-point arithmetic of int16 operators, to the bit as TensorFlow Lite Micro computes it. */
#ifndef TINYAOT_WIDE_H
#define TINYAOT_WIDE_H

#include "tinyaot_fixed_point.h"

/* acc * multiplier / 2^shift, ties up, for a Q0.15 multiplier and 0 < shift < 47: TFLite's
 * MultiplyByQuantizedMultiplier for 64-bit sums, which are below 2^47. */
static inline int32_t tinyaot_requantize_wide(int64_t acc, int32_t multiplier, int32_t shift)
{
    return (int32_t)((acc * multiplier + ((int64_t)1 << (shift - 1))) >> shift);
}

/* A table of 513 values over the range of int16, with linear interpolation: TFLite's LUTLookup. */
static inline int32_t tinyaot_interpolate(const int16_t *table, int32_t x)
{
    const int32_t index = 256 + (x >> 7);
    const int32_t slope = table[index + 1] - table[index];
    return (int16_t)(table[index] + ((slope * (x & 0x7f) + 64) >> 7));
}

/* (upper * (1024 - part) + lower * part) / 2^20, ties away from zero: TFLite's bilinear
 * interpolation between rows that are in steps of 1/1024. */
static inline int32_t tinyaot_blend(int32_t upper, int32_t lower, int32_t part)
{
    const int64_t sum = (int64_t)upper * (1024 - part) + (int64_t)lower * part;
    return (int32_t)((sum + (sum > 0 ? 1 << 19 : -(1 << 19))) / (1 << 20));
}

/* What SoftmaxInt16 multiplies exponentials by, for the row's sum in Q16.15. */
static inline int32_t tinyaot_wide_softmax_reciprocal(const int16_t *table, int32_t sum)
{
    const int32_t headroom = tinyaot_leading_zeros((uint32_t)sum);
    const int32_t shifted = (int32_t)((((int64_t)sum << (headroom - 1)) + (1 << 13)) >> 14);
    return tinyaot_interpolate(table, tinyaot_clamp(shifted - (1 << 15) - (1 << 16), -32768, 32767));
}

/* An exponential in Q0.15 times the row's reciprocal. */
static inline int32_t tinyaot_wide_softmax_output(int32_t exponential, int32_t reciprocal, int32_t sum)
{
    const int32_t shift = 31 - tinyaot_leading_zeros((uint32_t)sum);
    const int32_t scaled = (exponential * reciprocal + (1 << (shift - 1))) >> shift;
    return tinyaot_clamp(scaled, 0, 32767);
}

/* x * multiplier / 2^shift, ties up; how LOGISTIC and TANH scale their input. */
static inline int32_t tinyaot_scale_sigmoid_input(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t half = shift > 0 ? 1 << (shift - 1) : 0;
    return (x * multiplier + half) >> shift;
}

/* int16 logistic of a scaled input; table is sigmoid(i / 24) in Q0.16. */
static inline int32_t tinyaot_wide_logistic(const uint16_t *table, int32_t x)
{
    const uint32_t magnitude = (uint32_t)(x < 0 ? -x : x);
    const uint32_t place = magnitude >> 9;
    uint32_t result = (uint32_t)0x7fff << 10;
    if (place < 255u) {
        const uint32_t low = table[place];
        result = (low << 9) + (magnitude & 0x1ffu) * (table[place + 1u] - low);
    }
    result = x >= 0 ? result + (1u << 9) : (1u << 25) - result + (1u << 9) - 1u;
    return (int16_t)(uint16_t)(result >> 10);
}

/* int16 tanh of a scaled input, from the same table. */
static inline int32_t tinyaot_wide_tanh(const uint16_t *table, int32_t x)
{
    const uint32_t magnitude = (uint32_t)(x < 0 ? -x : x);
    const uint32_t place = magnitude >> 8;
    int32_t result = 0xffff << 8;
    if (place < 255u) {
        const int32_t low = table[place];
        result = low * 256 + (int32_t)(magnitude & 0xffu) * (table[place + 1u] - low);
    }
    result = x >= 0 ? result - (1 << 23) + (1 << 7) : -result + (1 << 23) + (1 << 7) - 1;
    return (int16_t)(result >> 8);
}

/* As tinyaot_softmax_output, with an int16 result. */
static inline int32_t tinyaot_softmax_output_int16(
    int32_t exponential, int32_t reciprocal, int32_t sum)
{
    const int32_t exponent = 12 - tinyaot_leading_zeros((uint32_t)sum) + 31 - 16;
    const int32_t scaled = tinyaot_high_mul(reciprocal, exponential);
    return tinyaot_clamp(tinyaot_rounding_shift_right(scaled, exponent) - 32768, -32768, 32767);
}

#endif
