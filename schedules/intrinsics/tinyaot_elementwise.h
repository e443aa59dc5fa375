/* Integer arithmetic that wraps around or rounds as TensorFlow Lite Micro's operators do. */
#ifndef TINYAOT_ELEMENTWISE_H
#define TINYAOT_ELEMENTWISE_H

#include "tinyaot_fixed_point.h"

static inline int32_t tinyaot_wrapping_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

static inline int32_t tinyaot_wrapping_subtract(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a - (uint32_t)b);
}

static inline int32_t tinyaot_wrapping_multiply(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

/* a / b towards 0; where TFLite's is not defined, 0 for b = 0 and a for b = -1 and the smallest a. */
static inline int32_t tinyaot_divide(int32_t a, int32_t b)
{
    if (b == 0) {
        return 0;
    }
    return b == -1 ? tinyaot_wrapping_subtract(0, a) : a / b;
}

#endif
