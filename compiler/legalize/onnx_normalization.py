"""ONNX's normalizations, and its reductions with roots and logarithms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.builder import Value, identity
from tinyaot.compiler.legalize.fixed_point import INT32_MAX
from tinyaot.compiler.legalize.group import Group
from tinyaot.compiler.legalize.onnx_call import OnnxCall, real_constant
from tinyaot.compiler.legalize.onnx_movement import after_reduction, reduced_axes, together
from tinyaot.compiler.legalize.onnx_place import Place
from tinyaot.schedules.workload_real import Normalize, RealLogSoftmax, RealReduce

Array = NDArray[Any]

# Sums of squares must fit 31 bits, and products with sums of rows 62.
_LARGEST_REDUCED, _LARGEST_ROW = 1 << 15, 1 << 20
_LARGEST_SHIFT = 44


def layer_normalization(group: Group, own: OnnxCall) -> Value:
    """LayerNormalization, and RMSNormalization, over the axes from `axis` on."""
    source = group.operand(own.operands[0])
    shape = source.shape
    first = int(own.attribute("axis", -1)) % len(shape)
    centred = own.kind == "LayerNormalization"
    if own.place:
        raise group.unsupported("has its mean or deviation as an output", "remove these outputs")
    depth = math.prod(shape[first:])
    scale = np.broadcast_to(_parameter(group, own, 1, 1.0), shape[first:]).reshape(1, depth)
    bias = np.broadcast_to(_parameter(group, own, 2, 0.0), shape[first:]).reshape(1, depth)
    gain = 1.0 if centred else math.sqrt(depth)
    count = depth**2 if centred else depth
    epsilon = count * float(own.attribute("epsilon", 1e-5)) / source.scale**2
    return _normalized(
        group, source, identity(len(shape)), depth, scale * gain, bias, 1, centred, epsilon
    )


def channel_normalization(group: Group, own: OnnxCall) -> Value:
    """InstanceNormalization and GroupNormalization: over space, and groups of channels."""
    source = group.operand(own.operands[0])
    shape = source.shape
    channels, space = shape[1], math.prod(shape[2:])
    groups = int(own.attribute("num_groups", channels))
    if groups < 1 or channels % groups:
        raise group.unsupported(f"has {groups} groups of {channels} channels")
    parameters = []
    for place in (1, 2):
        values = _parameter(group, own, place, 0.0).reshape(-1)
        # Before opset 21 GroupNormalization has a parameter a group.
        if values.size == groups != channels:
            values = np.repeat(values, channels // groups)
        parameters.append(values.reshape(groups, -1))
    depth = channels // groups * space
    epsilon = depth**2 * float(own.attribute("epsilon", 1e-5)) / source.scale**2
    scale, bias = parameters
    return _normalized(
        group, source, identity(len(shape)), depth, scale, bias, space, True, epsilon
    )


def lp_normalization(group: Group, own: OnnxCall) -> Value:
    """LpNormalization by the Euclidean norm."""
    if int(own.attribute("p", 2)) != 2:
        raise group.unsupported("divides by the sum of absolute values", "use p = 2")
    source = group.operand(own.operands[0])
    axis = int(own.attribute("axis", -1)) % len(source.shape)
    stored = (*(one for one in source.stored if one != axis), axis)
    ones = np.ones((1, 1))
    depth = source.shape[axis]
    return _normalized(group, source, stored, depth, ones, 0 * ones, depth, False, 0.0)


def mean_variance_normalization(group: Group, own: OnnxCall) -> Value:
    """MeanVarianceNormalization over any axes."""
    source = group.operand(own.operands[0])
    rank = len(source.shape)
    axes = {int(axis) % rank for axis in own.attribute("axes", [0, 2, 3])}
    stored = (*(one for one in source.stored if one not in axes), *sorted(axes))
    depth = math.prod(source.shape[axis] for axis in axes)
    ones = np.ones((1, 1))
    # The specification adds it to the deviation, which is no matter of one step.
    epsilon = depth**2 * 1e-9**2 / source.scale**2
    return _normalized(group, source, stored, depth, ones, 0 * ones, depth, True, epsilon)


def _parameter(group: Group, own: OnnxCall, index: int, default: float) -> Array:
    """A constant operand in real numbers."""
    if index >= len(own.operands) or own.operands[index] is None:
        return np.array(default)
    value = real_constant(group.reader, own.operands[index])
    if value is None:
        raise group.unsupported(
            f"has input {index} that is not a constant", "fold constants when exporting"
        )
    return value.astype(np.float64)


def _normalized(
    group: Group,
    source: Value,
    stored: tuple[int, ...],
    depth: int,
    scale: Array,
    bias: Array,
    repeat: int,
    centred: bool,
    epsilon: float,
) -> Value:
    """The node.

    Args:
        group, source: the operator and what it reads.
        stored: axis order in which rows of `depth` are contiguous.
        depth: of a row.
        scale, bias: real, (row period, depth / repeat).
        repeat: see `Normalize`.
        centred: whether the mean is taken off.
        epsilon: what is added under the root, in units of what `Normalize` has there.
    """
    if depth > _LARGEST_ROW:
        raise group.unsupported(f"normalizes {depth} values", f"at most {_LARGEST_ROW}")
    tensor = group.builder.store_as(source, stored, group.origin)
    largest = (depth**2 if centred else depth) * 2.0**16
    fractions = [bits for bits in range(0, 31, 2) if (largest + epsilon) * 2.0**bits < 2.0**61]
    if not fractions:
        raise group.unsupported(
            f"has an input whose scale {source.scale:g} is too small beside epsilon",
            "quantize with representative data",
        )
    quotient_bits = 29 - math.ceil(math.log2(math.sqrt(depth)))
    slope, offset = scale / group.scale, bias / group.scale
    steepest = max(float(np.abs(slope).max()), 2.0**-20)
    if not (steepest < 2.0**20 and np.isfinite(slope).all() and np.isfinite(offset).all()):
        raise group.unsupported("has factors that do not fit the scale of its output")
    shift = min(_LARGEST_SHIFT, quotient_bits + 30 - math.frexp(steepest)[1])
    # Products stay inside 60 bits: none brings a larger offset back into the type.
    limit = 2.0 ** (61 - shift)
    limited = np.clip(offset + group.zero_point + 0.5, -limit, limit)
    shape = (scale.shape[0], depth // repeat)
    constants: dict[str, Array] = {
        "factor": np.rint(slope * 2.0 ** (shift - quotient_bits)).astype(np.int32),
        "offset": np.rint(limited * 2.0**shift).astype(np.int64),
    }
    workload = Normalize(
        rows=math.prod(tensor.shape) // depth,
        depth=depth,
        row_period=shape[0],
        repeat=repeat,
        centred=centred,
        input_zero_point=source.zero_point,
        fraction=fractions[-1],
        epsilon=round(epsilon * 2.0 ** fractions[-1]),
        quotient_bits=quotient_bits,
        shift=shift,
        clamp=group.clamp,
    )
    flat = {name: np.broadcast_to(one, shape).reshape(-1).copy() for name, one in constants.items()}
    output = group.output(tensor.shape)
    emitted = group.builder.emit(workload, (tensor,), output, group.origin, flat)
    return group.done(emitted, stored)


_MODES = {
    "ReduceL1": "absolute",
    "ReduceL2": "root",
    "ReduceLogSum": "logarithm",
    "ReduceLogSumExp": "exponential",
    "ReduceSumSquare": "square",
}
_LOG_2 = math.log(2.0)


def reduce_real(group: Group, own: OnnxCall) -> Value:
    """ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp and ReduceSumSquare."""
    source = group.operand(own.operands[0])
    place = Place(group.builder, group.reader, group.origin)
    axes = reduced_axes(place, own, len(source.shape))
    if not axes:
        raise group.unsupported("reduces no axis", "remove it")
    tensor, stored, begin, end = together(place, source, axes)
    shape = tensor.shape
    reduced = math.prod(shape[begin:end])
    if reduced > _LARGEST_REDUCED:
        raise group.unsupported(f"reduces {reduced} values", f"at most {_LARGEST_REDUCED}")
    mode = _MODES[own.kind]
    unit, bits, added = {
        "absolute": (source.scale, 0, 0.0),
        "square": (source.scale**2, 0, 0.0),
        "root": (source.scale, 15, 0.0),
        "logarithm": (_LOG_2, 26, math.log(source.scale)),
        "exponential": (_LOG_2, 26, -31 * _LOG_2),
    }[mode]
    slope = unit / group.scale
    steepest, steps = slope * 2.0**-bits, source.scale / group.scale
    if not (steepest > 2.0**-60 and slope < 2.0**20 and steps < 2.0**20):
        raise group.unsupported("has factors that do not fit the scales of input and output")
    # Logarithms have up to 32 bits, sums 31: with a factor of 30 they stay inside 62.
    shift = min(_LARGEST_SHIFT, 30 - math.frexp(steepest)[1])
    if mode == "exponential":
        shift = min(shift, 52 - math.frexp(steps)[1])
    offset = round((added / group.scale + group.zero_point + 0.5) * 2.0**shift)
    if abs(offset) >= 2**62:
        raise group.unsupported("has factors that do not fit the scales of input and output")
    constants: dict[str, Array] = {}
    if mode == "exponential":
        constants["table"] = exponentials(source.scale)
    workload = RealReduce(
        mode=mode,
        outer=math.prod(shape[:begin]),
        reduced=reduced,
        inner=math.prod(shape[end:]),
        input_zero_point=source.zero_point,
        factor=round(slope * 2.0 ** (shift - bits)),
        factor_largest=round(steps * 2.0**shift) if mode == "exponential" else 0,
        offset=offset,
        shift=shift,
        clamp=group.clamp,
    )
    keep = bool(own.attribute("keepdims", 1))
    left_shape, left = after_reduction(shape, stored, set(axes), keep)
    emitted = group.builder.emit(
        workload, (tensor,), group.output(left_shape), group.origin, constants
    )
    return group.done(emitted, left)


def log_softmax(group: Group, own: OnnxCall) -> Value:
    """LogSoftmax over any one axis."""
    source = group.operand(own.operands[0])
    axis = int(own.attribute("axis", -1)) % len(source.shape)
    stored = (*(one for one in source.stored if one != axis), axis)
    tensor = group.builder.store_as(source, stored, group.origin)
    slope, logarithm = source.scale / group.scale, _LOG_2 / group.scale
    if not max(slope, logarithm) < 2.0**20:
        raise group.unsupported("has factors that do not fit the scales of input and output")
    shift = min(_LARGEST_SHIFT, 30 - math.frexp(slope)[1])
    # The logarithm's own factor has 30 bits; its product is brought to the common shift.
    bits = 30 - math.frexp(logarithm)[1]
    reduce = 26 + bits - shift
    if reduce < 0:
        raise group.unsupported("has scales that do not fit each other")
    workload = RealLogSoftmax(
        rows=math.prod(tensor.shape) // source.shape[axis],
        depth=source.shape[axis],
        factor=round(slope * 2.0**shift),
        logarithm=round(logarithm * 2.0**bits),
        reduce=reduce,
        offset=round((group.zero_point + 0.5) * 2.0**shift),
        shift=shift,
        clamp=group.clamp,
    )
    constants = {"table": exponentials(source.scale)}
    emitted = group.builder.emit(
        workload, (tensor,), group.output(tensor.shape), group.origin, constants
    )
    return group.done(emitted, stored)


def exponentials(scale: float) -> NDArray[np.int32]:
    """exp(-d * scale) for d in 0..255 in Q0.31."""
    exact = np.exp(-np.arange(256, dtype=np.float64) * scale)
    return np.minimum(np.rint(exact * 2.0**31), INT32_MAX).astype(np.int32)
