/* What a fault leaves behind; faults.py knows the layout. */
#ifndef TINYAOT_FAULT_H
#define TINYAOT_FAULT_H

#include <stdint.h>

enum { TINYAOT_FAULT_STACK_WORDS = 160 };

struct fault {
    uint32_t exception;  /* IPSR: the number of the exception */
    uint32_t exc_return; /* LR on entry */
    uint32_t cfsr, hfsr, mmfar, bfar;
    uint32_t sp;       /* where the exception's frame was pushed */
    uint32_t overflow; /* 1: the stack overflowed */
    uint32_t r4_to_r11[8];
    uint32_t valid;    /* how many of the words below are there */
    uint32_t frame[8]; /* r0-r3, r12, lr, pc, xPSR as the exception entry pushed them */
    uint32_t stack[TINYAOT_FAULT_STACK_WORDS]; /* what lay above */
};

/* Each harness has one: tells the host. */
void tinyaot_faulted(const struct fault *fault) __attribute__((noreturn));

/* The reset handler calls it when memory is set up. */
int main(void);

#endif
