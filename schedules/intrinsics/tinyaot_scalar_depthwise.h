/* Depthwise convolution of one channel whose plane of inputs is packed (see tinyaot_scalar.h). */
#ifndef TINYAOT_SCALAR_DEPTHWISE_H
#define TINYAOT_SCALAR_DEPTHWISE_H

#include "tinyaot_scalar.h"

struct tinyaot_scalar_plane {
    struct tinyaot_scalar_tile tile;
    const int32_t *x;
    const int32_t *taps;
    int32_t rows, columns;    /* of outputs in a lane */
    int32_t tap_row_step;     /* from the end of a window's row to its next row, bytes */
    int32_t column_step;      /* from window to window, bytes */
    int32_t row_step;         /* from the window after a row's last to the next row's first, bytes */
    int32_t y_row_step;       /* likewise in the output */
    int32_t column;           /* counts down */
};

#if defined(__thumb__)

/* Where assembly finds the members. */
#define TINYAOT_PLANE_FINISH "[r0, #16]"
#define TINYAOT_PLANE_Y "[r0, #20]"
#define TINYAOT_PLANE_X "[r0, #52]"
#define TINYAOT_PLANE_TAPS "[r0, #56]"
#define TINYAOT_PLANE_ROWS "[r0, #60]"
#define TINYAOT_PLANE_COLUMNS "[r0, #64]"
#define TINYAOT_PLANE_TAP_ROW_STEP "[r0, #68]"
#define TINYAOT_PLANE_COLUMN_STEP "[r0, #72]"
#define TINYAOT_PLANE_ROW_STEP "[r0, #76]"
#define TINYAOT_PLANE_Y_ROW_STEP "[r0, #80]"
#define TINYAOT_PLANE_COLUMN "[r0, #84]"
typedef char tinyaot_plane_is_as_assembly_expects
    [offsetof(struct tinyaot_scalar_tile, y) == 20 &&
     offsetof(struct tinyaot_scalar_plane, x) == 52 &&
     offsetof(struct tinyaot_scalar_plane, column) == 84 ? 1 : -1];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* One tap, and one more that is added. */
#define TINYAOT_PLANE_FIRST_V6M(TAP) \
    "ldr r2, [r1, #" TAP "]\n" \
    "ldmia r0!, {r3, r4}\n" \
    "muls r3, r2, r3\n" \
    "muls r4, r2, r4\n"
#define TINYAOT_PLANE_SECOND_V6M(TAP) \
    "ldr r2, [r1, #" TAP "]\n" \
    "ldmia r0!, {r5, r6}\n" \
    "muls r5, r2, r5\n" \
    "muls r6, r2, r6\n" \
    "adds r3, r3, r5\n" \
    "adds r4, r4, r6\n"
/* Splits the products: r7 and r11 upper, r8 and r9 both, r12 2^15. */
#define TINYAOT_PLANE_SPLIT_V6M \
    "add r8, r3\n" \
    "add r9, r4\n" \
    "add r4, r12\n" \
    "asrs r4, r4, #16\n" \
    "add r11, r4\n" \
    "asrs r3, r3, #16\n" \
    "adcs r7, r3\n"

/* 3x3 taps, for Armv6-M. r10 is the window. */
TINYAOT_SCALAR_ASM void tinyaot_scalar_plane_3x3_v6m(struct tinyaot_scalar_plane *plane)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r7, lr}\n"
        "mov r4, r8\n"
        "mov r5, r9\n"
        "mov r6, r10\n"
        "mov r7, r11\n"
        "push {r0, r4-r7}\n"
        "ldr r1, " TINYAOT_PLANE_X "\n"
        "mov r10, r1\n"
        "1:\n"
        "ldr r0, [sp]\n"
        "ldr r1, " TINYAOT_PLANE_COLUMNS "\n"
        "str r1, " TINYAOT_PLANE_COLUMN "\n"
        "2:\n"
        "ldr r1, " TINYAOT_PLANE_TAP_ROW_STEP "\n"
        "mov lr, r1\n"
        "ldr r1, " TINYAOT_PLANE_TAPS "\n"
        "movs r2, #128\n"
        "lsls r2, r2, #8\n"
        "mov r12, r2\n"
        "mov r0, r10\n"
        TINYAOT_PLANE_FIRST_V6M("0")
        TINYAOT_PLANE_SECOND_V6M("4")
        "mov r8, r3\n"
        "mov r9, r4\n"
        "add r4, r12\n"
        "asrs r4, r4, #16\n"
        "mov r11, r4\n"
        "movs r7, #0\n"
        "asrs r3, r3, #16\n"
        "adcs r7, r3\n"
        TINYAOT_PLANE_FIRST_V6M("8")
        "add r0, lr\n"
        TINYAOT_PLANE_SECOND_V6M("12")
        TINYAOT_PLANE_SPLIT_V6M
        TINYAOT_PLANE_FIRST_V6M("16")
        TINYAOT_PLANE_SECOND_V6M("20")
        TINYAOT_PLANE_SPLIT_V6M
        "add r0, lr\n"
        TINYAOT_PLANE_FIRST_V6M("24")
        TINYAOT_PLANE_SECOND_V6M("28")
        TINYAOT_PLANE_SPLIT_V6M
        TINYAOT_PLANE_FIRST_V6M("32")
        TINYAOT_PLANE_SPLIT_V6M
        "lsls r3, r7, #16\n"
        "mov r4, r8\n"
        "subs r4, r4, r3\n"
        "movs r5, r7\n"
        "mov r7, r11\n"
        "lsls r3, r7, #16\n"
        "mov r6, r9\n"
        "subs r6, r6, r3\n"
        "ldr r0, [sp]\n"
        "stmia r0!, {r4-r7}\n"
        "subs r0, #16\n"
        "ldr r3, " TINYAOT_PLANE_FINISH "\n"
        "blx r3\n"
        "ldr r0, [sp]\n"
        "ldr r1, " TINYAOT_PLANE_COLUMN_STEP "\n"
        "add r10, r1\n"
        "ldr r1, " TINYAOT_PLANE_COLUMN "\n"
        "subs r1, #1\n"
        "str r1, " TINYAOT_PLANE_COLUMN "\n"
        "bne 2b\n"
        "ldr r1, " TINYAOT_PLANE_ROW_STEP "\n"
        "add r10, r1\n"
        "ldr r1, " TINYAOT_PLANE_Y "\n"
        "ldr r2, " TINYAOT_PLANE_Y_ROW_STEP "\n"
        "adds r1, r1, r2\n"
        "str r1, " TINYAOT_PLANE_Y "\n"
        "ldr r1, " TINYAOT_PLANE_ROWS "\n"
        "subs r1, #1\n"
        "str r1, " TINYAOT_PLANE_ROWS "\n"
        "bne 1b\n"
        "pop {r0, r4-r7}\n"
        "mov r8, r4\n"
        "mov r9, r5\n"
        "mov r10, r6\n"
        "mov r11, r7\n"
        "pop {r4-r7, pc}\n");
}

#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2

/* Two taps, or one, and the split: r9 and r11 upper, r10 and r12 both, lr 2^15. */
#define TINYAOT_PLANE_TWO_V7M \
    "mla r3, r3, r2, lr\n" \
    "mla r3, r5, r7, r3\n" \
    "mla r4, r4, r2, lr\n" \
    "mla r4, r6, r7, r4\n"
#define TINYAOT_PLANE_SPLIT_V7M \
    "add r9, r9, r3, asr #16\n" \
    "add r10, r10, r3\n" \
    "add r11, r11, r4, asr #16\n" \
    "add r12, r12, r4\n"

/* 3x3 taps, for Armv7-M. */
TINYAOT_SCALAR_ASM void tinyaot_scalar_plane_3x3_v7m(struct tinyaot_scalar_plane *plane)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r0, r4-r11, lr}\n"
        "ldr r1, " TINYAOT_PLANE_X "\n"
        "push {r1, r2}\n"
        "1:\n"
        "ldr r1, " TINYAOT_PLANE_COLUMNS "\n"
        "str r1, " TINYAOT_PLANE_COLUMN "\n"
        "2:\n"
        "ldr r8, " TINYAOT_PLANE_TAP_ROW_STEP "\n"
        "ldr r1, " TINYAOT_PLANE_TAPS "\n"
        "ldr r0, [sp]\n"
        "mov lr, #0x8000\n"
        "ldmia r0!, {r3-r6}\n"
        "ldrd r2, r7, [r1]\n"
        TINYAOT_PLANE_TWO_V7M
        "asr r9, r3, #16\n"
        "sub r10, r3, #0x28000\n"
        "asr r11, r4, #16\n"
        "sub r12, r4, #0x28000\n"
        "ldmia r0!, {r3, r4}\n"
        "add r0, r0, r8\n"
        "ldmia r0!, {r5, r6}\n"
        "ldrd r2, r7, [r1, #8]\n"
        TINYAOT_PLANE_TWO_V7M
        TINYAOT_PLANE_SPLIT_V7M
        "ldmia r0!, {r3-r6}\n"
        "add r0, r0, r8\n"
        "ldrd r2, r7, [r1, #16]\n"
        TINYAOT_PLANE_TWO_V7M
        TINYAOT_PLANE_SPLIT_V7M
        "ldmia r0!, {r3-r6}\n"
        "ldrd r2, r7, [r1, #24]\n"
        TINYAOT_PLANE_TWO_V7M
        TINYAOT_PLANE_SPLIT_V7M
        "ldmia r0, {r3, r4}\n"
        "ldr r2, [r1, #32]\n"
        "mla r3, r3, r2, lr\n"
        "mla r4, r4, r2, lr\n"
        TINYAOT_PLANE_SPLIT_V7M
        "sub r4, r10, r9, lsl #16\n"
        "mov r5, r9\n"
        "sub r6, r12, r11, lsl #16\n"
        "mov r7, r11\n"
        "ldr r0, [sp, #8]\n"
        "stmia r0, {r4-r7}\n"
        "ldr r3, " TINYAOT_PLANE_FINISH "\n"
        "blx r3\n"
        "ldr r0, [sp, #8]\n"
        "ldr r2, [sp]\n"
        "ldr r1, " TINYAOT_PLANE_COLUMN_STEP "\n"
        "add r2, r2, r1\n"
        "str r2, [sp]\n"
        "ldr r1, " TINYAOT_PLANE_COLUMN "\n"
        "subs r1, r1, #1\n"
        "str r1, " TINYAOT_PLANE_COLUMN "\n"
        "bne 2b\n"
        "ldr r1, " TINYAOT_PLANE_ROW_STEP "\n"
        "add r2, r2, r1\n"
        "str r2, [sp]\n"
        "ldr r1, " TINYAOT_PLANE_Y "\n"
        "ldr r2, " TINYAOT_PLANE_Y_ROW_STEP "\n"
        "add r1, r1, r2\n"
        "str r1, " TINYAOT_PLANE_Y "\n"
        "ldr r1, " TINYAOT_PLANE_ROWS "\n"
        "subs r1, r1, #1\n"
        "str r1, " TINYAOT_PLANE_ROWS "\n"
        "bne 1b\n"
        "add sp, sp, #12\n"
        "pop {r4-r11, pc}\n");
}

#endif

#pragma GCC diagnostic pop

#endif

/* 3x3 taps over a packed plane whose rows are `pitch` entries long.
 *
 * Each lane has rows x columns outputs, `y_step` bytes apart in a row; their windows are
 * stride_h and stride_w entries apart. `y_row_step` leads from the end of a row of outputs to the
 * next. Lanes are as in tinyaot_scalar_matmul_blocks. */
TINYAOT_SCALAR_SHARED void tinyaot_scalar_plane_3x3(const int32_t *x, int32_t pitch,
    int32_t stride_h, int32_t stride_w, int32_t rows, int32_t columns, const int8_t *weight,
    const int32_t *constants, int8_t *y, int32_t y_step, int32_t y_row_step, int32_t lane1,
    int32_t lane2, int32_t lane3, tinyaot_scalar_form finish, int32_t zero_point)
{
    int32_t taps[9];
    struct tinyaot_scalar_plane plane = {
        {{0, 0, 0, 0}, finish, y, constants, y_step, 0, {lane1, lane2, lane3}, zero_point},
        x, taps, rows, columns, 8 * (pitch - 3), 8 * stride_w,
        8 * (stride_h * pitch - stride_w * columns), y_row_step, 0};
    for (int32_t tap = 0; tap < 9; ++tap) {
        taps[tap] = weight[tap];
    }
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2
    tinyaot_scalar_plane_3x3_v7m(&plane);
#elif defined(__thumb__)
    tinyaot_scalar_plane_3x3_v6m(&plane);
#else
    for (int32_t row = 0; row < rows; ++row, plane.tile.y += y_row_step) {
        for (int32_t column = 0; column < columns; ++column) {
            const int32_t *const window = x + 2 * (row * stride_h * pitch + column * stride_w);
            for (int32_t lane = 0; lane < 4; ++lane) {
                plane.tile.sums[lane] = 0;
                for (int32_t tap = 0; tap < 9; ++tap) {
                    const int32_t pair = window[2 * (tap / 3 * pitch + tap % 3) + lane / 2];
                    const int32_t lower = (int16_t)pair;
                    const int32_t value = lane % 2 == 0 ? lower : (pair - lower) / 65536;
                    plane.tile.sums[lane] += value * taps[tap];
                }
            }
            (*plane.tile.finish)(&plane.tile);
        }
    }
#endif
}

#endif
