/* The functions of Arm's Ethos-U core driver that generated code calls, with their names and types
 * as of ethos-u-core-driver 24.x; stub.c implements them for tests. Firmware uses Arm's own. */
#ifndef ETHOSU_DRIVER_H
#define ETHOSU_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ethosu_driver {
    int reserved;
};

/* The driver of a free NPU, or null. */
struct ethosu_driver *ethosu_reserve_driver(void);
void ethosu_release_driver(struct ethosu_driver *drv);

/* Runs the command stream in a payload that starts with COP1. Region i of the stream lies at
 * base_addr[i] and has base_addr_size[i] bytes. Returns 0 if all went well. */
int ethosu_invoke_v3(struct ethosu_driver *drv, const void *custom_data_ptr,
                     const int custom_data_size, uint64_t *const base_addr,
                     const size_t *base_addr_size, const int num_base_addr, void *user_arg);

/* Weak: a system with a data cache defines them. */
void ethosu_flush_dcache(const uint64_t *base_addr, const size_t *base_addr_size,
                         int num_base_addr);
void ethosu_invalidate_dcache(const uint64_t *base_addr, const size_t *base_addr_size,
                              int num_base_addr);

#ifdef __cplusplus
}
#endif

#endif
