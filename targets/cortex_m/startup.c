/* From reset to main, the vector table, and a fault handler that tells the harness. */
#include <stdint.h>

#include "counter.h"
#include "fault.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define VTOR REGISTER(0xE000ED08u)
#define CCR REGISTER(0xE000ED14u)
#define SHCSR REGISTER(0xE000ED24u)
#define CFSR REGISTER(0xE000ED28u)
#define HFSR REGISTER(0xE000ED2Cu)
#define MMFAR REGISTER(0xE000ED34u)
#define BFAR REGISTER(0xE000ED38u)
#define CPACR REGISTER(0xE000ED88u)

#define SHCSR_FAULTS (7u << 16) /* UsageFault, BusFault, MemManage as such, not as HardFault */
#define CCR_UNALIGN_TRP (1u << 3)
#define CCR_LOB (1u << 19)

/* From the linker script. */
extern const uint32_t tinyaot_vectors[];
struct copy {
    const uint32_t *from;
    uint32_t *to, *end;
};
extern const struct copy tinyaot_copies_start[], tinyaot_copies_end[];
extern uint32_t tinyaot_bss_start[], tinyaot_bss_end[];
extern uint32_t tinyaot_stack_guard[], tinyaot_stack_bottom[], tinyaot_stack_top[], tinyaot_stack_region_end[];

void tinyaot_reset(void);
void tinyaot_start(void) __attribute__((noreturn, noinline));
void tinyaot_fault(void);
void tinyaot_report_fault(const uint32_t *frame, uint32_t exc_return) __attribute__((noreturn, used));

static uint32_t fault_stack[256] __attribute__((used, aligned(8)));
static uint32_t fault_registers[8] __attribute__((used));
static struct fault fault;

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
    (void)main();
    for (;;) {
    }
}

void tinyaot_reset(void)
{
    /* A debugger starts the image wherever it lies. */
    VTOR = (uint32_t)(uintptr_t)tinyaot_vectors;
#if __ARM_ARCH >= 7
    SHCSR |= SHCSR_FAULTS;
#endif
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
        "mov r1, lr\n\t"
        "ldr r2, =fault_registers\n\t"
        "stmia r2!, {r4-r7}\n\t"
        "mov r4, r8\n\t"
        "mov r5, r9\n\t"
        "mov r6, r10\n\t"
        "mov r7, r11\n\t"
        "stmia r2!, {r4-r7}\n\t"
        "ldr r2, =fault_stack + 1024\n\t"
        "msr msp, r2\n\t"
        "b tinyaot_report_fault\n\t"
        ".ltorg");
}

void tinyaot_report_fault(const uint32_t *frame, uint32_t exc_return)
{
    __asm__ volatile("mrs %0, ipsr" : "=r"(fault.exception));
    fault.exc_return = exc_return;
    fault.cfsr = CFSR;
    fault.hfsr = HFSR;
    fault.mmfar = MMFAR;
    fault.bfar = BFAR;
    fault.sp = (uint32_t)(uintptr_t)frame;
    fault.overflow = frame < tinyaot_stack_bottom;
    for (uint32_t i = 0; i < 8; i++) {
        fault.r4_to_r11[i] = fault_registers[i];
    }
    fault.valid = 0;
    for (uint32_t i = 0; i < 8u + TINYAOT_FAULT_STACK_WORDS; i++) {
        /* Below the guard there may be no memory. */
        if (frame + i < tinyaot_stack_guard || frame + i >= tinyaot_stack_region_end) {
            break;
        }
        *(i < 8 ? &fault.frame[i] : &fault.stack[i - 8]) = frame[i];
        fault.valid = i + 1;
    }
    tinyaot_faulted(&fault);
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
