/* Moving bytes: memcpy and memset, which every compiler may call by itself anyway. */
#ifndef TINYAOT_BYTES_H
#define TINYAOT_BYTES_H

#include <stdint.h>
#include <string.h>

#endif
