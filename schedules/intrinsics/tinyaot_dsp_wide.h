/* Layers on int16 activations with int8 weights: one or two pixels by two output channels.
 *
 * Two channels share their weights' halfwords: 256 * w1 + w0 (which needs w1 > -128 or w0 >= 0). A
 * word holds two taps of both. SMLALD of that word with two taps of a pixel gives the sum
 * 256 * S1 + S0 in 64 bits, SMLAD of its low bytes, which one SXTB16 extends, S0 in 32. So four
 * weights take one extension and four bytes of flash.
 */
#ifndef TINYAOT_DSP_WIDE_H
#define TINYAOT_DSP_WIDE_H

#include "tinyaot_dsp.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Columns: the taps of two pixels. Of every four taps there are those of the first pixel, then
 * those of the second.
 *
 * tinyaot_dsp_wide_columns gathers `runs` runs of `size` bytes, `pitch` bytes apart, of pixels that
 * begin at x0 and x1. Runs are filled up to whole fours of taps with zeros. */
TINYAOT_DSP_ASM void tinyaot_dsp_wide_columns(void *columns, const int8_t *x0, const int8_t *x1,
    int32_t pitch, int32_t runs, int32_t size)
{
    __asm volatile(
        "push {r4-r10, lr}\n"
        "ldrd r8, r9, [sp, #32]\n" /* runs, size */
        "sub r3, r3, r9\n"
        "1: bic r10, r9, #7\n"
        "add lr, r1, r10\n"
        "b 3f\n"
        "2: ldr r4, [r1], #4\n"
        "ldr r5, [r1], #4\n"
        "ldr r6, [r2], #4\n"
        "ldr r7, [r2], #4\n"
        "stm r0!, {r4-r7}\n"
        "3: cmp r1, lr\n"
        "bne 2b\n"
        "ands r10, r9, #6\n"
        "beq 6f\n"
        "movs r4, #0\n"
        "movs r5, #0\n"
        "movs r6, #0\n"
        "movs r7, #0\n"
        "cmp r10, #4\n"
        "blt 4f\n"
        "ldr r4, [r1], #4\n"
        "ldr r6, [r2], #4\n"
        "beq 5f\n"
        "ldrh r5, [r1], #2\n"
        "ldrh r7, [r2], #2\n"
        "b 5f\n"
        "4: ldrh r4, [r1], #2\n"
        "ldrh r6, [r2], #2\n"
        "5: stm r0!, {r4-r7}\n"
        "6: add r1, r1, r3\n"
        "add r2, r2, r3\n"
        "subs r8, r8, #1\n"
        "bne 1b\n"
        "pop {r4-r10, pc}\n");
}

/* The same for runs of whole eights of taps from word-aligned places. */
TINYAOT_DSP_ASM void tinyaot_dsp_wide_columns_words(void *columns, const int8_t *x0,
    const int8_t *x1, int32_t pitch, int32_t runs, int32_t size)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldr r4, [sp, #40]\n"
        "sub r3, r3, r4\n"
        "1: ldr r4, [sp, #40]\n" /* size */
        "add lr, r1, r4\n"
        "2: ldrd r4, r5, [r1], #8\n"
        "ldrd r6, r7, [r2], #8\n"
        "ldrd r8, r9, [r1], #8\n"
        "ldrd r10, r11, [r2], #8\n"
        "stm r0!, {r4-r11}\n"
        "cmp r1, lr\n"
        "bne 2b\n"
        "add r1, r1, r3\n"
        "add r2, r2, r3\n"
        "ldr r4, [sp, #36]\n" /* runs */
        "subs r4, r4, #1\n"
        "str r4, [sp, #36]\n"
        "bne 1b\n"
        "pop {r4-r11, pc}\n");
}

/* Two taps of both channels and two pixels: r4, r5 hold S0, r6-r9 256 * S1 + S0. */
#define TINYAOT_DSP_WIDE_TAPS(X0, X1, WEIGHTS) \
    "smlald r6, r7, " X0 ", " WEIGHTS "\n" \
    "smlald r8, r9, " X1 ", " WEIGHTS "\n" \
    "sxtb16 " WEIGHTS ", " WEIGHTS "\n" \
    "smlad r4, " X0 ", " WEIGHTS ", r4\n" \
    "smlad r5, " X1 ", " WEIGHTS ", r5\n"

/* Four taps: 12 instructions of four bytes for 16 multiplications. */
#define TINYAOT_DSP_WIDE_FOUR_TAPS \
    "ldm.w r0!, {r10-r12, lr}\n" \
    "ldm.w r1!, {r2, r3}\n" \
    TINYAOT_DSP_WIDE_TAPS("r10", "r12", "r2") \
    TINYAOT_DSP_WIDE_TAPS("r11", "lr", "r3")

/* S1 of 256 * S1 + S0. */
#define TINYAOT_DSP_WIDE_SECOND(LOW, HIGH, S0) \
    "lsr " LOW ", " LOW ", #8\n" \
    "orr " LOW ", " LOW ", " HIGH ", lsl #24\n" \
    "sub " LOW ", " LOW ", " S0 ", asr #8\n"

/* The multiplication of a tile of two pixels with all channels.
 *
 * x: columns of `taps` taps, a multiple of 4.
 * w: for each of `pairs` pairs of channels SIZE bytes of constants, and between them the weights
 *    (taps / 2 words).
 * The loop over the taps is entered so that a multiple of eight units of four taps remains.
 */
#define TINYAOT_DSP_WIDE_TILE(SIZE, BEGIN, FINISH) \
    "push {r4-r11, lr}\n" \
    "ldrd r4, r5, [sp, #36]\n" /* taps, pairs */ \
    "sub sp, #24\n" \
    "lsl r6, r4, #1\n" \
    "add r6, r6, #" SIZE "\n" \
    "mla r5, r5, r6, r1\n" /* end of w */ \
    "add r7, r0, r4, lsl #2\n" /* end of x */ \
    "lsr r6, r4, #2\n" \
    "and r6, r6, #7\n" \
    "rsb r6, r6, #8\n" \
    "mov r8, #48\n" \
    "adr r9, 2f\n" \
    "mla r6, r6, r8, r9\n" \
    "orr r6, r6, #1\n" /* Thumb address of the entry */ \
    "strd r0, r5, [sp]\n" \
    "strd r2, r3, [sp, #8]\n" \
    "strd r6, r7, [sp, #16]\n" \
    "1:\n" BEGIN \
    "mov r5, r4\n" \
    "mov r8, r6\n" \
    "mov r9, r7\n" \
    "ldr pc, [sp, #16]\n" \
    ".p2align 2\n" \
    "2:\n" \
    TINYAOT_DSP_WIDE_FOUR_TAPS TINYAOT_DSP_WIDE_FOUR_TAPS TINYAOT_DSP_WIDE_FOUR_TAPS \
    TINYAOT_DSP_WIDE_FOUR_TAPS TINYAOT_DSP_WIDE_FOUR_TAPS TINYAOT_DSP_WIDE_FOUR_TAPS \
    TINYAOT_DSP_WIDE_FOUR_TAPS TINYAOT_DSP_WIDE_FOUR_TAPS \
    "ldr r2, [sp, #20]\n" \
    "cmp r0, r2\n" \
    "bne 2b\n" \
    TINYAOT_DSP_WIDE_SECOND("r6", "r7", "r4") \
    TINYAOT_DSP_WIDE_SECOND("r8", "r9", "r5") \
    FINISH \
    "ldrd r0, r3, [sp]\n" \
    "cmp r1, r3\n" \
    "bne 1b\n" \
    "add sp, #24\n" \
    "pop {r4-r11, pc}\n"

/* Biases {b0, 256 * b1 + b0 in 64 bits}. */
#define TINYAOT_DSP_WIDE_BIAS "ldm.w r1!, {r4, r6, r7}\n"
#define TINYAOT_DSP_WIDE_ZERO "movs r4, #0\n movs r6, #0\n movs r7, #0\n"

/* y = sat(round(acc * multiplier / 2^32)), ties up, with the channels' multipliers behind their
 * weights. Pairs come from the last to the first, so that what an odd last channel writes too much
 * is written again by the next pixel. y: the last pair of the first pixel; `stride` bytes from
 * pixel to pixel. OP limits to int16, or to what of it is not
 * negative. */
#define TINYAOT_DSP_WIDE_STORE \
    "pkhbt r4, r4, r6, lsl #16\n" \
    "pkhbt r5, r5, r8, lsl #16\n" \
    "str r4, [r2]\n" \
    "str r5, [r2, r3]\n" \
    "subs r2, #4\n" \
    "str r2, [sp, #8]\n"
#define TINYAOT_DSP_WIDE_OUTPUTS(OP, BITS) \
    "ldm.w r1!, {r2, r3}\n" \
    "smmulr r4, r4, r2\n" \
    "smmulr r5, r5, r2\n" \
    "smmulr r6, r6, r3\n" \
    "smmulr r8, r8, r3\n" \
    "ldrd r2, r3, [sp, #8]\n" \
    OP " r4, " BITS ", r4\n" \
    OP " r5, " BITS ", r5\n" \
    OP " r6, " BITS ", r6\n" \
    OP " r8, " BITS ", r8\n" \
    TINYAOT_DSP_WIDE_STORE

TINYAOT_DSP_ASM void tinyaot_dsp_wide_matmul(const void *x, const int32_t *w, void *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_TILE(
        "20", TINYAOT_DSP_WIDE_BIAS, TINYAOT_DSP_WIDE_OUTPUTS("ssat", "#16")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_wide_matmul_relu(const void *x, const int32_t *w, void *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_TILE(
        "20", TINYAOT_DSP_WIDE_BIAS, TINYAOT_DSP_WIDE_OUTPUTS("usat", "#15")));
}

/* y = sat16((addend - (acc < 0) + round(acc * multiplier / 2^31)) >> r): `double_rounding` of
 * wide_layer.py, with constants {multiplier, addend, r} of each channel. */
#define TINYAOT_DSP_WIDE_ROUND(R) \
    "add r11, r3, " R ", asr #31\n" \
    "lsl " R ", " R ", #1\n" \
    "smmlar " R ", " R ", r2, r11\n" \
    "asr " R ", " R ", r10\n" \
    "ssat " R ", #16, " R "\n"

TINYAOT_DSP_ASM void tinyaot_dsp_wide_matmul_double(const void *x, const int32_t *w, void *y,
    int32_t stride, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_TILE("36", TINYAOT_DSP_WIDE_BIAS,
        "ldm.w r1!, {r2, r3, r10}\n"
        TINYAOT_DSP_WIDE_ROUND("r4")
        TINYAOT_DSP_WIDE_ROUND("r5")
        "ldm.w r1!, {r2, r3, r10}\n"
        TINYAOT_DSP_WIDE_ROUND("r6")
        TINYAOT_DSP_WIDE_ROUND("r8")
        "ldrd r2, r3, [sp, #8]\n"
        TINYAOT_DSP_WIDE_STORE));
}

/* Sums of each channel for both pixels, from the first pair on. */
TINYAOT_DSP_ASM void tinyaot_dsp_wide_sums(const void *x, const int32_t *w, int32_t *sums,
    int32_t unused, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_TILE("0", TINYAOT_DSP_WIDE_ZERO,
        "ldr r2, [sp, #8]\n"
        "stm r2!, {r4, r5, r6, r8}\n"
        "str r2, [sp, #8]\n"));
}

/* Two taps of both channels and one pixel: r4 holds S0, r6, r7 256 * S1 + S0. */
#define TINYAOT_DSP_WIDE_ONE(X, WEIGHTS) \
    "smlald r6, r7, " X ", " WEIGHTS "\n" \
    "sxtb16 " WEIGHTS ", " WEIGHTS "\n" \
    "smlad r4, " X ", " WEIGHTS ", r4\n"

/* Eight taps: 14 instructions of four bytes for 16 multiplications. */
#define TINYAOT_DSP_WIDE_EIGHT_TAPS \
    "ldm.w r0!, {r8-r11}\n" \
    "ldm.w r1!, {r2, r3, r5, r12}\n" \
    TINYAOT_DSP_WIDE_ONE("r8", "r2") TINYAOT_DSP_WIDE_ONE("r9", "r3") \
    TINYAOT_DSP_WIDE_ONE("r10", "r5") TINYAOT_DSP_WIDE_ONE("r11", "r12")

/* The multiplication of one pixel, whose taps lie as they are; weights as for a tile. The loop is
 * entered so that a multiple of four units of eight taps remains, behind four taps if those are
 * left. */
#define TINYAOT_DSP_WIDE_PIXEL(SIZE, BEGIN, FINISH) \
    "push {r4-r11, lr}\n" \
    "ldr r5, [sp, #36]\n" /* pairs */ \
    "sub sp, #20\n" \
    "lsl r6, r3, #1\n" \
    "add r6, r6, #" SIZE "\n" \
    "mla r5, r5, r6, r1\n" /* end of w */ \
    "add lr, r0, r3, lsl #1\n" /* end of x */ \
    "lsr r6, r3, #3\n" \
    "and r6, r6, #3\n" \
    "rsb r6, r6, #4\n" \
    "mov r8, #56\n" \
    "adr r9, 2f\n" \
    "mla r6, r6, r8, r9\n" \
    "orr r6, r6, #1\n" /* Thumb address of the entry */ \
    "mov r7, r6\n" \
    "tst r3, #4\n" \
    "itt ne\n" \
    "subne r7, r9, #36\n" \
    "orrne r7, r7, #1\n" \
    "strd r0, r5, [sp]\n" \
    "strd r2, r6, [sp, #8]\n" \
    "str r7, [sp, #16]\n" \
    "1:\n" BEGIN \
    "ldr pc, [sp, #16]\n" \
    ".p2align 2\n" \
    "ldm.w r0!, {r8, r9}\n" \
    "ldm.w r1!, {r2, r3}\n" \
    TINYAOT_DSP_WIDE_ONE("r8", "r2") TINYAOT_DSP_WIDE_ONE("r9", "r3") \
    "ldr.w pc, [sp, #12]\n" \
    "2:\n" \
    TINYAOT_DSP_WIDE_EIGHT_TAPS TINYAOT_DSP_WIDE_EIGHT_TAPS \
    TINYAOT_DSP_WIDE_EIGHT_TAPS TINYAOT_DSP_WIDE_EIGHT_TAPS \
    "cmp r0, lr\n" \
    "bne 2b\n" \
    TINYAOT_DSP_WIDE_SECOND("r6", "r7", "r4") \
    FINISH \
    "ldrd r0, r3, [sp]\n" \
    "cmp r1, r3\n" \
    "bne 1b\n" \
    "add sp, #20\n" \
    "pop {r4-r11, pc}\n"

/* As tinyaot_dsp_wide_matmul, for one pixel. */
#define TINYAOT_DSP_WIDE_OUTPUT(OP, BITS) \
    "ldm.w r1!, {r2, r3}\n" \
    "smmulr r4, r4, r2\n" \
    "smmulr r6, r6, r3\n" \
    "ldr r2, [sp, #8]\n" \
    OP " r4, " BITS ", r4\n" \
    OP " r6, " BITS ", r6\n" \
    "pkhbt r4, r4, r6, lsl #16\n" \
    "str r4, [r2], #-4\n" \
    "str r2, [sp, #8]\n"

TINYAOT_DSP_ASM void tinyaot_dsp_wide_vector(
    const void *x, const int32_t *w, void *y, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_PIXEL(
        "20", TINYAOT_DSP_WIDE_BIAS, TINYAOT_DSP_WIDE_OUTPUT("ssat", "#16")));
}

TINYAOT_DSP_ASM void tinyaot_dsp_wide_vector_relu(
    const void *x, const int32_t *w, void *y, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_PIXEL(
        "20", TINYAOT_DSP_WIDE_BIAS, TINYAOT_DSP_WIDE_OUTPUT("usat", "#15")));
}

/* As tinyaot_dsp_wide_matmul_double, for one pixel. */
TINYAOT_DSP_ASM void tinyaot_dsp_wide_vector_double(
    const void *x, const int32_t *w, void *y, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_PIXEL("36", TINYAOT_DSP_WIDE_BIAS,
        "ldm.w r1!, {r2, r3, r10}\n"
        TINYAOT_DSP_WIDE_ROUND("r4")
        "ldm.w r1!, {r2, r3, r10}\n"
        TINYAOT_DSP_WIDE_ROUND("r6")
        "ldr r2, [sp, #8]\n"
        "pkhbt r4, r4, r6, lsl #16\n"
        "str r4, [r2], #-4\n"
        "str r2, [sp, #8]\n"));
}

/* As tinyaot_dsp_wide_sums, for one pixel. */
TINYAOT_DSP_ASM void tinyaot_dsp_wide_vector_sums(
    const void *x, const int32_t *w, int32_t *sums, int32_t taps, int32_t pairs)
{
    __asm volatile(TINYAOT_DSP_WIDE_PIXEL("0", TINYAOT_DSP_WIDE_ZERO,
        "ldr r2, [sp, #8]\n"
        "stm r2!, {r4, r6}\n"
        "str r2, [sp, #8]\n"));
}

#pragma GCC diagnostic pop

/* Limits `size` values to [low, high]. */
TINYAOT_DSP_FUNCTION void tinyaot_dsp_wide_clamp(
    void *y, int32_t size, int32_t low, int32_t high)
{
    int16_t *const x = y;
    const uint32_t lows = ((uint32_t)low & 0xffffu) * 0x00010001u;
    const uint32_t highs = ((uint32_t)high & 0xffffu) * 0x00010001u;
    int32_t i = 0;
    for (; i + 2 <= size; i += 2) {
        uint32_t word;
        __builtin_memcpy(&word, x + i, 4);
        __asm("ssub16 r12, %0, %1\n sel %0, %0, %1\n ssub16 r12, %2, %0\n sel %0, %0, %2"
              : "+r"(word)
              : "r"(lows), "r"(highs)
              : "r12", "cc");
        __builtin_memcpy(x + i, &word, 4);
    }
    for (; i < size; ++i) {
        const int32_t value = x[i] < low ? low : x[i];
        x[i] = (int16_t)(value > high ? high : value);
    }
}

#endif
