"""TFLite operators that reduce axes or multiply matrices, and changes of scale and type.

Source of the recipes: TFLite Micro's `kernels/{reduce_common,arg_min_max,batch_matmul,l2norm}.cc`,
`quantize_common.cc` and `reference/reduce.h`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize import tflite_wide
from tinyaot.compiler.legalize.builder import Value, element_type
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier, softmax_exp_table
from tinyaot.compiler.legalize.fixed_point_logarithm import log_softmax_scaling
from tinyaot.compiler.legalize.fixed_point_wide import reduce_multipliers
from tinyaot.compiler.legalize.rearrange import strides_of
from tinyaot.compiler.legalize.reduction import mean_multiplier
from tinyaot.compiler.legalize.tflite_call import Rule, TFLiteCall, by_type
from tinyaot.compiler.legalize.tflite_elementwise import broadcast
from tinyaot.schedules.workload import Mean, Requantize
from tinyaot.schedules.workload_elementwise import Cast
from tinyaot.schedules.workload_reduction import (
    L2Normalization,
    LogSoftmax,
    Reduce,
    ReduceExtreme,
    SoftmaxInt16,
    StridedMatMul,
)
from tinyaot.schedules.workload_wide import WideRequantize

Axes = tuple[tuple[int, ...], tuple[int, ...]]

_MOST_AXES = 4
# TFLite's sum of exponentials has 12 integer bits, and each exponential may be 1.
_LONGEST_SOFTMAX = 2**12 - 1


def _joined(shape: Sequence[int], strides: Sequence[int], axes: Sequence[int]) -> Axes:
    """Extents and steps of some axes, neighbours as one."""
    joined: list[tuple[int, int]] = []
    for axis in axes:
        size, step = shape[axis], strides[axis]
        if size == 1:
            continue
        if joined and joined[-1][1] == size * step:
            joined[-1] = (joined[-1][0] * size, step)
        else:
            joined.append((size, step))
    joined = joined or [(1, 0)]
    return tuple(size for size, _ in joined), tuple(step for _, step in joined)


def _split(call: TFLiteCall, source: Tensor, reduced: set[int]) -> tuple[Axes, Axes]:
    """The axes that are kept and those that are reduced."""
    strides = strides_of(source.shape)
    rank = len(source.shape)
    kept = _joined(source.shape, strides, [axis for axis in range(rank) if axis not in reduced])
    gone = _joined(source.shape, strides, sorted(reduced))
    if max(len(kept[0]), len(gone[0])) > _MOST_AXES:
        raise call.unsupported(
            f"reduces axes {sorted(reduced)} of {rank}", "reduce neighbouring axes"
        )
    if math.prod(kept[0]) != math.prod(call.output().shape):
        raise call.unsupported(
            f"declares an output of shape {list(call.output().shape)} that its axes contradict",
            "the file may be damaged",
        )
    return kept, gone


def _axes(call: TFLiteCall, rank: int) -> set[int]:
    axes = call.numbers(1)
    if any(not -rank <= axis < rank for axis in axes):
        raise call.unsupported(f"reduces axes {axes} of {rank}", "the file may be damaged")
    return {axis % rank for axis in axes}


def summed(divide: bool) -> Rule:
    """The rule for MEAN (`divide`) or SUM."""

    def rule(call: TFLiteCall) -> Value:
        source = call.tensor(0)
        scale, zero_point = call.input_quantization(0)
        kept, reduced = _split(call, source, _axes(call, len(source.shape)))
        count = math.prod(reduced[0])
        factor = quantize_multiplier(scale / call.output_scale)
        if divide:
            factor = mean_multiplier(scale / call.output_scale, count, "double")
        _check_sum(call, count, zero_point)
        output, clamp = call.output(), call.clamp("NONE")
        if divide and call.dtype == "int8" and len(reduced[0]) == 1:
            size = math.prod(kept[0])
            inner = reduced[1][0] if count > 1 else size
            workload = Mean(
                outer=size // inner,
                reduced=count,
                inner=inner,
                input_zero_point=zero_point,
                output_zero_point=output.zero_point,
                multiplier=factor[0],
                shift=factor[1],
                clamp=clamp,
            )
            return call.emit(workload, (source,))
        return call.emit(
            Reduce(
                *(source.dtype, *kept, *reduced),
                input_zero_point=zero_point,
                factor=factor,
                output_zero_point=output.zero_point,
                clamp=clamp,
            ),
            (source,),
        )

    return rule


def _check_sum(call: TFLiteCall, count: int, zero_point: int) -> None:
    limits = np.iinfo(call.dtype)
    largest = count * (max(int(limits.max), -int(limits.min)) + abs(zero_point))
    if largest >= 2**31:
        raise call.unsupported(
            f"adds {count} numbers, which overflows 32 bits", "reduce fewer at once"
        )


def extreme(mode: str) -> Rule:
    """The rule for REDUCE_MAX or REDUCE_MIN, which keep the scale, and of bools for REDUCE_ANY or
    REDUCE_ALL; TFLite Micro has the former for int8."""

    def rule(call: TFLiteCall) -> Value:
        source, output = call.tensor(0), call.output()
        if (source.scale, source.zero_point) != (output.scale, output.zero_point):
            raise call.unsupported("changes the scale", "quantize its input and output alike")
        kept, reduced = _split(call, source, _axes(call, len(source.shape)))
        dtype = element_type(source.dtype)
        return call.emit(ReduceExtreme(mode, False, dtype, *kept, *reduced), (source,))

    return rule


def argument(mode: str) -> Rule:
    """The rule for ARG_MAX or ARG_MIN; TFLite Micro has them for int8 and int32 indices."""

    def rule(call: TFLiteCall) -> Value:
        source, output = call.tensor(0), call.output()
        axes = _axes(call, len(source.shape))
        if len(axes) != 1 or output.dtype not in ("int32", "int64"):
            raise call.unsupported(
                f"finds indices of type {output.dtype} along {len(axes)} axes",
                "supported are int32 and int64 indices along one axis",
            )
        kept, reduced = _split(call, source, axes)
        if math.prod(reduced[0]) == 1:
            first = np.zeros(output.shape, output.dtype)
            return call.done(call.context.builder.constant(first, output, call.origin))
        workload = ReduceExtreme(mode, True, source.dtype, *kept, *reduced)
        if output.dtype == "int32":
            return call.emit(workload, (source,))
        narrow = replace(output, name=f"{output.name}_int32", dtype="int32")
        found = call.context.builder.emit(workload, (source,), narrow, call.origin)
        return call.emit(Cast(math.prod(output.shape), "int32", "int64"), (found,))

    return rule


def batch_matmul(call: TFLiteCall) -> Value:
    """BATCH_MATMUL of int8 or int16, either operand transposed or not."""
    tensors = (call.tensor(0), call.tensor(1))
    output = call.output()
    if tensors[0].dtype != tensors[1].dtype or min(len(one.shape) for one in tensors) < 2:
        raise call.unsupported(
            f"multiplies {tensors[0].dtype}{list(tensors[0].shape)} by "
            f"{tensors[1].dtype}{list(tensors[1].shape)}",
            "operands must be matrices of one type",
        )
    sizes, steps = [], []
    for tensor, adjoint in zip(tensors, ("AdjX", "AdjY"), strict=True):
        strides = strides_of(tensor.shape)
        order = (-1, -2) if call.options[adjoint] else (-2, -1)
        sizes.append(tuple(tensor.shape[axis] for axis in order))
        steps.append((strides[order[0]], strides[order[1]]))
    (rows, depth), (depth_b, columns) = sizes
    if depth != depth_b or output.shape[-2:] != (rows, columns):
        raise call.unsupported(
            f"multiplies {rows}x{depth} by {depth_b}x{columns}", "the file may be damaged"
        )
    # Broadcasting is of whole matrices: steps between them are in matrices first.
    leading = [tensor.shape[:-2] for tensor in tensors]
    batch, places = broadcast(call, leading, output.shape[:-2])
    batch_steps = tuple(
        tuple(place * math.prod(size) for place in own)
        for own, size in zip(places, sizes, strict=True)
    )
    if len(batch) > _MOST_AXES:
        raise call.unsupported(f"broadcasts over {len(batch)} axes", "reshape the operands")
    (scale_a, zero_point_a), (scale_b, zero_point_b) = map(call.input_quantization, (0, 1))
    factor = quantize_multiplier(scale_a * scale_b / call.output_scale)
    if call.dtype == "int16":
        if zero_point_a or zero_point_b or output.zero_point:
            raise call.unsupported(
                "has an int16 tensor whose zero point is not 0", "quantize int16 symmetrically"
            )
        multiplier, shift = (np.array([number], np.int32) for number in factor)
        reduced, right = reduce_multipliers(multiplier, shift)
        factor = (int(reduced[0]), int(right[0]))
    workload = StridedMatMul(
        dtype=call.dtype,
        batch=batch,
        batch_steps=batch_steps,  # type: ignore[arg-type]
        rows=rows,
        depth=depth,
        columns=columns,
        matrix_steps=(steps[0], steps[1]),
        input_zero_points=(zero_point_a, zero_point_b),
        factor=factor,
        output_zero_point=output.zero_point,
        clamp=call.clamp("NONE"),
    )
    return call.emit(workload, tensors)


def l2_normalization(call: TFLiteCall) -> Value:
    """L2_NORMALIZATION of int8 over the last axis."""
    source, output = call.tensor(0), call.output()
    if call.output_scale != 1 / 128 or output.zero_point != 0:
        raise call.unsupported(
            f"has an output with scale {call.output_scale:g} and zero point {output.zero_point}",
            "int8 L2_NORMALIZATION has scale 1/128 and zero point 0",
        )
    depth = source.shape[-1] if source.shape else 1
    if depth >= 2**15:
        raise call.unsupported(f"normalizes {depth} values", "their squares overflow 32 bits")
    rows = math.prod(source.shape) // depth
    workload = L2Normalization(rows, depth, call.input_quantization(0)[1])
    return call.emit(workload, (source,))


def log_softmax(call: TFLiteCall) -> Value:
    """LOG_SOFTMAX of int8 over the last axis; source: `log_softmax.cc`."""
    source, output = call.tensor(0), call.output()
    if call.output_scale != 1 / 16 or output.zero_point != 127:
        raise call.unsupported(
            f"has an output with scale {call.output_scale:g} and zero point {output.zero_point}",
            "int8 LOG_SOFTMAX has scale 1/16 and zero point 127",
        )
    rows, depth = _softmax_rows(call, source)
    scale = call.input_quantization(0)[0]
    scaled, reverse, smallest = log_softmax_scaling(scale)
    constants = {"exponential": softmax_exp_table(scale, 1.0), "scaled": scaled}
    return call.emit(LogSoftmax(rows, depth, reverse, smallest), (source,), constants)


def softmax_int16(call: TFLiteCall) -> Value:
    """SOFTMAX of int8 with an int16 result; source: `softmax_common.cc`."""
    source, output = call.tensor(0), call.output()
    right_scale = math.isclose(call.output_scale, 1 / 65536, rel_tol=1e-3)
    if output.dtype != "int16" or output.zero_point != -32768 or not right_scale:
        raise call.unsupported(
            f"writes {output.dtype} with scale {call.output_scale:g}",
            "int16 softmax of int8 has scale 1/65536 and zero point -32768",
        )
    rows, depth = _softmax_rows(call, source)
    beta = float(np.float32(call.options["Beta"]))
    table = softmax_exp_table(call.input_quantization(0)[0], beta)
    return call.emit(SoftmaxInt16(rows, depth), (source,), {"table": table})


def _softmax_rows(call: TFLiteCall, source: Tensor) -> tuple[int, int]:
    depth = source.shape[-1] if source.shape else 1
    if depth > _LONGEST_SOFTMAX:
        raise call.unsupported(
            f"takes softmax over {depth} values", f"int8 softmax holds at most {_LONGEST_SOFTMAX}"
        )
    return math.prod(source.shape) // depth, depth


def requantize(call: TFLiteCall) -> Value:
    """QUANTIZE of integers to another scale, zero point or type."""
    source, output = call.tensor(0), call.output()
    scale, zero_point = call.input_quantization(0)
    multiplier, shift = quantize_multiplier(scale / call.output_scale)
    same = (scale, zero_point, source.dtype) == (
        *(call.output_scale, output.zero_point, output.dtype),
    )
    if same:
        builder = call.context.builder
        return call.done(builder.reshape(source, output.shape, call.origin, output))
    kind = Requantize if {source.dtype, output.dtype} <= {"int8"} else WideRequantize
    workload = kind(
        size=math.prod(source.shape),
        input_dtype=source.dtype,
        output_dtype=output.dtype,
        input_zero_point=zero_point,
        output_zero_point=output.zero_point,
        multiplier=multiplier,
        shift=shift,
        clamp=call.clamp("NONE"),
    )
    return call.emit(workload, (source,))


RULES: dict[str, Rule] = {
    "ARG_MAX": by_type(**dict.fromkeys(("int8", "int16", "int32"), argument("max"))),
    "ARG_MIN": by_type(**dict.fromkeys(("int8", "int16", "int32"), argument("min"))),
    "BATCH_MATMUL": by_type(int8=batch_matmul, int16=batch_matmul),
    "L2_NORMALIZATION": by_type(int8=l2_normalization),
    "LOG_SOFTMAX": by_type(int8=log_softmax),
    "MEAN": by_type(int8=summed(True), int16=summed(True)),
    "QUANTIZE": by_type(int8=requantize, int16=requantize, int32=requantize),
    "REDUCE_ALL": by_type(bool=extreme("min")),
    "REDUCE_ANY": by_type(bool=extreme("max")),
    "REDUCE_MAX": by_type(**dict.fromkeys(("int8", "int16", "int32"), extreme("max"))),
    "REDUCE_MIN": by_type(**dict.fromkeys(("int8", "int16", "int32"), extreme("min"))),
    "SOFTMAX": by_type(int8=softmax_int16, int16=tflite_wide.softmax),
    "SUM": by_type(int8=summed(False), int16=summed(False)),
}
