"""AVERAGE_POOL_2D, MAX_POOL_2D, MEAN and SOFTMAX."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import NCHW_TO_NHWC, GraphBuilder, Value, identity
from tinyaot.compiler.legalize.fixed_point import (
    INT32_MAX,
    quantize_multiplier,
    softmax_exp_table,
)
from tinyaot.compiler.legalize.group import Group, scalar
from tinyaot.compiler.legalize.relax_reader import ints, op_name, shape_of
from tinyaot.schedules.workload import Mean, Pool2D, ScaledSoftmax, Softmax
from tinyaot.targets import TinyaotError

NHWC = (0, 1, 2, 3)

# TFLite's sum of exponentials has 12 integer bits, and each exponential may be 1.
_LONGEST_SOFTMAX = 2**12 - 1


def average_pool2d(group: Group, call: Any) -> Value:
    """relax.nn.avg_pool2d."""
    if bool(call.attrs.count_include_pad) and any(ints(call.attrs.padding)):
        raise group.unsupported("counts padding in its average", "set count_include_pad to 0")
    return _pool(group, call, "average")


def max_pool2d(group: Group, call: Any) -> Value:
    """relax.nn.max_pool2d."""
    return _pool(group, call, "max")


def _pool(group: Group, call: Any, mode: str) -> Value:
    source = group.operand(call.args[0])
    if (source.scale, source.zero_point) != (group.scale, group.zero_point):
        raise group.unsupported(
            "changes the scale while pooling", "quantize its input and output alike"
        )
    output = group.output(shape_of(call))
    return _pooled(group.builder, source, call, mode, output, group.clamp, group.origin)


def _pooled(
    builder: GraphBuilder,
    source: Value,
    call: Any,
    mode: str,
    output: Tensor,
    clamp: tuple[int, int],
    origin: str,
) -> Value:
    attrs = call.attrs
    stored = NHWC if str(attrs.layout) == "NHWC" else NCHW_TO_NHWC
    if ints(attrs.dilation) != (1, 1):
        raise TinyaotError(f"{origin} pools with a dilated window", "use dilation 1")
    tensor = builder.store_as(source, stored, origin)
    shape = shape_of(call)
    output_shape = tuple(shape[axis] for axis in stored)
    top, left, _, _ = ints(attrs.padding)
    strides = ints(attrs.strides)
    last = [(output_shape[1] - 1) * strides[0] - top, (output_shape[2] - 1) * strides[1] - left]
    if last[0] >= tensor.shape[1] or last[1] >= tensor.shape[2]:
        raise TinyaotError(f"{origin} pools windows that hold only padding", "reduce the padding")
    workload = Pool2D(
        mode=mode,
        input_shape=tensor.shape,  # type: ignore[arg-type]
        output_shape=output_shape,  # type: ignore[arg-type]
        kernel=ints(attrs.pool_size),  # type: ignore[arg-type]
        strides=strides,  # type: ignore[arg-type]
        padding=ints(attrs.padding),  # type: ignore[arg-type]
        clamp=clamp,
    )
    output = replace(output, shape=output_shape)
    return Value(builder.emit(workload, (tensor,), output, origin), stored)


def mean(group: Group, call: Any) -> Value:
    """relax.mean over neighbouring axes, such as the two spatial ones."""
    source = group.operand(call.args[0])
    rank = len(source.stored)
    axes = ints(call.attrs.axis) if call.attrs.axis is not None else identity(rank)
    reduced_axes = {axis % rank for axis in axes}
    if not _neighbours(source.stored.index(axis) for axis in reduced_axes):
        # In the model's order at best; else what is averaged comes last.
        stored = identity(rank)
        if not _neighbours(reduced_axes):
            stored = (*sorted(set(stored) - reduced_axes), *sorted(reduced_axes))
        source = replace(source, tensor=group.builder.store_as(source, stored, group.origin))
        source = replace(source, stored=stored, flattened=None)
    tensor = group.builder.store_as(source, source.stored, group.origin)
    places = sorted(source.stored.index(axis) for axis in reduced_axes)
    outer = math.prod(tensor.shape[: places[0]])
    inner = math.prod(tensor.shape[places[-1] + 1 :])
    count = math.prod(tensor.shape[places[0] : places[-1] + 1])
    multiplier, shift = mean_multiplier(source.scale / group.scale, count, group.rounding)
    workload = Mean(
        outer=outer,
        reduced=count,
        inner=inner,
        input_zero_point=source.zero_point,
        output_zero_point=group.zero_point,
        multiplier=multiplier,
        shift=shift,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    shape, stored = _after_reduction(source, reduced_axes, bool(call.attrs.keepdims))
    output = group.builder.emit(workload, (tensor,), group.output(shape), group.origin)
    return group.done(output, stored)


def _neighbours(places: Iterable[int]) -> bool:
    ordered = sorted(places)
    return ordered == list(range(ordered[0], ordered[-1] + 1))


def mean_multiplier(factor: float, count: int, rounding: str) -> tuple[int, int]:
    """The factor divided by the number of elements, in TFLite's integer steps for TFLite models.

    Source: `QuantizedMeanOrSum` in TFLite's `reference/reduce.h`.
    """
    if rounding == "single":
        return quantize_multiplier(factor / count)
    multiplier, shift = quantize_multiplier(factor)
    headroom = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << headroom) // count, shift - headroom


def _after_reduction(
    source: Value, reduced: set[int], keep: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Stored shape and stored axes of a reduction's result."""
    shape, stored = source.tensor.shape, source.stored
    if keep:
        kept = tuple(
            1 if axis in reduced else size for axis, size in zip(stored, shape, strict=True)
        )
        return kept, stored
    left = [(axis, size) for axis, size in zip(stored, shape, strict=True) if axis not in reduced]
    names = sorted(axis for axis, _ in left)
    return tuple(size for _, size in left), tuple(names.index(axis) for axis, _ in left)


def softmax(group: Group, call: Any) -> Value:
    """relax.nn.softmax over the last axis; source: TFLite's `reference/softmax.h`."""
    logits, beta = group.reader.value(call.args[0]), 1.0
    if op_name(logits) == "relax.multiply":
        beta = scalar(group.reader, logits.args[1])
        logits = group.reader.value(logits.args[0])
    source = group.operand(logits)
    rank = len(source.stored)
    axis = int(call.attrs.axis) % rank
    stored = (*(one for one in source.stored if one != axis), axis)
    tensor = group.builder.store_as(source, stored, group.origin)
    rows, depth = math.prod(tensor.shape[:-1]), tensor.shape[-1]
    if group.rounding == "single":
        result = _scaled_softmax(group, tensor, rows, depth, source.scale * beta)
        return replace(result, stored=stored)
    if group.dtype != "int8" or not math.isclose(group.scale, 1 / 256) or group.zero_point != -128:
        raise group.unsupported(
            f"writes softmax with scale {group.scale:g} and zero point {group.zero_point}",
            "int8 softmax has scale 1/256 and zero point -128",
        )
    if depth > _LONGEST_SOFTMAX:
        raise group.unsupported(
            f"takes softmax over {depth} values", f"int8 softmax holds at most {_LONGEST_SOFTMAX}"
        )
    workload = Softmax(rows, depth)
    constants = {"table": softmax_exp_table(source.scale, beta)}
    output = group.builder.emit(
        workload, (tensor,), group.output(tensor.shape), group.origin, constants
    )
    return group.done(output, stored)


def _scaled_softmax(group: Group, tensor: Tensor, rows: int, depth: int, scale: float) -> Value:
    """Softmax with any output scale, computed from exponentials rounded to 31 bits."""
    multiplier = round(2**16 / group.scale)
    # Products with exponentials of 31 bits, and sums of them, stay inside 63 bits.
    if not 0 < multiplier <= 2**30:
        raise group.unsupported(
            f"writes softmax with scale {group.scale:g}", "use a scale between 1/16384 and 1"
        )
    exact = np.exp(-np.arange(256, dtype=np.float64) * scale)
    constants = {"table": np.minimum(np.rint(exact * 2.0**31), INT32_MAX).astype(np.int32)}
    workload = ScaledSoftmax(rows, depth, multiplier, group.zero_point, group.clamp)
    output = group.builder.emit(
        workload, (tensor,), group.output(tensor.shape), group.origin, constants
    )
    return group.done(output)
