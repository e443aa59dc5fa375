/* What layers on int16 share on all cores that have kernels for them: from sums to outputs. */
#ifndef TINYAOT_WIDE_LAYER_H
#define TINYAOT_WIDE_LAYER_H

#include "tinyaot_wide.h"

#if defined(__clang__)
#define TINYAOT_WIDE_FUNCTION __attribute__((noinline, unused)) static
#else
#define TINYAOT_WIDE_FUNCTION __attribute__((noipa, unused)) static
#endif

/* Outputs of `pixels` pixels, `channels` apart, of sums that need not fit 32 bits together: segment
 * s of channel c and pixel p lies at sums[s * segment + c * lanes + p]. k: for each channel the
 * bias in 64 bits, the multiplier and the shift. */
TINYAOT_WIDE_FUNCTION void tinyaot_wide_finish_reduced(const int32_t *sums, const int32_t *k,
    void *y, int32_t pixels, int32_t lanes, int32_t channels, int32_t segments, int32_t segment,
    int32_t low, int32_t high)
{
    int16_t *const outputs = y;
    for (int32_t c = 0; c < channels; ++c, k += 4) {
        for (int32_t p = 0; p < pixels; ++p) {
            int64_t total = (int64_t)(((uint64_t)(uint32_t)k[1] << 32) | (uint32_t)k[0]);
            for (int32_t s = 0; s < segments; ++s) {
                total += sums[s * segment + c * lanes + p];
            }
            const int32_t scaled = tinyaot_requantize_wide(total, k[2], k[3]);
            outputs[p * channels + c] = (int16_t)tinyaot_clamp(scaled, low, high);
        }
    }
}

/* The same for an int32 bias, which makes TFLite sum in 32 bits and round twice. */
TINYAOT_WIDE_FUNCTION void tinyaot_wide_finish_double(const int32_t *sums, const int32_t *k,
    void *y, int32_t pixels, int32_t lanes, int32_t channels, int32_t segments, int32_t segment,
    int32_t low, int32_t high)
{
    int16_t *const outputs = y;
    for (int32_t c = 0; c < channels; ++c, k += 4) {
        for (int32_t p = 0; p < pixels; ++p) {
            uint32_t total = (uint32_t)k[0];
            for (int32_t s = 0; s < segments; ++s) {
                total += (uint32_t)sums[s * segment + c * lanes + p];
            }
            const int32_t scaled = tinyaot_requantize((int32_t)total, k[2], k[3]);
            outputs[p * channels + c] = (int16_t)tinyaot_clamp(scaled, low, high);
        }
    }
}

#endif
