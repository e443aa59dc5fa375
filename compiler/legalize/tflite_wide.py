"""TFLite operators on int16 activations (its 16x8 form): convolutions, pools and activations.

Quantization is symmetric: TFLite demands zero points of 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier, quantize_multipliers
from tinyaot.compiler.legalize.fixed_point_wide import (
    reduce_multipliers,
    sigmoid_scale,
    sigmoid_table,
    table_of,
    wide_softmax_tables,
)
from tinyaot.compiler.legalize.lookup import Float32, leaky_relu_scales
from tinyaot.compiler.legalize.tflite_call import TFLiteCall
from tinyaot.schedules.workload_wide import (
    WideConv2D,
    WideLookup,
    WidePool2D,
    WideRamp,
    WideRequantize,
    WideRsqrt,
    WideSigmoid,
    WideSoftmax,
)

Constants = dict[str, NDArray[np.generic]]
Shape4D = tuple[int, int, int, int]

# A sum of exponentials in Q16.15.
_LONGEST_SOFTMAX = 2**16 - 1


def symmetric(call: TFLiteCall, *indices: int) -> list[float]:
    """The scales of the inputs and of the output, which all have zero point 0."""
    quantization = [call.input_quantization(index) for index in indices]
    output = call.output()
    quantization.append((call.output_scale, output.zero_point))
    if any(zero_point for _, zero_point in quantization):
        raise call.unsupported(
            "has an int16 tensor whose zero point is not 0", "quantize int16 symmetrically"
        )
    return [scale for scale, _ in quantization]


def conv2d(call: TFLiteCall) -> Value:
    """CONV_2D; source: TFLite Micro's `conv.cc` and `integer_ops/conv.h`."""
    weight = _weight(call)
    groups, rest = divmod(call.input_shapes[0][3], weight.shape[3])
    if rest or weight.shape[0] % groups:
        raise call.unsupported(f"has {weight.shape[3]} channels a filter, which do not divide")
    return _convolution(call, weight, groups, ("int64", "int32"))


def depthwise_conv2d(call: TFLiteCall) -> Value:
    """DEPTHWISE_CONV_2D; source: TFLite Micro's `depthwise_conv.cc`."""
    weight = np.ascontiguousarray(_weight(call).transpose(3, 1, 2, 0))
    channels = call.input_shapes[0][3]
    if weight.shape[0] % channels:
        raise call.unsupported(f"has {weight.shape[0]} filters for {channels} channels")
    return _convolution(call, weight, channels, ("int64",))


def fully_connected(call: TFLiteCall) -> Value:
    """FULLY_CONNECTED of any rank, as a convolution of one place; source: TFLite Micro's
    `fully_connected.cc`."""
    weight = _weight(call)
    outputs, depth = weight.shape
    rows = math.prod(call.input_shapes[0]) // depth
    workload_shapes = ((rows, 1, 1, depth), (rows, 1, 1, outputs))
    geometry = {"kernel": (1, 1), "strides": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0)}
    kernel = weight.reshape(outputs, 1, 1, depth)
    return _emit(call, kernel, 1, *workload_shapes, geometry, ("int64", "int32"))


def _weight(call: TFLiteCall) -> NDArray[np.int8]:
    weight = call.constant(1)
    if weight is None or weight.dtype != np.int8:
        raise call.unsupported(
            "has weights that are not int8 constants", "quantize weights to int8"
        )
    if any(call.zero_points(1)):
        raise call.unsupported(
            "has weights with a zero point", "quantize weights symmetrically (zero point 0)"
        )
    return weight


def _convolution(
    call: TFLiteCall, weight: NDArray[np.int8], groups: int, bias_types: tuple[str, ...]
) -> Value:
    source, output = call.input_shapes[0], call.output().shape
    kernel: tuple[int, int] = weight.shape[1:3]
    options = call.options
    strides = (int(options["StrideH"]), int(options["StrideW"]))
    dilation = (int(options["DilationHFactor"]), int(options["DilationWFactor"]))
    geometry: dict[str, Any] = {
        "kernel": kernel,
        "strides": strides,
        "dilation": dilation,
        "padding": call.padding(source, output, kernel, strides, dilation),
    }
    return _emit(call, weight, groups, source, output, geometry, bias_types)  # type: ignore[arg-type]


def _emit(
    call: TFLiteCall,
    weight: NDArray[np.int8],
    groups: int,
    input_shape: Shape4D,
    output_shape: Shape4D,
    geometry: Mapping[str, Any],
    bias_types: tuple[str, ...],
) -> Value:
    channels = len(weight)
    multiplier: NDArray[np.generic]
    shift: NDArray[np.generic]
    input_scale, output_scale = symmetric(call, 0)
    scales = np.broadcast_to(call.scales(1), (channels,))
    factors = quantize_multipliers(np.float64(input_scale) * scales / output_scale)
    bias = call.constant(2) if call.has_input(2) else np.zeros(channels, np.int64)
    if bias is None or bias.dtype.name not in bias_types:
        raise call.unsupported(
            "has a bias that is not a constant of type " + " or ".join(bias_types),
            "16x8 quantization has an int64 bias",
        )
    if bias.dtype == np.int64:
        if np.abs(bias).max(initial=0) >= 2**47:
            raise call.unsupported("has a bias beyond 48 bits, which TFLite cannot scale")
        rounding = "reduced"
        multiplier, shift = reduce_multipliers(*factors)
    else:
        rounding = "double"
        multiplier, shift = factors
    workload = WideConv2D(
        input_shape=input_shape,
        output_shape=output_shape,
        groups=groups,
        clamp=call.clamp(),
        rounding=rounding,
        **geometry,
    )
    constants: Constants = {
        "weight": weight,
        "bias": bias.reshape(-1),
        "multiplier": multiplier,
        "shift": shift,
    }
    return call.emit(workload, (call.tensor(0),), constants)


def pool2d(mode: str) -> Callable[[TFLiteCall], Value]:
    """The rule for AVERAGE_POOL_2D ("average") or MAX_POOL_2D ("max"); source: TFLite's
    `integer_ops/pooling.h`."""

    def pool(call: TFLiteCall) -> Value:
        input_scale, output_scale = symmetric(call, 0)
        if input_scale != output_scale:
            raise call.unsupported(
                "changes the scale while pooling", "quantize its input and output alike"
            )
        source, options = call.tensor(0), call.options
        output = call.output()
        kernel = (int(options["FilterHeight"]), int(options["FilterWidth"]))
        strides = (int(options["StrideH"]), int(options["StrideW"]))
        workload = WidePool2D(
            mode=mode,
            input_shape=source.shape,  # type: ignore[arg-type]
            output_shape=output.shape,  # type: ignore[arg-type]
            kernel=kernel,
            strides=strides,
            padding=call.padding(source.shape, output.shape, kernel, strides, (1, 1)),
            clamp=call.clamp(),
        )
        return call.emit(workload, (source,))

    return pool


def softmax(call: TFLiteCall) -> Value:
    """SOFTMAX; source: TFLite Micro's `softmax_common.cc` and `reference/softmax.h`."""
    input_scale, output_scale = symmetric(call, 0)
    if not math.isclose(output_scale, 1 / 32768, rel_tol=1e-3):
        raise call.unsupported(
            f"writes softmax with scale {output_scale:g}", "int16 softmax has scale 1/32768"
        )
    source = call.tensor(0)
    depth = source.shape[-1] if source.shape else 1
    if depth > _LONGEST_SOFTMAX:
        raise call.unsupported(f"takes softmax over {depth} values", "use a shorter axis")
    real = input_scale * float(np.float32(call.options["Beta"])) / (10.0 / 65535.0)
    multiplier, shift = quantize_multiplier(real)
    if shift > 14:
        raise call.unsupported(
            f"has logits with scale {input_scale:g}, which overflow", "quantize its input finer"
        )
    exponential, reciprocal = wide_softmax_tables()
    workload = WideSoftmax(math.prod(source.shape) // depth, depth, multiplier, shift)
    return call.emit(workload, (source,), {"exponential": exponential, "reciprocal": reciprocal})


def sigmoid(function: str) -> Callable[[TFLiteCall], Value]:
    """The rule for LOGISTIC ("logistic") or TANH ("tanh"); source: TFLite Micro's
    `logistic_common.cc`, `tanh.cc` and `integer_ops/{logistic,tanh}.h`."""

    def rule(call: TFLiteCall) -> Value:
        input_scale, output_scale = symmetric(call, 0)
        if not math.isclose(output_scale, 1 / 32768, rel_tol=1e-3):
            raise call.unsupported(
                f"has an output with scale {output_scale:g}", "int16 sigmoids have scale 1/32768"
            )
        multiplier, shift = sigmoid_scale(input_scale, (0, 1) if function == "tanh" else (0,))
        source: Tensor = call.tensor(0)
        workload = WideSigmoid(function, math.prod(source.shape), multiplier, shift)
        return call.emit(workload, (source,), {"table": sigmoid_table()})

    return rule


def absolute(call: TFLiteCall) -> Value:
    """ABS; source: TFLite Micro's `elementwise.cc`."""
    if call.output().scale is None:
        factor = quantize_multiplier(1.0)
    else:
        input_scale, output_scale = symmetric(call, 0)
        factor = quantize_multiplier(input_scale / output_scale)
    return _ramp(call, factor, factor, mirror=True)


def rsqrt(call: TFLiteCall) -> Value:
    """RSQRT; source: TFLite Micro's `elementwise.cc`, which has no result for negative numbers."""
    input_scale, output_scale = symmetric(call, 0)
    factor = quantize_multiplier(1.0 / (math.sqrt(input_scale) * output_scale))
    if not -11 < factor[1] < 20:
        raise call.unsupported(
            f"has scales {input_scale:g} and {output_scale:g}, beyond its fixed-point arithmetic",
            "quantize with representative data",
        )
    source = call.tensor(0)
    return call.emit(WideRsqrt(math.prod(source.shape), factor), (source,))


def leaky_relu(call: TFLiteCall) -> Value:
    """LEAKY_RELU; source: TFLite Micro's `leaky_relu.cc`."""
    symmetric(call, 0)
    return _ramp(call, *leaky_relu_scales(call), mirror=False)


def table(function: Callable[[Float32], Float32]) -> Callable[[TFLiteCall], Value]:
    """The rule for an operator that TFLite Micro lacks and TFLite interpolates; source:
    `LUTPopulateInt16` in `kernels/internal/common.h`."""

    def rule(call: TFLiteCall) -> Value:
        input_scale, output_scale = symmetric(call, 0)
        source = call.tensor(0)
        constants: Constants = {"table": table_of(function, input_scale, output_scale)}
        return call.emit(WideLookup(math.prod(source.shape)), (source,), constants)

    return rule


def relu(activation: str) -> Callable[[TFLiteCall], Value]:
    """The rule for RELU or RELU6; source: TFLite Micro's `activations.cc`."""

    def rule(call: TFLiteCall) -> Value:
        input_scale, output_scale = symmetric(call, 0)
        if activation == "RELU6" and input_scale != output_scale:
            raise call.unsupported(
                "changes the scale", "quantize the input and output of RELU6 alike"
            )
        source = call.tensor(0)
        workload = WideRequantize(
            size=math.prod(source.shape),
            input_dtype="int16",
            output_dtype="int16",
            input_zero_point=0,
            output_zero_point=0,
            multiplier=(factor := quantize_multiplier(input_scale / output_scale))[0],
            shift=factor[1],
            clamp=call.clamp(activation),
        )
        return call.emit(workload, (source,))

    return rule


def _ramp(
    call: TFLiteCall, positive: tuple[int, int], negative: tuple[int, int], mirror: bool
) -> Value:
    source = call.tensor(0)
    size = math.prod(source.shape)
    workload = WideRamp(size, positive, negative, mirror, (-(2**15), 2**15 - 1))
    return call.emit(workload, (source,))


RULES: dict[str, Callable[[TFLiteCall], Value]] = {
    "AVERAGE_POOL_2D": pool2d("average"),
    "CONV_2D": conv2d,
    "DEPTHWISE_CONV_2D": depthwise_conv2d,
    "FULLY_CONNECTED": fully_connected,
    "MAX_POOL_2D": pool2d("max"),
    "RELU": relu("RELU"),
    "RELU6": relu("RELU6"),
}
