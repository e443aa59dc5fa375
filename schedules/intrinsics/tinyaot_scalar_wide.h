/* Layers on int16 activations with int8 weights on cores without the DSP extension: the taps of one
 * pixel by four output channels. */
#ifndef TINYAOT_SCALAR_WIDE_H
#define TINYAOT_SCALAR_WIDE_H

#include "tinyaot_scalar.h"

TINYAOT_SCALAR_INLINE void tinyaot_scalar_wide_copy(void *to, const void *from, int32_t size)
{
    memcpy(to, from, (size_t)size);
}

TINYAOT_SCALAR_INLINE void tinyaot_scalar_wide_clear(void *to, int32_t size)
{
    memset(to, 0, (size_t)size);
}

/* Sums of `taps` taps for `pairs` pairs of channels, of which weights come in turn; four channels
 * at a time, so that an odd pair at the end is computed twice. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

#if defined(__thumb__) && !defined(__thumb2__)

/* Inputs and the weights of a pair both take two bytes a tap: one index serves all. */
#define TINYAOT_SCALAR_WIDE_TAP \
    "ldrsh r6, [r0, r1]\n" \
    "ldrsb r7, [r2, r1]\n muls r7, r6\n add r8, r7\n" \
    "ldrsb r7, [r3, r1]\n muls r7, r6\n add r9, r7\n" \
    "ldrsb r7, [r4, r1]\n muls r7, r6\n add r10, r7\n" \
    "ldrsb r7, [r5, r1]\n muls r7, r6\n add r11, r7\n" \
    "adds r1, #2\n"

TINYAOT_SCALAR_ASM void tinyaot_scalar_wide_sums(
    const void *x, const int8_t *w, int32_t *sums, int32_t taps, int32_t pairs)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r7, lr}\n"
        "mov r4, r8\n"
        "mov r5, r9\n"
        "mov r6, r10\n"
        "mov r7, r11\n"
        "push {r2, r4-r7}\n" /* sums first */
        "ldr r5, [sp, #40]\n" /* pairs */
        "lsls r3, r3, #1\n"
        "mov r12, r3\n"
        "1: mov r2, r1\n"
        "mov r4, r1\n"
        "subs r5, #2\n"
        "mov lr, r5\n"
        "bcc 2f\n"
        "add r4, r12\n"
        "2: adds r3, r2, #1\n"
        "adds r5, r4, #1\n"
        "movs r1, #0\n"
        "mov r8, r1\n"
        "mov r9, r1\n"
        "mov r10, r1\n"
        "mov r11, r1\n"
        "mov r6, r12\n"
        "lsls r6, r6, #29\n" /* taps modulo 4 */
        "beq 4f\n"
        "3:\n" TINYAOT_SCALAR_WIDE_TAP
        "lsls r6, r1, #29\n"
        "mov r7, r12\n"
        "lsls r7, r7, #29\n"
        "cmp r6, r7\n"
        "bne 3b\n"
        "4: cmp r1, r12\n"
        "beq 6f\n"
        "5:\n" TINYAOT_SCALAR_WIDE_TAP TINYAOT_SCALAR_WIDE_TAP
        TINYAOT_SCALAR_WIDE_TAP TINYAOT_SCALAR_WIDE_TAP
        "cmp r1, r12\n"
        "bne 5b\n"
        "6: mov r1, r4\n"
        "add r1, r12\n"
        "ldr r7, [sp]\n"
        "mov r2, r8\n"
        "mov r3, r9\n"
        "mov r4, r10\n"
        "mov r5, r11\n"
        "stm r7!, {r2-r5}\n"
        "str r7, [sp]\n"
        "mov r5, lr\n"
        "cmp r5, #0\n"
        "bgt 1b\n"
        "pop {r2, r4-r7}\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "mov r11, r7\n"
        "pop {r4-r7, pc}\n");
}

#elif defined(__thumb2__)

#define TINYAOT_SCALAR_WIDE_TAP \
    "ldrsh r6, [r5], #2\n" \
    "ldrsb r7, [r1], #1\n mla r8, r6, r7, r8\n" \
    "ldrsb r7, [r1], #1\n mla r9, r6, r7, r9\n" \
    "ldrsb r7, [r4], #1\n mla r10, r6, r7, r10\n" \
    "ldrsb r7, [r4], #1\n mla r11, r6, r7, r11\n"

TINYAOT_SCALAR_ASM void tinyaot_scalar_wide_sums(
    const void *x, const int8_t *w, int32_t *sums, int32_t taps, int32_t pairs)
{
    __asm volatile(
        "push {r4-r11, lr}\n"
        "ldr r12, [sp, #36]\n" /* pairs */
        "1: mov r4, r1\n"
        "subs r12, #2\n"
        "it cs\n"
        "addcs r4, r4, r3, lsl #1\n"
        "mov r5, r0\n"
        "mov r8, #0\n"
        "mov r9, #0\n"
        "mov r10, #0\n"
        "mov r11, #0\n"
        "and lr, r3, #3\n"
        "add lr, r0, lr, lsl #1\n"
        "b 3f\n"
        "2:\n" TINYAOT_SCALAR_WIDE_TAP
        "3: cmp r5, lr\n"
        "bne 2b\n"
        "add lr, r0, r3, lsl #1\n"
        "b 5f\n"
        "4:\n" TINYAOT_SCALAR_WIDE_TAP TINYAOT_SCALAR_WIDE_TAP
        TINYAOT_SCALAR_WIDE_TAP TINYAOT_SCALAR_WIDE_TAP
        "5: cmp r5, lr\n"
        "bne 4b\n"
        "mov r1, r4\n"
        "stm r2!, {r8-r11}\n"
        "cmp r12, #0\n"
        "bgt 1b\n"
        "pop {r4-r11, pc}\n");
}

#else

TINYAOT_SCALAR_SHARED void tinyaot_scalar_wide_sums(
    const void *x, const int8_t *w, int32_t *sums, int32_t taps, int32_t pairs)
{
    const int16_t *const values = x;
    for (; pairs > 0; pairs -= 2, sums += 4) {
        const int8_t *const second = pairs > 1 ? w + 2 * taps : w;
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (int32_t i = 0; i < taps; ++i) {
            const int32_t value = values[i];
            a += value * w[2 * i];
            b += value * w[2 * i + 1];
            c += value * second[2 * i];
            d += value * second[2 * i + 1];
        }
        sums[0] = a;
        sums[1] = b;
        sums[2] = c;
        sums[3] = d;
        w = second + 2 * taps;
    }
}

#endif

#pragma GCC diagnostic pop

/* Sums of `taps` taps of a multiple of four channels, which lie side by side in x and w. */
TINYAOT_SCALAR_SHARED void tinyaot_scalar_wide_depthwise(
    const void *x, const int8_t *w, int32_t *sums, int32_t taps, int32_t channels)
{
    for (int32_t begin = 0; begin < channels; begin += 4, sums += 4) {
        const int16_t *value = (const int16_t *)x + begin;
        const int8_t *weight = w + begin;
        int32_t a = 0, b = 0, c = 0, d = 0;
        for (int32_t i = 0; i < taps; ++i, value += channels, weight += channels) {
            a += value[0] * weight[0];
            b += value[1] * weight[1];
            c += value[2] * weight[2];
            d += value[3] * weight[3];
        }
        sums[0] = a;
        sums[1] = b;
        sums[2] = c;
        sums[3] = d;
    }
}

/* Outputs of `channels` sums, in 32 bits: k is {bias, multiplier + (shift - 16) * 2^16} of each.
 * What is below 2^16 in the product may be dropped: it is not half of the last bit, for shifts from
 * 17. */
TINYAOT_SCALAR_SHARED void tinyaot_scalar_wide_finish(const int32_t *sums, const int32_t *k,
    void *y, int32_t channels, int32_t low, int32_t high)
{
    int16_t *to = y;
    for (int32_t c = 0; c < channels; ++c, k += 2) {
        const int32_t sum = sums[c] + k[0];
        const int32_t multiplier = k[1] & 0x7fff, shift = (int32_t)((uint32_t)k[1] >> 16);
        const uint32_t fine = ((uint32_t)sum & 0xffffu) * (uint32_t)multiplier;
        const int32_t scaled = (sum >> 16) * multiplier + (int32_t)(fine >> 16);
        to[c] = (int16_t)tinyaot_clamp((scaled + (1 << (shift - 1))) >> shift, low, high);
    }
}

#endif
