/* Depthwise convolution of int16 by int8 on Helium: eight channels of two pixels at a time. */
#ifndef TINYAOT_MVE_WIDE_DEPTHWISE_H
#define TINYAOT_MVE_WIDE_DEPTHWISE_H

#include "tinyaot_mve.h"

/* Outputs of the even lanes' and the odd lanes' sums; k: biases and halves of multipliers of the
 * even channels, then of the odd ones. */
TINYAOT_MVE_INLINE int16x8_t tinyaot_mve_wide_depthwise_output(
    int32x4_t even, int32x4_t odd, const int32_t *k)
{
    even = vqrdmulhq_s32(vaddq_s32(even, vldrwq_s32(k)), vldrwq_s32(k + 4));
    odd = vqrdmulhq_s32(vaddq_s32(odd, vldrwq_s32(k + 8)), vldrwq_s32(k + 12));
    return vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(even), even), odd);
}

#define TINYAOT_MVE_WIDE_AT(place) (const int16_t *)(const void *)(place)

/* Adds the products of a tap to the sums of two pixels. */
#define TINYAOT_MVE_WIDE_DEPTHWISE_TAP(FIRST, SECOND) \
    const int16x8_t weight = vldrbq_s16(w), a = FIRST, b = SECOND; \
    even0 = vaddq_s32(even0, vmullbq_int_s16(a, weight)); \
    odd0 = vaddq_s32(odd0, vmulltq_int_s16(a, weight)); \
    even1 = vaddq_s32(even1, vmullbq_int_s16(b, weight)); \
    odd1 = vaddq_s32(odd1, vmulltq_int_s16(b, weight))

/* `pixels` outputs of `channels` channels, `x_stride` bytes apart in x and `y_stride` in y.
 *
 * stream: for each eight channels, or what is left of them, the weights of every tap, filled up to
 * a word, and 16 words as above. offsets: where the taps are in bytes from x. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_wide_depthwise(const void *x, void *y, const int32_t *stream,
    const int32_t *offsets, int32_t taps, int32_t pixels, int32_t x_stride, int32_t y_stride,
    int32_t channels)
{
    const int8_t *from = x, *k = (const int8_t *)stream;
    int8_t *to = y;
    for (; channels > 0; channels -= 8, from += 16, to += 16) {
        const int32_t count = channels < 8 ? channels : 8;
        const mve_pred16_t lanes = vctp16q((uint32_t)count);
        const int8_t *const constants = k + ((taps * count + 3) & ~3);
        for (int32_t p = 0; p < pixels; p += 2) {
            const int32_t both = p + 1 < pixels;
            const int8_t *const first = from + p * x_stride, *w = k;
            int32x4_t even0 = vdupq_n_s32(0), odd0 = even0, even1 = even0, odd1 = even0;
            if (!both) {
                for (int32_t t = 0; t < taps; ++t, w += count) {
                    const int16x8_t weight = vldrbq_s16(w);
                    const int16x8_t a = vldrhq_z_s16(TINYAOT_MVE_WIDE_AT(first + offsets[t]), lanes);
                    even0 = vaddq_s32(even0, vmullbq_int_s16(a, weight));
                    odd0 = vaddq_s32(odd0, vmulltq_int_s16(a, weight));
                }
            } else if (count == 8) {
                for (int32_t t = 0; t < taps; ++t, w += 8) {
                    const int8_t *const at = first + offsets[t];
                    TINYAOT_MVE_WIDE_DEPTHWISE_TAP(
                        vldrhq_s16(TINYAOT_MVE_WIDE_AT(at)),
                        vldrhq_s16(TINYAOT_MVE_WIDE_AT(at + x_stride)));
                }
            } else {
                for (int32_t t = 0; t < taps; ++t, w += count) {
                    const int8_t *const at = first + offsets[t];
                    TINYAOT_MVE_WIDE_DEPTHWISE_TAP(
                        vldrhq_z_s16(TINYAOT_MVE_WIDE_AT(at), lanes),
                        vldrhq_z_s16(TINYAOT_MVE_WIDE_AT(at + x_stride), lanes));
                }
            }
            int8_t *const place = to + p * y_stride;
            const int32_t *const scaling = (const int32_t *)(const void *)constants;
            if (both) {
                vstrhq_p_s16((int16_t *)(void *)(place + y_stride),
                    tinyaot_mve_wide_depthwise_output(even1, odd1, scaling), lanes);
            }
            vstrhq_p_s16((int16_t *)(void *)place,
                tinyaot_mve_wide_depthwise_output(even0, odd0, scaling), lanes);
        }
        k = constants + 64;
    }
}

#endif
