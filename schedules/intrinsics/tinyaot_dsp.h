/* What all kernels for Cortex-M cores with the DSP extension (M4, M7, M33) share.
 *
 * A kernel in assembly is a function of nothing but its instructions (`naked`): it takes its
 * arguments from r0-r3 and the stack as the procedure call standard places them. That keeps every
 * value of its inner loop in the register it was given, whatever the compiler and its options.
 */
#ifndef TINYAOT_DSP_H
#define TINYAOT_DSP_H

#include <arm_acle.h>
#include <stdint.h>
#include <string.h>

/* `noipa` keeps GCC from dropping arguments, which no C statement uses. */
#if defined(__clang__)
#define TINYAOT_DSP_ASM __attribute__((naked, noinline, unused)) static
#else
#define TINYAOT_DSP_ASM __attribute__((naked, noipa, unused)) static
#endif
#define TINYAOT_DSP_INLINE __attribute__((unused)) static inline

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Copies `size` bytes, a multiple of 4, between word-aligned places; `to` may lie before `from` in
 * an overlapping area. */
TINYAOT_DSP_ASM void tinyaot_dsp_copy(void *to, const void *from, int32_t size)
{
    __asm volatile(
        "push {r4-r10, lr}\n"
        "subs r2, #32\n"
        "blt 2f\n"
        "1: ldm r1!, {r3-r10}\n"
        "subs r2, #32\n"
        "stm r0!, {r3-r10}\n"
        "bge 1b\n"
        "2: adds r2, #32\n"
        "beq 4f\n"
        "3: ldr r3, [r1], #4\n"
        "subs r2, #4\n"
        "str r3, [r0], #4\n"
        "bne 3b\n"
        "4: pop {r4-r10, pc}\n");
}

#pragma GCC diagnostic pop

/* Copies `size` bytes from and to any place. */
TINYAOT_DSP_INLINE void tinyaot_dsp_copy_bytes(int8_t *to, const int8_t *from, int32_t size)
{
    int32_t i = 0;
    for (; i + 4 <= size; i += 4) {
        uint32_t word;
        memcpy(&word, from + i, 4);
        memcpy(to + i, &word, 4);
    }
    for (; i < size; ++i) {
        to[i] = from[i];
    }
}

/* Sets `size` bytes, a multiple of 4 from a word-aligned place on. */
TINYAOT_DSP_INLINE void tinyaot_dsp_fill(int8_t *to, int32_t value, int32_t size)
{
    const uint32_t word = ((uint32_t)value & 0xffu) * 0x01010101u;
    for (int32_t i = 0; i < size; i += 4) {
        memcpy(to + i, &word, 4);
    }
}

/* Sets `count` halfwords from a word-aligned place on; `count` is a multiple of 2. */
TINYAOT_DSP_INLINE void tinyaot_dsp_fill_halfwords(int16_t *to, int32_t value, int32_t count)
{
    const uint32_t word = ((uint32_t)value & 0xffffu) * 0x00010001u;
    for (int32_t i = 0; i < count; i += 2) {
        memcpy(to + i, &word, 4);
    }
}

/* Limits `size` values to [low, high]. */
TINYAOT_DSP_INLINE void tinyaot_dsp_clamp(int8_t *x, int32_t size, int32_t low, int32_t high)
{
    const int8x4_t lows = (int8x4_t)(((uint32_t)low & 0xffu) * 0x01010101u);
    const int8x4_t highs = (int8x4_t)(((uint32_t)high & 0xffu) * 0x01010101u);
    int32_t i = 0;
    for (; i + 4 <= size; i += 4) {
        int8x4_t word;
        memcpy(&word, x + i, 4);
        (void)__ssub8(word, lows);
        word = (int8x4_t)__sel((uint8x4_t)word, (uint8x4_t)lows);
        (void)__ssub8(highs, word);
        word = (int8x4_t)__sel((uint8x4_t)word, (uint8x4_t)highs);
        memcpy(x + i, &word, 4);
    }
    for (; i < size; ++i) {
        const int32_t value = x[i] < low ? low : x[i];
        x[i] = (int8_t)(value > high ? high : value);
    }
}

#endif
