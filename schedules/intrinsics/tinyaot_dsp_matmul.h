/* Matrix multiplication for convolutions: three pixels by two output channels.
 *
 * Two channels share their weights' halfwords: 256 * w1 + w0 (which needs w1 > -128 or w0 >= 0). A
 * word holds two taps of both. SMLAD of that word gives the sum 256 * S1 + S0 modulo 2^32, SMLAD of
 * its low bytes, which one SXTB16 extends, S0; the difference is 256 * S1, if |S1| < 2^23. So four
 * weights take one extension and four bytes of flash.
 */
#ifndef TINYAOT_DSP_MATMUL_H
#define TINYAOT_DSP_MATMUL_H

#include "tinyaot_dsp.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Columns: the taps of three pixels as int16, interleaved. Of every four taps k, k + 1, k + 2, k + 3
 * there are the pairs (k, k + 2) of the three pixels, then the pairs (k + 1, k + 3).
 *
 * tinyaot_dsp_columns widens `rows` rows of `size` bytes, `pitch` bytes apart, of pixels that begin
 * at x0, x1, x2; `size` is a multiple of 4, x0, x1, x2 lie anywhere. */
TINYAOT_DSP_ASM void tinyaot_dsp_columns(int16_t *columns, const int8_t *x0, const int8_t *x1,
    const int8_t *x2, int32_t pitch, int32_t rows, int32_t size)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldrd r10, r11, [sp, #36]\n" /* pitch, rows */
        "ldr r12, [sp, #44]\n"
        "sub r10, r10, r12\n"
        "1: add lr, r1, r12\n"
        "2: ldr r7, [r1], #4\n"
        "ldr r8, [r2], #4\n"
        "ldr r9, [r3], #4\n"
        "sxtb16 r4, r7\n"
        "sxtb16 r5, r8\n"
        "sxtb16 r6, r9\n"
        "sxtb16 r7, r7, ror #8\n"
        "sxtb16 r8, r8, ror #8\n"
        "sxtb16 r9, r9, ror #8\n"
        "stm r0!, {r4-r9}\n"
        "cmp r1, lr\n"
        "bne 2b\n"
        "add r1, r1, r10\n"
        "add r2, r2, r10\n"
        "add r3, r3, r10\n"
        "subs r11, #1\n"
        "bne 1b\n"
        "pop {r4-r11, pc}\n");
}

/* The same for a size that is a multiple of 8, and words: x0, x1, x2 and `pitch` are multiples of
 * 4. */
TINYAOT_DSP_ASM void tinyaot_dsp_columns_words(int16_t *columns, const int8_t *x0, const int8_t *x1,
    const int8_t *x2, int32_t pitch, int32_t rows, int32_t size)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "1: ldr r4, [sp, #44]\n" /* size */
        "add lr, r1, r4\n"
        "2: ldrd r7, r10, [r1], #8\n"
        "ldrd r8, r11, [r2], #8\n"
        "ldrd r9, r12, [r3], #8\n"
        "sxtb16 r4, r7\n"
        "sxtb16 r5, r8\n"
        "sxtb16 r6, r9\n"
        "sxtb16 r7, r7, ror #8\n"
        "sxtb16 r8, r8, ror #8\n"
        "sxtb16 r9, r9, ror #8\n"
        "stm r0!, {r4-r9}\n"
        "sxtb16 r4, r10\n"
        "sxtb16 r5, r11\n"
        "sxtb16 r6, r12\n"
        "sxtb16 r10, r10, ror #8\n"
        "sxtb16 r11, r11, ror #8\n"
        "sxtb16 r12, r12, ror #8\n"
        "stm r0!, {r4-r6, r10-r12}\n"
        "cmp r1, lr\n"
        "bne 2b\n"
        "ldrd r4, r5, [sp, #36]\n" /* pitch, rows */
        "subs r5, #1\n"
        "beq 3f\n"
        "str r5, [sp, #40]\n"
        "ldr r6, [sp, #44]\n"
        "sub r4, r4, r6\n"
        "add r1, r1, r4\n"
        "add r2, r2, r4\n"
        "add r3, r3, r4\n"
        "b 1b\n"
        "3: pop {r4-r11, pc}\n");
}

/* Three rows of nine bytes (3x3 kernel, three channels) as 28 taps: the first eight bytes of each
 * row as above, then the pairs (ninth of row 0, ninth of row 1) and (ninth of row 2, anything that
 * has no weight). */
#define TINYAOT_DSP_ROW_OF_NINE(NINTH0, NINTH1, NINTH2) \
    "ldr r7, [r1]\n ldr r8, [r2]\n ldr r9, [r3]\n" \
    "sxtb16 r4, r7\n sxtb16 r5, r8\n sxtb16 r6, r9\n" \
    "sxtb16 r7, r7, ror #8\n sxtb16 r8, r8, ror #8\n sxtb16 r9, r9, ror #8\n" \
    "stm r0!, {r4-r9}\n" \
    "ldr r7, [r1, #4]\n ldr r8, [r2, #4]\n ldr r9, [r3, #4]\n" \
    "sxtb16 r4, r7\n sxtb16 r5, r8\n sxtb16 r6, r9\n" \
    "sxtb16 r7, r7, ror #8\n sxtb16 r8, r8, ror #8\n sxtb16 r9, r9, ror #8\n" \
    "stm r0!, {r4-r9}\n" \
    "ldrsb " NINTH0 ", [r1, #8]\n ldrsb " NINTH1 ", [r2, #8]\n ldrsb " NINTH2 ", [r3, #8]\n"

TINYAOT_DSP_ASM void tinyaot_dsp_columns_3x9(int16_t *columns, const int8_t *x0, const int8_t *x1,
    const int8_t *x2, int32_t pitch)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldr lr, [sp, #36]\n"
        TINYAOT_DSP_ROW_OF_NINE("r10", "r11", "r12")
        "add r1, r1, lr\n"
        "add r2, r2, lr\n"
        "add r3, r3, lr\n"
        TINYAOT_DSP_ROW_OF_NINE("r4", "r5", "r6")
        "pkhbt r10, r10, r4, lsl #16\n"
        "pkhbt r11, r11, r5, lsl #16\n"
        "pkhbt r12, r12, r6, lsl #16\n"
        "add r1, r1, lr\n"
        "add r2, r2, lr\n"
        "add r3, r3, lr\n"
        TINYAOT_DSP_ROW_OF_NINE("r4", "r5", "r6")
        "stm r0!, {r10-r12}\n"
        "stm r0!, {r4-r6}\n"
        "pop {r4-r11, pc}\n");
}

/* Two taps of both channels and three pixels: r4-r6 hold S0, r7-r9 256 * S1 + S0. */
#define TINYAOT_DSP_TAPS(WEIGHTS) \
    "ldm.w r0!, {r10-r12}\n" \
    "smlad r7, r10, " WEIGHTS ", r7\n" \
    "smlad r8, r11, " WEIGHTS ", r8\n" \
    "smlad r9, r12, " WEIGHTS ", r9\n" \
    "sxtb16 " WEIGHTS ", " WEIGHTS "\n" \
    "smlad r4, r10, " WEIGHTS ", r4\n" \
    "smlad r5, r11, " WEIGHTS ", r5\n" \
    "smlad r6, r12, " WEIGHTS ", r6\n"

/* Four taps: 17 instructions of four bytes for 24 multiplications. */
#define TINYAOT_DSP_FOUR_TAPS "ldm.w r1!, {r2, r3}\n" TINYAOT_DSP_TAPS("r2") TINYAOT_DSP_TAPS("r3")

/* The multiplication of a tile, for any requantization.
 *
 * x: columns of `taps` taps, a multiple of 4.
 * w: for each of `pairs` pairs of channels the biases {b0, 256 * b1 + b0}, the weights (taps / 2
 *    words) and SIZE - 8 bytes of requantization constants.
 * y: channel 0 of the first pixel; pixels are `stride` bytes apart.
 *
 * The first four taps are multiplied apart, with the biases as addends. The loop over the others
 * is entered so that a multiple of eight units of four taps remains behind the entry.
 */
#define TINYAOT_DSP_MATMUL(SIZE, FINISH) \
    "push {r4-r11, lr}\n" \
    "ldrd r4, r5, [sp, #36]\n" /* taps, pairs */ \
    "sub sp, #20\n" \
    "lsl r6, r4, #1\n" \
    "add r6, r6, #" SIZE "\n" \
    "mla r5, r5, r6, r1\n" /* end of w */ \
    "add lr, r4, r4, lsl #1\n" \
    "add lr, r0, lr, lsl #1\n" /* end of x */ \
    "lsr r6, r4, #2\n" \
    "sub r6, r6, #1\n" \
    "and r6, r6, #7\n" \
    "rsb r6, r6, #8\n" \
    "mov r7, #68\n" \
    "adr r8, 2f\n" \
    "mla r6, r6, r7, r8\n" \
    "orr r6, r6, #1\n" /* Thumb address of the entry */ \
    "strd r0, r5, [sp]\n" \
    "strd r2, r3, [sp, #8]\n" \
    "str r6, [sp, #16]\n" \
    "1: ldm.w r1!, {r6, r9}\n" \
    "ldm.w r1!, {r2, r3}\n" \
    "ldm.w r0!, {r10-r12}\n" \
    "smlad r7, r10, r2, r9\n" \
    "smlad r8, r11, r2, r9\n" \
    "smlad r9, r12, r2, r9\n" \
    "sxtb16 r2, r2\n" \
    "smlad r4, r10, r2, r6\n" \
    "smlad r5, r11, r2, r6\n" \
    "smlad r6, r12, r2, r6\n" \
    TINYAOT_DSP_TAPS("r3") \
    "ldr pc, [sp, #16]\n" \
    ".p2align 2\n" \
    "2:\n" \
    TINYAOT_DSP_FOUR_TAPS TINYAOT_DSP_FOUR_TAPS TINYAOT_DSP_FOUR_TAPS TINYAOT_DSP_FOUR_TAPS \
    TINYAOT_DSP_FOUR_TAPS TINYAOT_DSP_FOUR_TAPS TINYAOT_DSP_FOUR_TAPS TINYAOT_DSP_FOUR_TAPS \
    "cmp r0, lr\n" \
    "bne 2b\n" \
    "sub r7, r7, r4\n" \
    "sub r8, r8, r5\n" \
    "sub r9, r9, r6\n" \
    FINISH \
    "ldrd r0, r3, [sp]\n" \
    "cmp r1, r3\n" \
    "bne 1b\n" \
    "add sp, #20\n" \
    "pop {r4-r11, pc}\n"

/* Stores r4-r6, then r7-r9; r2 is free after it. */
#define TINYAOT_DSP_STORE \
    "strb r5, [r2, r3]\n" \
    "strb r6, [r2, r3, lsl #1]\n" \
    "strb r4, [r2], #1\n" \
    "strb r8, [r2, r3]\n" \
    "strb r9, [r2, r3, lsl #1]\n" \
    "strb r7, [r2], #1\n" \
    "str r2, [sp, #8]\n"

/* y = sat8((addend + high32(256 * acc * multiplier)) >> R): `solve_high_word` of requantize.py.
 * Constants {multiplier 0, addend 0, multiplier 1, addend 1}. */
#define TINYAOT_DSP_HIGH_WORD(R) \
    "ldm.w r1!, {r2, r3, r10, r11}\n" \
    "lsl r4, r4, #8\n" \
    "lsl r5, r5, #8\n" \
    "lsl r6, r6, #8\n" \
    "smmla r4, r4, r2, r3\n" \
    "smmla r5, r5, r2, r3\n" \
    "smmla r6, r6, r2, r3\n" \
    "smmla r7, r7, r10, r11\n" \
    "smmla r8, r8, r10, r11\n" \
    "smmla r9, r9, r10, r11\n" \
    "ldrd r2, r3, [sp, #8]\n" \
    "ssat r4, #8, r4, asr #" R "\n" \
    "ssat r5, #8, r5, asr #" R "\n" \
    "ssat r6, #8, r6, asr #" R "\n" \
    "ssat r7, #8, r7, asr #" R "\n" \
    "ssat r8, #8, r8, asr #" R "\n" \
    "ssat r9, #8, r9, asr #" R "\n" \
    TINYAOT_DSP_STORE

/* The reference's own arithmetic for right shifts r of at least 1: `reference_rounding` of
 * requantize.py. Constants {multiplier 0, addend 0, r 0, multiplier 1, addend 1, r 1}. TO_TWICE is
 * the shift that makes an accumulator twice its value; DOUBLE is 1 for double rounding. */
#define TINYAOT_DSP_ROUND(ACC, TO_TWICE, DOUBLE) \
    ".if " DOUBLE "\n" \
    "add r11, r3, " ACC ", asr #31\n" \
    TO_TWICE "\n" \
    "smmlar " ACC ", " ACC ", r2, r11\n" \
    ".else\n" \
    TO_TWICE "\n" \
    "smmla " ACC ", " ACC ", r2, r3\n" \
    ".endif\n" \
    "asr " ACC ", " ACC ", r10\n"
#define TINYAOT_DSP_REFERENCE(DOUBLE) \
    "ldm.w r1!, {r2, r3, r10}\n" \
    TINYAOT_DSP_ROUND("r4", "lsl r4, r4, #1", DOUBLE) \
    TINYAOT_DSP_ROUND("r5", "lsl r5, r5, #1", DOUBLE) \
    TINYAOT_DSP_ROUND("r6", "lsl r6, r6, #1", DOUBLE) \
    "ldm.w r1!, {r2, r3, r10}\n" \
    TINYAOT_DSP_ROUND("r7", "asr r7, r7, #7", DOUBLE) \
    TINYAOT_DSP_ROUND("r8", "asr r8, r8, #7", DOUBLE) \
    TINYAOT_DSP_ROUND("r9", "asr r9, r9, #7", DOUBLE) \
    "ldrd r2, r3, [sp, #8]\n" \
    "ssat r4, #8, r4\n" \
    "ssat r5, #8, r5\n" \
    "ssat r6, #8, r6\n" \
    "ssat r7, #8, r7\n" \
    "ssat r8, #8, r8\n" \
    "ssat r9, #8, r9\n" \
    TINYAOT_DSP_STORE

TINYAOT_DSP_ASM void tinyaot_dsp_matmul_6(const int16_t *x, const int32_t *w, int8_t *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_MATMUL("24", TINYAOT_DSP_HIGH_WORD("6")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_matmul_8(const int16_t *x, const int32_t *w, int8_t *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_MATMUL("24", TINYAOT_DSP_HIGH_WORD("8")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_matmul_10(const int16_t *x, const int32_t *w, int8_t *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_MATMUL("24", TINYAOT_DSP_HIGH_WORD("10")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_matmul_12(const int16_t *x, const int32_t *w, int8_t *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_MATMUL("24", TINYAOT_DSP_HIGH_WORD("12")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_matmul_14(const int16_t *x, const int32_t *w, int8_t *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_MATMUL("24", TINYAOT_DSP_HIGH_WORD("14")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_matmul_double(const int16_t *x, const int32_t *w, int8_t *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_MATMUL("32", TINYAOT_DSP_REFERENCE("1")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_matmul_single(const int16_t *x, const int32_t *w, int8_t *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_MATMUL("32", TINYAOT_DSP_REFERENCE("0")));
}

#pragma GCC diagnostic pop

#endif
