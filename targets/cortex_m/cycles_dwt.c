/* Processor cycles by the cycle counter of the Data Watchpoint and Trace unit: Armv7-M and Armv8-M
 * Architecture Reference Manuals, DWT. It wraps after 2**32 cycles. */
#include "counter.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_LAR REGISTER(0xE0001FB0u)

#define DEMCR_TRCENA (1u << 24)
#define DWT_CTRL_CYCCNTENA 1u
#define DWT_LAR_KEY 0xC5ACCE55u

void tinyaot_counter_restart(void)
{
    DEMCR |= DEMCR_TRCENA;
    /* Cortex-M7 locks it; elsewhere the write is ignored. */
    DWT_LAR = DWT_LAR_KEY;
    DWT_CTRL |= DWT_CTRL_CYCCNTENA;
}

void tinyaot_systick_wrapped(void)
{
}

__attribute__((naked)) void tinyaot_counter_stamp(struct stamp *stamp)
{
    (void)stamp;
    __asm__ volatile(
        "ldr r1, =0xE0001004\n\t" /* DWT_CYCCNT */
        "ldr r1, [r1]\n\t"
        "str r1, [r0, #0]\n\t"
        "bx lr\n\t"
        ".ltorg");
}
