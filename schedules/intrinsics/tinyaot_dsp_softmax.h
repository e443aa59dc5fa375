/* Softmax as TensorFlow Lite computes it on int8, with what does not change taken out of the loop. */
#ifndef TINYAOT_DSP_SOFTMAX_H
#define TINYAOT_DSP_SOFTMAX_H

#include "tinyaot_dsp.h"
#include "tinyaot_fixed_point.h"

/* Softmax of `depth` values, less than 4096, scale 1/256 and zero point -128. Entry d of the table is
 * the exponential of -d in Q0.31; beyond `entries` it is 0. y may be x. */
TINYAOT_DSP_FUNCTION void tinyaot_dsp_softmax(const int8_t *x, int8_t *y, const int32_t *table,
    int32_t depth, int32_t entries)
{
    int32_t largest = x[0];
    for (int32_t i = 1; i < depth; ++i) {
        largest = x[i] > largest ? x[i] : largest;
    }
    int32_t sum = 0; /* Q12.19 */
    for (int32_t i = 0; i < depth; ++i) {
        const int32_t d = largest - x[i];
        if (d < entries) {
            sum += ((table[d] >> 11) + 1) >> 1;
        }
    }
    const int32_t headroom = __builtin_clz((uint32_t)sum);
    const int32_t reciprocal = tinyaot_reciprocal_of_one_plus(
        (int32_t)(((uint32_t)sum << headroom) - ((uint32_t)1 << 31)));
    /* A right shift of more than 32 bits gives what 32 do: 0. */
    const int32_t shift = headroom < 3 ? 31 : 34 - headroom;
    for (int32_t i = 0; i < depth; ++i) {
        const int32_t d = largest - x[i];
        int32_t result = 0;
        if (d < entries) {
            result = ((tinyaot_high_mul(reciprocal, table[d]) >> shift) + 1) >> 1;
        }
        y[i] = (int8_t)(result > 255 ? 127 : result - 128);
    }
}

#endif
