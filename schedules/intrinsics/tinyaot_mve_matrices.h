/* Products of matrices of activations on Helium; see matrices.py. */
#ifndef TINYAOT_MVE_MATRICES_H
#define TINYAOT_MVE_MATRICES_H

#include "tinyaot_mve.h"

TINYAOT_MVE_FUNCTION int32_t tinyaot_mve_sum_of_bytes(const int8_t *x, int32_t size)
{
    int32_t sum = 0;
    int8x16_t t;
    __asm volatile("wlstp.8 lr, %[size], 2f\n"
                   "1:\n\t"
                   "vldrb.u8 %q[t], [%[x]], #16\n\t"
                   "vaddva.s8 %[sum], %q[t]\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [x] "+r"(x), [sum] "+Te"(sum), [t] "=&w"(t)
                   : [size] "r"(size)
                   : "lr", "cc", "memory");
    return sum;
}

/* bias[j] = zero_a * (depth * zero_b - the sum of column j). */
TINYAOT_MVE_FUNCTION void tinyaot_mve_column_biases(int32_t *bias, const int8_t *b, int32_t pitch,
    int32_t depth, int32_t columns, int32_t zero_a, int32_t zero_b)
{
    for (int32_t j = 0; j < columns; ++j) {
        bias[j] = zero_a * (depth * zero_b - tinyaot_mve_sum_of_bytes(b + j * pitch, depth));
    }
}

/* acc[j] = bias[j] - zero_b * sum(a) + sum(a * column j). */
TINYAOT_MVE_FUNCTION void tinyaot_mve_matrix_row(int32_t *acc, const int8_t *a, const int8_t *b,
    const int32_t *bias, int32_t pitch, int32_t depth, int32_t columns, int32_t zero_b)
{
    const int32_t base = -zero_b * tinyaot_mve_sum_of_bytes(a, depth);
    int8x16_t s, t;
    for (int32_t fours = columns / 4; fours > 0; --fours) {
        const int8_t *p = a, *b0 = b, *b1 = b + pitch, *b2 = b1 + pitch, *b3 = b2 + pitch;
        int32_t s0 = base + bias[0], s1 = base + bias[1];
        int32_t s2 = base + bias[2], s3 = base + bias[3];
        register int32_t count __asm("lr") = depth;
        __asm volatile("wlstp.8 lr, lr, 2f\n"
                       "1:\n\t"
                       "vldrb.u8 %q[s], [%[p]], #16\n\t"
                       "vldrb.u8 %q[t], [%[b0]], #16\n\t"
                       "vmlava.s8 %[s0], %q[s], %q[t]\n\t"
                       "vldrb.u8 %q[t], [%[b1]], #16\n\t"
                       "vmlava.s8 %[s1], %q[s], %q[t]\n\t"
                       "vldrb.u8 %q[t], [%[b2]], #16\n\t"
                       "vmlava.s8 %[s2], %q[s], %q[t]\n\t"
                       "vldrb.u8 %q[t], [%[b3]], #16\n\t"
                       "vmlava.s8 %[s3], %q[s], %q[t]\n\t"
                       "letp lr, 1b\n"
                       "2:"
                       : [p] "+r"(p), [b0] "+r"(b0), [b1] "+r"(b1), [b2] "+r"(b2), [b3] "+r"(b3),
                         [s0] "+Te"(s0), [s1] "+Te"(s1), [s2] "+Te"(s2), [s3] "+Te"(s3),
                         "+r"(count), [s] "=&w"(s), [t] "=&w"(t)
                       :
                       : "cc", "memory");
        acc[0] = s0;
        acc[1] = s1;
        acc[2] = s2;
        acc[3] = s3;
        acc += 4;
        bias += 4;
        b += 4 * pitch;
    }
    for (int32_t rest = columns % 4; rest > 0; --rest, b += pitch) {
        const int8_t *p = a, *q = b;
        int32_t sum = base + *bias++;
        __asm volatile("wlstp.8 lr, %[depth], 2f\n"
                       "1:\n\t"
                       "vldrb.u8 %q[s], [%[p]], #16\n\t"
                       "vldrb.u8 %q[t], [%[q]], #16\n\t"
                       "vmlava.s8 %[sum], %q[s], %q[t]\n\t"
                       "letp lr, 1b\n"
                       "2:"
                       : [p] "+r"(p), [q] "+r"(q), [sum] "+Te"(sum), [s] "=&w"(s), [t] "=&w"(t)
                       : [depth] "r"(depth)
                       : "lr", "cc", "memory");
        *acc++ = sum;
    }
}

#endif
