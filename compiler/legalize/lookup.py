"""int8 functions of one variable: a table of 256 results, computed by the operator's own recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Node, Tensor
from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.fixed_point import (
    Int64,
    hard_swish,
    inverse_sqrt,
    logistic,
    quantize_multiplier,
    requantize,
    requantize_by,
    tanh,
)
from tinyaot.compiler.legalize.tflite_call import Rule, TFLiteCall
from tinyaot.schedules.workload import Lookup, Workload

Float32 = NDArray[np.float32]


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


def tanh_int8(call: TFLiteCall) -> Value:
    """TANH; source: TFLite Micro's `tanh.cc` and `integer_ops/tanh.h`."""
    scale, zero_point = call.input_quantization(0)
    integer_bits = 4
    multiplier, left_shift = quantize_multiplier(scale * 2.0 ** (31 - integer_bits))
    largest = ((1 << integer_bits) - 1) << (31 - integer_bits)
    radius = math.floor(largest / 2.0**left_shift)
    centred = _all_int8() - zero_point
    return emit_table(call, tanh(centred, radius, multiplier, left_shift, integer_bits))


def hard_swish_int8(call: TFLiteCall) -> Value:
    """HARD_SWISH; source: TFLite Micro's `hard_swish_common.cc` and `reference/hard_swish.h`."""
    scale, zero_point = call.input_quantization(0)
    fine = np.float32(1 / 128) * np.float32(scale)
    output, output_exponent = quantize_multiplier(float(fine / np.float32(call.output_scale)))
    reluish = quantize_multiplier(float(fine / np.float32(3 / 32768)))
    if not -15 < output_exponent <= 0 or reluish[1] < -14:
        raise call.unsupported(
            f"has scales {scale:g} and {call.output_scale:g}, beyond its 16-bit arithmetic",
            "quantize with representative data",
        )
    centred = _all_int8() - zero_point
    table = hard_swish(centred, (output, output_exponent), reluish) + call.output().zero_point
    return emit_table(call, np.clip(table, -128, 127))


def abs_int8(call: TFLiteCall) -> Value:
    """ABS; source: TFLite Micro's `elementwise.cc`."""
    scale, zero_point = call.input_quantization(0)
    return _emit_scaled(call, np.abs(_all_int8() - zero_point), scale / call.output_scale)


def rsqrt_int8(call: TFLiteCall) -> Value:
    """RSQRT; source: TFLite Micro's `elementwise.cc`. It has no result for negative numbers, where
    this gives the largest one, as for 0."""
    scale, zero_point = call.input_quantization(0)
    centred = _all_int8() - zero_point
    positive = np.maximum(centred, 1)
    multiplier, shift = inverse_sqrt(positive)
    fraction_bits = 20
    data = requantize(np.ones(256, np.int64), multiplier, shift + fraction_bits, "double")
    real = 1.0 / (math.sqrt(scale) * call.output_scale)
    output_multiplier, output_shift = quantize_multiplier(real)
    if not -11 < output_shift < 20:
        raise call.unsupported(
            f"has scales {scale:g} and {call.output_scale:g}, beyond its fixed-point arithmetic",
            "quantize with representative data",
        )
    scaled = requantize_by(data, (output_multiplier, output_shift - fraction_bits))
    table = np.clip(scaled + call.output().zero_point, -128, 127)
    return emit_table(call, np.where(centred > 0, table, 127))


def leaky_relu_int8(call: TFLiteCall) -> Value:
    """LEAKY_RELU; source: TFLite Micro's `leaky_relu_common.cc` and `reference/leaky_relu.h`."""
    _, zero_point = call.input_quantization(0)
    centred = _all_int8() - zero_point
    positive, negative = leaky_relu_scales(call)
    scaled = np.where(
        centred >= 0,
        requantize_by(centred, positive),
        requantize_by(centred, negative),
    )
    return emit_table(call, np.clip(scaled + call.output().zero_point, -128, 127))


def leaky_relu_scales(call: TFLiteCall) -> tuple[tuple[int, int], tuple[int, int]]:
    """Multiplier and shift of LEAKY_RELU above and below 0."""
    factor = call.input_quantization(0)[0] / call.output_scale
    alpha = call.input_quantization(0)[0] * float(call.options["Alpha"]) / call.output_scale
    return quantize_multiplier(factor), quantize_multiplier(alpha)


def relu_0_to_1_int8(call: TFLiteCall) -> Value:
    """RELU_0_TO_1, which TFLite Micro lacks; source: TFLite's `activations.cc`."""
    scale, zero_point = call.input_quantization(0)
    factor = quantize_multiplier(scale / call.output_scale)
    scaled = requantize_by(_all_int8() - zero_point, factor)
    table = scaled + call.output().zero_point
    return emit_table(call, np.clip(table, *call.clamp("RELU_0_TO_1")))


def from_real(function: Callable[[Float32], Float32]) -> Rule:
    """The rule of an operator that TFLite computes in float for each of the 256 values.

    Source: `LUTPopulateInt8` in `kernels/internal/common.h`, and TFLite Micro's `elu.cc`.
    """

    def rule(call: TFLiteCall) -> Value:
        scale, zero_point = call.input_quantization(0)
        with np.errstate(all="ignore"):
            real = function(np.float32(scale) * (_all_int8() - zero_point).astype(np.float32))
            steps = real.astype(np.float32) * (np.float32(1) / np.float32(call.output_scale))
        rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps)) + call.output().zero_point
        table = np.clip(np.nan_to_num(rounded, nan=-128.0), -128, 127)
        return emit_table(call, table.astype(np.int64))

    return rule


def elu(x: Float32) -> Float32:
    """exp(x) - 1 below 0, x elsewhere."""
    result: Float32 = np.where(x < 0, exponential(np.minimum(x, 0)) - np.float32(1), x)
    return result


def exponential(x: Float32) -> Float32:
    """exp, correctly rounded to float32."""
    return np.exp(x.astype(np.float64)).astype(np.float32)


def logarithm(x: Float32) -> Float32:
    """log, correctly rounded to float32."""
    return np.log(x.astype(np.float64)).astype(np.float32)


def _emit_scaled(call: TFLiteCall, values: Int64, factor: float) -> Value:
    scaled = requantize_by(values, quantize_multiplier(factor))
    return emit_table(call, np.clip(scaled + call.output().zero_point, -128, 127))


def emit_table(call: TFLiteCall, table: Int64) -> Value:
    """Adds a node that looks up each element of input 0; entry i is the result for i - 128."""
    source = call.tensor(0)
    workload = Lookup(math.prod(source.shape))
    return call.emit(workload, (source,), {"table": table.astype(np.int8)})


def emit_table_of(
    call: TFLiteCall, workload: Workload, source: Tensor, place: int, constant: NDArray[Any]
) -> Value:
    """Adds a table of what an operator on two int8 tensors gives if the other is one number.

    Args:
        call: the operator.
        workload: one of `workload_elementwise.py` on two inputs.
        source: the input that varies.
        place: which of the two it is.
        constant: the other.
    """
    # The interpreter is a user of this package.
    from tinyaot.compiler.reference import evaluate_node

    steps = ((1,), (0,)) if place == 0 else ((0,), (1,))
    whole = dataclasses.replace(workload, shape=(256,), steps=steps)  # type: ignore[call-arg]
    inputs = [_all_int8(), constant.astype(np.int64)]
    node = Node(whole, ("a", "b"), "y", {}, call.origin)
    table = evaluate_node(node, inputs if place == 0 else inputs[::-1])
    lookup = Lookup(math.prod(source.shape))
    return call.emit(lookup, (source,), {"table": table.astype(np.int8)})


def _all_int8() -> Int64:
    return np.arange(-128, 128, dtype=np.int64)
