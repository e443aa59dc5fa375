"""Element-wise float operators between dequantize and quantize, as one function of the leaves.

Whatever stands there, one activation has 256 values: their results, computed by ONNX's reference
evaluator in the float32 of the model, are a table. Constants that differ from channel to channel
make a table a channel or, where the function is a straight line, a factor and an offset a channel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.frontend.onnx import ELEMENTWISE
from tinyaot.compiler.frontend.onnx_constants import evaluate
from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.group import Group, scalar
from tinyaot.compiler.legalize.onnx_call import OnnxCall, onnx_call, real_constant
from tinyaot.compiler.legalize.relax_reader import op_name, shape_of
from tinyaot.schedules.workload import ChannelAffine, ChannelLookup, Lookup

Array = NDArray[Any]

# Tables of all channels together; beyond it only straight lines are accepted.
_LARGEST_TABLES = 1 << 16
_Line = tuple[Array, Array]


@dataclass(frozen=True)
class Operation:
    """An operator of an expression; operands are operations, constants, or indices of leaves."""

    kind: str
    compute: Callable[[Sequence[Array]], Array]
    operands: tuple[Operation | Array | int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Expression:
    """Element-wise operators over activations and constants.

    Attributes:
        root: the last operator.
        leaves: the distinct activations.
    """

    root: Operation
    leaves: tuple[Value, ...]


def is_elementwise(call: Any) -> bool:
    """Whether a float expression is an operator that works on each element alone."""
    own = onnx_call(call)
    return own.kind in ELEMENTWISE if own is not None else op_name(call) in _RELAX


def read_expression(group: Group, call: Any) -> Expression:
    """The element-wise operators from `call` down to the activations.

    Raises:
        TinyaotError: something under them is neither element-wise nor a quantized activation.
    """
    leaves: list[Value] = []
    seen: dict[Any, Operation | Array | int] = {}

    def read(expr: Any) -> Operation | Array | int:
        expr = group.reader.follow(expr)
        if expr not in seen:
            seen[expr] = read_anew(expr)
        return seen[expr]

    def read_anew(expr: Any) -> Operation | Array | int:
        constant = real_constant(group.reader, expr)
        if constant is not None:
            return constant
        value = group.reader.value(expr)
        if is_elementwise(value):
            return operation(value)
        leaf = group.operand(expr)
        if leaf not in leaves:
            leaves.append(leaf)
        return leaves.index(leaf)

    def operation(value: Any) -> Operation:
        own = onnx_call(value)
        if own is None:
            operands = tuple(read(arg) for arg in value.args if hasattr(arg, "ty"))
            kind, compute = _RELAX[op_name(value)]
            if kind == "Clip":
                bounds = [np.float32(scalar(group.reader, arg)) for arg in value.args[1:3]]
                operands = operands[:1]
                compute = _clip(bounds[0], bounds[1])
            return Operation(kind, compute, operands, shape_of(value))
        given = [None if operand is None else read(operand) for operand in own.operands]
        if own.kind == "BatchNormalization":
            return _batch_normalization(group, own.attribute("epsilon", 1e-5), given, own.shape)
        if any(operand is None for operand in given):
            raise group.unsupported("leaves out an operand that it needs")
        present = tuple(operand for operand in given if operand is not None)
        return Operation(own.kind, _evaluated(own), present, own.shape)

    root = operation(call)
    return Expression(root, tuple(leaves))


def one_activation(group: Group, expression: Expression) -> Value:
    """The node for an expression of one activation; tables where the channels differ."""
    (source,) = expression.leaves
    if source.shape != expression.root.shape:
        raise group.unsupported(
            f"broadcasts an activation of shape {source.shape} to {expression.root.shape}",
            "let the constants have the smaller shape",
        )
    tensor = group.builder.store_as(source, source.stored, group.origin)
    varying = _varying_axes(expression.root, len(source.stored))
    # The stored places of the axes along which constants differ, and all between them.
    places = [source.stored.index(axis) for axis in varying]
    begin, end = (min(places), max(places) + 1) if places else (0, 0)
    shape = tensor.shape
    channels, inner = math.prod(shape[begin:end]), math.prod(shape[end:])
    stored_axes = source.stored[begin:end]
    output = group.output(shape)
    if not places:
        (table,) = _tables(group, expression, source, (), 1)
        node = group.builder.emit(
            Lookup(math.prod(shape)), (tensor,), output, group.origin, {"table": table}
        )
        return group.done(node, source.stored)
    outer = math.prod(shape[:begin])
    line = _line(expression.root)
    if line is not None:
        shift, constants = _affine(group, line, source, stored_axes, shape[begin:end])
        affine = ChannelAffine(outer, channels, inner, shift, group.clamp)
        node = group.builder.emit(affine, (tensor,), output, group.origin, constants)
        return group.done(node, source.stored)
    if channels * 256 > _LARGEST_TABLES:
        raise group.unsupported(
            f"is a function that differs in {channels} channels",
            f"at most {_LARGEST_TABLES // 256} such tables of 256 bytes are accepted",
        )
    tables = _tables(group, expression, source, stored_axes, channels)
    node = group.builder.emit(
        ChannelLookup(outer, channels, inner), (tensor,), output, group.origin, {"table": tables}
    )
    return group.done(node, source.stored)


def quantized(group: Group, real: Array) -> NDArray[np.int64]:
    """QuantizeLinear in float32, the group's clamp included; not-a-number is the zero point."""
    with np.errstate(all="ignore"):
        steps = np.rint(real.astype(np.float32) / np.float32(group.scale)).astype(np.float64)
    steps = np.nan_to_num(steps, nan=0.0, posinf=1e9, neginf=-1e9)
    result: NDArray[np.int64] = np.clip(steps + group.zero_point, *group.clamp).astype(np.int64)
    return result


def _varying_axes(operation: Operation, rank: int) -> set[int]:
    """The axes of the result along which a constant differs."""
    axes: set[int] = set()
    for operand in operation.operands:
        if isinstance(operand, Operation):
            axes |= _varying_axes(operand, rank)
        elif not isinstance(operand, int):
            first = rank - operand.ndim
            axes |= {first + axis for axis, size in enumerate(operand.shape) if size > 1}
    return axes


def _tables(
    group: Group, expression: Expression, source: Value, axes: Sequence[int], channels: int
) -> NDArray[np.int8]:
    """Tables int8 (channels, 256), channels in the order of the stored axes."""
    rank = len(expression.root.shape)
    values = np.arange(-128, 128) - source.zero_point
    real = values.astype(np.float32) * np.float32(source.scale)
    # The 256 values lie along an axis of their own, before those of the activation.
    result = _compute(expression.root, real.reshape(256, *[1] * rank))
    result = _along(quantized(group, result), rank, axes, expression.root.shape)
    return np.ascontiguousarray(result.reshape(channels, 256).astype(np.int8))


def _along(result: Array, rank: int, axes: Sequence[int], shape: Sequence[int]) -> Array:
    """An array over (256, *shape), ones where it does not differ, as (*sizes of axes, 256)."""
    result = result.reshape((256, *[1] * (rank + 1 - result.ndim), *result.shape[1:]))
    full = [256, *(shape[axis] if axis in axes else 1 for axis in range(rank))]
    result = np.broadcast_to(result, full)
    others = [1 + axis for axis in range(rank) if axis not in axes]
    return result.transpose(*(1 + axis for axis in axes), *others, 0)


def _compute(operand: Operation | Array | int, leaf: Array) -> Array:
    if isinstance(operand, Operation):
        return operand.compute([_compute(one, leaf) for one in operand.operands])
    return leaf if isinstance(operand, int) else operand


def _affine(
    group: Group, line: _Line, source: Value, axes: Sequence[int], sizes: Sequence[int]
) -> tuple[int, dict[str, Array]]:
    """Shift, and factor and offset of each channel: see `ChannelAffine`."""
    rank = len(source.stored)

    def per_channel(array: Array) -> Array:
        array = array.reshape([1] * (rank - array.ndim) + list(array.shape))
        others = [axis for axis in range(rank) if axis not in axes]
        moved = array.transpose(*axes, *others)
        return np.broadcast_to(moved.reshape(moved.shape[: len(axes)]), sizes).reshape(-1)

    slope = per_channel(np.asarray(line[0])) * source.scale / group.scale
    offset = per_channel(np.asarray(line[1])) / group.scale
    largest = float(np.abs(slope).max())
    # The result must fit 32 bits, its factor 31: the more so the larger the steepest slope is.
    if not largest < 2.0**20 or not np.isfinite(offset).all():
        raise group.unsupported("has factors that do not fit the scales of input and output")
    shift = min(32, 30 - math.frexp(largest)[1])
    unit = 2.0**shift
    factor = np.rint(slope * unit).astype(np.int32)
    limited = np.clip(offset, -(2.0**29), 2.0**29)
    constant = np.rint((limited + group.zero_point + 0.5) * unit).astype(np.int64)
    return shift, {"factor": factor, "offset": constant - factor * np.int64(source.zero_point)}


def _line(operand: Operation | Array | int) -> _Line | None:
    """Slope and offset, in float64, of an operand that is a straight line in the leaf."""
    if isinstance(operand, int):
        return np.float64(1), np.float64(0)  # type: ignore[return-value]
    if not isinstance(operand, Operation):
        return np.zeros((), np.float64), operand.astype(np.float64)
    parts = [_line(one) for one in operand.operands]
    if operand.kind not in _LINES or any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    return _LINES[operand.kind](known)


def _sum_of_lines(parts: list[_Line]) -> _Line:
    slope, offset = parts[0]
    for other in parts[1:]:
        slope, offset = slope + other[0], offset + other[1]
    return slope, offset


def _difference_of_lines(parts: list[_Line]) -> _Line:
    (first, second) = parts
    return first[0] - second[0], first[1] - second[1]


def _product_of_lines(parts: list[_Line]) -> _Line | None:
    (first, second) = parts
    if np.any(first[0]) and np.any(second[0]):
        return None
    if np.any(second[0]):
        first, second = second, first
    return first[0] * second[1], first[1] * second[1]


def _quotient_of_lines(parts: list[_Line]) -> _Line | None:
    (first, second) = parts
    if np.any(second[0]) or not np.all(second[1]):
        return None
    return first[0] / second[1], first[1] / second[1]


_LINES: dict[str, Callable[[list[_Line]], _Line | None]] = {
    "Add": _sum_of_lines,
    "Div": _quotient_of_lines,
    "Mul": _product_of_lines,
    "Neg": lambda parts: (-parts[0][0], -parts[0][1]),
    "Sub": _difference_of_lines,
    "Sum": _sum_of_lines,
}


def _batch_normalization(
    group: Group,
    epsilon: float,
    operands: Sequence[Operation | Array | int | None],
    shape: tuple[int, ...],
) -> Operation:
    """As a product and a sum with constants of one value a channel."""
    x, *parameters = operands
    arrays = [one for one in parameters if isinstance(one, np.ndarray)]
    if len(arrays) != 4 or x is None:
        raise group.unsupported("has parameters that are not constants", "fold constants")
    scale, bias, mean, variance = (
        one.astype(np.float64).reshape(-1, *[1] * (len(shape) - 2)) for one in arrays
    )
    factor = scale / np.sqrt(variance + epsilon)
    product = Operation("Mul", lambda given: given[0] * given[1], (x, factor), shape)
    return Operation(
        "Add", lambda given: given[0] + given[1], (product, bias - mean * factor), shape
    )


def _evaluated(own: OnnxCall) -> Callable[[Sequence[Array]], Array]:
    node, opset = own.node, own.opset

    def compute(arrays: Sequence[Array]) -> Array:
        # The evaluator's own sums of several operands do not broadcast.
        if own.kind in ("Max", "Mean", "Min", "Sum"):
            arrays = np.broadcast_arrays(*arrays)
        return evaluate(node, arrays, opset)[0]

    return compute


def _clip(low: np.float32, high: np.float32) -> Callable[[Sequence[Array]], Array]:
    return lambda arrays: np.clip(arrays[0], low, high)


_RELAX: dict[str, tuple[str, Callable[[Sequence[Array]], Array]]] = {
    "relax.add": ("Add", lambda arrays: arrays[0] + arrays[1]),
    "relax.clip": ("Clip", lambda arrays: arrays[0]),
    "relax.nn.relu": ("Relu", lambda arrays: np.maximum(arrays[0], np.float32(0))),
}
