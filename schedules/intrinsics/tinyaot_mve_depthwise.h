/* Depthwise convolution on Helium. */
#ifndef TINYAOT_MVE_DEPTHWISE_H
#define TINYAOT_MVE_DEPTHWISE_H

#include "tinyaot_mve.h"

/* Any window: acc[channel][4 pixels] gets, or grows by, the products of up to 8 * N taps.
 *
 * The taps of channel 0 of pixel j lie at xj + offsets[tap], those of the next channel one byte on.
 * weights: [channel][taps]; up to 8 * N - taps bytes are read behind them. offsets: 8 * N entries.
 * A vector of eight taps costs a gather and a VMLADAV for each pixel. */
#define TINYAOT_MVE_TAPS_WEIGHTS_1 \
    "vpst\n\t" \
    "vldrbt.s16 %q[w0], [%[w]]\n\t"
#define TINYAOT_MVE_TAPS_WEIGHTS_2 \
    "vldrb.s16 %q[w0], [%[w]]\n\t" \
    "vpst\n\t" \
    "vldrbt.s16 %q[w1], [%[w], #8]\n\t"
#define TINYAOT_MVE_TAPS_WEIGHTS_3 \
    "vldrb.s16 %q[w0], [%[w]]\n\t" \
    "vldrb.s16 %q[w1], [%[w], #8]\n\t" \
    "vpst\n\t" \
    "vldrbt.s16 %q[w2], [%[w], #16]\n\t"
#define TINYAOT_MVE_TAPS_1(first, r, x) \
    "vldrb.s16 %q[a], [%[" x "], %q[o0]]\n\t" \
    first " " r ", %q[w0], %q[a]\n\t"
#define TINYAOT_MVE_TAPS_2(first, r, x) \
    TINYAOT_MVE_TAPS_1(first, r, x) \
    "vldrb.s16 %q[a], [%[" x "], %q[o1]]\n\t" \
    "vmladava.s16 " r ", %q[w1], %q[a]\n\t"
#define TINYAOT_MVE_TAPS_3(first, r, x) \
    TINYAOT_MVE_TAPS_2(first, r, x) \
    "vldrb.s16 %q[a], [%[" x "], %q[o2]]\n\t" \
    "vmladava.s16 " r ", %q[w2], %q[a]\n\t"
#define TINYAOT_MVE_TAPS(N, LOAD, PIXEL0, PIXEL1, PIXEL2, PIXEL3) \
    const uint16_t *table = offsets; \
    const int8_t *w = weights; \
    const uint16x8_t o0 = vldrhq_u16(table), o1 = vldrhq_u16(table + (N > 1 ? 8 : 0)), \
                     o2 = vldrhq_u16(table + (N > 2 ? 16 : 0)); \
    int16x8_t w0, w1, w2, a; \
    __asm volatile("sub r0, %[taps], #8 * (" #N " - 1)\n\t" \
                   "vctp.16 r0\n\t" \
                   "dls lr, %[channels]\n" \
                   "1:\n\t" LOAD TINYAOT_MVE_TAPS_WEIGHTS_##N \
                   "add %[w], %[taps]\n\t" PIXEL0 \
                   "add %[x0], #1\n\t" PIXEL1 \
                   "add %[x1], #1\n\t" PIXEL2 \
                   "add %[x2], #1\n\t" PIXEL3 \
                   "add %[x3], #1\n\t" \
                   "stmia %[acc]!, {r0, r2, r4, r6}\n\t" \
                   "le lr, 1b" \
                   : [acc] "+r"(acc), [w] "+l"(w), [x0] "+r"(x0), [x1] "+r"(x1), [x2] "+r"(x2), \
                     [x3] "+r"(x3), [w0] "=&w"(w0), [w1] "=&w"(w1), [w2] "=&w"(w2), [a] "=&w"(a) \
                   : [taps] "r"(taps), [channels] "r"(channels), [o0] "w"(o0), [o1] "w"(o1), \
                     [o2] "w"(o2) \
                   : "r0", "r2", "r4", "r6", "lr", "cc", "memory")
#define TINYAOT_MVE_TAPS_N1(LOAD, first) \
    TINYAOT_MVE_TAPS(1, LOAD, TINYAOT_MVE_TAPS_1(first, "r0", "x0"), \
        TINYAOT_MVE_TAPS_1(first, "r2", "x1"), TINYAOT_MVE_TAPS_1(first, "r4", "x2"), \
        TINYAOT_MVE_TAPS_1(first, "r6", "x3"))
#define TINYAOT_MVE_TAPS_N2(LOAD, first) \
    TINYAOT_MVE_TAPS(2, LOAD, TINYAOT_MVE_TAPS_2(first, "r0", "x0"), \
        TINYAOT_MVE_TAPS_2(first, "r2", "x1"), TINYAOT_MVE_TAPS_2(first, "r4", "x2"), \
        TINYAOT_MVE_TAPS_2(first, "r6", "x3"))
#define TINYAOT_MVE_TAPS_N3(LOAD, first) \
    TINYAOT_MVE_TAPS(3, LOAD, TINYAOT_MVE_TAPS_3(first, "r0", "x0"), \
        TINYAOT_MVE_TAPS_3(first, "r2", "x1"), TINYAOT_MVE_TAPS_3(first, "r4", "x2"), \
        TINYAOT_MVE_TAPS_3(first, "r6", "x3"))
#define TINYAOT_MVE_TAPS_LOAD "ldmia %[acc], {r0, r2, r4, r6}\n\t"
#define TINYAOT_MVE_TAPS_PARAMETERS \
    int32_t *acc, const void *weights, const int8_t *x0, const int8_t *x1, const int8_t *x2, \
        const int8_t *x3, const void *offsets, int32_t taps, int32_t channels

TINYAOT_MVE_FUNCTION void tinyaot_mve_taps_1(TINYAOT_MVE_TAPS_PARAMETERS)
{
    TINYAOT_MVE_TAPS_N1("", "vmladav.s16");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_taps_2(TINYAOT_MVE_TAPS_PARAMETERS)
{
    TINYAOT_MVE_TAPS_N2("", "vmladav.s16");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_taps_3(TINYAOT_MVE_TAPS_PARAMETERS)
{
    TINYAOT_MVE_TAPS_N3("", "vmladav.s16");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_taps_add_1(TINYAOT_MVE_TAPS_PARAMETERS)
{
    TINYAOT_MVE_TAPS_N1(TINYAOT_MVE_TAPS_LOAD, "vmladava.s16");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_taps_add_2(TINYAOT_MVE_TAPS_PARAMETERS)
{
    TINYAOT_MVE_TAPS_N2(TINYAOT_MVE_TAPS_LOAD, "vmladava.s16");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_taps_add_3(TINYAOT_MVE_TAPS_PARAMETERS)
{
    TINYAOT_MVE_TAPS_N3(TINYAOT_MVE_TAPS_LOAD, "vmladava.s16");
}

#endif
