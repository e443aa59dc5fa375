/* Dense layers: one row of inputs by four output channels.
 *
 * Weights are shared halfwords as in tinyaot_dsp_matmul.h: 14 instructions for 16 multiplications.
 */
#ifndef TINYAOT_DSP_DENSE_H
#define TINYAOT_DSP_DENSE_H

#include "tinyaot_dsp.h"

TINYAOT_DSP_INLINE void tinyaot_dsp_widen_four(int16_t *to, uint32_t word)
{
    uint32_t even;
    uint32_t odd;
    __asm("sxtb16 %0, %1" : "=r"(even) : "r"(word));
    __asm("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    __builtin_memcpy(to, &even, 4);
    __builtin_memcpy(to + 2, &odd, 4);
}

/* `size` bytes as int16: of every four k, k + 1, k + 2, k + 3 the pairs (k, k + 2), (k + 1, k + 3);
 * the last four are filled up with zeros. */
TINYAOT_DSP_FUNCTION void tinyaot_dsp_widen(int16_t *to, const int8_t *x, int32_t size)
{
    const int16_t *const end = to + (size & ~3);
    uint32_t word = 0;
    while (to != end) {
        __builtin_memcpy(&word, x, 4);
        tinyaot_dsp_widen_four(to, word);
        x += 4;
        to += 4;
    }
    if ((size & 3) != 0) {
        word = 0;
        for (int32_t k = (size & 3) - 1; k >= 0; --k) {
            word = word << 8 | (uint8_t)x[k];
        }
        tinyaot_dsp_widen_four(to, word);
    }
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Two taps of four channels: r4 and r6 hold S0 and S2, r5 and r7 256 * S1 + S0 and 256 * S3 + S2. */
#define TINYAOT_DSP_DENSE_TAPS(X, W01, W23) \
    "smlad r5, " X ", " W01 ", r5\n" \
    "sxtb16 " W01 ", " W01 "\n" \
    "smlad r7, " X ", " W23 ", r7\n" \
    "sxtb16 " W23 ", " W23 "\n" \
    "smlad r4, " X ", " W01 ", r4\n" \
    "smlad r6, " X ", " W23 ", r6\n"

/* Four taps: 14 instructions of four bytes. */
#define TINYAOT_DSP_DENSE_FOUR_TAPS \
    "ldrd r2, r3, [r0], #8\n" \
    "ldm.w r1!, {r8-r11}\n" \
    TINYAOT_DSP_DENSE_TAPS("r2", "r8", "r9") \
    TINYAOT_DSP_DENSE_TAPS("r3", "r10", "r11")

/* One channel: `reference_rounding` of requantize.py; TO_TWICE makes an accumulator twice its
 * value. */
#define TINYAOT_DSP_DENSE_FINISH(ACC, TO_TWICE, DOUBLE, UNIFORM) \
    ".if " UNIFORM " == 0\n" \
    "ldm r0!, {r8-r10}\n" \
    ".endif\n" \
    ".if " DOUBLE "\n" \
    "add r11, r9, " ACC ", asr #31\n" \
    TO_TWICE "\n" \
    "smmlar " ACC ", " ACC ", r8, r11\n" \
    ".else\n" \
    TO_TWICE "\n" \
    "smmla " ACC ", " ACC ", r8, r9\n" \
    ".endif\n" \
    "asr " ACC ", " ACC ", r10\n" \
    "ssat " ACC ", #8, " ACC "\n"

/* x: widened inputs. w: of every four channels the biases {b0, 256 * b1 + b0, b2, 256 * b3 + b2} and
 * of every two taps the weights of channels 0 and 1 and those of 2 and 3. finish: {multiplier,
 * addend, r}, for all channels (UNIFORM) or of each; whole groups of four.
 *
 * The loop is entered so that a multiple of eight units of four taps remains. */
#define TINYAOT_DSP_DENSE(DOUBLE, UNIFORM) \
    "push {r4-r11, lr}\n" \
    "ldrd r4, r5, [sp, #36]\n" /* taps, channels */ \
    "sub sp, #20\n" \
    "add lr, r0, r4, lsl #1\n" \
    "lsr r4, r4, #2\n" \
    "and r4, r4, #7\n" \
    "rsb r4, r4, #8\n" \
    "and r4, r4, #7\n" \
    "mov r6, #56\n" \
    "adr r12, 2f\n" \
    "mla r12, r4, r6, r12\n" \
    "orr r12, r12, #1\n" \
    "strd r0, r3, [sp]\n" \
    "strd r2, r5, [sp, #8]\n" \
    "1: ldm.w r1!, {r4-r7}\n" \
    "bx r12\n" \
    ".p2align 2\n" \
    "2:\n" \
    TINYAOT_DSP_DENSE_FOUR_TAPS TINYAOT_DSP_DENSE_FOUR_TAPS TINYAOT_DSP_DENSE_FOUR_TAPS \
    TINYAOT_DSP_DENSE_FOUR_TAPS TINYAOT_DSP_DENSE_FOUR_TAPS TINYAOT_DSP_DENSE_FOUR_TAPS \
    TINYAOT_DSP_DENSE_FOUR_TAPS TINYAOT_DSP_DENSE_FOUR_TAPS \
    "cmp r0, lr\n" \
    "bne 2b\n" \
    "ldr r0, [sp, #4]\n" \
    "sub r5, r5, r4\n" \
    "sub r7, r7, r6\n" \
    ".if " UNIFORM "\n" \
    "ldm r0, {r8-r10}\n" \
    ".endif\n" \
    TINYAOT_DSP_DENSE_FINISH("r4", "lsl r4, r4, #1", DOUBLE, UNIFORM) \
    TINYAOT_DSP_DENSE_FINISH("r5", "asr r5, r5, #7", DOUBLE, UNIFORM) \
    TINYAOT_DSP_DENSE_FINISH("r6", "lsl r6, r6, #1", DOUBLE, UNIFORM) \
    TINYAOT_DSP_DENSE_FINISH("r7", "asr r7, r7, #7", DOUBLE, UNIFORM) \
    ".if " UNIFORM " == 0\n" \
    "str r0, [sp, #4]\n" \
    ".endif\n" \
    "ldr r0, [sp]\n" \
    "ldrd r2, r3, [sp, #8]\n" \
    "strb r4, [r2], #1\n" \
    "subs r3, r3, #4\n" \
    "blt 3f\n" \
    "strb r5, [r2], #1\n" \
    "strb r6, [r2], #1\n" \
    "strb r7, [r2], #1\n" \
    "strd r2, r3, [sp, #8]\n" \
    "bne 1b\n" \
    "b 4f\n" \
    "3: adds r3, r3, #3\n" /* channels left, less one */ \
    "beq 4f\n" \
    "strb r5, [r2], #1\n" \
    "cmp r3, #1\n" \
    "beq 4f\n" \
    "strb r6, [r2], #1\n" \
    "4: add sp, #20\n" \
    "pop {r4-r11, pc}\n"

TINYAOT_DSP_ASM void tinyaot_dsp_dense_double(const int16_t *x, const int32_t *w, int8_t *y,
    const int32_t *finish, int32_t taps, int32_t channels)
{
    __asm volatile(TINYAOT_DSP_DENSE("1", "0"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_dense_double_uniform(const int16_t *x, const int32_t *w, int8_t *y,
    const int32_t *finish, int32_t taps, int32_t channels)
{
    __asm volatile(TINYAOT_DSP_DENSE("1", "1"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_dense_single(const int16_t *x, const int32_t *w, int8_t *y,
    const int32_t *finish, int32_t taps, int32_t channels)
{
    __asm volatile(TINYAOT_DSP_DENSE("0", "0"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_dense_single_uniform(const int16_t *x, const int32_t *w, int8_t *y,
    const int32_t *finish, int32_t taps, int32_t channels)
{
    __asm volatile(TINYAOT_DSP_DENSE("0", "1"));
}

#pragma GCC diagnostic pop

#endif
