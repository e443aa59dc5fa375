#include "counter.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)
#define ICSR REGISTER(0xE000ED04u)

#define SYST_CSR_ENABLE 1u
#define SYST_CSR_TICKINT 2u
#define SYST_CSR_CLKSOURCE_PROCESSOR 4u
#define ICSR_PENDSTCLR (1u << 25)

#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)

static volatile uint32_t wraps __attribute__((used));

void tinyaot_counter_restart(void)
{
    /* The clock first, then ENABLE: at once they stop QEMU before 7.0 on Armv8-M cores. */
    SYST_CSR = SYST_CSR_CLKSOURCE_PROCESSOR;
    SYST_RVR = TINYAOT_SYSTICK_RELOAD;
    SYST_CVR = 0;
    ICSR = ICSR_PENDSTCLR;
    wraps = 0;
    SYST_CSR = SYST_CSR_ENABLE | SYST_CSR_TICKINT | SYST_CSR_CLKSOURCE_PROCESSOR;
    while (SYST_CVR == 0) {
        /* The count is loaded with the first tick. */
    }
}

/* instructions.py knows how many instructions these are: 5. */
__attribute__((naked)) void tinyaot_systick_wrapped(void)
{
    __asm__ volatile(
        "ldr r0, =wraps\n\t"
        "ldr r1, [r0]\n\t"
        "adds r1, #1\n\t"
        "str r1, [r0]\n\t"
        "bx lr\n\t"
        ".ltorg");
}

/* instructions.py relies on the samples being 7 instructions apart. */
__attribute__((naked)) void tinyaot_counter_stamp(struct stamp *stamp)
{
    (void)stamp;
    __asm__ volatile(
        "cpsid i\n\t"
        "ldr r1, =0xE000E018\n\t" /* SYST_CVR */
        "ldr r2, =0xE000ED04\n\t" /* ICSR */
        "ldr r3, [r1]\n\t"
        "ldr r2, [r2]\n\t"
        "str r3, [r0, #0]\n\t"
        "str r2, [r0, #4]\n\t"
        "ldr r3, =wraps\n\t"
        "ldr r3, [r3]\n\t"
        "str r3, [r0, #8]\n\t"
        "mov r12, r0\n\t"
        "movs r0, #0\n\t"
        "movs r3, #" TEXT(TINYAOT_STAMP_SAMPLES) "\n\t"
        "1:\n\t"
        "ldr r2, [r1]\n\t"
        "adds r0, r0, r2\n\t"
        "nop\n\t"
        "nop\n\t"
        "nop\n\t"
        "subs r3, #1\n\t"
        "bne 1b\n\t"
        "mov r1, r12\n\t"
        "str r0, [r1, #12]\n\t"
        "cpsie i\n\t"
        "bx lr\n\t"
        ".ltorg");
}
