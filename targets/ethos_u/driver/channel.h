/* Two streams of bytes between the stub driver and the functional model; functions return 0 when
 * all bytes went through. */
#ifndef TINYAOT_NPU_CHANNEL_H
#define TINYAOT_NPU_CHANNEL_H

#include <stddef.h>

int npu_channel_open(void);
int npu_channel_write(const void *from, size_t nbytes);
int npu_channel_read(void *to, size_t nbytes);
int npu_channel_flush(void);

#endif
