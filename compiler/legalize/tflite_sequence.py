"""TFLite's SVDF, integer LSTM and TRANSPOSE_CONV."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.fixed_point import (
    activation_range,
    quantize_multiplier,
    quantize_multipliers,
)
from tinyaot.compiler.legalize.fixed_point_wide import reduce_multipliers, sigmoid_table
from tinyaot.compiler.legalize.tflite_call import TFLiteCall
from tinyaot.schedules.workload_sequence import Lstm, Scale, Svdf, TransposeConv2D

_BOUNDS = {
    0: (-math.inf, math.inf),
    1: (0.0, math.inf),
    2: (-1.0, 1.0),
    3: (0.0, 6.0),
}
_DAMAGED = "the file may be damaged"


def transpose_conv(call: TFLiteCall) -> Value:
    """TRANSPOSE_CONV on int8 or int16; source: TFLite Micro's `transpose_conv.cc` and
    `reference/integer_ops/transpose_conv.h`."""
    source, output, weight = call.tensor(2), call.output(), call.constant(1)
    if weight is None or weight.dtype != np.int8 or weight.ndim != 4:
        raise call.unsupported("has weights that are not int8 constants", "make them constants")
    channels, kernel = weight.shape[0], weight.shape[1:3]
    fits = len(source.shape) == len(output.shape) == 4
    if not fits or (source.shape[3], output.shape[3]) != (weight.shape[3], channels):
        raise call.unsupported("has tensors that do not fit its weights", _DAMAGED)
    strides = (int(call.options["StrideH"]), int(call.options["StrideW"]))
    if min(strides) < 1:
        raise call.unsupported(f"has strides {strides}", _DAMAGED)
    same = int(call.options["Padding"]) == 0
    padding = []
    for axis, (window, stride) in enumerate(zip(kernel, strides, strict=True), start=1):
        size = output.shape[axis]
        expected = -(-size // stride) if same else (size + stride - window) // stride
        if expected != source.shape[axis]:
            raise call.unsupported(
                f"makes {list(output.shape)} of {list(source.shape)}, which its window does not",
                "the file may be damaged: export it again",
            )
        padding.append(max((expected - 1) * stride + window - size, 0) // 2)
    input_scale, input_zero_point = call.input_quantization(2)
    if output.scale is None:
        raise call.unsupported("has an output without a scale", _DAMAGED)
    scales = np.broadcast_to(call.scales(1), (channels,))
    factors = np.float64(input_scale) * scales.astype(np.float64) / np.float64(output.scale)
    multiplier, shift = quantize_multipliers(factors)
    bias = call.constant(3) if call.has_input(3) else None
    constants: dict[str, NDArray[np.generic]] = {"weight": weight}
    rounding = "double"
    if source.dtype == "int16":
        wide = np.zeros(channels, np.int64) if bias is None else bias.astype(np.int64)
        if np.abs(wide).max(initial=0) >= 2**46:
            raise call.unsupported("has a bias beyond 47 bits, which TFLite cannot scale")
        rounding = "reduced"
        reduced = reduce_multipliers(multiplier, shift)
        constants |= {"bias": wide, "multiplier": reduced[0], "shift": reduced[1]}
    else:
        narrow = np.zeros(channels, np.int32) if bias is None else bias.astype(np.int32)
        constants |= {"bias": narrow, "multiplier": multiplier, "shift": shift}
    activation = int(call.options["FusedActivationFunction"])
    if activation not in _BOUNDS:
        raise call.unsupported("has a fused activation other than RELU, RELU6 and RELU_N1_TO_1")
    workload = TransposeConv2D(
        dtype=source.dtype,
        input_shape=source.shape,  # type: ignore[arg-type]
        output_shape=output.shape,  # type: ignore[arg-type]
        kernel=kernel,
        strides=strides,
        padding=tuple(padding),
        input_zero_point=input_zero_point,
        output_zero_point=output.zero_point,
        clamp=activation_range(*_BOUNDS[activation], output.scale, output.zero_point, output.dtype),
        rounding=rounding,
    )
    return call.emit(workload, (source,), constants)


def svdf(call: TFLiteCall) -> Value:
    """SVDF on int8 with an int8 or int16 state; source: TFLite Micro's `svdf_common.cc`."""
    source, state, output = call.tensor(0), call.state(4), call.output()
    feature, time = call.constant(1), call.constant(2)
    if feature is None or time is None or feature.ndim != 2 or time.ndim != 2:
        raise call.unsupported("has weights that are not constants", "make them constants")
    if (source.dtype, feature.dtype.name, time.dtype.name) != ("int8", "int8", state.dtype):
        raise call.unsupported(
            f"works on {source.dtype} with weights {feature.dtype} and {time.dtype} and a state "
            f"{state.dtype}",
            "quantize to int8 with int16 or int8 time weights and state",
        )
    (filters, inputs), rank, memory = feature.shape, int(call.options["Rank"]), time.shape[1]
    batch = source.shape[0]
    shapes_fit = (
        rank > 0
        and filters % rank == 0
        and time.shape[0] == filters
        and source.shape == (batch, inputs)
        and math.prod(state.shape) == batch * filters * memory
        and output.shape == (batch, filters // rank)
    )
    if not shapes_fit or state.scale is None or output.scale is None:
        raise call.unsupported("has tensors that do not fit each other", _DAMAGED)
    input_scale, input_zero_point = call.input_quantization(0)
    # TFLite multiplies these scales in float32.
    scales = [np.float32(value) for value in (input_scale, state.scale, output.scale)]
    weights = [np.float32(call.scales(index)[0]) for index in (1, 2)]
    bias = call.constant(3) if call.has_input(3) else None
    if bias is None:
        # TFLite Micro's kernel needs one.
        bias = np.zeros(filters // rank, np.int32)
    workload = Svdf(
        batch=batch,
        input_size=inputs,
        filters=filters,
        memory=memory,
        rank=rank,
        state_dtype=state.dtype,
        input_zero_point=input_zero_point,
        state_zero_point=state.zero_point,
        output_zero_point=output.zero_point,
        feature_scale=quantize_multiplier(float(scales[0] * weights[0] / scales[1])),
        output_scale=quantize_multiplier(float(scales[1] * weights[1] / scales[2])),
        clamp=(-128, 127),
    )
    constants = {"feature": feature, "time": time, "bias": bias.astype(np.int32)}
    return call.emit(workload, (source,), constants, (state,))


# Inputs of the operator for the gates input, forget, cell and output.
_INPUT_WEIGHTS, _RECURRENT_WEIGHTS, _BIASES = (1, 2, 3, 4), (5, 6, 7, 8), (12, 13, 14, 15)
_PEEPHOLE_PROJECTION_AND_NORM = (9, 10, 11, 16, 17, 20, 21, 22, 23)
_HIDDEN, _CELL = 18, 19


def unidirectional_sequence_lstm(call: TFLiteCall) -> Value:
    """UNIDIRECTIONAL_SEQUENCE_LSTM on int8 or int16 with an int16 cell; source: TFLite Micro's
    `lstm_eval_common.cc` and `lstm_eval.h`."""
    if any(call.has_input(index) for index in _PEEPHOLE_PROJECTION_AND_NORM):
        raise call.unsupported(
            "has peepholes, a projection or layer normalization",
            "TFLite Micro supports the plain LSTM of Keras only",
        )
    source, hidden, cell, output = (
        call.tensor(0),
        call.state(_HIDDEN),
        call.state(_CELL),
        call.output(),
    )
    dtype = source.dtype
    if (hidden.dtype, cell.dtype, output.dtype) != (dtype, "int16", dtype):
        raise call.unsupported(
            f"works on {dtype} with states {hidden.dtype} and {cell.dtype}",
            "quantize input and hidden state to int8, or both to int16, with an int16 cell state",
        )
    time_major = bool(call.options["TimeMajor"])
    if len(source.shape) != 3 or cell.scale is None or hidden.scale is None:
        raise call.unsupported("has tensors that do not fit each other", _DAMAGED)
    steps, batch = source.shape[:2] if time_major else source.shape[1::-1]
    inputs, units = source.shape[2], math.prod(hidden.shape) // batch
    input_weights = _gates(call, _INPUT_WEIGHTS, (units, inputs))
    recurrent_weights = _gates(call, _RECURRENT_WEIGHTS, (units, units))
    biases = _gates(call, _BIASES, (units,), np.int64 if dtype == "int16" else np.int32)
    if np.abs(biases).max() >= 2**46:
        raise call.unsupported("has a bias beyond 47 bits, which TFLite cannot scale")
    if math.prod(cell.shape) != batch * units or output.shape != (*source.shape[:2], units):
        raise call.unsupported("has tensors that do not fit each other", _DAMAGED)
    input_scale, input_zero_point = call.input_quantization(0)
    gate_scale, sigmoid_scale = 2.0**-12, 2.0**-15
    logarithm = math.log2(cell.scale)
    power = round(logarithm)
    if abs(logarithm - power) > 1e-3:
        raise call.unsupported(
            f"has a cell state with scale {cell.scale:g}", "it must be a power of two"
        )
    # TFLite's Tanh of the cell: 3 * 2^k times the value, or 3 times it and a right shift.
    doublings = 15 + power - 3
    if not -30 <= doublings <= 14:
        raise call.unsupported(f"has a cell state with scale {cell.scale:g}", _DAMAGED)
    clip = float(np.float32(call.options["CellClip"]))
    workload = Lstm(
        dtype=dtype,
        batch=batch,
        steps=steps,
        input_size=inputs,
        units=units,
        time_major=time_major,
        input_scales=_gate_scales(call, _INPUT_WEIGHTS, input_scale / gate_scale),
        recurrent_scales=_gate_scales(call, _RECURRENT_WEIGHTS, hidden.scale / gate_scale),
        forget_scale=quantize_multiplier(sigmoid_scale * cell.scale / cell.scale),
        update_scale=quantize_multiplier(sigmoid_scale * sigmoid_scale / cell.scale),
        output_scale=quantize_multiplier(sigmoid_scale * sigmoid_scale / hidden.scale),
        cell_tanh=(3 << doublings, 0) if doublings >= 0 else (3, -doublings),
        cell_clip=int(min(max(clip / cell.scale, -32768.0), 32767.0)),
        hidden_zero_point=hidden.zero_point,
    )
    constants = {
        "input_weight": input_weights,
        "input_bias": _folded(biases, input_weights, input_zero_point),
        "recurrent_weight": recurrent_weights,
        "recurrent_bias": _folded(0 * biases, recurrent_weights, hidden.zero_point),
        "table": sigmoid_table(),
    }
    return call.emit(workload, (source,), constants, (hidden, cell))


def _gates(
    call: TFLiteCall, indices: Sequence[int], shape: tuple[int, ...], dtype: type = np.int8
) -> NDArray[np.generic]:
    """A constant of each gate: (4, *shape)."""
    arrays = [call.constant(index) for index in indices]
    for array in arrays:
        if array is None or array.dtype != dtype or array.shape != shape:
            raise call.unsupported(
                f"has weights or biases that are not {np.dtype(dtype).name} constants of shape "
                f"{list(shape)}",
                "coupled gates are not supported, by TFLite Micro either",
            )
    return np.stack(arrays)  # type: ignore[arg-type]


def _gate_scales(
    call: TFLiteCall, indices: Sequence[int], factor: float
) -> tuple[Scale, Scale, Scale, Scale]:
    factors = np.array([factor * float(call.scales(index)[0]) for index in indices])
    pairs: tuple[NDArray[Any], NDArray[Any]] = quantize_multipliers(factors)
    if call.tensor(0).dtype == "int16":
        pairs = reduce_multipliers(*pairs)
    first, second, third, fourth = zip(*(array.tolist() for array in pairs), strict=True)
    return first, second, third, fourth


def _folded(
    bias: NDArray[np.generic], weight: NDArray[np.generic], zero_point: int
) -> NDArray[np.generic]:
    """Biases less what the zero point adds to the sums of products; wraps as their type does."""
    total = bias.astype(np.int64) - zero_point * weight.astype(np.int64).sum(axis=2)
    wrapped: NDArray[np.generic] = total.astype(bias.dtype)
    return wrapped


TYPES: dict[str, tuple[str, ...]] = {
    "SVDF": ("int8",),
    "TRANSPOSE_CONV": ("int8", "int16"),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("int8", "int16"),
}
"""Types of activations that the rules work on."""

RULES: dict[str, Callable[[TFLiteCall], Value]] = {
    "SVDF": svdf,
    "TRANSPOSE_CONV": transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": unidirectional_sequence_lstm,
}
