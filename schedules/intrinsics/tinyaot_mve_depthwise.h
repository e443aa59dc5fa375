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
    register int32_t count __asm("r0") = channels; \
    __asm volatile("dls lr, r0\n\t" \
                   "sub r0, %[taps], #8 * (" #N " - 1)\n\t" \
                   "vctp.16 r0\n" \
                   "1:\n\t" LOAD TINYAOT_MVE_TAPS_WEIGHTS_##N \
                   "add %[w], %[taps]\n\t" PIXEL0 \
                   "add %[x0], #1\n\t" PIXEL1 \
                   "add %[x1], #1\n\t" PIXEL2 \
                   "add %[x2], #1\n\t" PIXEL3 \
                   "add %[x3], #1\n\t" \
                   "stmia %[acc]!, {r0, r2, r4, r6}\n\t" \
                   "le lr, 1b" \
                   : [acc] "+r"(acc), [w] "+l"(w), [x0] "+r"(x0), [x1] "+r"(x1), [x2] "+r"(x2), \
                     [x3] "+r"(x3), "+r"(count), [w0] "=&w"(w0), [w1] "=&w"(w1), [w2] "=&w"(w2), \
                     [a] "=&w"(a) \
                   : [taps] "r"(taps), [o0] "w"(o0), [o1] "w"(o1), [o2] "w"(o2) \
                   : "r2", "r4", "r6", "lr", "cc", "memory")
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

/* 3x3 windows. Four input rows of a block of channels are staged so that the four bytes of a channel
 * in a column are a word: stage[column][channel][4 rows]. One gather of words then brings a patch of
 * four columns and rows into sixteen lanes, and one VMLADAV with the nine weights, moved to an
 * output's place in the patch, makes an output: stride 1 has 2x2 of them in a patch, stride 2 one.
 *
 * Outputs come in quads: for stride 1 two columns of two rows, for stride 2 four columns. Their sums
 * lie as acc[row of quads][quad][4 channels][4 outputs]. */

/* Stages the rows from `row` on, three or four; rows outside the image hold the zero point. A turn
 * reads 16 bytes of a row, `step` bytes apart, and writes 64: x and step are multiples of 4. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_stage(int8_t *stage, const int8_t *x, int32_t row,
    int32_t rows, int32_t height, int32_t pitch, int32_t step, int32_t turns, int32_t zero_point)
{
    const int8x16_t padding = vdupq_n_s8((int8_t)zero_point);
    int8_t outside[16];
    const int8_t *from[4];
    int32_t steps[4];
    vstrbq_s8(outside, padding);
    for (int32_t i = 0; i < 4; ++i) {
        const int32_t at = row + (i < rows ? i : rows - 1);
        const int inside = at >= 0 && at < height;
        from[i] = inside ? x + at * pitch : outside;
        steps[i] = inside ? step : 0;
    }
    __asm volatile("dls lr, %[turns]\n"
                   "1:\n\t"
                   "vldrw.u32 q0, [%[a]]\n\t"
                   "vldrw.u32 q1, [%[b]]\n\t"
                   "vldrw.u32 q2, [%[c]]\n\t"
                   "vldrw.u32 q3, [%[d]]\n\t"
                   "add %[a], %[e]\n\t"
                   "add %[b], %[f]\n\t"
                   "add %[c], %[g]\n\t"
                   "add %[d], %[h]\n\t"
                   "vst40.8 {q0, q1, q2, q3}, [%[to]]\n\t"
                   "vst41.8 {q0, q1, q2, q3}, [%[to]]\n\t"
                   "vst42.8 {q0, q1, q2, q3}, [%[to]]\n\t"
                   "vst43.8 {q0, q1, q2, q3}, [%[to]]!\n\t"
                   "le lr, 1b"
                   : [a] "+r"(from[0]), [b] "+r"(from[1]), [c] "+r"(from[2]), [d] "+r"(from[3]),
                     [to] "+r"(stage)
                   : [turns] "r"(turns), [e] "r"(steps[0]), [f] "r"(steps[1]), [g] "r"(steps[2]),
                     [h] "r"(steps[3])
                   : "q0", "q1", "q2", "q3", "lr", "cc", "memory");
}

/* The sums of four channels, whose words begin at `stage`. weights: [channel][3 columns][3 rows].
 * The function's name ends with the stride, the channels of the staged block (a column has four
 * times as many bytes) and the quads of a turn; `turns` of these make a row of quads, and
 * `row_bytes` of the stage hold one. */
#define TINYAOT_MVE_PATCH(bytes) "vldrw.u32 %q[x], [%q[patch], #" bytes "]!\n\t"
#define TINYAOT_MVE_QUAD_1(bytes) \
    TINYAOT_MVE_PATCH(bytes) \
    "vmladav.s8 r0, %q[w0], %q[x]\n\t" \
    "vmladav.s8 r2, %q[w1], %q[x]\n\t" \
    "vmladav.s8 r4, %q[w2], %q[x]\n\t" \
    "vmladav.s8 r6, %q[w3], %q[x]\n\t" \
    "stmia %[sums], {r0, r2, r4, r6}\n\t" \
    "add %[sums], #64\n\t"
#define TINYAOT_MVE_QUAD_2(bytes) \
    TINYAOT_MVE_PATCH(bytes) \
    "vmladav.s8 r0, %q[w0], %q[x]\n\t" \
    TINYAOT_MVE_PATCH(bytes) \
    "vmladav.s8 r2, %q[w0], %q[x]\n\t" \
    TINYAOT_MVE_PATCH(bytes) \
    "vmladav.s8 r4, %q[w0], %q[x]\n\t" \
    TINYAOT_MVE_PATCH(bytes) \
    "vmladav.s8 r6, %q[w0], %q[x]\n\t" \
    "stmia %[sums], {r0, r2, r4, r6}\n\t" \
    "add %[sums], #64\n\t"
#define TINYAOT_MVE_WINDOWS(BYTES, PATCHES, QUADS) \
    /* The nine weights as a patch; the lanes between them are not loaded and 0. */ \
    const mve_pred16_t used = 0x0777; \
    const uint8_t lanes[16] = {0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8}; \
    const uint8x16_t places = vldrbq_u8(lanes); \
    const int8_t *w = weights; \
    const uint32_t skip = (uint32_t)(row_bytes - turns * (PATCHES) * 2 * (BYTES)); \
    for (int32_t c = 0; c < 4; ++c, stage += 4, w += 9, acc += 4) { \
        const int8x16_t w0 = vldrbq_gather_offset_z_s8(w, places, used); \
        uint32_t none = 0; \
        const int32x4_t w1 = vshlcq_s32(vreinterpretq_s32_s8(w0), &none, 32); \
        const int32x4_t w2 = vshlq_n_s32(vreinterpretq_s32_s8(w0), 8), w3 = vshlq_n_s32(w1, 8); \
        uint32x4_t patch = vaddq_n_u32(vmulq_n_u32(vidupq_n_u32(0, 1), (BYTES)), \
            (uint32_t)(uintptr_t)stage - 2 * (BYTES)); \
        int32_t *sums = acc; \
        int8x16_t x; \
        for (int32_t r = 0; r < rows; ++r) { \
            __asm volatile("dls lr, %[turns]\n" \
                           "1:\n\t" QUADS "le lr, 1b" \
                           : [sums] "+r"(sums), [patch] "+w"(patch), [x] "=&w"(x) \
                           : [turns] "r"(turns), [w0] "w"(w0), [w1] "w"(w1), [w2] "w"(w2), \
                             [w3] "w"(w3) \
                           : "r0", "r2", "r4", "r6", "lr", "cc", "memory"); \
            patch = vaddq_n_u32(patch, skip); \
        } \
    }
#define TINYAOT_MVE_WINDOWS_PARAMETERS \
    int32_t *acc, const int8_t *stage, const void *weights, int32_t rows, int32_t turns, \
        int32_t row_bytes
#define TINYAOT_MVE_1_16 TINYAOT_MVE_QUAD_1("128")
#define TINYAOT_MVE_1_8 TINYAOT_MVE_QUAD_1("64")
#define TINYAOT_MVE_2_16 TINYAOT_MVE_QUAD_2("128")
#define TINYAOT_MVE_2_8 TINYAOT_MVE_QUAD_2("64")

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_16_1(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 1, TINYAOT_MVE_1_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_16_2(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 2, TINYAOT_MVE_1_16 TINYAOT_MVE_1_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_16_3(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 3, TINYAOT_MVE_1_16 TINYAOT_MVE_1_16 TINYAOT_MVE_1_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_16_4(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 4, TINYAOT_MVE_1_16 TINYAOT_MVE_1_16 TINYAOT_MVE_1_16 TINYAOT_MVE_1_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_8_1(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 1, TINYAOT_MVE_1_8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_8_2(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 2, TINYAOT_MVE_1_8 TINYAOT_MVE_1_8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_8_3(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 3, TINYAOT_MVE_1_8 TINYAOT_MVE_1_8 TINYAOT_MVE_1_8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_1_8_4(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 4, TINYAOT_MVE_1_8 TINYAOT_MVE_1_8 TINYAOT_MVE_1_8 TINYAOT_MVE_1_8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_16_1(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 4, TINYAOT_MVE_2_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_16_2(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 8, TINYAOT_MVE_2_16 TINYAOT_MVE_2_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_16_3(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 12, TINYAOT_MVE_2_16 TINYAOT_MVE_2_16 TINYAOT_MVE_2_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_16_4(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(64, 16, TINYAOT_MVE_2_16 TINYAOT_MVE_2_16 TINYAOT_MVE_2_16 TINYAOT_MVE_2_16);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_8_1(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 4, TINYAOT_MVE_2_8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_8_2(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 8, TINYAOT_MVE_2_8 TINYAOT_MVE_2_8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_8_3(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 12, TINYAOT_MVE_2_8 TINYAOT_MVE_2_8 TINYAOT_MVE_2_8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_windows_2_8_4(TINYAOT_MVE_WINDOWS_PARAMETERS)
{
    TINYAOT_MVE_WINDOWS(32, 16, TINYAOT_MVE_2_8 TINYAOT_MVE_2_8 TINYAOT_MVE_2_8 TINYAOT_MVE_2_8);
}

/* Requantizes quads as requantize4 does, to places that are no row of pixels: lane j of a quad goes to
 * `to` + (j & 1) * across + (j >> 1) * down, the next quad `step` bytes on, the next row of them
 * `row_step` bytes. A row has `quads` whole quads, and one more of which only the lanes of `mask` are
 * stored if that is not 0. head: {1 << position, zero point << n, low, high}; k: the constants of the
 * four channels. */
#define TINYAOT_MVE_FOUR_AGAIN(shift) TINYAOT_MVE_FOUR(shift) "sub %[k], #32\n\t"
#define TINYAOT_MVE_FOUR_SIGNED_AGAIN(shift) TINYAOT_MVE_FOUR_SIGNED(shift) "sub %[k], #48\n\t"
#define TINYAOT_MVE_QUADS(FOUR, CLAMP, INPUTS, SCRATCH) \
    const int32x4_t unit = vdupq_n_s32(head[0]); \
    const int32_t zero = head[1]; \
    const int8x16_t low = vdupq_n_s8((int8_t)head[2]), high = vdupq_n_s8((int8_t)head[3]); \
    const uint32x4_t lane = vidupq_n_u32(0, 1); \
    const uint32x4_t columns = vmulq_n_u32(vandq_u32(lane, vdupq_n_u32(1)), (uint32_t)across); \
    const uint32x4_t pixels = \
        vaddq_u32(columns, vmulq_n_u32(vshrq_n_u32(lane, 1), (uint32_t)down)); \
    uint32x4_t place = vaddq_n_u32(pixels, (uint32_t)(uintptr_t)to); \
    const int32_t geometry[4] = {quads, mask, row_step - quads * step, step}; \
    const int32_t *const g = geometry; \
    int32x4_t t, u, y, z; \
    (void)zero, (void)low, (void)high; \
    if (rows <= 0) { \
        return; \
    } \
    __asm volatile("1:\n\t" \
                   "ldr r0, [%[g]]\n\t" \
                   "wls lr, r0, 3f\n" \
                   "2:\n\t" FOUR TINYAOT_MVE_TO_BYTES CLAMP \
                   "vstrw.32 %q[y], [%q[place]]\n\t" \
                   "ldr r0, [%[g], #12]\n\t" \
                   "vadd.i32 %q[place], %q[place], r0\n\t" \
                   "le lr, 2b\n" \
                   "3:\n\t" \
                   "ldr r0, [%[g], #4]\n\t" \
                   "cmp r0, #0\n\t" \
                   "beq 4f\n\t" FOUR TINYAOT_MVE_TO_BYTES CLAMP \
                   "ldr r0, [%[g], #4]\n\t" \
                   "vmsr p0, r0\n\t" \
                   "vpst\n\t" \
                   "vstrwt.32 %q[y], [%q[place]]\n" \
                   "4:\n\t" \
                   "ldr r0, [%[g], #8]\n\t" \
                   "vadd.i32 %q[place], %q[place], r0\n\t" \
                   "subs %[rows], #1\n\t" \
                   "bne 1b" \
                   : [acc] "+r"(acc), [k] "+r"(k), [rows] "+r"(rows), [place] "+w"(place), \
                     [t] "=&w"(t), [u] "=&w"(u), [y] "=&w"(y), [z] "=&w"(z) \
                   : [g] "r"(g), [unit] "w"(unit) INPUTS \
                   : SCRATCH)
#define TINYAOT_MVE_QUADS_PLAIN(shift) \
    TINYAOT_MVE_QUADS(TINYAOT_MVE_FOUR_AGAIN(#shift), "", , TINYAOT_MVE_SCRATCH_8)
#define TINYAOT_MVE_QUADS_CLAMPED(shift) \
    TINYAOT_MVE_QUADS(TINYAOT_MVE_FOUR_AGAIN(#shift), TINYAOT_MVE_CLAMP, TINYAOT_MVE_BOUNDS, \
        TINYAOT_MVE_SCRATCH_8)
#define TINYAOT_MVE_QUADS_SIGNED(shift) \
    TINYAOT_MVE_QUADS(TINYAOT_MVE_FOUR_SIGNED_AGAIN(#shift), "", TINYAOT_MVE_ZERO, \
        TINYAOT_MVE_SCRATCH_6)
#define TINYAOT_MVE_QUADS_SIGNED_CLAMPED(shift) \
    TINYAOT_MVE_QUADS(TINYAOT_MVE_FOUR_SIGNED_AGAIN(#shift), TINYAOT_MVE_CLAMP, \
        TINYAOT_MVE_ZERO TINYAOT_MVE_BOUNDS, TINYAOT_MVE_SCRATCH_6)
#define TINYAOT_MVE_QUADS_PARAMETERS \
    const int32_t *acc, const int32_t *head, const int32_t *k, int8_t *to, int32_t across, \
        int32_t down, int32_t step, int32_t quads, int32_t mask, int32_t rows, int32_t row_step

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_4(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_PLAIN(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_6(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_PLAIN(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_8(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_PLAIN(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_9(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_PLAIN(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_10(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_PLAIN(10);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_clamped_4(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_CLAMPED(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_clamped_6(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_CLAMPED(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_clamped_8(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_CLAMPED(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_clamped_9(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_CLAMPED(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_clamped_10(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_CLAMPED(10);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_4(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_6(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_8(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_9(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_10(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED(10);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_clamped_4(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED_CLAMPED(4);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_clamped_6(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED_CLAMPED(6);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_clamped_8(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED_CLAMPED(8);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_clamped_9(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED_CLAMPED(9);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_quads_signed_clamped_10(TINYAOT_MVE_QUADS_PARAMETERS)
{
    TINYAOT_MVE_QUADS_SIGNED_CLAMPED(10);
}

#endif
