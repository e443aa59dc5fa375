/* Reads a handwritten digit. What firmware adds to a compiled model is read_digit. */
#include <stdint.h>
#include <stdio.h>

#include "tinyaot_digits.h"

/* The digit on an 8x8 image, ink from 0 to 16; -1 if the model reports an error. */
static int read_digit(const uint8_t *ink)
{
    static int8_t image[TINYAOT_DIGITS_IMAGE_SIZE] __attribute__((aligned(4)));
    static int8_t scores[TINYAOT_DIGITS_SCORES_SIZE] __attribute__((aligned(4)));
    const struct tinyaot_digits_inputs inputs = {.image = image};
    const struct tinyaot_digits_outputs outputs = {.scores = scores};
    int best = 0;

    /* round(ink / 16 / scale) + zero point, for this model's scale of 1 / 255. */
    for (int i = 0; i < TINYAOT_DIGITS_IMAGE_SIZE; ++i) {
        image[i] = (int8_t)((ink[i] * 255 + 8) / 16 + TINYAOT_DIGITS_IMAGE_ZERO_POINT);
    }
    if (tinyaot_digits_run(&inputs, &outputs) != TINYAOT_DIGITS_OK) {
        return -1;
    }
    for (int i = 1; i < TINYAOT_DIGITS_SCORES_SIZE; ++i) {
        best = scores[i] > scores[best] ? i : best;
    }
    return best;
}

/* The first test image of the demo; firmware would ask a sensor. */
static const uint8_t two[TINYAOT_DIGITS_IMAGE_SIZE] = {
    0, 0, 7, 16, 14,  3,  0, 0,
    0, 0, 9, 14, 11, 15,  0, 0,
    0, 0, 1,  5,  0, 15,  5, 0,
    0, 0, 0,  0,  0, 16,  5, 0,
    0, 0, 0,  0,  3, 16,  4, 0,
    0, 0, 0,  1, 12, 14,  1, 0,
    0, 0, 5, 12, 16, 16, 14, 1,
    0, 0, 8, 16, 14, 10, 13, 3,
};

int main(void)
{
    printf("the model reads %d\n", read_digit(two));
    return 0;
}
