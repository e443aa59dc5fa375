/* Operation numbers and parameter blocks: Arm, "Semihosting for AArch32 and AArch64". */
#include "semihosting.h"

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    ADP_STOPPED_APPLICATION_EXIT = 0x20026
};

static int32_t call(uint32_t operation, uintptr_t parameter)
{
    register uint32_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = parameter;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

int32_t semihosting_open(const char *name, enum semihosting_mode mode)
{
    uintptr_t length = 0;
    while (name[length] != '\0') {
        length++;
    }
    const uintptr_t block[3] = {(uintptr_t)name, (uintptr_t)mode, length};
    return call(SYS_OPEN, (uintptr_t)block);
}

int32_t semihosting_close(int32_t handle)
{
    const uintptr_t block[1] = {(uintptr_t)handle};
    return call(SYS_CLOSE, (uintptr_t)block);
}

int32_t semihosting_read(int32_t handle, void *to, uint32_t nbytes)
{
    const uintptr_t block[3] = {(uintptr_t)handle, (uintptr_t)to, nbytes};
    return call(SYS_READ, (uintptr_t)block);
}

int32_t semihosting_write(int32_t handle, const void *from, uint32_t nbytes)
{
    const uintptr_t block[3] = {(uintptr_t)handle, (uintptr_t)from, nbytes};
    return call(SYS_WRITE, (uintptr_t)block);
}

void semihosting_print(const char *text)
{
    (void)call(SYS_WRITE0, (uintptr_t)text);
}

void semihosting_print_hex(uint32_t value)
{
    char text[11] = "0x";
    for (uint32_t digit = 0; digit < 8; digit++) {
        text[2 + digit] = "0123456789abcdef"[(value >> (28 - 4 * digit)) & 15u];
    }
    text[10] = '\0';
    semihosting_print(text);
}

void semihosting_exit(uint32_t status)
{
    const uintptr_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, status};
    (void)call(SYS_EXIT_EXTENDED, (uintptr_t)block);
    for (;;) {
    }
}
