/* Layers on int16 activations with int8 weights on Helium: four pixels by two output channels, or
 * one pixel by four.
 *
 * VMLADAV multiplies eight taps; weights are widened as they are loaded. Sums grow in registers,
 * even ones because VMLADAV needs that. Kernels are assembly without a frame of the compiler's
 * (`naked`). Their names end with what is left of the taps after whole vectors.
 * Behind the weights up to 8 bytes are read: the array goes on with other constants.
 */
#ifndef TINYAOT_MVE_WIDE_H
#define TINYAOT_MVE_WIDE_H

#include "tinyaot_mve.h"

#if defined(__clang__)
#define TINYAOT_MVE_ASM __attribute__((naked, noinline, unused)) static
#else
#define TINYAOT_MVE_ASM __attribute__((naked, noipa, unused)) static
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Eight taps of four pixels and two channels: 14 instructions for 64 multiplications. */
#define TINYAOT_MVE_WIDE_EIGHT(OP) \
    "vldrb.s16 q4, [r7], #8\n" \
    "vldrh.u16 q0, [r1], #16\n" \
    OP " r0, q0, q4\n" \
    "vldrb.s16 q5, [r7], #8\n" \
    OP " r8, q0, q5\n" \
    "vldrh.u16 q1, [r3], #16\n" \
    OP " r2, q1, q4\n" \
    OP " r10, q1, q5\n" \
    "vldrh.u16 q2, [r5], #16\n" \
    OP " r4, q2, q4\n" \
    OP " r12, q2, q5\n" \
    "vldrh.u16 q3, [r9], #16\n" \
    OP " r6, q3, q4\n" \
    OP " lr, q3, q5\n"

/* Fewer taps: those that are missing are loaded as 0. The weights end at a word. */
#define TINYAOT_MVE_WIDE_FEW(OP, TAIL) \
    "vpstttt\n" \
    "vldrht.u16 q0, [r1]\n" \
    "vldrht.u16 q1, [r3]\n" \
    "vldrht.u16 q2, [r5]\n" \
    "vldrht.u16 q3, [r9]\n" \
    "vldrb.s16 q4, [r7], #" TAIL "\n" \
    OP " r0, q0, q4\n" \
    "vldrb.s16 q5, [r7], #(" TAIL "+1)/2*4-" TAIL "\n" \
    OP " r8, q0, q5\n" \
    OP " r2, q1, q4\n" \
    OP " r10, q1, q5\n" \
    OP " r4, q2, q4\n" \
    OP " r12, q2, q5\n" \
    OP " r6, q3, q4\n" \
    OP " lr, q3, q5\n"

/* Vectors two by two, behind the first and another where their number is even; what stands between
 * LSRS and its branches leaves the flags. */
#define TINYAOT_MVE_WIDE_WHOLE \
    TINYAOT_MVE_WIDE_EIGHT("vmladav.s16") \
    "subs r11, #1\n" \
    "lsrs r11, r11, #1\n" \
    "bcc 5f\n" \
    TINYAOT_MVE_WIDE_EIGHT("vmladava.s16") \
    "5: beq 3f\n" \
    "2:\n" TINYAOT_MVE_WIDE_EIGHT("vmladava.s16") TINYAOT_MVE_WIDE_EIGHT("vmladava.s16") \
    "subs r11, #1\n" \
    "bne 2b\n" \
    "3:\n"

/* The multiplication of four pixels with all channels.
 *
 * x0-x3: the taps of the pixels.
 * w: for each of `pairs` pairs of channels the weights of eight taps of the first and the second,
 *    of the next eight, and so on; then what FINISH reads.
 * `chunks` is the number of whole vectors of taps.
 */
#define TINYAOT_MVE_WIDE_TILE(TAIL, PRODUCTS, FINISH) \
    "push {r4-r11, lr}\n" \
    "vpush {d8-d13}\n" \
    "sub sp, #28\n" \
    "mov r4, r0\n" \
    "mov r5, r1\n" \
    "mov r6, r2\n" \
    "mov r7, r3\n" \
    "ldrd r9, r10, [sp, #112]\n" /* w, to */ \
    "ldrd r8, r11, [sp, #120]\n" /* stride, chunks */ \
    "ldr r12, [sp, #128]\n" /* pairs */ \
    "stm sp, {r4-r7, r11, r12}\n" \
    "str r10, [sp, #24]\n" \
    "movs r0, #0\n" \
    "vidup.u32 q6, r0, #1\n" \
    "vmul.i32 q6, q6, r8\n" \
    "sub r10, r10, #4\n" \
    "vadd.i32 q6, q6, r10\n" /* places of the pixels, less 4 */ \
    "movs r0, #" TAIL "\n" \
    "vctp.16 r0\n" \
    "mov r7, r9\n" \
    "1: ldrd r1, r3, [sp]\n" \
    "ldrd r5, r9, [sp, #8]\n" \
    "ldr r11, [sp, #16]\n" \
    PRODUCTS \
    "vmov q0[2], q0[0], r0, r4\n" \
    "vmov q0[3], q0[1], r2, r6\n" \
    "vmov q1[2], q1[0], r8, r12\n" \
    "vmov q1[3], q1[1], r10, lr\n" \
    FINISH \
    "ldr r0, [sp, #20]\n" \
    "subs r0, #1\n" \
    "str r0, [sp, #20]\n" \
    "bne 1b\n" \
    "add sp, #28\n" \
    "vpop {d8-d13}\n" \
    "pop {r4-r11, pc}\n"

/* y = sat16(round(2 * (acc + bias) * multiplier / 2^32)), ties up; constants {bias 0, multiplier 0,
 * bias 1, multiplier 1}. `to` and `stride` are multiples of 4. */
#define TINYAOT_MVE_WIDE_OUTPUTS \
    "ldm.w r7!, {r0, r2, r4, r6}\n" \
    "vadd.i32 q0, q0, r0\n" \
    "vqrdmulh.s32 q0, q0, r2\n" \
    "vadd.i32 q1, q1, r4\n" \
    "vqrdmulh.s32 q1, q1, r6\n" \
    "vqmovnb.s32 q2, q0\n" \
    "vqmovnt.s32 q2, q1\n" \
    "vstrw.32 q2, [q6, #4]!\n"

/* The same after rounding twice, ties up and then away from zero:
 * y = sat16(round(round(2 * (acc + bias) * multiplier / 2^32) / 2^r)); constants {bias, multiplier,
 * -r} of both channels, r > 0. */
#define TINYAOT_MVE_WIDE_ROUND(Q, BIAS, MULTIPLIER, COUNT) \
    "vadd.i32 " Q ", " Q ", " BIAS "\n" \
    "vqrdmulh.s32 " Q ", " Q ", " MULTIPLIER "\n" \
    "vshr.s32 q3, " Q ", #31\n" \
    "vadd.i32 " Q ", " Q ", q3\n" \
    "vrshl.s32 " Q ", " COUNT "\n"
#define TINYAOT_MVE_WIDE_DOUBLE \
    "ldm.w r7!, {r0, r2, r4, r6, r8, r10}\n" \
    TINYAOT_MVE_WIDE_ROUND("q0", "r0", "r2", "r4") \
    TINYAOT_MVE_WIDE_ROUND("q1", "r6", "r8", "r10") \
    "vqmovnb.s32 q2, q0\n" \
    "vqmovnt.s32 q2, q1\n" \
    "vstrw.32 q2, [q6, #4]!\n"

/* The sums of each channel for the four pixels. */
#define TINYAOT_MVE_WIDE_SUMS \
    "ldr r0, [sp, #24]\n" \
    "vstrw.32 q0, [r0], #16\n" \
    "vstrw.32 q1, [r0], #16\n" \
    "str r0, [sp, #24]\n"

/* Eight taps of one pixel and four channels: 9 instructions for 32 multiplications. */
#define TINYAOT_MVE_WIDE_FOUR(OP, S0, S1, S2, S3) \
    "vldrb.s16 q1, [r3], #" S0 "\n" \
    OP " r0, q0, q1\n" \
    "vldrb.s16 q2, [r3], #" S1 "\n" \
    OP " r2, q0, q2\n" \
    "vldrb.s16 q1, [r3], #" S2 "\n" \
    OP " r4, q0, q1\n" \
    "vldrb.s16 q2, [r3], #" S3 "\n" \
    OP " r6, q0, q2\n"
#define TINYAOT_MVE_WIDE_ONE_EIGHT(OP) \
    "vldrh.u16 q0, [r1], #16\n" \
    TINYAOT_MVE_WIDE_FOUR(OP, "8", "8", "8", "8")
#define TINYAOT_MVE_WIDE_ONE_FEW(OP, TAIL) \
    "vctp.16 r9\n" \
    "vpst\n" \
    "vldrht.u16 q0, [r1]\n" \
    TINYAOT_MVE_WIDE_FOUR(OP, TAIL, TAIL, TAIL, TAIL)
#define TINYAOT_MVE_WIDE_ONE_WHOLE \
    TINYAOT_MVE_WIDE_ONE_EIGHT("vmladav.s16") \
    "wls lr, r10, 3f\n" \
    "2:\n" TINYAOT_MVE_WIDE_ONE_EIGHT("vmladava.s16") \
    "le lr, 2b\n" \
    "3:\n"

/* The multiplication of one pixel with all channels, four at a time: w as above for each four
 * channels. */
#define TINYAOT_MVE_WIDE_PIXEL(TAIL, PRODUCTS, FINISH) \
    "push {r4-r11, lr}\n" \
    "mov r8, r0\n" \
    "mov r5, r2\n" \
    "sub r10, r3, #1\n" /* whole vectors but the first */ \
    "mov r3, r1\n" \
    "mov r9, #" TAIL "\n" \
    "ldr r12, [sp, #36]\n" /* channels */ \
    "1: mov r1, r8\n" \
    PRODUCTS \
    FINISH \
    "subs r12, #4\n" \
    "bgt 1b\n" \
    "pop {r4-r11, pc}\n"

/* As above, with constants {bias 0-3, multiplier 0-3}. */
#define TINYAOT_MVE_WIDE_ONE_OUTPUTS \
    "vmov q0[2], q0[0], r0, r4\n" \
    "vmov q0[3], q0[1], r2, r6\n" \
    "vldrw.u32 q1, [r3], #16\n" \
    "vldrw.u32 q2, [r3], #16\n" \
    "vadd.i32 q0, q0, q1\n" \
    "vqrdmulh.s32 q0, q0, q2\n" \
    "vctp.32 r12\n" \
    "vqmovnb.s32 q0, q0\n" \
    "vpst\n" \
    "vstrht.32 q0, [r5], #8\n"
#define TINYAOT_MVE_WIDE_ONE_DOUBLE \
    "vmov q0[2], q0[0], r0, r4\n" \
    "vmov q0[3], q0[1], r2, r6\n" \
    "vldrw.u32 q1, [r3], #16\n" \
    "vldrw.u32 q2, [r3], #16\n" \
    "vadd.i32 q0, q0, q1\n" \
    "vqrdmulh.s32 q0, q0, q2\n" \
    "vldrw.u32 q1, [r3], #16\n" \
    "vshr.s32 q2, q0, #31\n" \
    "vadd.i32 q0, q0, q2\n" \
    "vrshl.s32 q0, q0, q1\n" \
    "vctp.32 r12\n" \
    "vqmovnb.s32 q0, q0\n" \
    "vpst\n" \
    "vstrht.32 q0, [r5], #8\n"
#define TINYAOT_MVE_WIDE_ONE_SUMS \
    "stm.w r5!, {r0, r2, r4, r6}\n"

#define TINYAOT_MVE_WIDE_TILE_PARAMETERS \
    const void *x0, const void *x1, const void *x2, const void *x3, const int32_t *w, void *to, \
        int32_t stride, int32_t chunks, int32_t pairs
#define TINYAOT_MVE_WIDE_PIXEL_PARAMETERS \
    const void *x, const int32_t *w, void *to, int32_t chunks, int32_t channels

/* All taps, of which TAIL are left after whole vectors; there may be none of those. */
#define TINYAOT_MVE_WIDE_TAPS(TAIL) \
    "cmp r11, #0\n" \
    "bne 4f\n" \
    "movs r0, #0\n movs r2, #0\n movs r4, #0\n movs r6, #0\n" \
    "mov r8, r0\n mov r10, r0\n mov r12, r0\n mov lr, r0\n" \
    "b 3f\n" \
    "4:\n" TINYAOT_MVE_WIDE_WHOLE TINYAOT_MVE_WIDE_FEW("vmladava.s16", #TAIL)
#define TINYAOT_MVE_WIDE_ONE_TAPS(TAIL) \
    "cmp r10, #0\n" \
    "bge 4f\n" \
    "movs r0, #0\n movs r2, #0\n movs r4, #0\n movs r6, #0\n" \
    "b 3f\n" \
    "4:\n" TINYAOT_MVE_WIDE_ONE_WHOLE TINYAOT_MVE_WIDE_ONE_FEW("vmladava.s16", #TAIL)

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_0(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("0", TINYAOT_MVE_WIDE_WHOLE, TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_0(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("0", TINYAOT_MVE_WIDE_WHOLE, TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_0(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("0", TINYAOT_MVE_WIDE_ONE_WHOLE, TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_0(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("0", TINYAOT_MVE_WIDE_WHOLE, TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_0(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("0", TINYAOT_MVE_WIDE_ONE_WHOLE, TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_0(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("0", TINYAOT_MVE_WIDE_ONE_WHOLE, TINYAOT_MVE_WIDE_ONE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_1(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("1", TINYAOT_MVE_WIDE_TAPS(1), TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_1(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("1", TINYAOT_MVE_WIDE_TAPS(1), TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_1(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("1", TINYAOT_MVE_WIDE_ONE_TAPS(1), TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_1(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("1", TINYAOT_MVE_WIDE_TAPS(1), TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_1(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("1", TINYAOT_MVE_WIDE_ONE_TAPS(1), TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_1(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("1", TINYAOT_MVE_WIDE_ONE_TAPS(1), TINYAOT_MVE_WIDE_ONE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_2(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("2", TINYAOT_MVE_WIDE_TAPS(2), TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_2(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("2", TINYAOT_MVE_WIDE_TAPS(2), TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_2(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("2", TINYAOT_MVE_WIDE_ONE_TAPS(2), TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_2(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("2", TINYAOT_MVE_WIDE_TAPS(2), TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_2(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("2", TINYAOT_MVE_WIDE_ONE_TAPS(2), TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_2(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("2", TINYAOT_MVE_WIDE_ONE_TAPS(2), TINYAOT_MVE_WIDE_ONE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_3(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("3", TINYAOT_MVE_WIDE_TAPS(3), TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_3(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("3", TINYAOT_MVE_WIDE_TAPS(3), TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_3(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("3", TINYAOT_MVE_WIDE_ONE_TAPS(3), TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_3(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("3", TINYAOT_MVE_WIDE_TAPS(3), TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_3(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("3", TINYAOT_MVE_WIDE_ONE_TAPS(3), TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_3(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("3", TINYAOT_MVE_WIDE_ONE_TAPS(3), TINYAOT_MVE_WIDE_ONE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_4(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("4", TINYAOT_MVE_WIDE_TAPS(4), TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_4(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("4", TINYAOT_MVE_WIDE_TAPS(4), TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_4(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("4", TINYAOT_MVE_WIDE_ONE_TAPS(4), TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_4(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("4", TINYAOT_MVE_WIDE_TAPS(4), TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_4(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("4", TINYAOT_MVE_WIDE_ONE_TAPS(4), TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_4(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("4", TINYAOT_MVE_WIDE_ONE_TAPS(4), TINYAOT_MVE_WIDE_ONE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_5(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("5", TINYAOT_MVE_WIDE_TAPS(5), TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_5(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("5", TINYAOT_MVE_WIDE_TAPS(5), TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_5(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("5", TINYAOT_MVE_WIDE_ONE_TAPS(5), TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_5(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("5", TINYAOT_MVE_WIDE_TAPS(5), TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_5(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("5", TINYAOT_MVE_WIDE_ONE_TAPS(5), TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_5(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("5", TINYAOT_MVE_WIDE_ONE_TAPS(5), TINYAOT_MVE_WIDE_ONE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_6(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("6", TINYAOT_MVE_WIDE_TAPS(6), TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_6(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("6", TINYAOT_MVE_WIDE_TAPS(6), TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_6(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("6", TINYAOT_MVE_WIDE_ONE_TAPS(6), TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_6(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("6", TINYAOT_MVE_WIDE_TAPS(6), TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_6(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("6", TINYAOT_MVE_WIDE_ONE_TAPS(6), TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_6(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("6", TINYAOT_MVE_WIDE_ONE_TAPS(6), TINYAOT_MVE_WIDE_ONE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_7(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("7", TINYAOT_MVE_WIDE_TAPS(7), TINYAOT_MVE_WIDE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_matmul_double_7(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("7", TINYAOT_MVE_WIDE_TAPS(7), TINYAOT_MVE_WIDE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_double_7(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("7", TINYAOT_MVE_WIDE_ONE_TAPS(7), TINYAOT_MVE_WIDE_ONE_DOUBLE));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_sums_7(TINYAOT_MVE_WIDE_TILE_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_TILE("7", TINYAOT_MVE_WIDE_TAPS(7), TINYAOT_MVE_WIDE_SUMS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_7(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("7", TINYAOT_MVE_WIDE_ONE_TAPS(7), TINYAOT_MVE_WIDE_ONE_OUTPUTS));
}

TINYAOT_MVE_ASM void tinyaot_mve_wide_vector_sums_7(TINYAOT_MVE_WIDE_PIXEL_PARAMETERS)
{
    __asm volatile(TINYAOT_MVE_WIDE_PIXEL("7", TINYAOT_MVE_WIDE_ONE_TAPS(7), TINYAOT_MVE_WIDE_ONE_SUMS));
}

#pragma GCC diagnostic pop

/* Limits `size` values to [low, high]. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_clamp(void *y, int32_t size, int32_t low, int32_t high)
{
    int16_t *values = y;
    const int16x8_t lows = vdupq_n_s16((int16_t)low), highs = vdupq_n_s16((int16_t)high);
    for (int32_t left = size; left > 0; left -= 8, values += 8) {
        const mve_pred16_t lanes = vctp16q((uint32_t)left);
        const int16x8_t limited = vminq_s16(vmaxq_s16(vldrhq_z_s16(values, lanes), lows), highs);
        vstrhq_p_s16(values, limited, lanes);
    }
}

#endif
