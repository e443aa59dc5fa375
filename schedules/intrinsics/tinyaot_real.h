/* Roots and logarithms of sums, precise to 30 bits. Right shifts of negative values are
 * arithmetic, as every supported compiler implements them. */
#ifndef TINYAOT_REAL_H
#define TINYAOT_REAL_H

#include <stdint.h>

static inline int32_t tinyaot_clamp_wide(int64_t x, int32_t low, int32_t high)
{
    if (x < low) {
        return low;
    }
    return x > high ? high : (int32_t)x;
}

/* The even number of places by which 0 < x < 2^62 can be shifted to reach [2^60, 2^62). */
static inline int32_t tinyaot_even_headroom(int64_t x)
{
    int32_t count = 0;
    while (x < ((int64_t)1 << 60)) {
        x = (int64_t)((uint64_t)x << 2);
        count += 2;
    }
    return count;
}

/* The root, rounded down, of 0 <= x < 2^62. */
static inline int32_t tinyaot_root(int64_t x)
{
    uint32_t root = 0;
    for (uint32_t bit = (uint32_t)1 << 30; bit != 0; bit >>= 1) {
        const uint32_t next = root | bit;
        if ((uint64_t)next * next <= (uint64_t)x) {
            root = next;
        }
    }
    return (int32_t)root;
}

/* 2^61 / sqrt(x << headroom), for the headroom of x. */
static inline int64_t tinyaot_inverse_root(int64_t x, int32_t headroom)
{
    return ((int64_t)1 << 61) / tinyaot_root((int64_t)((uint64_t)x << headroom));
}

/* clamp(((((x * inverse) >> right) * factor) + offset) >> shift) */
static inline int32_t tinyaot_normalized(int32_t x, int64_t inverse, int32_t right, int32_t factor,
                                         int64_t offset, int32_t shift, int32_t low, int32_t high)
{
    const int32_t quotient = (int32_t)((x * inverse) >> right);
    return tinyaot_clamp_wide(((int64_t)quotient * factor + offset) >> shift, low, high);
}

/* clamp((value * factor + offset) >> shift) */
static inline int32_t tinyaot_wide_affine(int64_t value, int32_t factor, int64_t offset,
                                          int32_t shift, int32_t low, int32_t high)
{
    return tinyaot_clamp_wide((value * factor + offset) >> shift, low, high);
}

/* sqrt(x) with 15 bits of fraction, for 0 <= x < 2^31. */
static inline int32_t tinyaot_fine_root(int32_t x)
{
    return tinyaot_root((int64_t)((uint64_t)(uint32_t)x << 30));
}

/* log2(x) with 26 bits of fraction, rounded down, for x > 0. */
static inline int64_t tinyaot_logarithm_of_two(int64_t x)
{
    int32_t power = 31;
    uint64_t mantissa = (uint64_t)x;
    while (mantissa >= ((uint64_t)1 << 32)) {
        mantissa >>= 1;
        ++power;
    }
    while (mantissa < ((uint64_t)1 << 31)) {
        mantissa <<= 1;
        --power;
    }
    int64_t result = power;
    for (int32_t i = 0; i < 26; ++i) {
        mantissa = (mantissa * mantissa) >> 31;
        result *= 2;
        if (mantissa >= ((uint64_t)1 << 32)) {
            mantissa >>= 1;
            ++result;
        }
    }
    return result;
}

#endif
