/* Depthwise convolution: kernels for 3x3, which work on planes, and for any other size.
 *
 * A plane line is one line of pixels, along either axis of the image, of four channels: int16
 * planes of P bytes each, one after another. Lines follow each other, with the padding in place, so
 * that the arithmetic has no case for borders and SMLAD finds neighbours in one word.
 *
 * Requantization as in tinyaot_dsp_matmul.h, y = sat8((addend + high32(256 * acc * multiplier)) >> R);
 * the factor 256 is in the weights and the bias.
 */
#ifndef TINYAOT_DSP_DEPTHWISE_H
#define TINYAOT_DSP_DEPTHWISE_H

#include "tinyaot_dsp.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Four pixels r4-r7 to the four planes at r0. */
#define TINYAOT_DSP_FOUR_PIXELS(P) \
    "pkhbt r8, r4, r5, lsl #16\n" \
    "pkhtb r9, r5, r4, asr #16\n" \
    "pkhbt r10, r6, r7, lsl #16\n" \
    "pkhtb r11, r7, r6, asr #16\n" \
    "sxtb16 r4, r8\n" \
    "sxtb16 r5, r10\n" \
    "sxtb16 r6, r8, ror #8\n" \
    "sxtb16 r7, r10, ror #8\n" \
    "strd r4, r5, [r0]\n" \
    "strd r6, r7, [r0, #" P "]\n" \
    "sxtb16 r4, r9\n" \
    "sxtb16 r5, r11\n" \
    "sxtb16 r6, r9, ror #8\n" \
    "sxtb16 r7, r11, ror #8\n" \
    "strd r4, r5, [r0, #2*" P "]\n" \
    "strd r6, r7, [r0, #3*" P "]\n" \
    "add r0, r0, #8\n"

/* Widens `pixels` pixels of four channels, `stride` bytes apart. They begin at entry `lead` of the
 * planes, 0 or 1 (then at least three pixels); what is left of the last four entries begun is the
 * zero point, given in all four bytes, and after four full entries four more are. */
#define TINYAOT_DSP_PLANES(P) \
    "push {r4-r11, lr}\n" \
    "ldrd r12, r4, [sp, #36]\n" /* zero points, lead */ \
    "add lr, r2, r2, lsl #1\n" \
    "cmp r4, #0\n" \
    "beq 1f\n" \
    "mov r4, r12\n" \
    "ldr r5, [r1]\n" \
    "ldr r6, [r1, r2]\n" \
    "ldr r7, [r1, r2, lsl #1]\n" \
    "add r1, r1, lr\n" \
    "sub r3, r3, #3\n" \
    TINYAOT_DSP_FOUR_PIXELS(P) \
    "1: subs r3, r3, #4\n" \
    "blt 3f\n" \
    "2: ldr r4, [r1]\n" \
    "ldr r5, [r1, r2]\n" \
    "ldr r6, [r1, r2, lsl #1]\n" \
    "ldr r7, [r1, lr]\n" \
    "add r1, r1, r2, lsl #2\n" \
    TINYAOT_DSP_FOUR_PIXELS(P) \
    "subs r3, r3, #4\n" \
    "bge 2b\n" \
    "3: mov r4, r12\n" \
    "mov r5, r12\n" \
    "mov r6, r12\n" \
    "mov r7, r12\n" \
    "adds r3, r3, #3\n" /* pixels left, less one */ \
    "blt 4f\n" \
    "ldr r4, [r1]\n" \
    "beq 4f\n" \
    "ldr r5, [r1, r2]\n" \
    "cmp r3, #2\n" \
    "bne 4f\n" \
    "ldr r6, [r1, r2, lsl #1]\n" \
    "4:\n" \
    TINYAOT_DSP_FOUR_PIXELS(P) \
    "pop {r4-r11, pc}\n"

TINYAOT_DSP_ASM void tinyaot_dsp_planes_16(int16_t *planes, const int8_t *x, int32_t stride,
    int32_t pixels, int32_t zero_points, int32_t lead)
{
    __asm volatile(TINYAOT_DSP_PLANES("16"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_planes_32(int16_t *planes, const int8_t *x, int32_t stride,
    int32_t pixels, int32_t zero_points, int32_t lead)
{
    __asm volatile(TINYAOT_DSP_PLANES("32"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_planes_56(int16_t *planes, const int8_t *x, int32_t stride,
    int32_t pixels, int32_t zero_points, int32_t lead)
{
    __asm volatile(TINYAOT_DSP_PLANES("56"));
}

/* One row of weights, times 256, as pairs {w0, w1} and {w1, w2}. */
#define TINYAOT_DSP_WEIGHTS(OFFSET, W01, W12) \
    "ldr r3, [r2, #" OFFSET "]\n" \
    "and r10, r3, #0xff00ff00\n" \
    "lsl r3, r3, #8\n" \
    "and r3, r3, #0xff00ff00\n" \
    "pkhbt " W01 ", r3, r10, lsl #16\n" \
    "pkhbt " W12 ", r10, r3\n"

/* A row's part in two neighbouring outputs; entries in r2 and r3. */
#define TINYAOT_DSP_ROW(Y0, Y1, FROM0, FROM1, W01, W12) \
    "smlad " Y0 ", r2, " W01 ", " FROM0 "\n" \
    "smlatb " Y1 ", r2, " W01 ", " FROM1 "\n" \
    "smlabt " Y0 ", r3, " W12 ", " Y0 "\n" \
    "smlad " Y1 ", r3, " W12 ", " Y1 "\n"
#define TINYAOT_DSP_HALF_ROW(Y0, FROM0, W01, W12) \
    "smlad " Y0 ", r2, " W01 ", " FROM0 "\n" \
    "smlabt " Y0 ", r3, " W12 ", " Y0 "\n"

/* The frame of a kernel: 0 multiplier, 4 addend, 8 bytes between columns of y, 12 between lines,
 * 16 bias, 20 end of the line's pairs of columns, 24 lines left, 28 planes, 32 y, 36 weights, 40
 * constants, 44 channels left, 48 advance of the planes at the end of a line, 52 of y, 56 lines
 * (pairs of them), 60 end of the first line, 64 columns, 68 lines.
 *
 * Arguments: planes with the line above the first, y, stream, columns; lines, bytes between columns
 * of y, between its lines. Stream: 9 weights of each of four channels, a line's first, then of each
 * {256 * bias, multiplier, addend}.
 */
#define TINYAOT_DSP_CHANNELS_BEGIN(P, LOG_PAIR) \
    "push {r4-r11, lr}\n" \
    "sub sp, #72\n" \
    "ldrd r4, r5, [sp, #108]\n" /* lines, column stride */ \
    "ldr r6, [sp, #116]\n" \
    "strd r5, r6, [sp, #8]\n" \
    "strd r3, r4, [sp, #64]\n" \
    "lsr r7, r3, #1\n" \
    "lsl r3, r7, #" LOG_PAIR "\n" \
    "mul r7, r7, r5\n" \
    "rsb r8, r3, #8*" P "\n" \
    "add r10, r2, #36\n" \
    "mov r11, #4\n" \
    "strd r10, r11, [sp, #40]\n" \
    "str r2, [sp, #36]\n"

#define TINYAOT_DSP_CHANNEL_BEGIN \
    "5: ldrd r2, r3, [sp, #36]\n" \
    "ldm r3!, {r10-r12}\n" \
    "str r3, [sp, #40]\n" \
    "strd r11, r12, [sp]\n" \
    "str r10, [sp, #16]\n" \
    TINYAOT_DSP_WEIGHTS("0", "r4", "r5") \
    TINYAOT_DSP_WEIGHTS("3", "r6", "r7") \
    TINYAOT_DSP_WEIGHTS("6", "r8", "r9") \
    "add r2, r2, #9\n" \
    "str r2, [sp, #36]\n" \
    "ldrd r3, r2, [sp, #56]\n" \
    "strd r2, r3, [sp, #20]\n" \
    "ldrd r0, r1, [sp, #28]\n"

#define TINYAOT_DSP_CHANNEL_END(P) \
    "ldrd r0, r1, [sp, #28]\n" \
    "add r0, r0, #" P "\n" \
    "add r1, r1, #1\n" \
    "strd r0, r1, [sp, #28]\n" \
    "ldr r2, [sp, #60]\n" \
    "ldr r3, [sp, #44]\n" \
    "add r2, r2, #" P "\n" \
    "str r2, [sp, #60]\n" \
    "subs r3, r3, #1\n" \
    "str r3, [sp, #44]\n" \
    "bne 5b\n" \
    "add sp, #72\n" \
    "pop {r4-r11, pc}\n"

/* Stride 1: two lines by two columns, 48 instructions for 36 multiplications; odd columns and lines
 * apart. At least two columns. */
#define TINYAOT_DSP_DEPTHWISE_3X3(P, R) \
    TINYAOT_DSP_CHANNELS_BEGIN(P, "2") \
    "rsb r9, r7, r6\n" \
    "lsl r9, r9, #1\n" /* 2 * line stride - 2 * column stride * pairs */ \
    "strd r8, r9, [sp, #48]\n" \
    "add r0, r0, #4*" P "\n" /* the first output's own line */ \
    "strd r0, r1, [sp, #28]\n" \
    "add r3, r3, r0\n" \
    "lsr r4, r4, #1\n" \
    "strd r4, r3, [sp, #56]\n" \
    TINYAOT_DSP_CHANNEL_BEGIN \
    "cmp r3, #0\n" \
    "beq 4f\n" \
    "1: ldr lr, [sp, #16]\n" \
    "ldrd r2, r3, [r0, #-4*" P "]\n" \
    TINYAOT_DSP_ROW("r10", "r11", "lr", "lr", "r4", "r5") \
    "ldrd r2, r3, [r0], #4\n" \
    TINYAOT_DSP_ROW("r10", "r11", "r10", "r11", "r6", "r7") \
    "smlad r12, r2, r4, lr\n" \
    "smlatb lr, r2, r4, lr\n" \
    "smlabt r12, r3, r5, r12\n" \
    "smlad lr, r3, r5, lr\n" \
    "ldrd r2, r3, [r0, #4*" P "-4]\n" \
    TINYAOT_DSP_ROW("r10", "r11", "r10", "r11", "r8", "r9") \
    TINYAOT_DSP_ROW("r12", "lr", "r12", "lr", "r6", "r7") \
    "ldrd r2, r3, [r0, #8*" P "-4]\n" \
    TINYAOT_DSP_ROW("r12", "lr", "r12", "lr", "r8", "r9") \
    "ldrd r2, r3, [sp]\n" \
    "smmla r10, r10, r2, r3\n" \
    "smmla r11, r11, r2, r3\n" \
    "smmla r12, r12, r2, r3\n" \
    "smmla lr, lr, r2, r3\n" \
    "ldrd r2, r3, [sp, #8]\n" \
    "ssat r10, #8, r10, asr #" R "\n" \
    "ssat r11, #8, r11, asr #" R "\n" \
    "ssat r12, #8, r12, asr #" R "\n" \
    "ssat lr, #8, lr, asr #" R "\n" \
    "strb r10, [r1]\n" \
    "strb r11, [r1, r2]\n" \
    "strb r12, [r1, r3]\n" \
    "add r3, r3, r2\n" \
    "strb lr, [r1, r3]\n" \
    "add r1, r1, r2, lsl #1\n" \
    "ldr r2, [sp, #20]\n" \
    "cmp r0, r2\n" \
    "bne 1b\n" \
    "ldr r2, [sp, #64]\n" \
    "tst r2, #1\n" \
    "beq 2f\n" \
    "ldr lr, [sp, #16]\n" \
    "ldrd r2, r3, [r0, #-4*" P "]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "lr", "r4", "r5") \
    "ldrd r2, r3, [r0]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r10", "r6", "r7") \
    TINYAOT_DSP_HALF_ROW("r12", "lr", "r4", "r5") \
    "ldrd r2, r3, [r0, #4*" P "]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r10", "r8", "r9") \
    TINYAOT_DSP_HALF_ROW("r12", "r12", "r6", "r7") \
    "ldrd r2, r3, [r0, #8*" P "]\n" \
    TINYAOT_DSP_HALF_ROW("r12", "r12", "r8", "r9") \
    "ldrd r2, r3, [sp]\n" \
    "smmla r10, r10, r2, r3\n" \
    "smmla r12, r12, r2, r3\n" \
    "ldr r3, [sp, #12]\n" \
    "ssat r10, #8, r10, asr #" R "\n" \
    "ssat r12, #8, r12, asr #" R "\n" \
    "strb r10, [r1]\n" \
    "strb r12, [r1, r3]\n" \
    "2: ldrd r2, r3, [sp, #48]\n" \
    "add r0, r0, r2\n" \
    "add r1, r1, r3\n" \
    "ldrd r2, r3, [sp, #20]\n" \
    "add r2, r2, #8*" P "\n" \
    "subs r3, r3, #1\n" \
    "strd r2, r3, [sp, #20]\n" \
    "bne 1b\n" \
    "4: ldrd r2, r3, [sp, #64]\n" \
    "tst r3, #1\n" \
    "beq 8f\n" \
    "ldrd r12, lr, [sp, #16]\n" \
    "6: ldrd r2, r3, [r0, #-4*" P "]\n" \
    TINYAOT_DSP_ROW("r10", "r11", "r12", "r12", "r4", "r5") \
    "ldrd r2, r3, [r0], #4\n" \
    TINYAOT_DSP_ROW("r10", "r11", "r10", "r11", "r6", "r7") \
    "ldrd r2, r3, [r0, #4*" P "-4]\n" \
    TINYAOT_DSP_ROW("r10", "r11", "r10", "r11", "r8", "r9") \
    "ldrd r2, r3, [sp]\n" \
    "smmla r10, r10, r2, r3\n" \
    "smmla r11, r11, r2, r3\n" \
    "ldr r2, [sp, #8]\n" \
    "ssat r10, #8, r10, asr #" R "\n" \
    "ssat r11, #8, r11, asr #" R "\n" \
    "strb r10, [r1]\n" \
    "strb r11, [r1, r2]\n" \
    "add r1, r1, r2, lsl #1\n" \
    "cmp r0, lr\n" \
    "bne 6b\n" \
    "ldr r2, [sp, #64]\n" \
    "tst r2, #1\n" \
    "beq 8f\n" \
    "ldrd r2, r3, [r0, #-4*" P "]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r12", "r4", "r5") \
    "ldrd r2, r3, [r0]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r10", "r6", "r7") \
    "ldrd r2, r3, [r0, #4*" P "]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r10", "r8", "r9") \
    "ldrd r2, r3, [sp]\n" \
    "smmla r10, r10, r2, r3\n" \
    "ssat r10, #8, r10, asr #" R "\n" \
    "strb r10, [r1]\n" \
    "8:\n" \
    TINYAOT_DSP_CHANNEL_END(P)

/* Stride 2: one line by two columns. The planes begin with the first output's first line. At least
 * two columns. */
#define TINYAOT_DSP_PAIR_STRIDE_2(LOAD, LOAD_NEXT, FROM0, FROM1, W01, W12) \
    LOAD "\n" \
    "smlad r10, r2, " W01 ", " FROM0 "\n" \
    "smlabt r10, r3, " W12 ", r10\n" \
    "smlad r11, r3, " W01 ", " FROM1 "\n" \
    LOAD_NEXT "\n" \
    "smlabt r11, r2, " W12 ", r11\n"
#define TINYAOT_DSP_DEPTHWISE_3X3_STRIDE_2(P, R) \
    TINYAOT_DSP_CHANNELS_BEGIN(P, "3") \
    "sub r9, r6, r7, lsl #1\n" /* line stride - 2 * column stride * pairs */ \
    "strd r8, r9, [sp, #48]\n" \
    "strd r0, r1, [sp, #28]\n" \
    "add r3, r3, r0\n" \
    "strd r4, r3, [sp, #56]\n" \
    TINYAOT_DSP_CHANNEL_BEGIN \
    "1: ldrd r12, lr, [sp, #16]\n" \
    "2:\n" \
    TINYAOT_DSP_PAIR_STRIDE_2("ldrd r2, r3, [r0], #8", "ldr r2, [r0]", "r12", "r12", "r4", "r5") \
    TINYAOT_DSP_PAIR_STRIDE_2("ldrd r2, r3, [r0, #4*" P "-8]", "ldr r2, [r0, #4*" P "]", "r10", \
        "r11", "r6", "r7") \
    TINYAOT_DSP_PAIR_STRIDE_2("ldrd r2, r3, [r0, #8*" P "-8]", "ldr r2, [r0, #8*" P "]", "r10", \
        "r11", "r8", "r9") \
    "ldrd r2, r3, [sp]\n" \
    "smmla r10, r10, r2, r3\n" \
    "smmla r11, r11, r2, r3\n" \
    "ldr r2, [sp, #8]\n" \
    "ssat r10, #8, r10, asr #" R "\n" \
    "ssat r11, #8, r11, asr #" R "\n" \
    "strb r10, [r1]\n" \
    "strb r11, [r1, r2]\n" \
    "add r1, r1, r2, lsl #1\n" \
    "cmp r0, lr\n" \
    "bne 2b\n" \
    "ldr r2, [sp, #64]\n" \
    "tst r2, #1\n" \
    "beq 3f\n" \
    "ldrd r2, r3, [r0]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r12", "r4", "r5") \
    "ldrd r2, r3, [r0, #4*" P "]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r10", "r6", "r7") \
    "ldrd r2, r3, [r0, #8*" P "]\n" \
    TINYAOT_DSP_HALF_ROW("r10", "r10", "r8", "r9") \
    "ldrd r2, r3, [sp]\n" \
    "smmla r10, r10, r2, r3\n" \
    "ssat r10, #8, r10, asr #" R "\n" \
    "strb r10, [r1]\n" \
    "3: ldrd r2, r3, [sp, #48]\n" \
    "add r0, r0, r2\n" \
    "add r1, r1, r3\n" \
    "ldrd r2, r3, [sp, #20]\n" \
    "add r2, r2, #8*" P "\n" \
    "subs r3, r3, #1\n" \
    "strd r2, r3, [sp, #20]\n" \
    "bne 1b\n" \
    TINYAOT_DSP_CHANNEL_END(P)

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_16_12(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3("16", "12"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_16_10(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3("16", "10"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_32_12(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3("32", "12"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_32_10(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3("32", "10"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_56_12(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3("56", "12"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_56_10(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3("56", "10"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_stride_2_16_12(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3_STRIDE_2("16", "12"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_stride_2_16_10(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3_STRIDE_2("16", "10"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_stride_2_32_12(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3_STRIDE_2("32", "12"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_stride_2_32_10(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3_STRIDE_2("32", "10"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_stride_2_56_12(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3_STRIDE_2("56", "12"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_3x3_stride_2_56_10(const int16_t *planes, int8_t *y,
    const int32_t *stream, int32_t columns, int32_t lines, int32_t column_stride,
    int32_t line_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_3X3_STRIDE_2("56", "10"));
}

/* Any kernel: `pixels` outputs of four channels, `x_stride` bytes apart in x and `y_stride` in y.
 *
 * stream: the biases of the channels; of every two taps a, b the weights {a0, a1, b0, b1} and {a2,
 * a3, b2, b3}; the constants {multiplier, addend, r} of each channel, see TINYAOT_DSP_REFERENCE.
 * offsets: where the taps are in bytes from x, `pairs` pairs of them.
 */
#define TINYAOT_DSP_FINISH(ACC, DOUBLE) \
    "ldm r2!, {r8-r10}\n" \
    "lsl r11, " ACC ", #1\n" \
    ".if " DOUBLE "\n" \
    "add r9, r9, " ACC ", asr #31\n" \
    "smmlar " ACC ", r11, r8, r9\n" \
    ".else\n" \
    "smmla " ACC ", r11, r8, r9\n" \
    ".endif\n" \
    "asr " ACC ", " ACC ", r10\n" \
    "ssat " ACC ", #8, " ACC "\n"
#define TINYAOT_DSP_DEPTHWISE_ANY(DOUBLE) \
    "push {r4-r11, lr}\n" \
    "sub sp, #12\n" \
    "str r3, [sp]\n" \
    "str r2, [sp, #4]\n" \
    "str r1, [sp, #8]\n" \
    "1: ldr r2, [sp, #4]\n" \
    "ldr r1, [sp]\n" \
    "ldr r3, [sp, #48]\n" /* pairs */ \
    "ldm r2!, {r4-r7}\n" \
    "2: ldrd r8, r9, [r1], #8\n" \
    "ldr r8, [r0, r8]\n" \
    "ldr r9, [r0, r9]\n" \
    "ldrd r11, r12, [r2], #8\n" \
    "pkhbt r10, r8, r9, lsl #16\n" \
    "pkhtb r9, r9, r8, asr #16\n" \
    "sxtb16 r8, r10\n" \
    "sxtb16 lr, r11\n" \
    "smlad r4, r8, lr, r4\n" \
    "sxtb16 r10, r10, ror #8\n" \
    "sxtb16 r11, r11, ror #8\n" \
    "smlad r5, r10, r11, r5\n" \
    "sxtb16 r8, r9\n" \
    "sxtb16 lr, r12\n" \
    "smlad r6, r8, lr, r6\n" \
    "sxtb16 r9, r9, ror #8\n" \
    "sxtb16 r12, r12, ror #8\n" \
    "smlad r7, r9, r12, r7\n" \
    "subs r3, r3, #1\n" \
    "bne 2b\n" \
    TINYAOT_DSP_FINISH("r4", DOUBLE) \
    TINYAOT_DSP_FINISH("r5", DOUBLE) \
    TINYAOT_DSP_FINISH("r6", DOUBLE) \
    TINYAOT_DSP_FINISH("r7", DOUBLE) \
    "ldr r1, [sp, #8]\n" \
    "ldrd r8, r9, [sp, #52]\n" /* pixels, x_stride */ \
    "ldr r10, [sp, #60]\n" /* y_stride */ \
    "strb r4, [r1]\n" \
    "strb r5, [r1, #1]\n" \
    "strb r6, [r1, #2]\n" \
    "strb r7, [r1, #3]\n" \
    "add r0, r0, r9\n" \
    "add r1, r1, r10\n" \
    "str r1, [sp, #8]\n" \
    "subs r8, r8, #1\n" \
    "str r8, [sp, #52]\n" \
    "bne 1b\n" \
    "add sp, #12\n" \
    "pop {r4-r11, pc}\n"

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_double(const int8_t *x, int8_t *y,
    const int32_t *stream, const int32_t *offsets, int32_t pairs, int32_t pixels, int32_t x_stride,
    int32_t y_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_ANY("1"));
}

TINYAOT_DSP_ASM void tinyaot_dsp_depthwise_single(const int8_t *x, int8_t *y,
    const int32_t *stream, const int32_t *offsets, int32_t pairs, int32_t pixels, int32_t x_stride,
    int32_t y_stride)
{
    __asm volatile(TINYAOT_DSP_DEPTHWISE_ANY("0"));
}

#pragma GCC diagnostic pop

#endif
