/* Products of one vector with the weights of many channels, four channels at a time. */
#ifndef TINYAOT_SCALAR_DENSE_H
#define TINYAOT_SCALAR_DENSE_H

#include "tinyaot_scalar.h"

/* Weights are in blocks of four channels, [taps / 4][channel][4], and a last block of whole rows.
 * Taps are filled up to a multiple of 4. */

#if defined(__thumb__)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Four taps of one channel. LDRB takes an offset, which LDRSB does not: weights have 128 added. */
#define TINYAOT_DENSE_FOUR_V6M(BYTE, SUM) \
    "ldrb r4, [r6, #" BYTE "]\n" \
    "muls r4, r0, r4\n" \
    "add " SUM ", r4\n" \
    "ldrb r4, [r6, #" BYTE " + 1]\n" \
    "muls r4, r1, r4\n" \
    "add " SUM ", r4\n" \
    "ldrb r4, [r6, #" BYTE " + 2]\n" \
    "muls r4, r2, r4\n" \
    "add " SUM ", r4\n" \
    "ldrb r4, [r6, #" BYTE " + 3]\n" \
    "muls r4, r3, r4\n" \
    "add " SUM ", r4\n"

/* Adds the products of x[0] to x[taps - 1] with four channels to sums; for Armv6-M. */
TINYAOT_SCALAR_ASM void tinyaot_scalar_dense_v6m(
    int32_t *sums, const int32_t *x, const int8_t *weight, int32_t taps)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r7, lr}\n"
        "mov r4, r8\n"
        "mov r5, r9\n"
        "mov r6, r10\n"
        "push {r0, r4-r6}\n"
        "movs r7, r1\n"
        "movs r6, r2\n"
        "lsls r2, r3, #2\n"
        "adds r2, r2, r1\n"
        "mov r10, r2\n"
        "ldmia r0!, {r1, r2, r4, r5}\n"
        "mov r8, r1\n"
        "mov r9, r2\n"
        "mov r12, r4\n"
        "mov lr, r5\n"
        /* An odd number of fours begins in the middle of the loop. */
        "lsls r3, r3, #29\n"
        "beq 1f\n"
        "subs r6, #16\n"
        "b 2f\n"
        "1:\n"
        "ldmia r7!, {r0-r3}\n"
        TINYAOT_DENSE_FOUR_V6M("0", "r8")
        TINYAOT_DENSE_FOUR_V6M("4", "r9")
        TINYAOT_DENSE_FOUR_V6M("8", "r12")
        TINYAOT_DENSE_FOUR_V6M("12", "lr")
        "2:\n"
        "ldmia r7!, {r0-r3}\n"
        TINYAOT_DENSE_FOUR_V6M("16", "r8")
        TINYAOT_DENSE_FOUR_V6M("20", "r9")
        TINYAOT_DENSE_FOUR_V6M("24", "r12")
        TINYAOT_DENSE_FOUR_V6M("28", "lr")
        "adds r6, #32\n"
        "cmp r7, r10\n"
        "bne 1b\n"
        "pop {r0, r4-r6}\n"
        "mov r1, r8\n"
        "mov r2, r9\n"
        "mov r3, r12\n"
        "mov r7, lr\n"
        "stmia r0!, {r1-r3, r7}\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "pop {r4-r7, pc}\n");
}

/* One output in the form of two pieces; signed forms correct t and add the zero point in r12. */
#define TINYAOT_DENSE_OUTPUT_V6M(P, S, CORRECT, OFFSET, I) \
    "ldmia r1!, {r3-r5}\n" \
    "ldmia r0!, {r6}\n" \
    "asrs r7, r6, #2\n" \
    "muls r7, r4, r7\n" \
    "asrs r7, r7, #" P "\n" \
    "muls r6, r3, r6\n" \
    "adds r6, r6, r5\n" \
    "adds r6, r6, r7\n" \
    CORRECT \
    "asrs r6, r6, #" S "\n" \
    OFFSET \
    "sxtb r7, r6\n" \
    "cmp r7, r6\n" \
    "beq 2f\n" \
    "asrs r6, r6, #31\n" \
    "movs r7, #127\n" \
    "eors r6, r7\n" \
    "2:\n" \
    "strb r6, [r2, #" I "]\n"
#define TINYAOT_DENSE_OUTPUTS_V6M(P, S, CORRECT, OFFSET) \
    ".syntax unified\n" \
    "push {r4-r7, lr}\n" \
    "mov r12, r3\n" \
    TINYAOT_DENSE_OUTPUT_V6M(P, S, CORRECT, OFFSET, "0") \
    TINYAOT_DENSE_OUTPUT_V6M(P, S, CORRECT, OFFSET, "1") \
    TINYAOT_DENSE_OUTPUT_V6M(P, S, CORRECT, OFFSET, "2") \
    TINYAOT_DENSE_OUTPUT_V6M(P, S, CORRECT, OFFSET, "3") \
    "pop {r4-r7, pc}\n"
#define TINYAOT_DENSE_CORRECT_V6M \
    "ldmia r1!, {r7}\n" \
    "cmp r6, #0\n" \
    "blt 1f\n" \
    "adds r6, r6, r7\n" \
    "1:\n"

/* Requantize four sums by forms 0 to 3, each with its constants. */
TINYAOT_SCALAR_ASM void tinyaot_scalar_outputs_0_v6m(
    const int32_t *sums, const int32_t *constants, int8_t *y, int32_t zero_point)
{
    __asm volatile(TINYAOT_DENSE_OUTPUTS_V6M("12", "19", "", ""));
}

TINYAOT_SCALAR_ASM void tinyaot_scalar_outputs_1_v6m(
    const int32_t *sums, const int32_t *constants, int8_t *y, int32_t zero_point)
{
    __asm volatile(TINYAOT_DENSE_OUTPUTS_V6M("13", "18", "", ""));
}

TINYAOT_SCALAR_ASM void tinyaot_scalar_outputs_2_v6m(
    const int32_t *sums, const int32_t *constants, int8_t *y, int32_t zero_point)
{
    __asm volatile(
        TINYAOT_DENSE_OUTPUTS_V6M("12", "19", TINYAOT_DENSE_CORRECT_V6M, "add r6, r12\n"));
}

TINYAOT_SCALAR_ASM void tinyaot_scalar_outputs_3_v6m(
    const int32_t *sums, const int32_t *constants, int8_t *y, int32_t zero_point)
{
    __asm volatile(
        TINYAOT_DENSE_OUTPUTS_V6M("13", "18", TINYAOT_DENSE_CORRECT_V6M, "add r6, r12\n"));
}

#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2

#define TINYAOT_DENSE_FOUR_V7M(SUM) \
    "ldrsb r8, [r7], #1\n" \
    "mla " SUM ", r3, r8, " SUM "\n" \
    "ldrsb r8, [r7], #1\n" \
    "mla " SUM ", r4, r8, " SUM "\n" \
    "ldrsb r8, [r7], #1\n" \
    "mla " SUM ", r5, r8, " SUM "\n" \
    "ldrsb r8, [r7], #1\n" \
    "mla " SUM ", r6, r8, " SUM "\n"

/* The same for Armv7-M, with weights as they are. */
TINYAOT_SCALAR_ASM void tinyaot_scalar_dense_v7m(
    int32_t *sums, const int32_t *x, const int8_t *weight, int32_t taps)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        "mov r7, r2\n"
        "add lr, r1, r3, lsl #2\n"
        "ldmia r0, {r9-r12}\n"
        "tst r3, #4\n"
        "bne 2f\n"
        "1:\n"
        "ldmia r1!, {r3-r6}\n"
        TINYAOT_DENSE_FOUR_V7M("r9")
        TINYAOT_DENSE_FOUR_V7M("r10")
        TINYAOT_DENSE_FOUR_V7M("r11")
        TINYAOT_DENSE_FOUR_V7M("r12")
        "2:\n"
        "ldmia r1!, {r3-r6}\n"
        TINYAOT_DENSE_FOUR_V7M("r9")
        TINYAOT_DENSE_FOUR_V7M("r10")
        TINYAOT_DENSE_FOUR_V7M("r11")
        TINYAOT_DENSE_FOUR_V7M("r12")
        "cmp r1, lr\n"
        "bne 1b\n"
        "stmia r0, {r9-r12}\n"
        "pop {r4-r11, pc}\n");
}

#endif

#pragma GCC diagnostic pop

#endif

/* The weight of a tap; `offset` was added to it modulo 2^8. */
TINYAOT_SCALAR_INLINE int32_t tinyaot_scalar_weight(int8_t stored, int32_t offset)
{
    return offset == 0 ? stored : (uint8_t)stored - offset;
}

/* Requantizes four sums, each with its constants. */
TINYAOT_SCALAR_INLINE void tinyaot_scalar_outputs(int32_t form, const int32_t *sums,
    const int32_t *constants, int32_t words, int8_t *y, int32_t zero_point)
{
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
    switch (form) {
    case 0:
        tinyaot_scalar_outputs_0_v6m(sums, constants, y, zero_point);
        return;
    case 1:
        tinyaot_scalar_outputs_1_v6m(sums, constants, y, zero_point);
        return;
    case 2:
        tinyaot_scalar_outputs_2_v6m(sums, constants, y, zero_point);
        return;
    case 3:
        tinyaot_scalar_outputs_3_v6m(sums, constants, y, zero_point);
        return;
    default:
        break;
    }
#endif
    for (int32_t i = 0; i < 4; ++i, constants += words) {
        y[i] = tinyaot_scalar_requantize(form, sums[i], constants, zero_point);
    }
}

/* The part that all cores share. `widened` receives `taps` inputs, and zeros up to a multiple of 4;
 * `offset` is what was added to the weights: 128, or 0 for the kernel of Armv7-M. */
TINYAOT_SCALAR_INLINE void tinyaot_scalar_dense_any(const int8_t *x, int32_t taps,
    int32_t *widened, const int8_t *weight, int32_t offset, const int32_t *constants, int32_t words,
    int8_t *y, int32_t channels, int32_t form, int32_t zero_point)
{
    const int32_t whole = (taps + 3) & ~3;
    int32_t total = 0;
    for (int32_t tap = 0; tap < taps; ++tap) {
        widened[tap] = x[tap];
        total += x[tap];
    }
    for (int32_t tap = taps; tap < whole; ++tap) {
        widened[tap] = 0;
    }
    for (; channels >= 4; channels -= 4, y += 4) {
        const int32_t start = -offset * total;
        int32_t sums[4] = {start, start, start, start};
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2
        if (offset == 0) {
            tinyaot_scalar_dense_v7m(sums, widened, weight, whole);
        } else {
            tinyaot_scalar_dense_v6m(sums, widened, weight, whole);
        }
#elif defined(__thumb__)
        tinyaot_scalar_dense_v6m(sums, widened, weight, whole);
#else
        for (int32_t tap = 0; tap < whole; ++tap) {
            for (int32_t i = 0; i < 4; ++i) {
                const int8_t stored = weight[(tap & ~3) * 4 + 4 * i + (tap & 3)];
                sums[i] += widened[tap] * (tinyaot_scalar_weight(stored, offset) + offset);
            }
        }
#endif
        tinyaot_scalar_outputs(form, sums, constants, words, y, zero_point);
        weight += 4 * whole;
        constants += 4 * words;
    }
    for (; channels > 0; --channels, weight += whole, constants += words) {
        int32_t sum = 0;
        for (int32_t tap = 0; tap < taps; ++tap) {
            sum += widened[tap] * tinyaot_scalar_weight(weight[tap], offset);
        }
        *y++ = tinyaot_scalar_requantize(form, sum, constants, zero_point);
    }
}

TINYAOT_SCALAR_INLINE void tinyaot_scalar_dense(const int8_t *x, int32_t taps, int32_t *widened,
    const int8_t *weight, const int32_t *constants, int32_t words, int8_t *y, int32_t channels,
    int32_t form, int32_t zero_point)
{
    tinyaot_scalar_dense_any(
        x, taps, widened, weight, 128, constants, words, y, channels, form, zero_point);
}

#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2
TINYAOT_SCALAR_INLINE void tinyaot_scalar_dense_thumb2(const int8_t *x, int32_t taps,
    int32_t *widened, const int8_t *weight, const int32_t *constants, int32_t words, int8_t *y,
    int32_t channels, int32_t form, int32_t zero_point)
{
    tinyaot_scalar_dense_any(
        x, taps, widened, weight, 0, constants, words, y, channels, form, zero_point);
}
#endif

#endif
