"""TFLite operators on two or more tensors, element by element, with broadcasting.

Source of the recipes: TFLite Micro's `kernels/{add,sub,mul,prelu}_common.cc`,
`squared_difference.cc`, `comparisons.cc`, `maximum_minimum.cc`, `div.cc`, `add_n.cc`, `logical.cc`
and `select.cc`, with `reference/integer_ops/`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import Value, element_type
from tinyaot.compiler.legalize.fixed_point import FactorError, quantize_multiplier
from tinyaot.compiler.legalize.lookup import emit_table_of
from tinyaot.compiler.legalize.rearrange import strides_of
from tinyaot.compiler.legalize.tflite_call import Rule, TFLiteCall, by_type
from tinyaot.schedules.workload import Add, Lookup, Workload
from tinyaot.schedules.workload_elementwise import AddN, Binary, Cast, QuantizedBinary, Select

Shape = tuple[int, ...]
Factor = tuple[int, int]

_ONE: Factor = (1 << 30, 1)
_MOST_ADDENDS = 15
_COMPARISON_SHIFT = 8


def broadcast(
    call: TFLiteCall, shapes: Sequence[Shape], output: Shape
) -> tuple[Shape, tuple[Shape, ...]]:
    """The output's shape and each input's steps, with axes joined where all allow it."""
    rank = len(output)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    if any(len(shape) != rank for shape in padded) or any(
        {*sizes} - {1} != {size} - {1} for size, *sizes in zip(output, *padded, strict=True)
    ):
        raise call.unsupported(
            f"combines shapes {', '.join(str(list(shape)) for shape in shapes)} to {list(output)}",
            "operands must be equal in size or 1 on every axis",
        )
    steps = [
        [0 if size == 1 else step for size, step in zip(shape, strides_of(shape), strict=True)]
        for shape in padded
    ]
    joined: list[tuple[int, list[int]]] = []
    for axis, size in enumerate(output):
        if size == 1:
            continue
        own = [one[axis] for one in steps]
        if joined and joined[-1][1] == [size * step for step in own]:
            joined[-1] = (joined[-1][0] * size, own)
        else:
            joined.append((size, own))
    joined = joined or [(1, [0] * len(shapes))]
    if len(joined) > 6:
        raise call.unsupported(
            f"broadcasts over {len(joined)} axes", "supported are six: reshape the operands"
        )
    return (
        tuple(size for size, _ in joined),
        tuple(tuple(own[place] for _, own in joined) for place in range(len(shapes))),
    )


def _operands(call: TFLiteCall) -> tuple[tuple[Tensor, Tensor], Shape, tuple[Shape, Shape]]:
    tensors = (call.tensor(0), call.tensor(1))
    if tensors[0].dtype != tensors[1].dtype:
        raise call.unsupported(
            f"combines {tensors[0].dtype} and {tensors[1].dtype}", "operands must be of one type"
        )
    shapes = [tensor.shape for tensor in tensors]
    shape, (first, second) = broadcast(call, shapes, call.output().shape)
    return tensors, shape, (first, second)


def _fraction(real: float) -> Factor:
    """The factor of a scale below 1, which is all that these recipes can apply."""
    multiplier, shift = quantize_multiplier(real)
    if shift > 0:
        raise FactorError(f"the factor {real:g} must be below 1")
    return multiplier, shift


def _emit(call: TFLiteCall, workload: Workload, tensors: tuple[Tensor, Tensor]) -> Value:
    """Adds the node; with a constant that is one number, an int8 operator is a table."""
    known = [tensor.name in call.context.builder.known for tensor in tensors]
    for place, (tensor, other) in enumerate((tensors, tensors[::-1])):
        single = known[1 - place] and math.prod(other.shape) == 1 and not known[place]
        whole = math.prod(tensor.shape) == math.prod(call.output().shape)
        if single and whole and tensor.dtype == "int8" and call.output().dtype == "int8":
            constant = call.context.builder.known[other.name]
            return emit_table_of(call, workload, tensor, place, constant)
    return call.emit(workload, tensors)


def added(operation: str) -> Rule:
    """The rule for ADD ("add") or SUB ("subtract") of quantized tensors."""

    def rule(call: TFLiteCall) -> Value:
        tensors, shape, steps = _operands(call)
        (scale_a, zero_point_a), (scale_b, zero_point_b) = map(call.input_quantization, (0, 1))
        left_shift = 15 if call.dtype == "int16" else 20
        twice_largest = 2 * max(scale_a, scale_b)
        factors = (
            _fraction(scale_a / twice_largest),
            _fraction(scale_b / twice_largest),
            _fraction(twice_largest / ((1 << left_shift) * call.output_scale)),
        )
        output = call.output()
        plain = operation == "add" and call.dtype == "int8"
        if plain and tensors[0].shape == tensors[1].shape == output.shape:
            multipliers, shifts = zip(*factors, strict=True)
            return call.emit(
                Add(
                    size=math.prod(output.shape),
                    input_zero_points=(zero_point_a, zero_point_b),
                    multipliers=multipliers[:2],
                    shifts=shifts[:2],
                    left_shift=left_shift,
                    output_multiplier=multipliers[2],
                    output_shift=shifts[2],
                    output_zero_point=output.zero_point,
                    clamp=call.clamp(),
                ),
                tensors,
            )
        workload = QuantizedBinary(
            operation=operation,
            dtype=call.dtype,
            shape=shape,
            steps=steps,
            input_zero_points=(zero_point_a, zero_point_b),
            left_shift=left_shift,
            factors=factors,
            output_zero_point=output.zero_point,
            clamp=call.clamp(),
        )
        return _emit(call, workload, tensors)

    return rule


def multiply(call: TFLiteCall) -> Value:
    """MUL of quantized tensors."""
    scales = [call.input_quantization(place)[0] for place in (0, 1)]
    factor = quantize_multiplier(scales[0] * scales[1] / call.output_scale)
    return _scaled(call, "multiply", (_ONE, _ONE, factor), call.clamp())


def prelu(call: TFLiteCall) -> Value:
    """PRELU of int8."""
    scale, alpha = (call.input_quantization(place)[0] for place in (0, 1))
    positive = quantize_multiplier(scale / call.output_scale)
    negative = quantize_multiplier(scale * alpha / call.output_scale)
    return _scaled(call, "prelu", (positive, negative, _ONE), call.clamp("NONE"))


def squared_difference(call: TFLiteCall) -> Value:
    """SQUARED_DIFFERENCE of quantized tensors."""
    scales = [call.input_quantization(place)[0] for place in (0, 1)]
    left_shift = 0 if call.dtype == "int16" else 7
    twice_largest = 2.0 * max(scales)
    factors = (
        _fraction(scales[0] / twice_largest),
        _fraction(scales[1] / twice_largest),
        quantize_multiplier(
            twice_largest * twice_largest / ((1 << left_shift * 2) * call.output_scale)
        ),
    )
    return _scaled(call, "squared_difference", factors, call.clamp("NONE"), left_shift)


def compared(operation: str) -> Rule:
    """The rule for a comparison of int8, or of int16 for equality: scales are brought to one."""

    def rule(call: TFLiteCall) -> Value:
        first, second = (_fraction(call.input_quantization(place)[0]) for place in (0, 1))
        return _scaled(call, operation, (first, second, _ONE), (0, 1), _COMPARISON_SHIFT)

    return rule


def _scaled(
    call: TFLiteCall,
    operation: str,
    factors: tuple[Factor, Factor, Factor],
    clamp: tuple[int, int],
    left_shift: int = 0,
) -> Value:
    tensors, shape, steps = _operands(call)
    zero_points = [call.input_quantization(place)[1] for place in (0, 1)]
    if call.dtype == "int16" and any((*zero_points, call.output().zero_point)):
        raise call.unsupported(
            "has an int16 tensor whose zero point is not 0", "quantize int16 symmetrically"
        )
    workload = QuantizedBinary(
        operation=operation,
        dtype=call.dtype,
        shape=shape,
        steps=steps,
        input_zero_points=(zero_points[0], zero_points[1]),
        left_shift=left_shift,
        factors=factors,
        output_zero_point=call.output().zero_point,
        clamp=clamp,
    )
    return _emit(call, workload, tensors)


def plain(operation: str) -> Rule:
    """The rule for an operator on numbers as they are; see `Binary`."""

    def rule(call: TFLiteCall) -> Value:
        if int(call.options.get("FusedActivationFunction", 0)):
            raise call.unsupported(
                "has a fused activation on integers that are not quantized", "remove it"
            )
        tensors, shape, steps = _operands(call)
        return _emit(call, Binary(operation, element_type(call.dtype), shape, steps), tensors)

    return rule


def ordered(operation: str) -> Rule:
    """The rule for a comparison of int16, of which TFLite compares the stored numbers."""

    def rule(call: TFLiteCall) -> Value:
        if call.input_quantization(0) != call.input_quantization(1):
            raise call.unsupported(
                "compares int16 tensors with different scales", "quantize its operands alike"
            )
        return plain(operation)(call)

    return rule


def extreme(operation: str) -> Rule:
    """The rule for MINIMUM or MAXIMUM, whose tensors are quantized alike."""

    def rule(call: TFLiteCall) -> Value:
        output = call.output()
        known = {(output.scale, output.zero_point)}
        known |= {(tensor.scale, tensor.zero_point) for tensor in (call.tensor(0), call.tensor(1))}
        if len(known) > 1:
            raise call.unsupported(
                "compares tensors with different scales", "quantize its operands and result alike"
            )
        return plain(operation)(call)

    return rule


def select(call: TFLiteCall) -> Value:
    """SELECT_V2 and SELECT, whose tensors are quantized alike."""
    tensors = tuple(call.tensor(place) for place in range(3))
    return _selected(call, *tensors)


def select_rows(call: TFLiteCall) -> Value:
    """SELECT, which TFLite Micro lacks: a condition of one axis picks entries of the first."""
    condition, first, second = (call.tensor(place) for place in range(3))
    if len(condition.shape) == 1 < len(first.shape):
        shape = condition.shape + (1,) * (len(first.shape) - 1)
        condition = call.context.builder.reshape(condition, shape, call.origin)
    return _selected(call, condition, first, second)


def _selected(call: TFLiteCall, *tensors: Tensor) -> Value:
    output = call.output()
    alike = {(one.dtype, one.scale, one.zero_point) for one in (*tensors[1:], output)}
    if tensors[0].dtype != "bool" or len(alike) > 1:
        raise call.unsupported(
            "selects from tensors of different types or scales", "quantize them alike"
        )
    shape, steps = broadcast(call, [tensor.shape for tensor in tensors], output.shape)
    workload = Select(element_type(output.dtype), shape, steps)  # type: ignore[arg-type]
    return call.emit(workload, tensors)


def add_n(call: TFLiteCall) -> Value:
    """ADD_N of int8 tensors that are quantized alike."""
    count = call.input_count
    tensors = tuple(call.tensor(place) for place in range(count))
    output = call.output()
    quantization = {call.input_quantization(place) for place in range(count)}
    if len(quantization) > 1 or {tensor.shape for tensor in tensors} != {output.shape}:
        raise call.unsupported(
            "adds tensors of different shapes or scales", "use ADD, which rescales"
        )
    if count > _MOST_ADDENDS:
        raise call.unsupported(
            f"adds {count} tensors, whose sum overflows", f"add at most {_MOST_ADDENDS} at once"
        )
    ((scale, zero_point),) = quantization
    factor = _fraction(2 * scale / ((1 << 20) * call.output_scale))
    size = math.prod(output.shape)
    clamp = call.clamp("NONE")
    workload = AddN(size, count, zero_point, factor, output.zero_point, clamp)
    return call.emit(workload, tensors)


def add_n_int32(call: TFLiteCall) -> Value:
    """ADD_N of integers that are not quantized."""
    output = call.output()
    if any(shape != output.shape for shape in call.input_shapes):
        raise call.unsupported("adds tensors of different shapes", "use ADD, which broadcasts")
    if call.input_count == 1:
        return call.done(call.context.builder.copy(call.tensor(0), output, call.origin))
    total = call.tensor(0)
    for place in range(1, call.input_count):
        total = _plain_node(call, "add", total, call.tensor(place))
    return call.done(total)


def absolute(call: TFLiteCall) -> Value:
    """ABS of integers that are not quantized; the smallest one stays as it is."""
    source = call.tensor(0)
    return call.done(_plain_node(call, "maximum", source, _negated(call, source)))


def negative(call: TFLiteCall) -> Value:
    """NEG, which TFLite Micro lacks; TFLite negates the stored numbers, whatever their scale."""
    source, output = call.tensor(0), call.output()
    stays = (source.scale, source.zero_point) == (output.scale, -output.zero_point)
    if source.dtype != "int32" and not stays:
        raise call.unsupported(
            "has an output in another scale, or a zero point that is not its input's negative: "
            "TFLite negates the stored numbers",
            "quantize its input and output alike and symmetrically",
        )
    return call.done(_negated(call, source))


def _negated(call: TFLiteCall, source: Tensor) -> Tensor:
    zero = Tensor(f"{call.name}_zero", (1,) * len(source.shape), source.dtype)
    known = call.context.builder.constant(np.zeros(zero.shape, zero.dtype), zero, call.origin)
    return _plain_node(call, "subtract", known, source)


def _plain_node(call: TFLiteCall, operation: str, first: Tensor, second: Tensor) -> Tensor:
    """A `Binary` of the output's shape and type."""
    output = call.output()
    shape, (left, right) = broadcast(call, [first.shape, second.shape], output.shape)
    workload = Binary(operation, output.dtype, shape, (left, right))
    return call.context.builder.emit(workload, (first, second), output, call.origin)


def logical_not(call: TFLiteCall) -> Value:
    """LOGICAL_NOT."""
    source = call.tensor(0)
    table = (np.arange(-128, 128) == 0).astype(np.int8)
    return call.emit(Lookup(math.prod(source.shape)), (source,), {"table": table})


def cast(call: TFLiteCall) -> Value:
    """CAST between integer types and bool."""
    source, output = call.tensor(0), call.output()
    if source.dtype == output.dtype:
        builder = call.context.builder
        return call.done(builder.reshape(source, output.shape, call.origin, output))
    size = math.prod(source.shape)
    return call.emit(Cast(size, source.dtype, output.dtype), (source,))


def _comparison(operation: str, *more: str) -> Rule:
    whole = dict.fromkeys(("int32", "int64", *more), plain(operation))
    if operation == "greater":
        # TFLite compares the stored numbers of int16, TFLite Micro scales them first.
        return by_type(int8=compared(operation), **whole)
    # To find equal ones TFLite scales them too.
    wide = compared if operation in ("equal", "not_equal") else ordered
    return by_type(int8=compared(operation), int16=wide(operation), **whole)


def _quantized(rule: Rule, operation: str) -> Rule:
    return by_type(int8=rule, int16=rule, int32=plain(operation))


def _extreme(operation: str) -> Rule:
    return by_type(**dict.fromkeys(("int8", "int16", "int32", "int64"), extreme(operation)))


RULES: dict[str, Rule] = {
    "ADD": _quantized(added("add"), "add"),
    "ADD_N": by_type(int8=add_n, int32=add_n_int32),
    "CAST": cast,
    # TFLite Micro's DIV of int8 shifts by more than 31 bits where quotients are small: what it
    # gives there depends on the processor.
    "DIV": by_type(int32=plain("divide")),
    "EQUAL": _comparison("equal", "bool"),
    "GREATER": _comparison("greater"),
    "GREATER_EQUAL": _comparison("greater_equal"),
    "LESS": _comparison("less"),
    "LESS_EQUAL": _comparison("less_equal"),
    "LOGICAL_AND": by_type(bool=plain("and")),
    "LOGICAL_NOT": by_type(bool=logical_not),
    "LOGICAL_OR": by_type(bool=plain("or")),
    "MAXIMUM": _extreme("maximum"),
    "MINIMUM": _extreme("minimum"),
    "MUL": _quantized(multiply, "multiply"),
    "NEG": by_type(int8=negative, int16=negative, int32=negative),
    "NOT_EQUAL": _comparison("not_equal", "bool"),
    "PRELU": by_type(int8=prelu),
    "SELECT": by_type(bool=select_rows),
    "SELECT_V2": by_type(bool=select),
    "SQUARED_DIFFERENCE": _quantized(squared_difference, "squared_difference"),
    "SUB": _quantized(added("subtract"), "subtract"),
}
