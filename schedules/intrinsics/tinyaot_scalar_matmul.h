/* Four lanes of packed inputs times the weights of any number of channels (see tinyaot_scalar.h).
 *
 * A lane's taps are `runs` runs of `taps` entries each in the packed inputs, run r at entry
 * begins[r]. Two taps at a time are multiplied and split:
 *
 *     both += product             16-bit halves of two lanes, modulo 2^32
 *     upper += (product + 2^15) >> 16
 *     sums: both - upper * 2^16 and upper
 */
#ifndef TINYAOT_SCALAR_MATMUL_H
#define TINYAOT_SCALAR_MATMUL_H

#include "tinyaot_scalar.h"

struct tinyaot_scalar_product {
    struct tinyaot_scalar_tile tile;
    const int32_t *x;
    const int32_t *begins;
    int32_t runs;
    int32_t taps;
    const int8_t *weight;
    int32_t channels;
    int32_t block_step;    /* from the end of a block of channels to the next block */
    int32_t pitch;         /* from tap to tap in the weights */
};

#if defined(__thumb__)

/* Where assembly finds the members. */
#define TINYAOT_PRODUCT_FINISH "[r0, #16]"
#define TINYAOT_PRODUCT_X "[r0, #52]"
#define TINYAOT_PRODUCT_BEGINS "[r0, #56]"
#define TINYAOT_PRODUCT_RUNS "[r0, #60]"
#define TINYAOT_PRODUCT_TAPS "[r0, #64]"
#define TINYAOT_PRODUCT_WEIGHT "[r0, #68]"
#define TINYAOT_PRODUCT_CHANNELS "[r0, #72]"
#define TINYAOT_PRODUCT_BLOCK_STEP "[r0, #76]"
#define TINYAOT_PRODUCT_PITCH "[r0, #80]"
typedef char tinyaot_product_is_as_assembly_expects
    [offsetof(struct tinyaot_scalar_tile, finish) == 16 &&
     offsetof(struct tinyaot_scalar_product, x) == 52 &&
     offsetof(struct tinyaot_scalar_product, pitch) == 80 ? 1 : -1];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* For Armv6-M. Inputs advance by 8 bytes a tap and so do the weights of a block of eight channels,
 * [tap][channel]: one offset between the two addresses serves all taps. `ADVANCE` changes it for
 * blocks with fewer channels. One turn of the loop is `PAIRS` pairs of taps of `SIZE` bytes of
 * code; a run enters it in the middle, so that it ends with the run. */
#define TINYAOT_SCALAR_MATMUL_V6M(ADVANCE, SIZE, PAIRS) \
    ".syntax unified\n" \
    "push {r4-r7, lr}\n" \
    "mov r4, r8\n" \
    "mov r5, r9\n" \
    "mov r6, r10\n" \
    "mov r7, r11\n" \
    "push {r4-r7}\n" \
    "mov r10, r0\n" \
    "ldr r1, " TINYAOT_PRODUCT_PITCH "\n" \
    "subs r1, #8\n" \
    "mov r11, r1\n" \
    /* First and last address of every run, closed by 0. */ \
    "movs r1, #0\n" \
    "push {r1}\n" \
    "ldr r1, " TINYAOT_PRODUCT_X "\n" \
    "ldr r2, " TINYAOT_PRODUCT_BEGINS "\n" \
    "ldr r3, " TINYAOT_PRODUCT_RUNS "\n" \
    "lsls r3, r3, #2\n" \
    "ldr r4, " TINYAOT_PRODUCT_TAPS "\n" \
    "lsls r7, r4, #3\n" \
    "1:\n" \
    "subs r3, #4\n" \
    "ldr r5, [r2, r3]\n" \
    "lsls r5, r5, #3\n" \
    "adds r5, r5, r1\n" \
    "adds r6, r5, r7\n" \
    "push {r5, r6}\n" \
    "cmp r3, #0\n" \
    "bne 1b\n" \
    /* Where a run enters the loop; in the single tap if they are odd. */ \
    "sub sp, #16\n" \
    "lsrs r5, r4, #1\n" \
    "beq 3f\n" \
    "2:\n" \
    "subs r5, #" PAIRS "\n" \
    "bgt 2b\n" \
    "adds r5, #" PAIRS "\n" \
    "3:\n" \
    "movs r6, #" SIZE "\n" \
    "muls r5, r6, r5\n" \
    "adr r6, 7f\n" \
    "subs r6, r6, r5\n" \
    "str r6, [sp, #4]\n" \
    "lsls r4, r4, #31\n" \
    "beq 4f\n" \
    "adr r6, 5f\n" \
    "4:\n" \
    "str r6, [sp, #0]\n" \
    "b 8f\n" \
    ".balign 4\n" \
    "5:\n" \
    "ldrsb r2, [r1, r0]\n" \
    "ldmia r0!, {r4, r5}\n" \
    ADVANCE \
    "muls r4, r2, r4\n" \
    "muls r5, r2, r5\n" \
    "add r8, r4\n" \
    "asrs r4, r4, #16\n" \
    "adcs r6, r4\n" \
    "add r9, r5\n" \
    "asrs r5, r5, #16\n" \
    "adcs r7, r5\n" \
    "ldr r2, [sp, #4]\n" \
    "mov pc, r2\n" \
    ".balign 4\n" \
    ".if (" SIZE " * " PAIRS ") & 2\n" \
    "nop\n" \
    ".endif\n" \
    "6:\n" \
    ".rept " PAIRS "\n" \
    "ldrsb r2, [r1, r0]\n" \
    "ldmia r0!, {r4, r5}\n" \
    ADVANCE \
    "muls r4, r2, r4\n" \
    "muls r5, r2, r5\n" \
    "ldrsb r2, [r1, r0]\n" \
    "ldmia r0!, {r3}\n" \
    ADVANCE \
    "muls r3, r2, r3\n" \
    "adds r4, r4, r3\n" \
    "ldmia r0!, {r3}\n" \
    "muls r3, r2, r3\n" \
    "adds r5, r5, r3\n" \
    /* A shift leaves bit 15 in the carry: the halves round to nearest. */ \
    "add r8, r4\n" \
    "asrs r4, r4, #16\n" \
    "adcs r6, r4\n" \
    "add r9, r5\n" \
    "asrs r5, r5, #16\n" \
    "adcs r7, r5\n" \
    ".endr\n" \
    "7:\n" \
    "cmp r0, r12\n" \
    "bne 6b\n" \
    "ldr r3, [sp, #8]\n" \
    "b 9f\n" \
    /* A channel: r0 inputs, r1 weights less inputs, r6 and r7 upper, r8 and r9 both. */ \
    "8:\n" \
    "movs r6, #0\n" \
    "movs r7, #0\n" \
    "mov r8, r6\n" \
    "mov r9, r6\n" \
    "mov r0, r10\n" \
    "ldr r1, " TINYAOT_PRODUCT_WEIGHT "\n" \
    "movs r0, #0\n" \
    "add r3, sp, #16\n" \
    "9:\n" \
    "ldmia r3!, {r4, r5}\n" \
    "cmp r4, #0\n" \
    "beq 10f\n" \
    "str r3, [sp, #8]\n" \
    "adds r1, r1, r0\n" \
    "subs r1, r1, r4\n" \
    "movs r0, r4\n" \
    "mov r12, r5\n" \
    "ldr r2, [sp, #0]\n" \
    "mov pc, r2\n" \
    "10:\n" \
    "lsls r3, r6, #16\n" \
    "mov r4, r8\n" \
    "subs r4, r4, r3\n" \
    "movs r5, r6\n" \
    "lsls r3, r7, #16\n" \
    "mov r6, r9\n" \
    "subs r6, r6, r3\n" \
    "mov r0, r10\n" \
    "stmia r0!, {r4-r7}\n" \
    "mov r0, r10\n" \
    "ldr r3, " TINYAOT_PRODUCT_FINISH "\n" \
    "blx r3\n" \
    "mov r0, r10\n" \
    "ldr r1, " TINYAOT_PRODUCT_WEIGHT "\n" \
    "adds r1, #1\n" \
    "ldr r2, " TINYAOT_PRODUCT_CHANNELS "\n" \
    "subs r2, #1\n" \
    "str r2, " TINYAOT_PRODUCT_CHANNELS "\n" \
    "beq 12f\n" \
    "lsls r2, r2, #29\n" \
    "bne 11f\n" \
    "ldr r2, " TINYAOT_PRODUCT_BLOCK_STEP "\n" \
    "adds r1, r1, r2\n" \
    "11:\n" \
    "str r1, " TINYAOT_PRODUCT_WEIGHT "\n" \
    "b 8b\n" \
    "12:\n" \
    "ldr r3, " TINYAOT_PRODUCT_RUNS "\n" \
    "lsls r3, r3, #3\n" \
    "add sp, r3\n" \
    "add sp, #20\n" \
    "pop {r4-r7}\n" \
    "mov r8, r4\n" \
    "mov r9, r5\n" \
    "mov r10, r6\n" \
    "mov r11, r7\n" \
    "pop {r4-r7, pc}\n"

TINYAOT_SCALAR_ASM void tinyaot_scalar_matmul_v6m(struct tinyaot_scalar_product *product)
{
    __asm volatile(TINYAOT_SCALAR_MATMUL_V6M("", "34", "7"));
}

TINYAOT_SCALAR_ASM void tinyaot_scalar_matmul_narrow_v6m(struct tinyaot_scalar_product *product)
{
    __asm volatile(TINYAOT_SCALAR_MATMUL_V6M("add r1, r11\n", "38", "6"));
}

#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2
/* For Armv7-M. The first multiplication of a pair of taps adds 2^15, which is taken off the sum of
 * `both` at its start. */
TINYAOT_SCALAR_ASM void tinyaot_scalar_matmul_v7m(struct tinyaot_scalar_product *product)
{
    __asm volatile(
        ".syntax unified\n"
        "push {r4-r11, lr}\n"
        /* First and last address of every run, closed by 0. */
        "movs r1, #0\n"
        "push {r1}\n"
        "ldr r1, " TINYAOT_PRODUCT_X "\n"
        "ldr r2, " TINYAOT_PRODUCT_BEGINS "\n"
        "ldr r3, " TINYAOT_PRODUCT_RUNS "\n"
        "ldr r4, " TINYAOT_PRODUCT_TAPS "\n"
        "add r7, r4, #1\n"
        "lsr r7, r7, #1\n"
        "mul r7, r7, r3\n"
        "lsl r7, r7, #15\n"
        "rsb r8, r7, #0\n"
        "1:\n"
        "subs r3, r3, #1\n"
        "ldr r5, [r2, r3, lsl #2]\n"
        "add r5, r1, r5, lsl #3\n"
        "add r6, r5, r4, lsl #3\n"
        "push {r5, r6}\n"
        "bne 1b\n"
        /* Where a run enters the loop; in the single tap if they are odd. */
        "sub sp, sp, #24\n"
        "lsrs r5, r4, #1\n"
        "beq 3f\n"
        "2:\n"
        "subs r5, r5, #8\n"
        "bgt 2b\n"
        "add r5, r5, #8\n"
        "3:\n"
        "mov r6, #38\n"
        "mul r5, r6, r5\n"
        "adr r6, 7f\n"
        "sub r6, r6, r5\n"
        "orr r6, r6, #1\n"
        "str r6, [sp, #4]\n"
        "tst r4, #1\n"
        "beq 4f\n"
        "adr r6, 5f\n"
        "orr r6, r6, #1\n"
        "4:\n"
        "str r6, [sp, #0]\n"
        "str r8, [sp, #16]\n"
        "str r0, [sp, #20]\n"
        "ldr r1, " TINYAOT_PRODUCT_WEIGHT "\n"
        "b 8f\n"
        "5:\n"
        "ldmia r0!, {r2, r3}\n"
        "ldrsb r6, [r1], #1\n"
        "mla r8, r2, r6, lr\n"
        "mla r2, r3, r6, lr\n"
        "add r9, r9, r8, asr #16\n"
        "add r10, r10, r8\n"
        "add r11, r11, r2, asr #16\n"
        "add r12, r12, r2\n"
        "ldr pc, [sp, #4]\n"
        "6:\n"
        ".rept 8\n"
        "ldmia r0!, {r2-r5}\n"
        "ldrsb r6, [r1], #1\n"
        "ldrsb r7, [r1], #1\n"
        "mla r8, r2, r6, lr\n"
        "mla r8, r4, r7, r8\n"
        "mla r2, r3, r6, lr\n"
        "mla r2, r5, r7, r2\n"
        "add r9, r9, r8, asr #16\n"
        "add r10, r10, r8\n"
        "add r11, r11, r2, asr #16\n"
        "add r12, r12, r2\n"
        ".endr\n"
        "7:\n"
        "ldr r2, [sp, #12]\n"
        "cmp r0, r2\n"
        "bne.w 6b\n"
        "ldr r3, [sp, #8]\n"
        "b 9f\n"
        /* A channel: r0 inputs, r1 weights, r9 and r11 upper, r10 and r12 both. */
        "8:\n"
        "mov r9, #0\n"
        "mov r11, #0\n"
        "ldr r10, [sp, #16]\n"
        "mov r12, r10\n"
        "mov lr, #0x8000\n"
        "add r3, sp, #24\n"
        "9:\n"
        "ldmia r3!, {r0, r2}\n"
        "cbz r0, 10f\n"
        "strd r3, r2, [sp, #8]\n"
        "ldr pc, [sp, #0]\n"
        "10:\n"
        "sub r4, r10, r9, lsl #16\n"
        "mov r5, r9\n"
        "sub r6, r12, r11, lsl #16\n"
        "mov r7, r11\n"
        "ldr r0, [sp, #20]\n"
        "stmia r0, {r4-r7}\n"
        "mov r4, r1\n"
        "mov r5, r0\n"
        "ldr r3, " TINYAOT_PRODUCT_FINISH "\n"
        "blx r3\n"
        "mov r1, r4\n"
        "mov r0, r5\n"
        "ldr r2, " TINYAOT_PRODUCT_CHANNELS "\n"
        "subs r2, r2, #1\n"
        "str r2, " TINYAOT_PRODUCT_CHANNELS "\n"
        "bne 8b\n"
        "ldr r3, " TINYAOT_PRODUCT_RUNS "\n"
        "add sp, sp, r3, lsl #3\n"
        "add sp, sp, #28\n"
        "pop {r4-r11, pc}\n");
}
#endif

#pragma GCC diagnostic pop

#endif

/* Channels whose weights are blocks of eight, [tap][8], and a last block [tap][channels % 8]. Lane 0
 * of the first channel is stored at y, lane 1 `lane1` bytes on, lane 2 `lane2` from lane 1, lane 3
 * `lane3` from lane 2, and the next channels after these. */
TINYAOT_SCALAR_INLINE void tinyaot_scalar_matmul_blocks(const int32_t *x, const int32_t *begins,
    int32_t runs, int32_t taps, const int8_t *weight, const int32_t *constants,
    int32_t constants_step, int8_t *y, int32_t lane1, int32_t lane2, int32_t lane3,
    int32_t channels, int32_t form, int32_t zero_point)
{
    const int32_t whole = channels & ~7;
    struct tinyaot_scalar_product product = {
        {{0, 0, 0, 0}, tinyaot_scalar_finish_by(form), y, constants, 1, constants_step,
            {lane1, lane2, lane3}, zero_point},
        x, begins, runs, taps, weight, whole, 8 * (runs * taps - 1), 8};
#if defined(__thumb__)
    if (whole != 0) {
        tinyaot_scalar_matmul_v6m(&product);
    }
    if (whole != channels) {
        product.weight = weight + whole * (runs * taps);
        product.channels = product.pitch = channels - whole;
        tinyaot_scalar_matmul_narrow_v6m(&product);
    }
#else
    for (int32_t channel = 0; channel < channels; ++channel) {
        const int32_t block = channel & ~7;
        const int32_t pitch = channels - block < 8 ? channels - block : 8;
        const int8_t *w = weight + block * (runs * taps) + channel - block;
        int32_t *const sums = product.tile.sums;
        sums[0] = sums[1] = sums[2] = sums[3] = 0;
        for (int32_t run = 0; run < runs; ++run) {
            const int32_t *pair = x + 2 * begins[run];
            for (int32_t tap = 0; tap < taps; ++tap, pair += 2, w += pitch) {
                for (int32_t i = 0; i < 2; ++i) {
                    const int32_t lower = (int16_t)pair[i];
                    sums[2 * i] += lower * *w;
                    sums[2 * i + 1] += (pair[i] - lower) / 65536 * *w;
                }
            }
        }
        (*product.tile.finish)(&product.tile);
    }
#endif
}

#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB >= 2
/* The same with all taps of a channel together: [channel][tap]. */
TINYAOT_SCALAR_INLINE void tinyaot_scalar_matmul_rows(const int32_t *x, const int32_t *begins,
    int32_t runs, int32_t taps, const int8_t *weight, const int32_t *constants,
    int32_t constants_step, int8_t *y, int32_t lane1, int32_t lane2, int32_t lane3,
    int32_t channels, int32_t form, int32_t zero_point)
{
    struct tinyaot_scalar_product product = {
        {{0, 0, 0, 0}, tinyaot_scalar_finish_by(form), y, constants, 1, constants_step,
            {lane1, lane2, lane3}, zero_point},
        x, begins, runs, taps, weight, channels, 0, 0};
    tinyaot_scalar_matmul_v7m(&product);
}
#endif

#endif
