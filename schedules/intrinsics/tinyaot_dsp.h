/* What all kernels for Cortex-M cores with the DSP extension (M4, M7, M33) share.
 *
 * A kernel in assembly is a function of nothing but its instructions (`naked`): it takes its
 * arguments from r0-r3 and the stack as the procedure call standard places them. That keeps every
 * value of its inner loop in the register it was given, whatever the compiler and its options.
 */
#ifndef TINYAOT_DSP_H
#define TINYAOT_DSP_H

#include <stdint.h>

/* `noipa` keeps GCC from dropping arguments of assembly, which no C statement uses. It also keeps
 * it from making a copy of a C function for the constant addresses of its only call: GCC 12 may
 * take the stores of such a copy for accesses to address 0 and leave out the call. */
#if defined(__clang__)
#define TINYAOT_DSP_ASM __attribute__((naked, noinline, unused)) static
#define TINYAOT_DSP_FUNCTION __attribute__((noinline, unused)) static
#else
#define TINYAOT_DSP_ASM __attribute__((naked, noipa, unused)) static
#define TINYAOT_DSP_FUNCTION __attribute__((noipa, unused)) static
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

/* Repeats a word over `size` bytes, a multiple of 4 and not 0, from a word-aligned place on. */
TINYAOT_DSP_ASM void tinyaot_dsp_fill(void *to, int32_t word, int32_t size)
{
    __asm volatile(
        "push {r4-r5, lr}\n"
        "mov r3, r1\n"
        "mov r4, r1\n"
        "mov r5, r1\n"
        "subs r2, #16\n"
        "blt 2f\n"
        "1: stm r0!, {r1, r3-r5}\n"
        "subs r2, #16\n"
        "bge 1b\n"
        "2: adds r2, #16\n"
        "beq 4f\n"
        "3: subs r2, #4\n"
        "str r1, [r0], #4\n"
        "bne 3b\n"
        "4: pop {r4-r5, pc}\n");
}

#pragma GCC diagnostic pop

/* Copies `size` bytes from and to any place. */
TINYAOT_DSP_FUNCTION void tinyaot_dsp_copy_bytes(int8_t *to, const int8_t *from, int32_t size)
{
    int32_t i = 0;
    for (; i + 4 <= size; i += 4) {
        uint32_t word;
        __builtin_memcpy(&word, from + i, 4);
        __builtin_memcpy(to + i, &word, 4);
    }
    for (; i < size; ++i) {
        to[i] = from[i];
    }
}

/* The greater and the smaller bytes of two words, as signed numbers. */
TINYAOT_DSP_INLINE uint32_t tinyaot_dsp_greater(uint32_t a, uint32_t b)
{
    uint32_t result;
    __asm("ssub8 %0, %1, %2\n sel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
}

TINYAOT_DSP_INLINE uint32_t tinyaot_dsp_smaller(uint32_t a, uint32_t b)
{
    uint32_t result;
    __asm("ssub8 %0, %2, %1\n sel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b) : "cc");
    return result;
}

/* Limits `size` values to [low, high]. */
TINYAOT_DSP_FUNCTION void tinyaot_dsp_clamp(int8_t *x, int32_t size, int32_t low, int32_t high)
{
    const uint32_t lows = ((uint32_t)low & 0xffu) * 0x01010101u;
    const uint32_t highs = ((uint32_t)high & 0xffu) * 0x01010101u;
    int32_t i = 0;
    for (; i + 4 <= size; i += 4) {
        uint32_t word;
        __builtin_memcpy(&word, x + i, 4);
        word = tinyaot_dsp_smaller(tinyaot_dsp_greater(word, lows), highs);
        __builtin_memcpy(x + i, &word, 4);
    }
    for (; i < size; ++i) {
        const int32_t value = x[i] < low ? low : x[i];
        x[i] = (int8_t)(value > high ? high : value);
    }
}

#endif
