/* A driver without an NPU: checks what Arm's driver checks, then has the functional model outside
 * run the command stream, and copies back what it wrote.
 *
 * A request is, all little-endian: the words MAGIC, size of the payload, number of regions; per
 * region its address and size in 64 bits; the payload; the bytes of all regions. The reply is a
 * 32-bit status, 0 if all went well, and then the bytes of all regions but the first, which is
 * read-only. */
#include "channel.h"
#include "ethosu_driver.h"

enum { MAGIC = 0x55504e54, COP1 = 0x31504f43, ALIGNMENT = 16, MAX_REGIONS = 8 };

static struct ethosu_driver driver;

__attribute__((weak)) void ethosu_flush_dcache(const uint64_t *base_addr,
                                               const size_t *base_addr_size, int num_base_addr)
{
    (void)base_addr;
    (void)base_addr_size;
    (void)num_base_addr;
}

__attribute__((weak)) void ethosu_invalidate_dcache(const uint64_t *base_addr,
                                                    const size_t *base_addr_size,
                                                    int num_base_addr)
{
    (void)base_addr;
    (void)base_addr_size;
    (void)num_base_addr;
}

struct ethosu_driver *ethosu_reserve_driver(void)
{
    if (driver.reserved != 0) {
        return NULL;
    }
    driver.reserved = 1;
    return &driver;
}

void ethosu_release_driver(struct ethosu_driver *drv)
{
    drv->reserved = 0;
}

static int valid(const void *payload, int size, const uint64_t *base, int count)
{
    if ((uintptr_t)payload % ALIGNMENT != 0 || size < 4 || size % 4 != 0 || count < 1 ||
        count > MAX_REGIONS || *(const uint32_t *)payload != (uint32_t)COP1) {
        return 0;
    }
    for (int region = 0; region < count; region++) {
        if (base[region] % ALIGNMENT != 0) {
            return 0;
        }
    }
    return 1;
}

static int request(const void *payload, int size, const uint64_t *base, const size_t *sizes,
                   int count)
{
    const uint32_t header[3] = {(uint32_t)MAGIC, (uint32_t)size, (uint32_t)count};
    if (npu_channel_write(header, sizeof header) != 0) {
        return -1;
    }
    for (int region = 0; region < count; region++) {
        const uint64_t span[2] = {base[region], sizes[region]};
        if (npu_channel_write(span, sizeof span) != 0) {
            return -1;
        }
    }
    if (npu_channel_write(payload, (size_t)size) != 0) {
        return -1;
    }
    for (int region = 0; region < count; region++) {
        if (npu_channel_write((const void *)(uintptr_t)base[region], sizes[region]) != 0) {
            return -1;
        }
    }
    return npu_channel_flush();
}

static int reply(const uint64_t *base, const size_t *sizes, int count)
{
    int32_t status;
    if (npu_channel_read(&status, sizeof status) != 0 || status != 0) {
        return -1;
    }
    for (int region = 1; region < count; region++) {
        if (npu_channel_read((void *)(uintptr_t)base[region], sizes[region]) != 0) {
            return -1;
        }
    }
    return 0;
}

int ethosu_invoke_v3(struct ethosu_driver *drv, const void *custom_data_ptr,
                     const int custom_data_size, uint64_t *const base_addr,
                     const size_t *base_addr_size, const int num_base_addr, void *user_arg)
{
    (void)user_arg;
    if (drv != &driver || drv->reserved == 0 ||
        !valid(custom_data_ptr, custom_data_size, base_addr, num_base_addr) ||
        npu_channel_open() != 0) {
        return -1;
    }
    ethosu_flush_dcache(base_addr, base_addr_size, num_base_addr);
    int failed = request(custom_data_ptr, custom_data_size, base_addr, base_addr_size,
                         num_base_addr);
    if (failed == 0) {
        failed = reply(base_addr, base_addr_size, num_base_addr);
    }
    ethosu_invalidate_dcache(base_addr, base_addr_size, num_base_addr);
    return failed;
}
