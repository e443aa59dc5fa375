/* Files and exit on the host by Arm semihosting; every function returns 0 when all went well. */
#ifndef TINYAOT_SEMIHOSTING_H
#define TINYAOT_SEMIHOSTING_H

#include <stdint.h>

enum semihosting_mode {
    SEMIHOSTING_READ_BINARY = 1,
    SEMIHOSTING_WRITE_BINARY = 5
};

/* Returns a handle, or a negative value. */
int32_t semihosting_open(const char *name, enum semihosting_mode mode);
int32_t semihosting_close(int32_t handle);
int32_t semihosting_read(int32_t handle, void *to, uint32_t nbytes);
int32_t semihosting_write(int32_t handle, const void *from, uint32_t nbytes);

/* Text to the debugger's console, without a line end of its own. */
void semihosting_print(const char *text);
void semihosting_print_hex(uint32_t value);

void semihosting_exit(uint32_t status) __attribute__((noreturn));

#endif
