/* Dense layers on Helium. */
#ifndef TINYAOT_MVE_DENSE_H
#define TINYAOT_MVE_DENSE_H

#include "tinyaot_mve.h"

/* A pass over N chunks of sixteen inputs, held in vector registers, for all outputs: acc[output] =
 * from[output] + weights . x. The last chunk has TAIL inputs in the functions named so.
 *
 * weights: [groups][N][8][16] for groups of eight outputs, then [singles][N][16]; the last of N chunks
 * has TAIL bytes instead of 16. Up to 15 bytes behind the weights are read, nothing behind x. */
#define TINYAOT_MVE_DENSE_SUMS "{r0, r2, r4, r6, r8, r10, r12, lr}"
#define TINYAOT_MVE_DOT(r, c) \
    "vldrb.u8 %q[u], [%[w]], #16\n\t" \
    "vmladava.s8 " r ", %q[u], %q[" c "]\n\t"
#define TINYAOT_MVE_DOT_TAIL(r, c) \
    "vldrb.u8 %q[u], [%[w]]\n\t" \
    "add %[w], %[tail]\n\t" \
    "vmladava.s8 " r ", %q[u], %q[" c "]\n\t"
#define TINYAOT_MVE_DOT8(c) \
    TINYAOT_MVE_DOT("r0", c) TINYAOT_MVE_DOT("r2", c) TINYAOT_MVE_DOT("r4", c) \
    TINYAOT_MVE_DOT("r6", c) TINYAOT_MVE_DOT("r8", c) TINYAOT_MVE_DOT("r10", c) \
    TINYAOT_MVE_DOT("r12", c) TINYAOT_MVE_DOT("lr", c)
#define TINYAOT_MVE_DOT8_TAIL(c) \
    TINYAOT_MVE_DOT_TAIL("r0", c) TINYAOT_MVE_DOT_TAIL("r2", c) TINYAOT_MVE_DOT_TAIL("r4", c) \
    TINYAOT_MVE_DOT_TAIL("r6", c) TINYAOT_MVE_DOT_TAIL("r8", c) \
    TINYAOT_MVE_DOT_TAIL("r10", c) TINYAOT_MVE_DOT_TAIL("r12", c) TINYAOT_MVE_DOT_TAIL("lr", c)
#define TINYAOT_MVE_HELD \
    [c0] "w"(c0), [c1] "w"(c1), [c2] "w"(c2), [c3] "w"(c3), [c4] "w"(c4), [c5] "w"(c5)
#define TINYAOT_MVE_HOLD(i, N, LAST) \
    ((i) == (N)-1 && (LAST) < 16 ? vldrbq_z_s8(x + 16 * (i), vctp8q(LAST)) \
                                 : vldrbq_s8(x + 16 * (i)))

#define TINYAOT_MVE_DENSE(N, CHUNKS8, CHUNKS1, LAST, ...) \
    const int8_t *w = weights; \
    int8x16_t u, v; \
    const int8x16_t c0 = TINYAOT_MVE_HOLD(0, N, LAST), \
                    c1 = (N) > 1 ? TINYAOT_MVE_HOLD(1, N, LAST) : c0, \
                    c2 = (N) > 2 ? TINYAOT_MVE_HOLD(2, N, LAST) : c0, \
                    c3 = (N) > 3 ? TINYAOT_MVE_HOLD(3, N, LAST) : c0, \
                    c4 = (N) > 4 ? TINYAOT_MVE_HOLD(4, N, LAST) : c0, \
                    c5 = (N) > 5 ? TINYAOT_MVE_HOLD(5, N, LAST) : c0; \
    (void)tail; \
    for (; groups > 0; --groups) { \
        __asm volatile("ldmia %[from]!, " TINYAOT_MVE_DENSE_SUMS "\n\t" CHUNKS8 \
                       "stmia %[acc]!, " TINYAOT_MVE_DENSE_SUMS \
                       : [acc] "+r"(acc), [from] "+r"(from), [w] "+r"(w), [u] "=&w"(u), \
                         [v] "=&w"(v) \
                       : TINYAOT_MVE_HELD __VA_ARGS__ \
                       : "r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr", "cc", "memory"); \
    } \
    if (singles > 0) { \
        __asm volatile("dls lr, %[singles]\n" \
                       "1:\n\t" \
                       "ldr r0, [%[from]], #4\n\t" CHUNKS1 \
                       "str r0, [%[acc]], #4\n\t" \
                       "le lr, 1b" \
                       : [acc] "+r"(acc), [from] "+r"(from), [w] "+r"(w), [u] "=&w"(u), \
                         [v] "=&w"(v) \
                       : [singles] "r"(singles), TINYAOT_MVE_HELD __VA_ARGS__ \
                       : "r0", "lr", "cc", "memory"); \
    }
#define TINYAOT_MVE_DENSE_PARAMETERS \
    int32_t *acc, const int32_t *from, const void *weights, const int8_t *x, int32_t tail, \
        int32_t groups, int32_t singles

/* The chunks that are held, for eight outputs and for one; the seventh and eighth are loaded again. */
#define TINYAOT_MVE_EIGHT_1 TINYAOT_MVE_DOT8("c0")
#define TINYAOT_MVE_EIGHT_2 TINYAOT_MVE_EIGHT_1 TINYAOT_MVE_DOT8("c1")
#define TINYAOT_MVE_EIGHT_3 TINYAOT_MVE_EIGHT_2 TINYAOT_MVE_DOT8("c2")
#define TINYAOT_MVE_EIGHT_4 TINYAOT_MVE_EIGHT_3 TINYAOT_MVE_DOT8("c3")
#define TINYAOT_MVE_EIGHT_5 TINYAOT_MVE_EIGHT_4 TINYAOT_MVE_DOT8("c4")
#define TINYAOT_MVE_EIGHT_6 TINYAOT_MVE_EIGHT_5 TINYAOT_MVE_DOT8("c5")
#define TINYAOT_MVE_ONE_1 TINYAOT_MVE_DOT("r0", "c0")
#define TINYAOT_MVE_ONE_2 TINYAOT_MVE_ONE_1 TINYAOT_MVE_DOT("r0", "c1")
#define TINYAOT_MVE_ONE_3 TINYAOT_MVE_ONE_2 TINYAOT_MVE_DOT("r0", "c2")
#define TINYAOT_MVE_ONE_4 TINYAOT_MVE_ONE_3 TINYAOT_MVE_DOT("r0", "c3")
#define TINYAOT_MVE_ONE_5 TINYAOT_MVE_ONE_4 TINYAOT_MVE_DOT("r0", "c4")
#define TINYAOT_MVE_ONE_6 TINYAOT_MVE_ONE_5 TINYAOT_MVE_DOT("r0", "c5")
#define TINYAOT_MVE_AGAIN(at) "vldrb.u8 %q[v], [%[x], #" at "]\n\t"
#define TINYAOT_MVE_EIGHT_7 TINYAOT_MVE_EIGHT_6 TINYAOT_MVE_AGAIN("96") TINYAOT_MVE_DOT8("v")
#define TINYAOT_MVE_EIGHT_8 TINYAOT_MVE_EIGHT_7 TINYAOT_MVE_AGAIN("112") TINYAOT_MVE_DOT8("v")
#define TINYAOT_MVE_ONE_7 TINYAOT_MVE_ONE_6 TINYAOT_MVE_AGAIN("96") TINYAOT_MVE_DOT("r0", "v")
#define TINYAOT_MVE_ONE_8 TINYAOT_MVE_ONE_7 TINYAOT_MVE_AGAIN("112") TINYAOT_MVE_DOT("r0", "v")

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_1(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(1, TINYAOT_MVE_EIGHT_1, TINYAOT_MVE_ONE_1, 16, );
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_2(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(2, TINYAOT_MVE_EIGHT_2, TINYAOT_MVE_ONE_2, 16, );
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_3(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(3, TINYAOT_MVE_EIGHT_3, TINYAOT_MVE_ONE_3, 16, );
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_4(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(4, TINYAOT_MVE_EIGHT_4, TINYAOT_MVE_ONE_4, 16, );
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_5(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(5, TINYAOT_MVE_EIGHT_5, TINYAOT_MVE_ONE_5, 16, );
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_6(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(6, TINYAOT_MVE_EIGHT_6, TINYAOT_MVE_ONE_6, 16, );
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_7(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(7, TINYAOT_MVE_EIGHT_7, TINYAOT_MVE_ONE_7, 16, , [x] "r"(x));
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_8(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(8, TINYAOT_MVE_EIGHT_8, TINYAOT_MVE_ONE_8, 16, , [x] "r"(x));
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_tail_1(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(1, TINYAOT_MVE_DOT8_TAIL("c0"),
        TINYAOT_MVE_DOT_TAIL("r0", "c0"), (uint32_t)tail, , [tail] "r"(tail));
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_tail_2(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(2, TINYAOT_MVE_EIGHT_1 TINYAOT_MVE_DOT8_TAIL("c1"),
        TINYAOT_MVE_ONE_1 TINYAOT_MVE_DOT_TAIL("r0", "c1"), (uint32_t)tail, , [tail] "r"(tail));
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_tail_3(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(3, TINYAOT_MVE_EIGHT_2 TINYAOT_MVE_DOT8_TAIL("c2"),
        TINYAOT_MVE_ONE_2 TINYAOT_MVE_DOT_TAIL("r0", "c2"), (uint32_t)tail, , [tail] "r"(tail));
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_tail_4(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(4, TINYAOT_MVE_EIGHT_3 TINYAOT_MVE_DOT8_TAIL("c3"),
        TINYAOT_MVE_ONE_3 TINYAOT_MVE_DOT_TAIL("r0", "c3"), (uint32_t)tail, , [tail] "r"(tail));
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_tail_5(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(5, TINYAOT_MVE_EIGHT_4 TINYAOT_MVE_DOT8_TAIL("c4"),
        TINYAOT_MVE_ONE_4 TINYAOT_MVE_DOT_TAIL("r0", "c4"), (uint32_t)tail, , [tail] "r"(tail));
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_dense_tail_6(TINYAOT_MVE_DENSE_PARAMETERS)
{
    TINYAOT_MVE_DENSE(6, TINYAOT_MVE_EIGHT_5 TINYAOT_MVE_DOT8_TAIL("c5"),
        TINYAOT_MVE_ONE_5 TINYAOT_MVE_DOT_TAIL("r0", "c5"), (uint32_t)tail, , [tail] "r"(tail));
}

/* Requantizes count sums that hold their bias, all with the same constants.
 *
 * k: {1 << position, zero point << n, low, high, factor, offset, correction}; see requantize4 in
 * tinyaot_mve.h. Sums are read in sixteens: acc has room for as many. */
#define TINYAOT_MVE_FLAT_SCALE(q) \
    "vmlas.s32 " q ", %q[unit], %[offset]\n\t" \
    "vqrdmulh.s32 " q ", " q ", %[factor]\n\t"
#define TINYAOT_MVE_FLAT_SCALE_SIGNED(q) \
    TINYAOT_MVE_FLAT_SCALE(q) \
    "vpt.s32 lt, " q ", %[zero]\n\t" \
    "vsubt.i32 " q ", " q ", %[correction]\n\t"
#define TINYAOT_MVE_FLAT_16 \
    TINYAOT_MVE_FLAT_SCALE("q0") TINYAOT_MVE_FLAT_SCALE("q1") TINYAOT_MVE_FLAT_SCALE("q2") \
    TINYAOT_MVE_FLAT_SCALE("q3")
#define TINYAOT_MVE_FLAT_16_SIGNED \
    TINYAOT_MVE_FLAT_SCALE_SIGNED("q0") TINYAOT_MVE_FLAT_SCALE_SIGNED("q1") \
    TINYAOT_MVE_FLAT_SCALE_SIGNED("q2") TINYAOT_MVE_FLAT_SCALE_SIGNED("q3")
#define TINYAOT_MVE_FLAT_CLAMP \
    "vmax.s8 q0, q0, %q[low]\n\t" \
    "vmin.s8 q0, q0, %q[high]\n\t"
#define TINYAOT_MVE_FLAT(shift, SCALE, CLAMP) \
    const int32x4_t unit = vdupq_n_s32(k[0]); \
    const int8x16_t low = vdupq_n_s8((int8_t)k[2]), high = vdupq_n_s8((int8_t)k[3]); \
    __asm volatile("dls lr, %[turns]\n" \
                   "1:\n\t" \
                   "vld40.32 {q0, q1, q2, q3}, [%[acc]]\n\t" \
                   "vld41.32 {q0, q1, q2, q3}, [%[acc]]\n\t" \
                   "vld42.32 {q0, q1, q2, q3}, [%[acc]]\n\t" \
                   "vld43.32 {q0, q1, q2, q3}, [%[acc]]!\n\t" SCALE \
                   "vqrshrnb.s32 q0, q0, #" #shift "\n\t" \
                   "vqrshrnt.s32 q0, q2, #" #shift "\n\t" \
                   "vqrshrnb.s32 q1, q1, #" #shift "\n\t" \
                   "vqrshrnt.s32 q1, q3, #" #shift "\n\t" \
                   "vqrshrnb.s16 q0, q0, #8\n\t" \
                   "vqrshrnt.s16 q0, q1, #8\n\t" CLAMP \
                   "vctp.8 %[count]\n\t" \
                   "vpst\n\t" \
                   "vstrbt.8 q0, [%[y]], #16\n\t" \
                   "sub %[count], #16\n\t" \
                   "le lr, 1b" \
                   : [acc] "+r"(acc), [y] "+r"(y), [count] "+r"(count) \
                   : [turns] "r"((count + 15) / 16), [unit] "w"(unit), [low] "w"(low), \
                     [high] "w"(high), [zero] "r"(k[1]), [factor] "r"(k[4]), [offset] "r"(k[5]), \
                     [correction] "r"(k[6]) \
                   : "q0", "q1", "q2", "q3", "lr", "cc", "memory")
#define TINYAOT_MVE_FLAT_PARAMETERS const int32_t *acc, const int32_t *k, int8_t *y, int32_t count

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(4, TINYAOT_MVE_FLAT_16, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(6, TINYAOT_MVE_FLAT_16, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(8, TINYAOT_MVE_FLAT_16, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(9, TINYAOT_MVE_FLAT_16, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(10, TINYAOT_MVE_FLAT_16, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_clamped_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(4, TINYAOT_MVE_FLAT_16, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_clamped_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(6, TINYAOT_MVE_FLAT_16, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_clamped_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(8, TINYAOT_MVE_FLAT_16, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_clamped_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(9, TINYAOT_MVE_FLAT_16, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_clamped_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(10, TINYAOT_MVE_FLAT_16, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(4, TINYAOT_MVE_FLAT_16_SIGNED, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(6, TINYAOT_MVE_FLAT_16_SIGNED, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(8, TINYAOT_MVE_FLAT_16_SIGNED, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(9, TINYAOT_MVE_FLAT_16_SIGNED, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(10, TINYAOT_MVE_FLAT_16_SIGNED, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_clamped_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(4, TINYAOT_MVE_FLAT_16_SIGNED, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_clamped_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(6, TINYAOT_MVE_FLAT_16_SIGNED, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_clamped_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(8, TINYAOT_MVE_FLAT_16_SIGNED, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_clamped_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(9, TINYAOT_MVE_FLAT_16_SIGNED, TINYAOT_MVE_FLAT_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_flat_signed_clamped_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_FLAT(10, TINYAOT_MVE_FLAT_16_SIGNED, TINYAOT_MVE_FLAT_CLAMP);
}

/* As requantize_flat, with constants of each output's own in fours.
 *
 * k: {1 << position, zero point << n, low, high}, then {factor x 4, offset x 4}, in the signed form
 * with {correction x 4} as third. */
#define TINYAOT_MVE_LANES_CORRECT \
    "vldrw.u32 %q[t], [%[k]], #16\n\t" \
    "vpt.s32 lt, %q[z], %[zero]\n\t" \
    "vsubt.i32 %q[z], %q[z], %q[t]\n\t"
#define TINYAOT_MVE_LANES(shift, CORRECT, CLAMP) \
    const int8x16_t low = vdupq_n_s8((int8_t)k[2]), high = vdupq_n_s8((int8_t)k[3]); \
    const int32_t unit = k[0], zero = k[1]; \
    int32x4_t t, u, z; \
    (void)zero, (void)low, (void)high; \
    k += 4; \
    __asm volatile("dls lr, %[turns]\n" \
                   "1:\n\t" \
                   "vldrw.u32 %q[u], [%[acc]], #16\n\t" \
                   "vldrw.u32 %q[t], [%[k]], #16\n\t" \
                   "vldrw.u32 %q[z], [%[k]], #16\n\t" \
                   "vmla.s32 %q[z], %q[u], %[unit]\n\t" \
                   "vqrdmulh.s32 %q[z], %q[z], %q[t]\n\t" CORRECT \
                   "vqrshrnb.s32 %q[z], %q[z], #" #shift "\n\t" \
                   "vqrshrnb.s16 %q[z], %q[z], #8\n\t" CLAMP \
                   "vctp.32 %[count]\n\t" \
                   "vpst\n\t" \
                   "vstrbt.32 %q[z], [%[y]], #4\n\t" \
                   "sub %[count], #4\n\t" \
                   "le lr, 1b" \
                   : [acc] "+r"(acc), [k] "+r"(k), [y] "+l"(y), [count] "+r"(count), \
                     [t] "=&w"(t), [u] "=&w"(u), [z] "=&w"(z) \
                   : [turns] "r"((count + 3) / 4), [unit] "r"(unit), [zero] "r"(zero), \
                     [low] "w"(low), [high] "w"(high) \
                   : "lr", "cc", "memory")
#define TINYAOT_MVE_LANES_CLAMP \
    "vmax.s8 %q[z], %q[z], %q[low]\n\t" \
    "vmin.s8 %q[z], %q[z], %q[high]\n\t"

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(4, "", "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(6, "", "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(8, "", "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(9, "", "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(10, "", "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_clamped_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(4, "", TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_clamped_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(6, "", TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_clamped_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(8, "", TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_clamped_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(9, "", TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_clamped_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(10, "", TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(4, TINYAOT_MVE_LANES_CORRECT, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(6, TINYAOT_MVE_LANES_CORRECT, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(8, TINYAOT_MVE_LANES_CORRECT, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(9, TINYAOT_MVE_LANES_CORRECT, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(10, TINYAOT_MVE_LANES_CORRECT, "");
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_clamped_4(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(4, TINYAOT_MVE_LANES_CORRECT, TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_clamped_6(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(6, TINYAOT_MVE_LANES_CORRECT, TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_clamped_8(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(8, TINYAOT_MVE_LANES_CORRECT, TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_clamped_9(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(9, TINYAOT_MVE_LANES_CORRECT, TINYAOT_MVE_LANES_CLAMP);
}

TINYAOT_MVE_FUNCTION void tinyaot_mve_requantize_lanes_signed_clamped_10(TINYAOT_MVE_FLAT_PARAMETERS)
{
    TINYAOT_MVE_LANES(10, TINYAOT_MVE_LANES_CORRECT, TINYAOT_MVE_LANES_CLAMP);
}

#endif
