/* Element-wise operators and pools, four values at a time.
 *
 * Tensors begin at a multiple of 4. An output may be an input.
 */
#ifndef TINYAOT_DSP_ELEMENTWISE_H
#define TINYAOT_DSP_ELEMENTWISE_H

#include "tinyaot_dsp.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* The words r7 of the first input (factor r4) and r9 of the second (factor r5) to r11, r7, r12, r8;
 * r6 is the addend. */
#define TINYAOT_DSP_ADD_FOUR(FIRST, SECOND) \
    "and r8, " FIRST ", #0xff00ff00\n" \
    "and r10, " SECOND ", #0xff00ff00\n" \
    "sub r7, " FIRST ", r8\n" \
    "sub r9, " SECOND ", r10\n" \
    "lsl r7, r7, #8\n" \
    "lsl r9, r9, #8\n" \
    "smlawb r11, r4, r7, r6\n" \
    "smlawt r12, r4, r7, r6\n" \
    "smlawb r7, r4, r8, r6\n" \
    "smlawt r8, r4, r8, r6\n" \
    "smlawb r11, r5, r9, r11\n" \
    "smlawt r12, r5, r9, r12\n" \
    "smlawb r7, r5, r10, r7\n" \
    "smlawt r8, r5, r10, r8\n" \
    "ssat r11, #8, r11, asr #20\n" \
    "ssat r7, #8, r7, asr #20\n" \
    "ssat r12, #8, r12, asr #20\n" \
    "ssat r8, #8, r8, asr #20\n"
#define TINYAOT_DSP_ADD_STORE \
    "strb r7, [r2, #1]\n" \
    "strb r12, [r2, #2]\n" \
    "strb r8, [r2, #3]\n" \
    "strb r11, [r2], #4\n"

/* y = sat8((addend + (factor0 * (x0 << 8) >> 16) + (factor1 * (x1 << 8) >> 16)) >> 20):
 * `solve_add_high_word` of addition.py. `size` is a multiple of 4 and not 0. */
TINYAOT_DSP_ASM void tinyaot_dsp_add_words(const int8_t *x0, const int8_t *x1, int8_t *y,
    int32_t size, int32_t factor0, int32_t factor1, int32_t addend)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldrd r4, r5, [sp, #36]\n"
        "ldr r6, [sp, #44]\n"
        "add lr, r0, r3\n"
        "tst r3, #4\n"
        "beq 1f\n"
        "ldr r7, [r0], #4\n"
        "ldr r9, [r1], #4\n"
        TINYAOT_DSP_ADD_FOUR("r7", "r9")
        TINYAOT_DSP_ADD_STORE
        "cmp r0, lr\n"
        "beq 2f\n"
        "1: ldr r7, [r0], #4\n"
        "ldr r9, [r1], #4\n"
        TINYAOT_DSP_ADD_FOUR("r7", "r9")
        "ldr r3, [r0], #4\n" /* before the store, which may overlay x0 or x1 */
        "ldr r9, [r1], #4\n"
        TINYAOT_DSP_ADD_STORE
        TINYAOT_DSP_ADD_FOUR("r3", "r9")
        TINYAOT_DSP_ADD_STORE
        "cmp r0, lr\n"
        "bne 1b\n"
        "2: pop {r4-r11, pc}\n");
}

/* Adds to four sums what `pixels` pixels, `stride` bytes apart, have in four channels; at most 256
 * pixels, so that int16 holds their sums. */
TINYAOT_DSP_ASM void tinyaot_dsp_sum(int32_t *sums, const int8_t *x, int32_t stride, int32_t pixels)
{
    __asm volatile(
        "push {r4-r8, lr}\n"
        "mov r4, #0\n"
        "mov r5, #0\n"
        "ands r6, r3, #3\n"
        "beq 2f\n"
        "1: ldr r7, [r1]\n"
        "add r1, r1, r2\n"
        "sxtab16 r4, r4, r7\n"
        "sxtab16 r5, r5, r7, ror #8\n"
        "subs r6, r6, #1\n"
        "bne 1b\n"
        "2: lsrs r3, r3, #2\n"
        "beq 4f\n"
        "3: ldr r6, [r1]\n"
        "ldr r7, [r1, r2]\n"
        "ldr r8, [r1, r2, lsl #1]\n"
        "add r1, r1, r2, lsl #1\n"
        "ldr r12, [r1, r2]\n"
        "add r1, r1, r2, lsl #1\n"
        "sxtab16 r4, r4, r6\n"
        "sxtab16 r5, r5, r6, ror #8\n"
        "sxtab16 r4, r4, r7\n"
        "sxtab16 r5, r5, r7, ror #8\n"
        "sxtab16 r4, r4, r8\n"
        "sxtab16 r5, r5, r8, ror #8\n"
        "sxtab16 r4, r4, r12\n"
        "sxtab16 r5, r5, r12, ror #8\n"
        "subs r3, r3, #1\n"
        "bne 3b\n"
        "4: ldm r0, {r1-r3, r6}\n"
        "sxtah r1, r1, r4\n"
        "sxtah r2, r2, r5\n"
        "add r3, r3, r4, asr #16\n"
        "add r6, r6, r5, asr #16\n"
        "stm r0, {r1-r3, r6}\n"
        "pop {r4-r8, pc}\n");
}

/* y[i] = table[x[i] as an unsigned byte]; `size` is a multiple of 4 and not 0. */
TINYAOT_DSP_ASM void tinyaot_dsp_lookup_words(const void *x, void *y, const int8_t *table,
    int32_t size)
{
    __asm volatile(
        "push {r4-r6, lr}\n"
        "add r3, r0, r3\n"
        "1: ldr r12, [r0], #4\n"
        "uxtb r4, r12\n"
        "ubfx r5, r12, #8, #8\n"
        "ubfx r6, r12, #16, #8\n"
        "lsr r12, r12, #24\n"
        "ldrb r4, [r2, r4]\n"
        "ldrb r5, [r2, r5]\n"
        "ldrb r6, [r2, r6]\n"
        "ldrb r12, [r2, r12]\n"
        "strb r5, [r1, #1]\n"
        "strb r6, [r1, #2]\n"
        "strb r12, [r1, #3]\n"
        "strb r4, [r1], #4\n"
        "cmp r0, r3\n"
        "bne 1b\n"
        "pop {r4-r6, pc}\n");
}

#pragma GCC diagnostic pop

TINYAOT_DSP_FUNCTION void tinyaot_dsp_add(const int8_t *x0, const int8_t *x1, int8_t *y, int32_t size,
    int32_t factor0, int32_t factor1, int32_t addend)
{
    const int32_t words = size & ~3;
    if (words > 0) {
        tinyaot_dsp_add_words(x0, x1, y, words, factor0, factor1, addend);
    }
    for (int32_t i = words; i < size; ++i) {
        const int32_t first = (int32_t)(((int64_t)factor0 * (x0[i] * 256)) >> 16);
        const int32_t second = (int32_t)(((int64_t)factor1 * (x1[i] * 256)) >> 16);
        const int32_t sum = (addend + first + second) >> 20;
        y[i] = (int8_t)(sum < -128 ? -128 : sum > 127 ? 127 : sum);
    }
}

TINYAOT_DSP_FUNCTION void tinyaot_dsp_lookup(const void *x, void *y, const int8_t *table, int32_t size)
{
    const int32_t words = size & ~3;
    if (words > 0) {
        tinyaot_dsp_lookup_words(x, y, table, words);
    }
    for (int32_t i = words; i < size; ++i) {
        ((int8_t *)y)[i] = table[((const uint8_t *)x)[i]];
    }
}

/* Four channels of `y` become the greatest of `rows` rows, `pitch` bytes apart, of `columns`
 * pixels, `stride` bytes apart. */
TINYAOT_DSP_FUNCTION void tinyaot_dsp_max(int8_t *y, const int8_t *x, int32_t pitch, int32_t rows,
    int32_t stride, int32_t columns)
{
    uint32_t greatest = 0x80808080u;
    for (int32_t row = 0; row < rows; ++row) {
        const int8_t *pixel = x + row * pitch;
        for (int32_t column = 0; column < columns; ++column) {
            uint32_t word;
            __builtin_memcpy(&word, pixel, 4);
            greatest = tinyaot_dsp_greater(greatest, word);
            pixel += stride;
        }
    }
    __builtin_memcpy(y, &greatest, 4);
}

/* Products (a - zero_a) * (b - zero_b) as `reference_rounding` of requantize.py scales them:
 * "double" rounds away from zero, for which the product's sign stands. y may be a or b. */
#define TINYAOT_DSP_MULTIPLY(INSTRUCTION, SIGN) \
    for (int32_t i = 0; i < size; ++i) { \
        const int32_t twice = (a[i] - zero_a) * (2 * b[i] - 2 * zero_b); \
        int32_t scaled; \
        __asm(INSTRUCTION " %0, %1, %2" : "=r"(scaled) : "r"(twice), "r"(multiplier)); \
        scaled = (scaled + addend + (SIGN)) >> right; \
        __asm("ssat %0, #8, %1" : "=r"(scaled) : "r"(scaled) : "cc"); \
        y[i] = (int8_t)scaled; \
    }
#define TINYAOT_DSP_MULTIPLY_PARAMETERS \
    const int8_t *a, const int8_t *b, int8_t *y, int32_t size, int32_t zero_a, int32_t zero_b, \
        int32_t multiplier, int32_t addend, int32_t right

TINYAOT_DSP_FUNCTION void tinyaot_dsp_multiply_double(TINYAOT_DSP_MULTIPLY_PARAMETERS)
{
    TINYAOT_DSP_MULTIPLY("smmulr", twice >> 31)
}

TINYAOT_DSP_FUNCTION void tinyaot_dsp_multiply_single(TINYAOT_DSP_MULTIPLY_PARAMETERS)
{
    TINYAOT_DSP_MULTIPLY("smmul", 0)
}

#endif
