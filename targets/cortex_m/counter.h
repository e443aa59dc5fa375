/* Exact instruction counts under `qemu-system-arm -icount shift=0`, where an instruction takes
 * 1 ns of virtual time. How a pair of stamps becomes a count: instructions.py. */
#ifndef TINYAOT_COUNTER_H
#define TINYAOT_COUNTER_H

#include <stdint.h>

struct stamp {
    uint32_t first;   /* the first sample of SysTick, which counts down */
    uint32_t pending; /* ICSR after that sample: bit 26 says that a wrap was not counted yet */
    uint32_t wraps;   /* wraps counted so far */
    uint32_t sum;     /* sum of the samples that follow */
};

/* Starts SysTick from its largest count on the processor clock, with no wraps counted. */
void tinyaot_counter_restart(void);

/* Takes a stamp. Uses no stack, and as many instructions at every call. */
void tinyaot_counter_stamp(struct stamp *stamp);

/* The SysTick exception. */
void tinyaot_systick_wrapped(void);

#endif
