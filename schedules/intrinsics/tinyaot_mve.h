/* Building blocks of the Helium kernels (Armv8.1-M with MVE integer: Cortex-M55, M85).
 *
 * Convolutions compute four output pixels at once for all output channels. Their int32 sums lie in
 * scratch memory as acc[channel][4 pixels] until requantize4 turns them into int8. Sums live in
 * even registers while they grow, because VMLADAV needs that; pointers go to odd ones.
 */
#ifndef TINYAOT_MVE_H
#define TINYAOT_MVE_H

#include <arm_mve.h>
#include <stdint.h>

/* The blocks of assembly want nearly all registers, which GCC does not find at -O0. */
#if defined(__clang__) || defined(__OPTIMIZE__)
#define TINYAOT_MVE_FUNCTION static __attribute__((noinline, unused))
#define TINYAOT_MVE_INLINE static inline __attribute__((unused))
#else
#define TINYAOT_MVE_FUNCTION static __attribute__((noinline, unused, optimize("O1")))
#define TINYAOT_MVE_INLINE static inline __attribute__((unused, optimize("O1")))
#endif

/* Copies n bytes; the ranges do not overlap. */
TINYAOT_MVE_INLINE void tinyaot_mve_copy(void *to, const void *from, int32_t n)
{
    int8x16_t t;
    __asm volatile("wlstp.8 lr, %[n], 2f\n"
                   "1:\n\t"
                   "vldrb.u8 %q[t], [%[from]], #16\n\t"
                   "vstrb.8 %q[t], [%[to]], #16\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [to] "+r"(to), [from] "+r"(from), [t] "=&w"(t)
                   : [n] "r"(n)
                   : "lr", "cc", "memory");
}

/* Sets n bytes to a value. */
TINYAOT_MVE_INLINE void tinyaot_mve_fill(void *to, int32_t value, int32_t n)
{
    const int8x16_t t = vdupq_n_s8((int8_t)value);
    __asm volatile("wlstp.8 lr, %[n], 2f\n"
                   "1:\n\t"
                   "vstrb.8 %q[t], [%[to]], #16\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [to] "+r"(to)
                   : [n] "r"(n), [t] "w"(t)
                   : "lr", "cc", "memory");
}

/* Requantization, four pixels and four channels a turn; see mve_requantize.py for why it is exact:
 *
 *     x = VQRDMULH((acc << position) + offset, factor), less correction where x < zero point << n
 *     y = clamp(VQRSHRN(VQRSHRN(x, n - 8), 8))
 *
 * k: {1 << position, zero point << n, low, high}, then {factor, offset} of every channel, with a
 * correction as third in the signed form. `groups` is the number of channels / 4. Pixel j's
 * channels go to y + j * stride on; both are multiples of 4.
 *
 * The name says what the form leaves out: tinyaot_mve_requantize4[_signed][_clamped]_<n - 8>.
 * VQRSHRN saturates, so a clamp to all of int8 needs no instruction. GNU as 2.40 assembles VQSHRN
 * as VQRSHRN, so the form that rounds is used both times. */
#define TINYAOT_MVE_SCALE(q, offset, factor) \
    "vmlas.s32 %q[" q "], %q[unit], " offset "\n\t" \
    "vqrdmulh.s32 %q[" q "], %q[" q "], " factor "\n\t"
#define TINYAOT_MVE_CORRECT(q, correction) \
    "vpt.s32 lt, %q[" q "], %[zero]\n\t" \
    "vsubt.i32 %q[" q "], %q[" q "], " correction "\n\t"
#define TINYAOT_MVE_NARROW(half, to, q, shift) "vqrshrn" half ".s32 %q[" to "], %q[" q "], #" shift "\n\t"
#define TINYAOT_MVE_LOAD_ACC(q) "vldrw.u32 %q[" q "], [%[acc]], #16\n\t"
#define TINYAOT_MVE_LOAD_8 "ldmia %[k]!, {r0, r2, r4, r5, r6, r8, r10, r12}\n\t"
#define TINYAOT_MVE_LOAD_6 "ldmia %[k]!, {r0, r2, r4, r5, r6, r8}\n\t"
#define TINYAOT_MVE_CHANNEL(q, offset, factor, half, to, shift) \
    TINYAOT_MVE_LOAD_ACC(q) TINYAOT_MVE_SCALE(q, offset, factor) \
    TINYAOT_MVE_NARROW(half, to, q, shift)
#define TINYAOT_MVE_CHANNEL_SIGNED(q, offset, factor, correction, half, to, shift) \
    TINYAOT_MVE_LOAD_ACC(q) TINYAOT_MVE_SCALE(q, offset, factor) \
    TINYAOT_MVE_CORRECT(q, correction) TINYAOT_MVE_NARROW(half, to, q, shift)
#define TINYAOT_MVE_FOUR(shift) \
    TINYAOT_MVE_LOAD_8 \
    TINYAOT_MVE_CHANNEL("t", "r2", "r0", "b", "y", shift) \
    TINYAOT_MVE_CHANNEL("u", "r5", "r4", "b", "z", shift) \
    TINYAOT_MVE_CHANNEL("t", "r8", "r6", "t", "y", shift) \
    TINYAOT_MVE_CHANNEL("u", "r12", "r10", "t", "z", shift)
#define TINYAOT_MVE_FOUR_SIGNED(shift) \
    TINYAOT_MVE_LOAD_6 \
    TINYAOT_MVE_CHANNEL_SIGNED("t", "r2", "r0", "r4", "b", "y", shift) \
    TINYAOT_MVE_CHANNEL_SIGNED("u", "r6", "r5", "r8", "b", "z", shift) \
    TINYAOT_MVE_LOAD_6 \
    TINYAOT_MVE_CHANNEL_SIGNED("t", "r2", "r0", "r4", "t", "y", shift) \
    TINYAOT_MVE_CHANNEL_SIGNED("u", "r6", "r5", "r8", "t", "z", shift)
#define TINYAOT_MVE_TO_BYTES \
    "vqrshrnb.s16 %q[y], %q[y], #8\n\t" \
    "vqrshrnt.s16 %q[y], %q[z], #8\n\t"
#define TINYAOT_MVE_CLAMP \
    "vmax.s8 %q[y], %q[y], %q[low]\n\t" \
    "vmin.s8 %q[y], %q[y], %q[high]\n\t"
#define TINYAOT_MVE_BOUNDS , [low] "w"(low), [high] "w"(high)

#define TINYAOT_MVE_ZERO , [zero] "r"(zero)
#define TINYAOT_MVE_SCRATCH_8 "r0", "r2", "r4", "r5", "r6", "r8", "r10", "r12", "lr", "cc", "memory"
#define TINYAOT_MVE_SCRATCH_6 "r0", "r2", "r4", "r5", "r6", "r8", "lr", "cc", "memory"

#define TINYAOT_MVE_REQUANTIZE4(FOUR, CLAMP, INPUTS, SCRATCH) \
    const int32x4_t unit = vdupq_n_s32(k[0]); \
    const int32_t zero = k[1]; \
    const int8x16_t low = vdupq_n_s8((int8_t)k[2]), high = vdupq_n_s8((int8_t)k[3]); \
    const uint32x4_t pixels = vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)stride); \
    uint32x4_t place = vaddq_n_u32(pixels, (uint32_t)(uintptr_t)to - 4u); \
    int32x4_t t, u, y, z; \
    (void)zero, (void)low, (void)high; \
    k += 4; \
    __asm volatile("dls lr, %[groups]\n" \
                   "1:\n\t" FOUR TINYAOT_MVE_TO_BYTES CLAMP \
                   "vstrw.32 %q[y], [%q[place], #4]!\n\t" \
                   "le lr, 1b" \
                   : [acc] "+r"(acc), [k] "+r"(k), [place] "+w"(place), [t] "=&w"(t), \
                     [u] "=&w"(u), [y] "=&w"(y), [z] "=&w"(z) \
                   : [groups] "r"(groups), [unit] "w"(unit) INPUTS \
                   : SCRATCH)
#define TINYAOT_MVE_REQUANTIZE4_PLAIN(shift) \
    TINYAOT_MVE_REQUANTIZE4(TINYAOT_MVE_FOUR(#shift), "", , TINYAOT_MVE_SCRATCH_8)
#define TINYAOT_MVE_REQUANTIZE4_CLAMPED(shift) \
    TINYAOT_MVE_REQUANTIZE4(TINYAOT_MVE_FOUR(#shift), TINYAOT_MVE_CLAMP, TINYAOT_MVE_BOUNDS, \
        TINYAOT_MVE_SCRATCH_8)
#define TINYAOT_MVE_REQUANTIZE4_SIGNED(shift) \
    TINYAOT_MVE_REQUANTIZE4(TINYAOT_MVE_FOUR_SIGNED(#shift), "", TINYAOT_MVE_ZERO, \
        TINYAOT_MVE_SCRATCH_6)
#define TINYAOT_MVE_REQUANTIZE4_SIGNED_CLAMPED(shift) \
    TINYAOT_MVE_REQUANTIZE4(TINYAOT_MVE_FOUR_SIGNED(#shift), TINYAOT_MVE_CLAMP, \
        TINYAOT_MVE_ZERO TINYAOT_MVE_BOUNDS, TINYAOT_MVE_SCRATCH_6)
#define TINYAOT_MVE_REQUANTIZE4_PARAMETERS \
    const int32_t *acc, const int32_t *k, void *to, int32_t stride, int32_t groups

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_4(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_PLAIN(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_6(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_PLAIN(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_8(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_PLAIN(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_9(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_PLAIN(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_10(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_PLAIN(10);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_clamped_4(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_CLAMPED(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_clamped_6(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_CLAMPED(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_clamped_8(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_CLAMPED(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_clamped_9(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_CLAMPED(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_clamped_10(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_CLAMPED(10);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_4(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_6(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_8(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_9(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_10(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED(10);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_clamped_4(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED_CLAMPED(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_clamped_6(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED_CLAMPED(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_clamped_8(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED_CLAMPED(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_clamped_9(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED_CLAMPED(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize4_signed_clamped_10(TINYAOT_MVE_REQUANTIZE4_PARAMETERS)
{
    TINYAOT_MVE_REQUANTIZE4_SIGNED_CLAMPED(10);
}

#endif
