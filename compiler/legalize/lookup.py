"""int8 functions of one variable: a table of 256 results, computed by the operator's own recipe."""

from __future__ import annotations

import math

import numpy as np

from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.fixed_point import Int64, logistic, quantize_multiplier
from tinyaot.compiler.legalize.tflite_call import TFLiteCall
from tinyaot.schedules.workload import Lookup


def logistic_int8(call: TFLiteCall) -> Value:
    """LOGISTIC; source: TFLite Micro's `logistic_common.cc` and `integer_ops/logistic.h`."""
    scale, zero_point = call.input_quantization(0)
    integer_bits = 4
    multiplier, left_shift = quantize_multiplier(scale * 2.0 ** (31 - integer_bits))
    largest = ((1 << integer_bits) - 1) << (31 - integer_bits)
    radius = math.floor(largest / 2.0**left_shift)
    centred = _all_int8() - zero_point
    table = logistic(centred, radius, multiplier, left_shift, integer_bits)
    return emit_table(call, table)


def emit_table(call: TFLiteCall, table: Int64) -> Value:
    """Adds a node that looks up each element of input 0; entry i is the result for i - 128."""
    source = call.tensor(0)
    workload = Lookup(math.prod(source.shape))
    return call.emit(workload, (source,), {"table": table.astype(np.int8)})


def _all_int8() -> Int64:
    return np.arange(-128, 128, dtype=np.int64)
