/* Depthwise convolution of int16 by int8, four channels at a time. */
#ifndef TINYAOT_DSP_WIDE_DEPTHWISE_H
#define TINYAOT_DSP_WIDE_DEPTHWISE_H

#include "tinyaot_dsp.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* A tap of four channels, at r8 or r9: r4-r7 are the sums. */
#define TINYAOT_DSP_WIDE_DEPTHWISE_TAP(AT) \
    "add " AT ", r0, " AT "\n" \
    "ldr r12, [r2], #4\n" \
    "ldrd r10, r11, [" AT "]\n" \
    "sxtb16 lr, r12\n" \
    "sxtb16 r12, r12, ror #8\n" \
    "smlabb r4, r10, lr, r4\n" \
    "smlatt r5, r10, lr, r5\n" \
    "smlabb r6, r11, r12, r6\n" \
    "smlatt r7, r11, r12, r7\n"

/* `pixels` outputs of four channels, `x_stride` bytes apart in x and `y_stride` in y.
 *
 * stream: the biases; of every tap the weights of the channels 0, 2, 1, 3; the multipliers, see
 * tinyaot_dsp_wide_matmul. offsets: where the taps are in bytes from x. All places are multiples
 * of 4. */
#define TINYAOT_DSP_WIDE_DEPTHWISE(OP, BITS) \
    "push {r4-r11, lr}\n" \
    "sub sp, #12\n" \
    "strd r1, r2, [sp]\n" \
    "str r3, [sp, #8]\n" \
    "1: ldrd r2, r3, [sp, #4]\n" \
    "ldr r12, [sp, #48]\n" /* taps */ \
    "ldm r2!, {r4-r7}\n" \
    "add r1, r3, r12, lsl #2\n" /* end of offsets */ \
    "tst r12, #1\n" \
    "beq 3f\n" \
    "ldr r8, [r3], #4\n" \
    TINYAOT_DSP_WIDE_DEPTHWISE_TAP("r8") \
    "b 3f\n" \
    "2: ldrd r8, r9, [r3], #8\n" \
    TINYAOT_DSP_WIDE_DEPTHWISE_TAP("r8") \
    TINYAOT_DSP_WIDE_DEPTHWISE_TAP("r9") \
    "3: cmp r3, r1\n" \
    "bne 2b\n" \
    "ldm r2!, {r8-r11}\n" \
    "smmulr r4, r4, r8\n" \
    "smmulr r5, r5, r9\n" \
    "smmulr r6, r6, r10\n" \
    "smmulr r7, r7, r11\n" \
    "ldrd r8, r9, [sp, #52]\n" /* pixels, x_stride */ \
    "ldr r10, [sp, #60]\n" /* y_stride */ \
    "ldr r1, [sp]\n" \
    OP " r4, " BITS ", r4\n" \
    OP " r5, " BITS ", r5\n" \
    OP " r6, " BITS ", r6\n" \
    OP " r7, " BITS ", r7\n" \
    "pkhbt r4, r4, r5, lsl #16\n" \
    "pkhbt r6, r6, r7, lsl #16\n" \
    "str r6, [r1, #4]\n" \
    "str r4, [r1]\n" \
    "add r1, r1, r10\n" \
    "str r1, [sp]\n" \
    "add r0, r0, r9\n" \
    "subs r8, r8, #1\n" \
    "str r8, [sp, #52]\n" \
    "bne 1b\n" \
    "add sp, #12\n" \
    "pop {r4-r11, pc}\n"

TINYAOT_DSP_ASM void tinyaot_dsp_wide_depthwise(const void *x, void *y, const int32_t *stream,
    const int32_t *offsets, int32_t taps, int32_t pixels, int32_t x_stride, int32_t y_stride)
{
    __asm volatile(TINYAOT_DSP_WIDE_DEPTHWISE("ssat", "#16"));
}

/* Limits what is negative to 0. */
TINYAOT_DSP_ASM void tinyaot_dsp_wide_depthwise_relu(const void *x, void *y, const int32_t *stream,
    const int32_t *offsets, int32_t taps, int32_t pixels, int32_t x_stride, int32_t y_stride)
{
    __asm volatile(TINYAOT_DSP_WIDE_DEPTHWISE("usat", "#15"));
}

#pragma GCC diagnostic pop

#endif
