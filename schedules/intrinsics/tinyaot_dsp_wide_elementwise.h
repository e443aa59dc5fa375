/* Element-wise operators on int16, two elements at a time; an output may be an input.
 *
 * All but the pointers are constants of a layer: functions are inlined into its kernel, where
 * shifts become parts of other instructions and what a layer does not need goes.
 */
#ifndef TINYAOT_DSP_WIDE_ELEMENTWISE_H
#define TINYAOT_DSP_WIDE_ELEMENTWISE_H

#include "tinyaot_fixed_point.h"

#define TINYAOT_DSP_ALWAYS __attribute__((always_inline, unused)) static inline

/* round(a * b / 2^32), ties up, plus c. */
TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_high_add(int32_t a, int32_t b, int32_t c)
{
    int32_t result;
    __asm("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(c));
    return result;
}

/* a less 1 where b is negative. */
TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_add_sign(int32_t a, int32_t b)
{
    int32_t result;
    __asm("add %0, %1, %2, asr #31" : "=r"(result) : "r"(a), "r"(b));
    return result;
}

/* x >> shift, limited to int16; 0 < shift < 32. */
TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_sat16(int32_t x, int32_t shift)
{
#if defined(__OPTIMIZE__)
    int32_t result;
    __asm("ssat %0, #16, %1, asr %2" : "=r"(result) : "r"(x), "i"(shift));
    return result;
#else
    return tinyaot_clamp(x >> shift, -32768, 32767);
#endif
}

/* Limits that are those of int16 cost nothing. */
TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_limit(int32_t x, int32_t low, int32_t high)
{
    if (low > -32768) {
        x = tinyaot_max(x, low);
    }
    return high < 32767 ? tinyaot_min(x, high) : x;
}

/* The lower halves of two words. */
TINYAOT_DSP_ALWAYS uint32_t tinyaot_dsp_pair(int32_t low, int32_t high)
{
    uint32_t result;
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(result) : "r"(low), "r"(high));
    return result;
}

/* tinyaot_requantize(x << 15, multiplier, -right) of x = top >> 16, where the multiplier and the
 * shift make no more than a half. Away from 0 the sign of x is that of its product. */
TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_wide_scaled(int32_t top, int32_t multiplier, int32_t right)
{
    if (multiplier == 1 << 30 && right == 0) {
        return top >> 2;
    }
    if (right == 0) {
        return tinyaot_dsp_high_add(top, multiplier, 0);
    }
    const int32_t addend = tinyaot_dsp_add_sign(1 << (right - 1), top);
    return tinyaot_dsp_high_add(top, multiplier, addend) >> right;
}

/* sat16(tinyaot_requantize(x, multiplier, -right)) of x = twice / 2, for right >= 1: the sign of x
 * stands for that of its product, see `reference_rounding`. */
TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_wide_result(int32_t twice, int32_t multiplier, int32_t right)
{
    const int32_t addend = tinyaot_dsp_add_sign(1 << (right - 1), twice);
    return tinyaot_dsp_sat16(tinyaot_dsp_high_add(twice, multiplier, addend), right);
}

TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_wide_sum(int32_t top0, int32_t top1, int32_t sign,
    int32_t multiplier0, int32_t right0, int32_t multiplier1, int32_t right1, int32_t multiplier,
    int32_t right)
{
    const int32_t first = tinyaot_dsp_wide_scaled(top0, multiplier0, right0);
    const int32_t second = tinyaot_dsp_wide_scaled(top1, multiplier1, right1);
    const int32_t sum = sign > 0 ? first + second : first - second;
    return tinyaot_dsp_wide_result(sum * 2, multiplier, right);
}

/* The sum, or with sign -1 the difference, of `size` elements of either input, each scaled, scaled
 * again. */
TINYAOT_DSP_ALWAYS void tinyaot_dsp_wide_add(const int16_t *a, const int16_t *b, int16_t *y,
    int32_t size, int32_t sign, int32_t multiplier0, int32_t right0, int32_t multiplier1,
    int32_t right1, int32_t multiplier, int32_t right, int32_t low, int32_t high)
{
    for (int32_t i = 0; i + 2 <= size; i += 2) {
        uint32_t first, second;
        __builtin_memcpy(&first, a + i, 4);
        __builtin_memcpy(&second, b + i, 4);
        const int32_t lower = tinyaot_dsp_limit(
            tinyaot_dsp_wide_sum((int32_t)(first << 16), (int32_t)(second << 16), sign, multiplier0,
                right0, multiplier1, right1, multiplier, right),
            low, high);
        const int32_t upper = tinyaot_dsp_limit(
            tinyaot_dsp_wide_sum((int32_t)(first & 0xffff0000u), (int32_t)(second & 0xffff0000u),
                sign, multiplier0, right0, multiplier1, right1, multiplier, right),
            low, high);
        const uint32_t both = tinyaot_dsp_pair(lower, upper);
        __builtin_memcpy(y + i, &both, 4);
    }
    if ((size & 1) != 0) {
        const int32_t last = tinyaot_dsp_wide_sum(a[size - 1] * 65536, b[size - 1] * 65536, sign,
            multiplier0, right0, multiplier1, right1, multiplier, right);
        y[size - 1] = (int16_t)tinyaot_dsp_limit(last, low, high);
    }
}

/* The products of `size` elements, scaled. Twice the square of -2^15 saturates. */
TINYAOT_DSP_ALWAYS int32_t tinyaot_dsp_wide_product(int32_t a, int32_t b, int32_t multiplier,
    int32_t right)
{
    const int32_t product = a * b;
    int32_t twice;
    __asm("qadd %0, %1, %1" : "=r"(twice) : "r"(product));
    return tinyaot_dsp_wide_result(twice, multiplier, right);
}

TINYAOT_DSP_ALWAYS void tinyaot_dsp_wide_multiply(const int16_t *a, const int16_t *b, int16_t *y,
    int32_t size, int32_t multiplier, int32_t right, int32_t low, int32_t high)
{
    for (int32_t i = 0; i < size; ++i) {
        const int32_t scaled = tinyaot_dsp_wide_product(a[i], b[i], multiplier, right);
        y[i] = (int16_t)tinyaot_dsp_limit(scaled, low, high);
    }
}

/* sat16((addend + (multiplier * x >> 16)) >> shift) of the lower and the upper x of a word. */
TINYAOT_DSP_ALWAYS uint32_t tinyaot_dsp_wide_line(
    uint32_t both, int32_t multiplier, int32_t addend, int32_t shift)
{
    int32_t lower, upper;
    __asm("smlawb %0, %1, %2, %3" : "=r"(lower) : "r"(multiplier), "r"(both), "r"(addend));
    __asm("smlawt %0, %1, %2, %3" : "=r"(upper) : "r"(multiplier), "r"(both), "r"(addend));
    return tinyaot_dsp_pair(tinyaot_dsp_sat16(lower, shift), tinyaot_dsp_sat16(upper, shift));
}

/* The first line where x >= 0, else the second; the first may be x itself. */
TINYAOT_DSP_ALWAYS uint32_t tinyaot_dsp_wide_bent(uint32_t both, int32_t same, int32_t multiplier0,
    int32_t addend0, int32_t shift0, int32_t multiplier1, int32_t addend1, int32_t shift1)
{
    const uint32_t first
        = same != 0 ? both : tinyaot_dsp_wide_line(both, multiplier0, addend0, shift0);
    const uint32_t second = tinyaot_dsp_wide_line(both, multiplier1, addend1, shift1);
    uint32_t result;
    __asm("sadd16 %0, %1, %2\n sel %0, %3, %4"
          : "=&r"(result)
          : "r"(both), "r"(0), "r"(first), "r"(second)
          : "cc");
    return result;
}

TINYAOT_DSP_ALWAYS void tinyaot_dsp_wide_ramp(const int16_t *x, int16_t *y, int32_t size,
    int32_t same, int32_t multiplier0, int32_t addend0, int32_t shift0, int32_t multiplier1,
    int32_t addend1, int32_t shift1)
{
    for (int32_t i = 0; i + 2 <= size; i += 2) {
        uint32_t both;
        __builtin_memcpy(&both, x + i, 4);
        both = tinyaot_dsp_wide_bent(
            both, same, multiplier0, addend0, shift0, multiplier1, addend1, shift1);
        __builtin_memcpy(y + i, &both, 4);
    }
    if ((size & 1) != 0) {
        const uint32_t last = tinyaot_dsp_wide_bent((uint32_t)(uint16_t)x[size - 1], same,
            multiplier0, addend0, shift0, multiplier1, addend1, shift1);
        y[size - 1] = (int16_t)(uint16_t)last;
    }
}

#endif
