/* From reset to main, the vector table, and a fault handler that reports and ends the run. */
#include <stdint.h>

#include "counter.h"
#include "semihosting.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define CCR REGISTER(0xE000ED14u)
#define CFSR REGISTER(0xE000ED28u)
#define HFSR REGISTER(0xE000ED2Cu)
#define MMFAR REGISTER(0xE000ED34u)
#define BFAR REGISTER(0xE000ED38u)
#define CPACR REGISTER(0xE000ED88u)

#define CCR_UNALIGN_TRP (1u << 3)
#define CCR_LOB (1u << 19)

/* From the linker script. */
struct copy {
    const uint32_t *from;
    uint32_t *to, *end;
};
extern const struct copy tinyaot_copies_start[], tinyaot_copies_end[];
extern uint32_t tinyaot_bss_start[], tinyaot_bss_end[];
extern uint32_t tinyaot_stack_bottom[], tinyaot_stack_top[], tinyaot_stack_region_end[];

int main(void);
void tinyaot_reset(void);
void tinyaot_start(void) __attribute__((noreturn, noinline));
void tinyaot_fault(void);
void tinyaot_report_fault(const uint32_t *frame) __attribute__((noreturn, used));

static uint32_t fault_stack[256] __attribute__((used, aligned(8)));

/* A separate function, so that no instruction of the coprocessor can precede its enabling. */
void tinyaot_start(void)
{
    for (const struct copy *copy = tinyaot_copies_start; copy < tinyaot_copies_end; copy++) {
        const uint32_t *from = copy->from;
        for (uint32_t *to = copy->to; to < copy->end; to++) {
            *to = *from++;
        }
    }
    for (uint32_t *to = tinyaot_bss_start; to < tinyaot_bss_end; to++) {
        *to = 0;
    }
    semihosting_exit((uint32_t)main());
}

void tinyaot_reset(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* Full access to coprocessors 10 and 11: floating point and MVE. */
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb");
#endif
#if defined(__ARM_FEATURE_MVE)
    /* Low-overhead branches: without the cache of loop information they run as plain branches. */
    CCR |= CCR_LOB;
#endif
#if !defined(__ARM_FEATURE_UNALIGNED)
    /* ARMv6-M faults on unaligned accesses; so must the larger core that stands in for it. */
    CCR |= CCR_UNALIGN_TRP;
#endif
    tinyaot_start();
}

/* The stack may be what is broken: the report runs on its own. */
__attribute__((naked)) void tinyaot_fault(void)
{
    __asm__ volatile(
        "mrs r0, msp\n\t"
        "ldr r1, =fault_stack + 1024\n\t"
        "msr msp, r1\n\t"
        "b tinyaot_report_fault\n\t"
        ".ltorg");
}

static void print_field(const char *name, uint32_t value)
{
    semihosting_print(name);
    semihosting_print_hex(value);
}

/* frame: r0-r3, r12, lr, pc, xPSR as the exception entry pushed them. */
void tinyaot_report_fault(const uint32_t *frame)
{
    if (frame < tinyaot_stack_bottom) {
        semihosting_print("tinyaot-error the stack overflowed, and the core faulted\n");
        semihosting_exit(3);
    }
    uint32_t exception;
    __asm__ volatile("mrs %0, ipsr" : "=r"(exception));
    print_field("tinyaot-fault exception=", exception);
    print_field(" cfsr=", CFSR);
    print_field(" hfsr=", HFSR);
    print_field(" mmfar=", MMFAR);
    print_field(" bfar=", BFAR);
    if (frame + 8 <= tinyaot_stack_region_end) {
        print_field(" lr=", frame[5]);
        print_field(" pc=", frame[6]);
    }
    semihosting_print("\n");
    semihosting_exit(3);
}

typedef union {
    void (*handler)(void);
    const uint32_t *stack_top;
} vector;

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    {.stack_top = tinyaot_stack_top},
    {.handler = tinyaot_reset},
    {.handler = tinyaot_fault}, /* NMI */
    {.handler = tinyaot_fault}, /* HardFault */
    {.handler = tinyaot_fault}, /* MemManage */
    {.handler = tinyaot_fault}, /* BusFault */
    {.handler = tinyaot_fault}, /* UsageFault */
    {.handler = tinyaot_fault}, /* SecureFault */
    {.handler = tinyaot_fault},
    {.handler = tinyaot_fault},
    {.handler = tinyaot_fault},
    {.handler = tinyaot_fault}, /* SVCall */
    {.handler = tinyaot_fault}, /* DebugMonitor */
    {.handler = tinyaot_fault},
    {.handler = tinyaot_fault}, /* PendSV */
    {.handler = tinyaot_systick_wrapped},
};
