/* Element-wise operators, sums and softmax on Helium. */
#ifndef TINYAOT_MVE_ELEMENTWISE_H
#define TINYAOT_MVE_ELEMENTWISE_H

#include "tinyaot_fixed_point.h"
#include "tinyaot_mve.h"

/* y = clamp(VQRSHRN(VQRSHRN(a * factor_a + b * factor_b + offset, SHIFT), 8)); the function's name
 * ends with SHIFT. y may be a or b. */
#define TINYAOT_MVE_ADD_4(at) \
    "vldrb.s32 %q[s], [%[a], #" at "]\n\t" \
    "vldrb.s32 %q[t], [%[b], #" at "]\n\t" \
    "vmlas.s32 %q[s], %q[fa], %[offset]\n\t" \
    "vmla.s32 %q[s], %q[t], %[fb]\n\t"
#define TINYAOT_MVE_ADD(SHIFT) \
    const int32x4_t fa = vdupq_n_s32(factor_a); \
    const int8x16_t l = vdupq_n_s8((int8_t)low), h = vdupq_n_s8((int8_t)high); \
    /* Byte 4 * i + j of the narrowed vector is element 4 * {0, 2, 1, 3}[j] + i. */ \
    const uint32x4_t at = vaddq_n_u32(vmulq_n_u32(vidupq_n_u32(0, 1), 0x01010101u), 0x0c040800u); \
    int32x4_t s, t, u, v; \
    if (size >= 16) { \
        __asm volatile("dls lr, %[turns]\n" \
                       "1:\n\t" TINYAOT_MVE_ADD_4("0") \
                       "vqrshrnb.s32 %q[u], %q[s], #" #SHIFT "\n\t" TINYAOT_MVE_ADD_4("4") \
                       "vqrshrnt.s32 %q[u], %q[s], #" #SHIFT "\n\t" TINYAOT_MVE_ADD_4("8") \
                       "vqrshrnb.s32 %q[v], %q[s], #" #SHIFT "\n\t" TINYAOT_MVE_ADD_4("12") \
                       "vqrshrnt.s32 %q[v], %q[s], #" #SHIFT "\n\t" \
                       "vqrshrnb.s16 %q[u], %q[u], #8\n\t" \
                       "vqrshrnt.s16 %q[u], %q[v], #8\n\t" \
                       "vmax.s8 %q[u], %q[u], %q[l]\n\t" \
                       "vmin.s8 %q[u], %q[u], %q[h]\n\t" \
                       "vstrb.8 %q[u], [%[y], %q[at]]\n\t" \
                       "add %[a], #16\n\t" \
                       "add %[b], #16\n\t" \
                       "add %[y], #16\n\t" \
                       "le lr, 1b" \
                       : [a] "+l"(a), [b] "+l"(b), [y] "+r"(y), [s] "=&w"(s), [t] "=&w"(t), \
                         [u] "=&w"(u), [v] "=&w"(v) \
                       : [turns] "r"(size / 16), [fa] "w"(fa), [fb] "r"(factor_b), \
                         [offset] "r"(offset), [at] "w"(at), [l] "w"(l), [h] "w"(h) \
                       : "lr", "cc", "memory"); \
    } \
    for (int32_t i = 0; i < size % 16; i += 4) { \
        const mve_pred16_t lanes = vctp32q((uint32_t)(size % 16 - i)); \
        s = vmlasq_n_s32(vldrbq_z_s32(a + i, lanes), fa, offset); \
        s = vmlaq_n_s32(s, vldrbq_z_s32(b + i, lanes), factor_b); \
        s = vrshrq_n_s32(vrshrq_n_s32(s, SHIFT), 8); \
        s = vminq_s32(vmaxq_s32(s, vdupq_n_s32(low)), vdupq_n_s32(high)); \
        vstrbq_p_s32(y + i, s, lanes); \
    }
#define TINYAOT_MVE_ADD_PARAMETERS \
    const int8_t *a, const int8_t *b, int8_t *y, int32_t size, int32_t factor_a, int32_t factor_b, \
        int32_t offset, int32_t low, int32_t high

TINYAOT_MVE_FUNCTION void tinyaot_mve_add_8(TINYAOT_MVE_ADD_PARAMETERS)
{
    TINYAOT_MVE_ADD(8)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_add_10(TINYAOT_MVE_ADD_PARAMETERS)
{
    TINYAOT_MVE_ADD(10)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_add_11(TINYAOT_MVE_ADD_PARAMETERS)
{
    TINYAOT_MVE_ADD(11)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_add_12(TINYAOT_MVE_ADD_PARAMETERS)
{
    TINYAOT_MVE_ADD(12)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_add_13(TINYAOT_MVE_ADD_PARAMETERS)
{
    TINYAOT_MVE_ADD(13)
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_add_14(TINYAOT_MVE_ADD_PARAMETERS)
{
    TINYAOT_MVE_ADD(14)
}

/* y = table[x] with x as an unsigned byte; y may be x. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_lookup(
    const void *x, const int8_t *table, void *y, int32_t size)
{
    int8x16_t t, u;
    __asm volatile("wlstp.8 lr, %[size], 2f\n"
                   "1:\n\t"
                   "vldrb.u8 %q[t], [%[x]], #16\n\t"
                   "vldrb.u8 %q[u], [%[table], %q[t]]\n\t"
                   "vstrb.8 %q[u], [%[y]], #16\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [x] "+r"(x), [y] "+r"(y), [t] "=&w"(t), [u] "=&w"(u)
                   : [size] "r"(size), [table] "r"(table)
                   : "lr", "cc", "memory");
}

/* y[i] = (a[i] - zero_a) * (b[i] - zero_b). */
TINYAOT_MVE_FUNCTION void tinyaot_mve_products(int32_t *y, const int8_t *a, const int8_t *b,
    int32_t size, int32_t zero_a, int32_t zero_b)
{
    int32x4_t t, u;
    __asm volatile("wlstp.32 lr, %[size], 2f\n"
                   "1:\n\t"
                   "vldrb.s32 %q[t], [%[a]], #4\n\t"
                   "vldrb.s32 %q[u], [%[b]], #4\n\t"
                   "vsub.i32 %q[t], %q[t], %[zero_a]\n\t"
                   "vsub.i32 %q[u], %q[u], %[zero_b]\n\t"
                   "vmul.i32 %q[t], %q[t], %q[u]\n\t"
                   "vstrw.32 %q[t], [%[y]], #16\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [a] "+l"(a), [b] "+l"(b), [y] "+r"(y), [t] "=&w"(t), [u] "=&w"(u)
                   : [size] "r"(size), [zero_a] "r"(zero_a), [zero_b] "r"(zero_b)
                   : "lr", "cc", "memory");
}

/* acc[channel] = the sum over rows of `columns` pixels, `pitch` bytes from row to row. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_sum(int32_t *acc, const int8_t *x, int32_t rows,
    int32_t columns, int32_t pitch, int32_t channels)
{
    int32_t c = 0;
    for (; c + 16 <= channels; c += 16) {
        int32x4_t s0 = vdupq_n_s32(0), s1 = s0, s2 = s0, s3 = s0, t;
        for (int32_t r = 0; r < rows; ++r) {
            const int8_t *p = x + r * pitch + c;
            __asm volatile("dls lr, %[columns]\n"
                           "1:\n\t"
                           "vldrb.s32 %q[t], [%[p]]\n\t"
                           "vadd.i32 %q[s0], %q[s0], %q[t]\n\t"
                           "vldrb.s32 %q[t], [%[p], #4]\n\t"
                           "vadd.i32 %q[s1], %q[s1], %q[t]\n\t"
                           "vldrb.s32 %q[t], [%[p], #8]\n\t"
                           "vadd.i32 %q[s2], %q[s2], %q[t]\n\t"
                           "vldrb.s32 %q[t], [%[p], #12]\n\t"
                           "vadd.i32 %q[s3], %q[s3], %q[t]\n\t"
                           "add %[p], %[channels]\n\t"
                           "le lr, 1b"
                           : [p] "+l"(p), [s0] "+w"(s0), [s1] "+w"(s1), [s2] "+w"(s2),
                             [s3] "+w"(s3), [t] "=&w"(t)
                           : [columns] "r"(columns), [channels] "r"(channels)
                           : "lr", "cc", "memory");
        }
        vstrwq_s32(acc + c, s0);
        vstrwq_s32(acc + c + 4, s1);
        vstrwq_s32(acc + c + 8, s2);
        vstrwq_s32(acc + c + 12, s3);
    }
    for (; c < channels; c += 4) {
        const mve_pred16_t lanes = vctp32q((uint32_t)(channels - c));
        int32x4_t s = vdupq_n_s32(0);
        for (int32_t r = 0; r < rows; ++r) {
            const int8_t *p = x + r * pitch + c;
            for (int32_t i = 0; i < columns; ++i, p += channels) {
                s = vaddq_s32(s, vldrbq_z_s32(p, lanes));
            }
        }
        vstrwq_s32(acc + c, s);
    }
}

/* The largest element of each channel of rows of `columns` pixels. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_maximum(int8_t *y, const int8_t *x, int32_t rows,
    int32_t columns, int32_t pitch, int32_t channels, int32_t low, int32_t high)
{
    for (int32_t c = 0; c < channels; c += 16) {
        const mve_pred16_t lanes = vctp8q((uint32_t)(channels - c));
        int8x16_t m = vdupq_n_s8((int8_t)low);
        for (int32_t r = 0; r < rows; ++r) {
            const int8_t *p = x + r * pitch + c;
            for (int32_t i = 0; i < columns; ++i, p += channels) {
                m = vmaxq_s8(m, vldrbq_z_s8(p, lanes));
            }
        }
        vstrbq_p_s8(y + c, vminq_s8(m, vdupq_n_s8((int8_t)high)), lanes);
    }
}

/* Softmax of a row as TFLite computes it; table: exp(-d) in Q0.31 for d = 0 .. 255. y may be x. */
TINYAOT_MVE_FUNCTION void tinyaot_mve_softmax(
    const int8_t *x, const int32_t *table, int8_t *y, int32_t depth)
{
    int32_t largest = -128, sum = 0;
    const int8_t *p = x;
    int8x16_t b;
    int32x4_t t, u;
    __asm volatile("wlstp.8 lr, %[depth], 2f\n"
                   "1:\n\t"
                   "vldrb.u8 %q[b], [%[p]], #16\n\t"
                   "vmaxv.s8 %[largest], %q[b]\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [p] "+r"(p), [largest] "+r"(largest), [b] "=&w"(b)
                   : [depth] "r"(depth)
                   : "lr", "cc", "memory");
    const int32x4_t top = vdupq_n_s32(largest);
    p = x;
    __asm volatile("mov r0, #0\n\t"
                   "wlstp.32 lr, %[depth], 2f\n"
                   "1:\n\t"
                   "vldrb.s32 %q[t], [%[p]], #4\n\t"
                   "vsub.i32 %q[t], %q[top], %q[t]\n\t"
                   "vldrw.u32 %q[u], [%[table], %q[t], uxtw #2]\n\t"
                   "vrshr.s32 %q[u], %q[u], #12\n\t"
                   "vaddva.u32 r0, %q[u]\n\t"
                   "letp lr, 1b\n"
                   "2:\n\t"
                   "mov %[sum], r0"
                   : [p] "+l"(p), [sum] "=r"(sum), [t] "=&w"(t), [u] "=&w"(u)
                   : [depth] "r"(depth), [top] "w"(top), [table] "r"(table)
                   : "r0", "lr", "cc", "memory");
    const int32_t reciprocal = tinyaot_softmax_reciprocal(sum);
    const int32_t shift = tinyaot_leading_zeros((uint32_t)sum) - (12 + 31 - 8);
    const int32x4_t most = vdupq_n_s32(127);
    __asm volatile("wlstp.32 lr, %[depth], 2f\n"
                   "1:\n\t"
                   "vldrb.s32 %q[t], [%[x]], #4\n\t"
                   "vsub.i32 %q[t], %q[top], %q[t]\n\t"
                   "vldrw.u32 %q[u], [%[table], %q[t], uxtw #2]\n\t"
                   "vqrdmulh.s32 %q[u], %q[u], %[reciprocal]\n\t"
                   "vrshl.s32 %q[u], %[shift]\n\t"
                   "vsub.i32 %q[u], %q[u], %[half]\n\t"
                   "vmin.s32 %q[u], %q[u], %q[most]\n\t"
                   "vstrb.32 %q[u], [%[y]], #4\n\t"
                   "letp lr, 1b\n"
                   "2:"
                   : [x] "+l"(x), [y] "+l"(y), [t] "=&w"(t), [u] "=&w"(u)
                   : [depth] "r"(depth), [top] "w"(top), [table] "r"(table),
                     [reciprocal] "r"(reciprocal), [shift] "r"(shift), [half] "r"(128),
                     [most] "w"(most)
                   : "lr", "cc", "memory");
}

#endif
