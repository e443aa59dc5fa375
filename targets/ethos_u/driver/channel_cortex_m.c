/* The channel as named pipes of the machine that emulates, by semihosting. */
#include "channel.h"

#include "semihosting.h"

static int32_t request = -1, reply = -1;

int npu_channel_open(void)
{
    if (request < 0) {
        request = semihosting_open("npu_request", SEMIHOSTING_WRITE_BINARY);
    }
    if (reply < 0) {
        reply = semihosting_open("npu_reply", SEMIHOSTING_READ_BINARY);
    }
    return request < 0 || reply < 0;
}

/* Pipes take and give fewer bytes than asked for; both calls return how many are left. */
int npu_channel_write(const void *from, size_t nbytes)
{
    const char *at = from;
    while (nbytes != 0) {
        const int32_t left = semihosting_write(request, at, (uint32_t)nbytes);
        if (left < 0 || (size_t)left >= nbytes) {
            return 1;
        }
        at += nbytes - (size_t)left;
        nbytes = (size_t)left;
    }
    return 0;
}

int npu_channel_flush(void)
{
    return 0;
}

int npu_channel_read(void *to, size_t nbytes)
{
    char *at = to;
    while (nbytes != 0) {
        const int32_t left = semihosting_read(reply, at, (uint32_t)nbytes);
        if (left < 0 || (size_t)left >= nbytes) {
            return 1;
        }
        at += nbytes - (size_t)left;
        nbytes = (size_t)left;
    }
    return 0;
}
