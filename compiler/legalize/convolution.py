"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED, as conv2d and matmul with a constant operand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.builder import NCHW_TO_NHWC, Value, identity
from tinyaot.compiler.legalize.fixed_point import quantize_multipliers
from tinyaot.compiler.legalize.group import Group
from tinyaot.compiler.legalize.relax_reader import QuantizedConstant, ints, op_name, shape_of
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, FullyConnected
from tinyaot.schedules.workload_real import OffsetConv2D

Constants = dict[str, NDArray[np.generic]]
Int64 = NDArray[np.int64]

NHWC = (0, 1, 2, 3)


def conv2d(group: Group, call: Any, bias: Any) -> Value:
    """relax.nn.conv2d with an optional bias; NHWC or NCHW, any constant kernel layout."""
    attrs = call.attrs
    layout = str(attrs.data_layout)
    if layout not in ("NHWC", "NCHW"):
        raise group.unsupported(f"has the data layout {layout}", "use NHWC or NCHW")
    stored = NHWC if layout == "NHWC" else NCHW_TO_NHWC
    weight = weight_of(group, call.args[1])
    source = group.operand(call.args[0])
    tensor = group.builder.store_as(source, stored, group.origin)
    output_shape = _in_order(shape_of(call), stored)
    channels, out_channels, groups = tensor.shape[3], output_shape[3], int(attrs.groups)
    kernel_layout = str(attrs.kernel_layout)
    values, zero_points = signed_weight(group, weight, kernel_layout.index("O"))
    geometry: dict[str, Any] = {
        "input_shape": tensor.shape,
        "output_shape": output_shape,
        "strides": ints(attrs.strides),
        "padding": ints(attrs.padding),
        "dilation": ints(attrs.dilation),
        "input_zero_point": source.zero_point,
        "output_zero_point": group.zero_point,
        "clamp": group.clamp,
        "rounding": group.rounding,
    }
    constants: Constants
    workload: Conv2D | DepthwiseConv2D | OffsetConv2D
    # HWOI holds (KH, KW, C, M); the field order of a depthwise constant is what matters.
    hwoi = values.transpose([kernel_layout.index(axis) for axis in "HWOI"])
    if zero_points is not None:
        geometry.pop("rounding")
        kernel = hwoi.shape[:2]
        constants = {"weight": hwoi.transpose(2, 0, 1, 3), "weight_zero_point": zero_points}
        workload = OffsetConv2D(kernel=kernel, groups=groups, **geometry)
    elif (groups == channels and groups > 1) or (
        groups == 1 and channels == 1 and out_channels == 1
    ):
        kernel = hwoi.shape[:2]
        constants = {"weight": hwoi.reshape(*kernel, out_channels)}
        workload = DepthwiseConv2D(kernel=kernel, **geometry)
    else:
        kernel = hwoi.shape[:2]
        constants = {"weight": hwoi.transpose(2, 0, 1, 3)}
        workload = Conv2D(kernel=kernel, groups=groups, **geometry)
    constants |= scaling(group, source, weight, bias, out_channels)
    output = group.builder.emit(
        workload, (tensor,), group.output(output_shape), group.origin, _contiguous(constants)
    )
    return group.done(output, stored)


def matmul(group: Group, call: Any, bias: Any) -> Value:
    """relax.matmul of an activation (rows, I) with a constant (I, O)."""
    weight = weight_of(group, call.args[1])
    source = group.operand(call.args[0])
    if weight.values.ndim != 2 or len(source.tensor.shape) < 1:
        raise group.unsupported("multiplies by a constant that is not a matrix")
    values, zero_points = signed_weight(group, weight, 1)
    depth, outputs = values.shape
    shape = shape_of(call)
    tensor = source.tensor
    if source.flat_order is not None:
        reordered = np.empty_like(values)
        reordered[source.flat_order] = values
        values = reordered
    else:
        tensor = group.builder.in_model_order(source, group.origin)
    batch = int(np.prod(shape[:-1], dtype=np.int64))
    ends: dict[str, Any] = {
        "input_zero_point": source.zero_point,
        "output_zero_point": group.zero_point,
        "clamp": group.clamp,
    }
    constants: Constants = {"weight": values.T}
    workload: FullyConnected | OffsetConv2D
    if zero_points is None:
        workload = FullyConnected(batch, depth, outputs, rounding=group.rounding, **ends)
    else:
        constants = {
            "weight": values.T.reshape(outputs, 1, 1, depth),
            "weight_zero_point": zero_points,
        }
        workload = OffsetConv2D(
            input_shape=(batch, 1, 1, depth),
            output_shape=(batch, 1, 1, outputs),
            kernel=(1, 1),
            strides=(1, 1),
            padding=(0, 0, 0, 0),
            dilation=(1, 1),
            groups=1,
            **ends,
        )
    constants |= scaling(group, source, weight, bias, outputs)
    output = group.builder.emit(
        workload, (tensor,), group.output(shape), group.origin, _contiguous(constants)
    )
    return group.done(output, identity(len(shape)))


def is_dense(group: Group, call: Any) -> bool:
    """Whether a relax.matmul multiplies by a constant matrix."""
    weight = group.constant(call.args[1])
    return group.rounding == "double" or (weight is not None and weight.values.ndim == 2)


def split_bias(group: Group, call: Any) -> tuple[Any, Any] | None:
    """The conv2d or matmul under an add of a constant, and that constant; None if not one."""
    for inner, bias in ((call.args[0], call.args[1]), (call.args[1], call.args[0])):
        value = group.reader.value(inner)
        if op_name(value) not in ("relax.nn.conv2d", "relax.matmul"):
            continue
        if group.constant(bias) is not None or group.reader.constant(bias) is not None:
            return value, bias
    return None


def _in_order(shape: tuple[int, ...], stored: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in stored)


def _contiguous(constants: Constants) -> Constants:
    return {name: np.ascontiguousarray(array) for name, array in constants.items()}


def weight_of(group: Group, expr: Any) -> QuantizedConstant:
    """The quantized constant that an operator multiplies by."""
    weight = group.constant(expr)
    if weight is None:
        raise group.unsupported(
            "has weights that are not quantized constants",
            "fold the weights into the model and quantize them, for ONNX in QDQ format",
        )
    return weight


def signed_weight(
    group: Group, weight: QuantizedConstant, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.int32] | None]:
    """The weights with their zero point taken off, if that fits int8; else as they are.

    Args:
        group: the operator.
        weight: its weights.
        axis: of the output channels, for zero points of one a channel.

    Returns:
        Signed weights, and None or the zero point of each output channel that is still in them.

    Raises:
        TinyaotError: the weights are of another type than int8 and uint8.
    """
    stored = weight.values.astype(np.int64)
    along = [1] * stored.ndim
    along[axis] = -1
    zero_points = weight.zero_point.reshape(along if weight.zero_point.size > 1 else ())
    values = stored - zero_points
    if values.min(initial=0) >= -128 and values.max(initial=0) <= 127:
        return values.astype(np.int8), None
    if weight.values.dtype not in (np.int8, np.uint8) or group.rounding == "double":
        raise group.unsupported(
            f"has weights of type {weight.values.dtype} that do not fit int8",
            "quantize weights to int8",
        )
    shift = 128 if weight.values.dtype == np.uint8 else 0
    channels = stored.shape[axis]
    kept = np.broadcast_to(weight.zero_point - shift, (channels,)).astype(np.int32)
    return (stored - shift).astype(np.int8), kept


def scaling(
    group: Group,
    source: Value,
    weight: QuantizedConstant,
    bias: Any,
    channels: int,
) -> Constants:
    """Bias, multiplier and shift of each output channel.

    The factor is input scale * weight scale / output scale in double, as in TFLite's
    `PopulateConvolutionQuantizationParams` and `GetQuantizedConvolutionMultipler`.
    """
    if weight.scale.size not in (1, channels):
        raise group.unsupported(
            f"has {weight.scale.size} weight scales for {channels} output channels",
            "quantize weights per tensor or per output channel",
        )
    if not (np.isfinite(weight.scale).all() and (weight.scale > 0).all()):
        raise group.unsupported("has weight scales that are not positive numbers")
    scales = np.broadcast_to(weight.scale, (channels,)).astype(np.float64)
    product = np.float64(source.scale) * scales
    multiplier, shift = quantize_multipliers(product / np.float64(group.scale))
    return {
        "bias": _bias(group, bias, product, channels),
        "multiplier": multiplier,
        "shift": shift,
    }


def _bias(group: Group, expr: Any, scales: NDArray[np.float64], channels: int) -> NDArray[np.int32]:
    """The int32 bias in units of the accumulator."""
    if expr is None:
        return np.zeros(channels, np.int32)
    quantized = group.constant(expr)
    if quantized is not None:
        values: Int64 = quantized.values.astype(np.int64).reshape(-1) - quantized.zero_point
        _check_channels(group, values.size, channels)
        if not np.allclose(quantized.scale, scales, rtol=1e-3):
            real = values.astype(np.float64) * quantized.scale
            values = _in_steps(group, real, scales)
    else:
        given = group.reader.constant(expr)
        if given is None:
            raise group.unsupported("has a bias that is not a constant")
        real = given.astype(np.float64).reshape(-1)
        _check_channels(group, real.size, channels)
        values = _in_steps(group, real, scales)
    _check_channels(group, values.size, channels)
    values = np.broadcast_to(values.reshape(-1), (channels,))
    if np.abs(values).max(initial=0) > 2**31 - 1:
        raise group.unsupported("has a bias that does not fit int32")
    return values.astype(np.int32)


def _check_channels(group: Group, size: int, channels: int) -> None:
    if size not in (1, channels):
        raise group.unsupported(
            f"adds a constant of {size} elements to {channels} output channels",
            "give it a bias of one value a channel",
        )


def _in_steps(group: Group, real: NDArray[np.float64], scales: NDArray[np.float64]) -> Int64:
    """A real bias in units of the accumulator."""
    with np.errstate(all="ignore"):
        steps = np.rint(real / scales)
    if not (np.abs(steps) < 2.0**31).all():
        raise group.unsupported("has a bias that does not fit int32")
    return steps.astype(np.int64)
