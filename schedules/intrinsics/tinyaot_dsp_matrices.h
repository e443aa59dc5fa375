/* Products of matrices of activations, two columns at a time; see matrices.py. */
#ifndef TINYAOT_DSP_MATRICES_H
#define TINYAOT_DSP_MATRICES_H

#include "tinyaot_dsp.h"

/* bias[j] = zero_a * (depth * zero_b - the sum of column j). */
TINYAOT_DSP_FUNCTION void tinyaot_dsp_column_biases(int32_t *bias, const int8_t *b, int32_t pitch,
    int32_t depth, int32_t columns, int32_t zero_a, int32_t zero_b)
{
    for (int32_t j = 0; j < columns; ++j) {
        int32_t sum = 0;
        for (int32_t k = 0; k < depth; ++k) {
            sum += b[j * pitch + k];
        }
        bias[j] = zero_a * (depth * zero_b - sum);
    }
}

TINYAOT_DSP_INLINE uint32_t tinyaot_dsp_word(const void *from)
{
    uint32_t word;
    __builtin_memcpy(&word, from, 4);
    return word;
}

TINYAOT_DSP_INLINE int32_t tinyaot_dsp_smlad(uint32_t a, uint32_t b, int32_t sum)
{
    __asm("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(a), "r"(b));
    return sum;
}

/* Adds the products of four values, widened as tinyaot_dsp_widen does, with four bytes. */
TINYAOT_DSP_INLINE int32_t tinyaot_dsp_four(
    uint32_t even, uint32_t odd, const int8_t *bytes, int32_t sum)
{
    const uint32_t word = tinyaot_dsp_word(bytes);
    uint32_t pair;
    __asm("sxtb16 %0, %1" : "=r"(pair) : "r"(word));
    sum = tinyaot_dsp_smlad(even, pair, sum);
    __asm("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(word));
    return tinyaot_dsp_smlad(odd, pair, sum);
}

/* y[j] = scaled(bias[j] - zero_b * sum(a) + sum(a * column j)), scaled as tinyaot_dsp_multiply_*
 * does. `depth` is a multiple of 4; what is beyond the columns' ends meets zeros of a. */
#define TINYAOT_DSP_MATRIX_STORE(SUM, INSTRUCTION, ROUNDS) \
    { \
        const int32_t twice = 2 * (SUM); \
        int32_t scaled; \
        __asm(INSTRUCTION " %0, %1, %2" : "=r"(scaled) : "r"(twice), "r"(multiplier)); \
        scaled = (scaled + addend + ((ROUNDS) ? twice >> 31 : 0)) >> right; \
        __asm("ssat %0, #8, %1" : "=r"(scaled) : "r"(scaled) : "cc"); \
        *y++ = (int8_t)scaled; \
    }
#define TINYAOT_DSP_MATRIX_ROW(INSTRUCTION, ROUNDS) \
    const int16_t *const end = a + depth; \
    int32_t base = 0; \
    for (const int16_t *p = a; p != end; p += 2) { \
        base = tinyaot_dsp_smlad(tinyaot_dsp_word(p), 0x00010001u, base); \
    } \
    base *= -zero_b; \
    int32_t j = 0; \
    for (; j + 2 <= columns; j += 2) { \
        const int8_t *b0 = b, *b1 = b + pitch; \
        int32_t s0 = base + bias[j], s1 = base + bias[j + 1]; \
        for (const int16_t *p = a; p != end; p += 4, b0 += 4, b1 += 4) { \
            const uint32_t even = tinyaot_dsp_word(p), odd = tinyaot_dsp_word(p + 2); \
            s0 = tinyaot_dsp_four(even, odd, b0, s0); \
            s1 = tinyaot_dsp_four(even, odd, b1, s1); \
        } \
        TINYAOT_DSP_MATRIX_STORE(s0, INSTRUCTION, ROUNDS) \
        TINYAOT_DSP_MATRIX_STORE(s1, INSTRUCTION, ROUNDS) \
        b += 2 * pitch; \
    } \
    if (j < columns) { \
        int32_t sum = base + bias[j]; \
        for (const int16_t *p = a; p != end; p += 4, b += 4) { \
            sum = tinyaot_dsp_four(tinyaot_dsp_word(p), tinyaot_dsp_word(p + 2), b, sum); \
        } \
        TINYAOT_DSP_MATRIX_STORE(sum, INSTRUCTION, ROUNDS) \
    }
#define TINYAOT_DSP_MATRIX_PARAMETERS \
    int8_t *y, const int16_t *a, const int8_t *b, const int32_t *bias, int32_t pitch, \
        int32_t depth, int32_t columns, int32_t zero_b, int32_t multiplier, int32_t addend, \
        int32_t right

TINYAOT_DSP_FUNCTION void tinyaot_dsp_matrix_row_double(TINYAOT_DSP_MATRIX_PARAMETERS)
{
    TINYAOT_DSP_MATRIX_ROW("smmulr", 1)
}

TINYAOT_DSP_FUNCTION void tinyaot_dsp_matrix_row_single(TINYAOT_DSP_MATRIX_PARAMETERS)
{
    TINYAOT_DSP_MATRIX_ROW("smmul", 0)
}

#endif
