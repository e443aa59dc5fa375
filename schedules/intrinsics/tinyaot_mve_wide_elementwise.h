/* Element-wise operators on int16 on Helium, eight elements a turn; an output may be an input.
 *
 * VQRDMULH is the reference's multiplication. VRSHL by a negative count rounds ties up; less 1 for
 * negative values they go away from zero, as the reference's shift has it. Counts are `-right`.
 */
#ifndef TINYAOT_MVE_WIDE_ELEMENTWISE_H
#define TINYAOT_MVE_WIDE_ELEMENTWISE_H

#include "tinyaot_mve.h"

/* tinyaot_requantize(x, multiplier, -right); `away` is 1 if right > 0, else 0. */
TINYAOT_MVE_INLINE int32x4_t tinyaot_mve_wide_scaled(
    int32x4_t x, int32_t multiplier, int32_t right, int32_t away)
{
    const int32x4_t scaled = vqrdmulhq_n_s32(x, multiplier);
    return vrshlq_n_s32(vmlaq_n_s32(scaled, vshrq_n_s32(scaled, 31), away), -right);
}

/* The even lanes' and the odd lanes' results to lanes of int16, limited to it. */
TINYAOT_MVE_INLINE int16x8_t tinyaot_mve_wide_join(int32x4_t even, int32x4_t odd)
{
    return vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(even), even), odd);
}

/* Runs EIGHT, from the vectors a and b to the vector y, for all elements. */
#define TINYAOT_MVE_WIDE_BINARY(EIGHT) \
    for (; size >= 8; size -= 8, x0 += 8, x1 += 8, to += 8) { \
        const int16x8_t a = vldrhq_s16(x0), b = vldrhq_s16(x1); \
        int16x8_t y; \
        EIGHT; \
        vstrhq_s16(to, y); \
    } \
    if (size > 0) { \
        const mve_pred16_t lanes = vctp16q((uint32_t)size); \
        const int16x8_t a = vldrhq_z_s16(x0, lanes), b = vldrhq_z_s16(x1, lanes); \
        int16x8_t y; \
        EIGHT; \
        vstrhq_p_s16(to, y, lanes); \
    }

/* The sum of an input with a factor of a half, which is a shift, and `sign` times another. */
#define TINYAOT_MVE_WIDE_HALF \
    const int32x4_t even = vmlaq_n_s32(vshllbq_n_s16(a, 14), \
        tinyaot_mve_wide_scaled(vshllbq_n_s16(b, 15), multiplier1, right1, away1), sign); \
    const int32x4_t odd = vmlaq_n_s32(vshlltq_n_s16(a, 14), \
        tinyaot_mve_wide_scaled(vshlltq_n_s16(b, 15), multiplier1, right1, away1), sign); \
    y = tinyaot_mve_wide_join(tinyaot_mve_wide_scaled(even, multiplier, right, 1), \
        tinyaot_mve_wide_scaled(odd, multiplier, right, 1))

#define TINYAOT_MVE_WIDE_SUM \
    const int32x4_t even = vmlaq_n_s32( \
        tinyaot_mve_wide_scaled(vshllbq_n_s16(a, 15), multiplier0, right0, away0), \
        tinyaot_mve_wide_scaled(vshllbq_n_s16(b, 15), multiplier1, right1, away1), sign); \
    const int32x4_t odd = vmlaq_n_s32( \
        tinyaot_mve_wide_scaled(vshlltq_n_s16(a, 15), multiplier0, right0, away0), \
        tinyaot_mve_wide_scaled(vshlltq_n_s16(b, 15), multiplier1, right1, away1), sign); \
    y = tinyaot_mve_wide_join(tinyaot_mve_wide_scaled(even, multiplier, right, 1), \
        tinyaot_mve_wide_scaled(odd, multiplier, right, 1))

#define TINYAOT_MVE_WIDE_PRODUCT \
    y = tinyaot_mve_wide_join( \
        tinyaot_mve_wide_scaled(vmullbq_int_s16(a, b), multiplier, right, 1), \
        tinyaot_mve_wide_scaled(vmulltq_int_s16(a, b), multiplier, right, 1))

TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_add_half(const int16_t *x0, const int16_t *x1,
    int16_t *to, int32_t size, int32_t sign, int32_t multiplier1, int32_t right1,
    int32_t multiplier, int32_t right)
{
    const int32_t away1 = right1 > 0;
    TINYAOT_MVE_WIDE_BINARY(TINYAOT_MVE_WIDE_HALF)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_add(const int16_t *x0, const int16_t *x1, int16_t *to,
    int32_t size, int32_t sign, int32_t multiplier0, int32_t right0, int32_t multiplier1,
    int32_t right1, int32_t multiplier, int32_t right)
{
    const int32_t away0 = right0 > 0, away1 = right1 > 0;
    TINYAOT_MVE_WIDE_BINARY(TINYAOT_MVE_WIDE_SUM)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_multiply(const int16_t *x0, const int16_t *x1,
    int16_t *to, int32_t size, int32_t multiplier, int32_t right)
{
    TINYAOT_MVE_WIDE_BINARY(TINYAOT_MVE_WIDE_PRODUCT)
}

/* tinyaot_requantize(x, multiplier, left - right). */
TINYAOT_MVE_INLINE int32x4_t tinyaot_mve_wide_line(
    int32x4_t x, int32_t left, int32_t multiplier, int32_t right)
{
    return tinyaot_mve_wide_scaled(vshlq_r_s32(x, left), multiplier, right, right > 0);
}

/* The lanes of `first` where x is not negative, else those of `second`. */
TINYAOT_MVE_INLINE int16x8_t tinyaot_mve_wide_bent(int16x8_t x, int16x8_t first, int16x8_t second)
{
    return vpselq_s16(first, second, vcmpgeq_n_s16(x, 0));
}

#define TINYAOT_MVE_WIDE_LINE(left, multiplier, right) \
    tinyaot_mve_wide_join( \
        tinyaot_mve_wide_line(vmovlbq_s16(x), left, multiplier, right), \
        tinyaot_mve_wide_line(vmovltq_s16(x), left, multiplier, right))
#define TINYAOT_MVE_WIDE_UNARY(EIGHT) \
    for (; size >= 8; size -= 8, from += 8, to += 8) { \
        const int16x8_t x = vldrhq_s16(from); \
        vstrhq_s16(to, EIGHT); \
    } \
    if (size > 0) { \
        const mve_pred16_t lanes = vctp16q((uint32_t)size); \
        const int16x8_t x = vldrhq_z_s16(from, lanes); \
        vstrhq_p_s16(to, EIGHT, lanes); \
    }

/* x scaled. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_rescale(const int16_t *from, int16_t *to, int32_t size,
    int32_t left, int32_t multiplier, int32_t right)
{
    TINYAOT_MVE_WIDE_UNARY(TINYAOT_MVE_WIDE_LINE(left, multiplier, right))
}

/* x where it is not negative, else scaled. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_leaky(const int16_t *from, int16_t *to, int32_t size,
    int32_t left, int32_t multiplier, int32_t right)
{
    TINYAOT_MVE_WIDE_UNARY(
        tinyaot_mve_wide_bent(x, x, TINYAOT_MVE_WIDE_LINE(left, multiplier, right)))
}

/* x scaled by a factor for each sign. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_ramp(const int16_t *from, int16_t *to, int32_t size,
    int32_t left0, int32_t multiplier0, int32_t right0, int32_t left1, int32_t multiplier1,
    int32_t right1)
{
    TINYAOT_MVE_WIDE_UNARY(
        tinyaot_mve_wide_bent(x, TINYAOT_MVE_WIDE_LINE(left0, multiplier0, right0),
            TINYAOT_MVE_WIDE_LINE(left1, multiplier1, right1)))
}

#endif
