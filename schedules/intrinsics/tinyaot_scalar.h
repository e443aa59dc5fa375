/* What the kernels for cores without the DSP extension share: packed inputs and requantization.
 *
 * They multiply two inputs by one weight in one 32-bit multiplication. Outputs are computed for
 * four places (lanes) at a time, whose inputs are packed into pairs:
 *
 *     pair = a + b * 2^16          a and b: one tap of two lanes, int8
 *     pair * w = a * w + b * w * 2^16
 *
 * Packed inputs are arrays of {lanes 0 and 1, lanes 2 and 3}, one entry a tap. A product of two
 * taps is split before it is summed further: its low half, taken as int16, is the sum of lane a
 * and what remains that of lane b. The low half holds if no two neighbouring weights are both -128.
 *
 * Everything here is C and has assembly only where a core's compiler does not reach it.
 */
#ifndef TINYAOT_SCALAR_H
#define TINYAOT_SCALAR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tinyaot_fixed_point.h"

#define TINYAOT_SCALAR_INLINE __attribute__((always_inline, unused)) static inline
#define TINYAOT_SCALAR_SHARED __attribute__((noinline, unused)) static

/* A function of nothing but its instructions; `noipa` keeps GCC from dropping arguments, which no C
 * statement uses, and from guessing which registers are changed. */
#if defined(__clang__)
#define TINYAOT_SCALAR_ASM __attribute__((naked, noinline, unused)) static
#else
#define TINYAOT_SCALAR_ASM __attribute__((naked, noipa, unused)) static
#endif

struct tinyaot_scalar_tile;
typedef void (*tinyaot_scalar_form)(struct tinyaot_scalar_tile *tile);

/* Four sums on their way to int8. */
struct tinyaot_scalar_tile {
    int32_t sums[4];
    tinyaot_scalar_form finish;    /* requantizes and stores the sums, goes on to the next output */
    int8_t *y;
    const int32_t *constants;
    int32_t y_step;                /* to the next output */
    int32_t constants_step;        /* likewise, in int32 */
    int32_t lanes[3];              /* from lane to lane, bytes */
    int32_t zero_point;
};

TINYAOT_SCALAR_INLINE int32_t tinyaot_scalar_multiply(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a * (uint32_t)b);
}

TINYAOT_SCALAR_INLINE int8_t tinyaot_scalar_saturate(int32_t x)
{
#if defined(__ARM_FEATURE_SAT)
    return (int8_t)tinyaot_clamp(x, -128, 127);    /* SSAT */
#else
    return (int8_t)(x == (int8_t)x ? x : (x >> 31) ^ 127);
#endif
}

/* Requantization; schedules/cortex_m/scalar_requantize.py solves for the constants.
 *
 * Two pieces of a multiplier: t = sum * k[0] + ((sum >> 2) * k[1] >> p) + k[2].
 * Three: t = sum * k[2] + ((sum * k[1] + (sum * k[0] >> 10) + k[3]) >> 10) + k[4].
 * In both y = t >> s. Signed forms first add the last constant to a t from 0 on, and add the zero
 * point at the end. */
TINYAOT_SCALAR_INLINE int32_t tinyaot_scalar_two_pieces(
    int32_t sum, const int32_t *k, int32_t p, int32_t s)
{
    const int32_t t = tinyaot_scalar_multiply(sum, k[0]) + k[2];
    return (t + (tinyaot_scalar_multiply(sum >> 2, k[1]) >> p)) >> s;
}

TINYAOT_SCALAR_INLINE int32_t tinyaot_scalar_two_pieces_signed(
    int32_t sum, const int32_t *k, int32_t p, int32_t s)
{
    int32_t t = tinyaot_scalar_multiply(sum, k[0]) + k[2];
    t += tinyaot_scalar_multiply(sum >> 2, k[1]) >> p;
    return (t < 0 ? t : t + k[3]) >> s;
}

TINYAOT_SCALAR_INLINE int32_t tinyaot_scalar_three_pieces(int32_t sum, const int32_t *k)
{
    const int32_t t = sum * k[1] + (sum * k[0] >> 10) + k[3];
    return sum * k[2] + (t >> 10) + k[4];
}

/* The forms by number. 6 and 7 are the reference's own arithmetic on {bias, multiplier, shift}. */
TINYAOT_SCALAR_INLINE int8_t tinyaot_scalar_requantize(
    int32_t form, int32_t sum, const int32_t *k, int32_t zero_point)
{
    int32_t t;
    switch (form) {
    case 0:
        return tinyaot_scalar_saturate(tinyaot_scalar_two_pieces(sum, k, 12, 19));
    case 1:
        return tinyaot_scalar_saturate(tinyaot_scalar_two_pieces(sum, k, 13, 18));
    case 2:
        t = tinyaot_scalar_two_pieces_signed(sum, k, 12, 19);
        break;
    case 3:
        t = tinyaot_scalar_two_pieces_signed(sum, k, 13, 18);
        break;
    case 4:
        return tinyaot_scalar_saturate(tinyaot_scalar_three_pieces(sum, k) >> 17);
    case 5:
        t = tinyaot_scalar_three_pieces(sum, k);
        t = (t < 0 ? t : t + k[5]) >> 17;
        break;
    case 6:
        t = tinyaot_requantize(sum + k[0], k[1], k[2]);
        break;
    default:
        t = tinyaot_requantize_single(sum + k[0], k[1], k[2]);
        break;
    }
    return tinyaot_scalar_saturate(t + zero_point);
}

/* All four lanes; `words` from the constants of a lane to those of the next. */
TINYAOT_SCALAR_INLINE void tinyaot_scalar_finish(
    struct tinyaot_scalar_tile *tile, int32_t form, int32_t words)
{
    const int32_t *k = tile->constants;
    const int32_t zero_point = tile->zero_point;
    int8_t *y = tile->y;
    *y = tinyaot_scalar_requantize(form, tile->sums[0], k, zero_point);
    y += tile->lanes[0];
    *y = tinyaot_scalar_requantize(form, tile->sums[1], k + words, zero_point);
    y += tile->lanes[1];
    *y = tinyaot_scalar_requantize(form, tile->sums[2], k + 2 * words, zero_point);
    y += tile->lanes[2];
    *y = tinyaot_scalar_requantize(form, tile->sums[3], k + 3 * words, zero_point);
    tile->y += tile->y_step;
    tile->constants = k + tile->constants_step;
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_0(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 0, 0);
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_1(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 1, 0);
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_2(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 2, 0);
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_3(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 3, 0);
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_4(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 4, 0);
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_5(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 5, 0);
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_6(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 6, 0);
}

TINYAOT_SCALAR_SHARED void tinyaot_scalar_finish_7(struct tinyaot_scalar_tile *tile)
{
    tinyaot_scalar_finish(tile, 7, 0);
}

TINYAOT_SCALAR_INLINE tinyaot_scalar_form tinyaot_scalar_finish_by(int32_t form)
{
    switch (form) {
    case 0:
        return tinyaot_scalar_finish_0;
    case 1:
        return tinyaot_scalar_finish_1;
    case 2:
        return tinyaot_scalar_finish_2;
    case 3:
        return tinyaot_scalar_finish_3;
    case 4:
        return tinyaot_scalar_finish_4;
    case 5:
        return tinyaot_scalar_finish_5;
    case 6:
        return tinyaot_scalar_finish_6;
    default:
        return tinyaot_scalar_finish_7;
    }
}

/* Limits `size` outputs to less than int8. */
TINYAOT_SCALAR_SHARED void tinyaot_scalar_clamp(
    int8_t *y, int32_t size, int32_t low, int32_t high)
{
    for (const int8_t *const end = y + size; y != end; ++y) {
        *y = (int8_t)tinyaot_clamp(*y, low, high);
    }
}

/* Packs `count` taps, `step` bytes apart in each of four lanes. */
TINYAOT_SCALAR_SHARED void tinyaot_scalar_pack(int32_t *to, const int8_t *lane0,
    const int8_t *lane1, const int8_t *lane2, const int8_t *lane3, int32_t step, int32_t count)
{
    const int32_t *const end = to + 2 * count;
    ptrdiff_t i = 0;
    for (; to != end; to += 2, i += step) {
        to[0] = lane0[i] + lane1[i] * 65536;
        to[1] = lane2[i] + lane3[i] * 65536;
    }
}

/* Packs rows `first` to `first` + `rows` of all lanes, `count` taps each, from an image of `height`
 * rows of `row_size` bytes.
 *
 * lanes[l] is the input row of lane l's row 0, lanes[4 + l] the offset of its first tap in a row, or
 * -1 if all of them are padding. Rows and columns outside the image read `border`, which holds as
 * many zero points as `count` taps, `step` bytes apart, reach. Packed rows are `pitch` taps apart. */
TINYAOT_SCALAR_SHARED void tinyaot_scalar_pack_rows(int32_t *to, int32_t pitch, const int8_t *x,
    int32_t height, int32_t row_size, const int8_t *border, const int32_t *lanes, int32_t first,
    int32_t rows, int32_t step, int32_t count)
{
    for (; rows != 0; --rows, ++first, to += 2 * pitch) {
        const int8_t *from[4];
        for (int32_t lane = 0; lane < 4; ++lane) {
            const int32_t row = lanes[lane] + first;
            const int32_t column = lanes[4 + lane];
            const _Bool inside = row >= 0 && row < height && column >= 0;
            from[lane] = inside ? x + row * row_size + column : border;
        }
        tinyaot_scalar_pack(to, from[0], from[1], from[2], from[3], step, count);
    }
}

/* Packs `size` values that are the same in every lane. */
TINYAOT_SCALAR_SHARED void tinyaot_scalar_pack_value(int32_t *to, int32_t value, int32_t size)
{
    for (const int32_t *const end = to + 2 * size; to != end; ++to) {
        *to = value + value * 65536;
    }
}

#endif
