/* Convolution on Helium: four pixels by all channels, one VMLADAV for 16 products.
 *
 * All functions add to (or, for the first products, set) acc[channel][4 pixels]. `pairs` is the
 * number of output channels / 2 and even. A turn handles two pairs of channels: the activations of
 * the four pixels stay in vector registers, the weights stream through, and the eight sums of a
 * pair come and go with one LDM and one STM. */
#ifndef TINYAOT_MVE_CONVOLUTION_H
#define TINYAOT_MVE_CONVOLUTION_H

#include "tinyaot_mve.h"

#define TINYAOT_MVE_SUMS "{r0, r2, r4, r6, r8, r10, r12, lr}"
#define TINYAOT_MVE_LOAD_SUMS "ldmia %[acc], " TINYAOT_MVE_SUMS "\n\t"
#define TINYAOT_MVE_STORE_SUMS "stmia %[acc]!, " TINYAOT_MVE_SUMS "\n\t"
/* The sums of the first channel of a pair, then those of the second. */
#define TINYAOT_MVE_MAC_0(op, w, a, b, c, d) \
    op " r0, %q[" w "], %q[" a "]\n\t" \
    op " r2, %q[" w "], %q[" b "]\n\t" \
    op " r4, %q[" w "], %q[" c "]\n\t" \
    op " r6, %q[" w "], %q[" d "]\n\t"
#define TINYAOT_MVE_MAC_1(op, w, a, b, c, d) \
    op " r8, %q[" w "], %q[" a "]\n\t" \
    op " r10, %q[" w "], %q[" b "]\n\t" \
    op " r12, %q[" w "], %q[" c "]\n\t" \
    op " lr, %q[" w "], %q[" d "]\n\t"
#define TINYAOT_MVE_WEIGHT(q, step) "vldrb.u8 %q[" q "], [%[w]], #" step "\n\t"

/* Runs PAIR for all pairs, two a turn. */
#define TINYAOT_MVE_PAIRS(PAIR, ...) \
    __asm volatile("1:\n\t" PAIR TINYAOT_MVE_STORE_SUMS PAIR TINYAOT_MVE_STORE_SUMS \
                   "subs %[n], #2\n\t" \
                   "bne 1b" \
                   : [acc] "+r"(sums), [w] "+r"(w), [n] "+r"(n), [u] "=&w"(u), [v] "=&w"(v) \
                   : __VA_ARGS__ \
                   : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "cc", "memory")

/* One tap: pixel j reads a_j. */
#define TINYAOT_MVE_TAP1(LOAD, op, step) \
    TINYAOT_MVE_WEIGHT("u", step) \
    TINYAOT_MVE_WEIGHT("v", step) \
    LOAD \
    TINYAOT_MVE_MAC_0(op, "u", "a0", "a1", "a2", "a3") \
    TINYAOT_MVE_MAC_1(op, "v", "a0", "a1", "a2", "a3")
#define TINYAOT_MVE_IN4 [a0] "w"(a0), [a1] "w"(a1), [a2] "w"(a2), [a3] "w"(a3)

/* Dot products of four vectors with the weights of every channel.
 *
 * weights: [chunk][channel][16] for `chunks` whole chunks of 16, then [channel][TAIL]; the function's
 * name ends with TAIL. The vectors begin at x0 to x3 and are 16 * chunks + TAIL bytes long; nothing
 * behind them is read. Behind the weights up to 16 - TAIL bytes are read: the array goes on with
 * other constants. */
#define TINYAOT_MVE_MATMUL_BODY(TAIL, LOAD, LOAD_TAIL) \
    const int8_t *w = weights; \
    int8x16_t u, v; \
    for (int32_t i = 0; i < chunks; ++i) { \
        int32_t *sums = acc; \
        int32_t n = pairs; \
        LOAD; \
        if (i == 0) { \
            TINYAOT_MVE_PAIRS(TINYAOT_MVE_TAP1("", "vmladav.s8", "16"), TINYAOT_MVE_IN4); \
        } else { \
            TINYAOT_MVE_PAIRS( \
                TINYAOT_MVE_TAP1(TINYAOT_MVE_LOAD_SUMS, "vmladava.s8", "16"), TINYAOT_MVE_IN4); \
        } \
    } \
    if (TAIL != 0) { \
        const mve_pred16_t lanes = vctp8q(TAIL); \
        int32_t *sums = acc; \
        int32_t n = pairs; \
        LOAD_TAIL; \
        if (chunks == 0) { \
            TINYAOT_MVE_PAIRS(TINYAOT_MVE_TAP1("", "vmladav.s8", #TAIL), TINYAOT_MVE_IN4); \
        } else { \
            TINYAOT_MVE_PAIRS( \
                TINYAOT_MVE_TAP1(TINYAOT_MVE_LOAD_SUMS, "vmladava.s8", #TAIL), TINYAOT_MVE_IN4); \
        } \
    }

#define TINYAOT_MVE_MATMUL_PARAMETERS \
    int32_t *acc, const void *weights, const int8_t *x0, const int8_t *x1, const int8_t *x2, \
        const int8_t *x3
#define TINYAOT_MVE_LOAD_ROWS \
    const int8x16_t a0 = vldrbq_s8(x0 + 16 * i), a1 = vldrbq_s8(x1 + 16 * i), \
                    a2 = vldrbq_s8(x2 + 16 * i), a3 = vldrbq_s8(x3 + 16 * i)
#define TINYAOT_MVE_LOAD_ROWS_TAIL \
    const int8x16_t a0 = vldrbq_z_s8(x0 + 16 * chunks, lanes), \
                    a1 = vldrbq_z_s8(x1 + 16 * chunks, lanes), \
                    a2 = vldrbq_z_s8(x2 + 16 * chunks, lanes), \
                    a3 = vldrbq_z_s8(x3 + 16 * chunks, lanes)
#define TINYAOT_MVE_MATMUL(TAIL) \
    TINYAOT_MVE_MATMUL_BODY(TAIL, TINYAOT_MVE_LOAD_ROWS, TINYAOT_MVE_LOAD_ROWS_TAIL)

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_0(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(0)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_1(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(1)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_2(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(2)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_3(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(3)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_4(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(4)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_5(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(5)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_6(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(6)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_7(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(7)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_8(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(8)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_9(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(9)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_10(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(10)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_11(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(11)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_12(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(12)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_13(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(13)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_14(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(14)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_15(
    TINYAOT_MVE_MATMUL_PARAMETERS, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL(15)
}

/* As matmul, with element k of a vector at x + offsets[k]; `offsets` is padded to 16 entries. */
#define TINYAOT_MVE_GATHER_ROWS \
    const uint8x16_t at = vldrbq_u8((const uint8_t *)offsets + 16 * i); \
    const int8x16_t a0 = vldrbq_gather_offset_s8(x0, at), a1 = vldrbq_gather_offset_s8(x1, at), \
                    a2 = vldrbq_gather_offset_s8(x2, at), a3 = vldrbq_gather_offset_s8(x3, at)
#define TINYAOT_MVE_GATHER_ROWS_TAIL \
    const uint8x16_t at = vldrbq_u8((const uint8_t *)offsets + 16 * chunks); \
    const int8x16_t a0 = vldrbq_gather_offset_z_s8(x0, at, lanes), \
                    a1 = vldrbq_gather_offset_z_s8(x1, at, lanes), \
                    a2 = vldrbq_gather_offset_z_s8(x2, at, lanes), \
                    a3 = vldrbq_gather_offset_z_s8(x3, at, lanes)
#define TINYAOT_MVE_MATMUL_GATHER(TAIL) \
    TINYAOT_MVE_MATMUL_BODY(TAIL, TINYAOT_MVE_GATHER_ROWS, TINYAOT_MVE_GATHER_ROWS_TAIL)

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_0(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(0)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_1(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(1)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_2(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(2)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_3(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(3)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_4(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(4)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_5(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(5)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_6(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(6)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_7(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(7)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_8(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(8)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_9(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(9)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_10(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(10)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_11(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(11)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_12(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(12)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_13(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(13)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_14(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(14)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_matmul_gather_15(
    TINYAOT_MVE_MATMUL_PARAMETERS, const void *offsets, int32_t chunks, int32_t pairs)
{
    TINYAOT_MVE_MATMUL_GATHER(15)
}

#endif
