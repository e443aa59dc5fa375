"""Quantized Relax in, a graph of integer operators out.

`OPERATORS`, `WITH_BIAS` (Relax), `TFLITE` and `ONNX` are the tables of operators that compute, by
the rules that turn them into nodes; `MOVEMENTS` and `ONNX_MOVEMENTS` those of operators that keep
quantized values. Whatever else works on each element alone is an `Expression`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from tvm import ir

from tinyaot.compiler.frontend.imported import Imported, Port, Problem
from tinyaot.compiler.graph import Graph, Layer, State, Tensor
from tinyaot.compiler.legalize import (
    convolution,
    elementwise,
    lookup,
    onnx_integer,
    onnx_normalization,
    onnx_products,
    onnx_reduction,
    onnx_resize,
    reduction,
    tflite_elementwise,
    tflite_movement,
    tflite_picking,
    tflite_reduction,
    tflite_sequence,
    tflite_wide,
)
from tinyaot.compiler.legalize.builder import GraphBuilder, Value, identity
from tinyaot.compiler.legalize.expression import is_elementwise, quantized
from tinyaot.compiler.legalize.fixed_point import FactorError
from tinyaot.compiler.legalize.group import (
    Context,
    Group,
    describe,
    peel_activation,
    scalar,
    stored_zero_point,
    zero_point_shift,
)
from tinyaot.compiler.legalize.onnx_call import OnnxCall, onnx_call, real_constant
from tinyaot.compiler.legalize.onnx_movement import movement_of
from tinyaot.compiler.legalize.onnx_place import Place
from tinyaot.compiler.legalize.relax_reader import RelaxReader, dtype_of, op_name, shape_of
from tinyaot.compiler.legalize.tflite_call import TFLiteCall, by_type, tflite_kind
from tinyaot.schedules.workload import Requantize
from tinyaot.targets import TinyaotError

OPERATORS: dict[str, Callable[[Group, Any], Value]] = {
    "relax.mean": reduction.mean,
    "relax.nn.avg_pool2d": reduction.average_pool2d,
    "relax.nn.max_pool2d": reduction.max_pool2d,
    "relax.nn.softmax": reduction.softmax,
}

WITH_BIAS: dict[str, Callable[[Group, Any, Any], Value]] = {
    "relax.matmul": convolution.matmul,
    "relax.nn.conv2d": convolution.conv2d,
}

TFLITE: dict[str, Callable[[TFLiteCall], Value]] = {
    "ABS": by_type(
        int8=lookup.abs_int8, int16=tflite_wide.absolute, int32=tflite_elementwise.absolute
    ),
    "ELU": by_type(int8=lookup.from_real(lookup.elu)),
    "EXP": by_type(
        int8=lookup.from_real(lookup.exponential), int16=tflite_wide.table(lookup.exponential)
    ),
    "HARD_SWISH": by_type(int8=lookup.hard_swish_int8),
    "LEAKY_RELU": by_type(int8=lookup.leaky_relu_int8, int16=tflite_wide.leaky_relu),
    "LOG": by_type(
        int8=lookup.from_real(lookup.logarithm), int16=tflite_wide.table(lookup.logarithm)
    ),
    "LOGISTIC": by_type(int8=lookup.logistic_int8, int16=tflite_wide.sigmoid("logistic")),
    "RELU_0_TO_1": by_type(int8=lookup.relu_0_to_1_int8),
    "RSQRT": by_type(int8=lookup.rsqrt_int8, int16=tflite_wide.rsqrt),
    "TANH": by_type(int8=lookup.tanh_int8, int16=tflite_wide.sigmoid("tanh")),
    **tflite_elementwise.RULES,
    **tflite_movement.RULES,
    **tflite_picking.RULES,
    **tflite_reduction.RULES,
    **tflite_sequence.RULES,
    **tflite_wide.RULES,
}

ONNX: dict[str, Callable[[Group, OnnxCall], Value]] = {
    "AveragePool": onnx_reduction.average_pool,
    "ConvTranspose": onnx_products.conv_transpose,
    "GroupNormalization": onnx_normalization.channel_normalization,
    "InstanceNormalization": onnx_normalization.channel_normalization,
    "LayerNormalization": onnx_normalization.layer_normalization,
    "LogSoftmax": onnx_normalization.log_softmax,
    "LpNormalization": onnx_normalization.lp_normalization,
    "MeanVarianceNormalization": onnx_normalization.mean_variance_normalization,
    "RMSNormalization": onnx_normalization.layer_normalization,
    "ReduceL1": onnx_normalization.reduce_real,
    "ReduceL2": onnx_normalization.reduce_real,
    "ReduceLogSum": onnx_normalization.reduce_real,
    "ReduceLogSumExp": onnx_normalization.reduce_real,
    "ReduceSum": onnx_reduction.reduce_sum,
    "ReduceSumSquare": onnx_normalization.reduce_real,
    "Resize": onnx_resize.resize_linear,
}

_INTEGER_TYPES = ("int8", "uint8")
# Operators that read or write what is kept between inferences: their order matters.
STATEFUL = frozenset({"ASSIGN_VARIABLE", "READ_VARIABLE", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"})
# Types of tensors that need not be quantized.
_STORED_TYPES = (*_INTEGER_TYPES, "int16", "int32", "int64", "bool")
_ONE = (1 << 30, 1)


def _misfit(error: FactorError) -> tuple[str, str]:
    return (
        f"has scales that do not fit each other: {error}",
        "the file may be damaged; else quantize with representative data",
    )


def legalize(imported: Imported, name: str, problems: list[Problem] | None = None) -> Graph:
    """Turns an imported model into a graph of integer operators.

    Args:
        imported: the Relax module and its ports.
        name: C identifier of the model.
        problems: receives what is wrong with operators, whose results are then stood in for; if
            None the first error is raised.

    Returns:
        A graph whose activations are int8; inputs and outputs keep the model's type, and those
        that are float in the model are the int8 tensors at the model's edge.

    Raises:
        TinyaotError: an operator has no rule; names the node.
    """
    return _Legalizer(imported, problems).run(name)


class _Legalizer:
    def __init__(self, imported: Imported, problems: list[Problem] | None = None) -> None:
        self._imported = imported
        self._problems = problems
        self._reader = RelaxReader(imported.module["main"])
        self._builder = GraphBuilder()
        self._values: dict[Any, Value] = {}
        self._inputs: dict[Any, Tensor] = {}
        self._context = Context(self._reader, self._builder, self._activation, imported.rounding)

    def run(self, name: str) -> Graph:
        for param, port in zip(self._reader.params, self._imported.inputs, strict=True):
            if port.dtype in _STORED_TYPES:
                scale, zero_point = self._input_quantization(param, port)
                tensor = Tensor(port.name, port.shape, port.dtype, scale, zero_point)
                self._values[param] = self._input(param, tensor)
            elif port.dtype != "float32":
                raise TinyaotError(
                    f'input "{port.name}" is {port.dtype}',
                    f"inputs may be {', '.join(_STORED_TYPES)}, or float32 that is quantized at "
                    "once",
                )
        for state in self._imported.states:
            port = state.port
            tensor = Tensor(port.name, port.shape, port.dtype, port.scale, port.zero_point)
            self._builder.states[port.name] = self._builder.add_tensor(tensor)
        for var in self._roots():
            self._activation(var)
        result = self._reader.value(self._reader.result)
        fields = list(result.fields) if isinstance(result, ir.Tuple) else [self._reader.result]
        outputs: list[str] = []
        for expr, port in zip(fields, self._imported.outputs, strict=True):
            try:
                outputs.append(self._output(expr, port, outputs))
            except TinyaotError as error:
                self._note(f'output "{port.name}"', error)
        missing = [
            port.name
            for param, port in zip(self._reader.params, self._imported.inputs, strict=True)
            if param not in self._inputs
        ]
        if missing and not self._problems:
            raise TinyaotError(f'input "{missing[0]}" is not used', "remove it from the model")
        used = (param for param in self._reader.params if param in self._inputs)
        inputs = tuple(self._inputs[param].name for param in used)
        graph = Graph(
            name,
            dict(self._builder.tensors),
            inputs,
            tuple(outputs),
            tuple(self._builder.nodes),
            self._imported.notes,
            tuple(
                State(self._builder.states[state.port.name].name, state.initial)
                for state in self._imported.states
            ),
            tuple(self._layers()),
        )
        return graph if self._problems else graph.renamed(self._port_names(graph))

    def _port_names(self, graph: Graph) -> dict[str, str]:
        """New names that give the outputs those of the model: tensors are named after nodes."""
        names: dict[str, str] = {}
        for tensor, port in zip(graph.outputs, self._imported.outputs, strict=True):
            if tensor != port.name and port.name not in (*graph.inputs, *graph.outputs):
                names[tensor] = port.name
                if port.name in graph.tensors:
                    names[port.name] = tensor
        return names

    def _layers(self) -> Iterator[Layer]:
        """The results of model nodes that are activations of the graph."""
        results = self._imported.results
        for var in self._reader.order:
            value = self._values.get(self._reader.follow(var))
            match = re.fullmatch(r"node(\d+)(?:_(\d+))?", str(var.name))
            if value is None or match is None or not results:
                continue
            names, place = results[int(match[1])], int(match[2] or 0)
            if place < len(names) and names[place]:
                node = str(self._imported.nodes[int(match[1])])
                yield Layer(
                    *(node, names[place], value.tensor.name, shape_of(var), value.tensor.shape),
                    value.places,
                )

    def _roots(self) -> list[Any]:
        """Quantized activations that something other than a clamp reads, in program order.

        Converting them in this order keeps the model's order of execution and recursion shallow.
        """
        roots = set()
        for var in self._reader.order:
            call = self._reader.value(var)
            if op_name(call) == "relax.clip" and dtype_of(call) in _INTEGER_TYPES:
                continue
            if tflite_kind(call) in STATEFUL:
                roots.add(var)
            for arg in getattr(call, "args", ()):
                arg = self._reader.follow(arg)
                own = tflite_kind(self._reader.value(arg))
                if arg in self._reader.order and (own or dtype_of(arg) in _INTEGER_TYPES):
                    roots.add(arg)
        return sorted(roots, key=lambda var: self._reader.order[var])

    def _input_quantization(self, param: Any, port: Port) -> tuple[float | None, int]:
        """Scale and zero point as declared, or else as the first operator that reads it says."""
        if port.scale is not None:
            return port.scale, port.zero_point
        for var in self._reader.order:
            call = self._reader.value(var)
            if op_name(call) == "relax.dequantize" and self._reader.follow(call.args[0]) == param:
                scale, zero_point = (self._reader.constant(arg) for arg in call.args[1:3])
                if scale is not None and zero_point is not None and scale.size == 1:
                    return float(scale.reshape(-1)[0]), int(zero_point.reshape(-1)[0])
        return None, 0

    def _input(self, param: Any, tensor: Tensor) -> Value:
        """The activation of a model input; uint8 becomes int8 by a first operator."""
        tensor = self._builder.add_tensor(tensor)
        self._inputs[param] = tensor
        if tensor.dtype == "uint8":
            tensor = self._converted(tensor, "int8", f'input "{tensor.name}"')
        return Value(tensor, identity(len(tensor.shape)))

    def _converted(self, tensor: Tensor, dtype: str, origin: str, name: str = "") -> Tensor:
        """The same real values as int8 or uint8 (the zero point moves by 128), or a copy."""
        if tensor.dtype == dtype:
            return self._builder.copy(tensor, replace(tensor, name=name), origin)
        shift = zero_point_shift(dtype) - zero_point_shift(tensor.dtype)
        zero_point = tensor.zero_point + shift
        low, high = (0, 255) if dtype == "uint8" else (-128, 127)
        size = math.prod(tensor.shape)
        workload = Requantize(
            size, tensor.dtype, dtype, tensor.zero_point, zero_point, *_ONE, (low, high)
        )
        name = name or f"{tensor.name}_{dtype}"
        output = replace(tensor, name=name, dtype=dtype, zero_point=zero_point)
        return self._builder.emit(workload, (tensor,), output, origin)

    def _activation(self, expr: Any) -> Value:
        var = self._reader.follow(expr)
        if var not in self._values:
            try:
                self._values[var] = self._convert(var)
            except TinyaotError as error:
                if self._problems is None:
                    raise
                self._values[var] = self._stand_in(var, error)
        return self._values[var]

    def _stand_in(self, var: Any, error: TinyaotError) -> Value:
        """Notes what is wrong and stands in for the result."""
        origin, name = self._origin(var)
        self._note(origin, error)
        dtype = dtype_of(var)
        tensor = Tensor(name, shape_of(var), "int8" if dtype == "uint8" else dtype, 1.0)
        return Value(self._builder.add_tensor(tensor), identity(len(tensor.shape)))

    def _note(self, origin: str, error: TinyaotError) -> None:
        if self._problems is None:
            raise error
        if origin not in (problem.node for problem in self._problems):
            self._problems.append(Problem(origin, error))

    def _convert(self, var: Any) -> Value:
        call = self._reader.value(var)
        name = op_name(call)
        movement = movement_of(call)
        if movement is not None:
            sources = [self._activation(operand) for operand in movement.operands]
            return movement.apply(self._place(self._origin(var)[0]), sources)
        kind = tflite_kind(call)
        if kind in TFLITE:
            origin, tensor_name = self._origin(var)
            own = TFLiteCall(self._context, call, tensor_name, origin)
            try:
                return TFLITE[kind](own)
            except FactorError as error:
                raise own.unsupported(*_misfit(error)) from error
        own_call = onnx_call(call)
        integer = None if own_call is None else onnx_integer.rule_of(own_call)
        if own_call is not None and integer is not None:
            origin, tensor_name = self._origin(var)
            return integer(self._context, own_call, tensor_name, origin)
        clamp: tuple[int, int] | None = None
        if name == "relax.clip":
            shift = zero_point_shift(dtype_of(call))
            low, high = (int(scalar(self._reader, bound)) - shift for bound in call.args[1:3])
            clamp = (low, high)
            call = self._reader.value(call.args[0])
            name = op_name(call)
        if name == "relax.quantize":
            return self._quantized(var, call, clamp)
        origin, _ = self._origin(var)
        constant = self._reader.constant(var)
        if constant is not None and constant.dtype.name in _STORED_TYPES:
            if constant.dtype.name == "uint8":
                constant = (constant.astype(np.int16) - 128).astype(np.int8)
            declared = Tensor("constant", constant.shape, constant.dtype.name)
            tensor = self._builder.constant(constant, declared, origin)
            return Value(tensor, identity(constant.ndim))
        raise TinyaotError(f"{origin} is not supported: no rule for {describe(call)}")

    def _quantized(self, var: Any, call: Any, clamp: tuple[int, int] | None) -> Value:
        body = peel_activation(self._reader, call.args[0])
        origin, name = self._origin(body.expr, var)
        scale, zero_point = (self._reader.constant(arg) for arg in call.args[1:3])
        if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
            raise TinyaotError(
                f"{origin} has an output quantized per channel", "quantize activations per tensor"
            )
        real_scale = float(scale.reshape(-1)[0])
        dtype = dtype_of(call)
        edge = dtype == "int16" and body.call in self._reader.params
        if not (edge or dtype in _INTEGER_TYPES) or not real_scale > 0:
            raise TinyaotError(
                f"{origin} has an output of type {dtype} with scale {real_scale:g}",
                "activations may be int8 or uint8 with a positive scale",
            )
        shifted = stored_zero_point(zero_point, dtype, origin)
        stored = "int16" if edge else "int8"
        low, high = body.clamp(real_scale, shifted, stored)
        if clamp is not None:
            low, high = max(low, clamp[0]), min(high, clamp[1])
        group = Group(self._context, name, origin, real_scale, shifted, stored, (low, high))
        try:
            return self._operator(group, body.call)
        except FactorError as error:
            raise group.unsupported(*_misfit(error)) from error

    def _operator(self, group: Group, call: Any) -> Value:
        name = op_name(call)
        if name == "relax.matmul" and not convolution.is_dense(group, call):
            return onnx_products.matmul(group, call)
        if name in WITH_BIAS:
            return WITH_BIAS[name](group, call, None)
        if name == "relax.add":
            biased = convolution.split_bias(group, call)
            if biased is not None:
                inner, bias = biased
                return WITH_BIAS[op_name(inner)](group, inner, bias)
        if is_elementwise(call):
            return elementwise.combined(group, call)
        own = onnx_call(call)
        if own is not None and own.kind in ONNX and movement_of(call) is None:
            return ONNX[own.kind](group, own)
        if name in OPERATORS:
            return OPERATORS[name](group, call)
        return self._moved(group, call)

    def _inside(self, group: Group, expr: Any) -> Value:
        """A float expression under a movement, with the activation that it ends in."""
        constant = real_constant(self._reader, expr)
        if constant is not None:
            values = quantized(group, constant).astype(np.int8)
            tensor = Tensor("constant", values.shape, "int8", group.scale, group.zero_point)
            known = self._builder.constant(values, tensor, group.origin)
            return Value(known, identity(values.ndim))
        body = peel_activation(self._reader, expr)
        low, high = body.clamp(group.scale, group.zero_point, group.dtype)
        clamp = (max(low, group.clamp[0]), min(high, group.clamp[1]))
        return self._operator(replace(group, clamp=clamp), body.call)

    def _moved(self, group: Group, call: Any) -> Value:
        """A dequantized activation or a float input, moved or not, in the group's scale."""
        name = op_name(call)
        movement = movement_of(call)
        if movement is not None:
            if name == "relax.nn.pad" and group.clamp != (-128, 127):
                raise group.unsupported("pads before an activation", "pad after the activation")
            sources = [self._inside(group, operand) for operand in movement.operands]
            return movement.apply(self._place(group.origin), sources)
        if name == "relax.dequantize":
            return elementwise.requantize(group, self._context.dequantized(call, group.origin))
        if call in self._reader.params:
            return elementwise.requantize(group, self._float_input(group, call))
        raise group.unsupported(f"is not supported: no rule for {describe(call)}")

    def _float_input(self, group: Group, param: Any) -> Value:
        """A float model input, which becomes the int8 tensor that its quantize writes."""
        port = self._imported.inputs[self._reader.params.index(param)]
        known = self._inputs.get(param)
        if known is None:
            tensor = Tensor(port.name, port.shape, group.dtype, group.scale, group.zero_point)
            return self._input(param, tensor)
        if (known.scale, known.zero_point) != (group.scale, group.zero_point):
            raise TinyaotError(f'input "{port.name}" is quantized in two ways', "quantize it once")
        return Value(known, identity(len(port.shape)))

    def _output(self, expr: Any, port: Port, taken: list[str]) -> str:
        """The name of the tensor that holds a model output, in the model's axis order."""
        origin = f'output "{port.name}"'
        dtype = dtype_of(expr)
        if dtype in _STORED_TYPES:
            value = self._activation(expr)
        elif self._is_dequantized(expr):
            value = self._context.operand(expr, origin)
            dtype = value.tensor.dtype
        else:
            raise TinyaotError(
                f"{origin} is float and not dequantized", "quantize the last operator too"
            )
        tensor = self._builder.in_model_order(value, origin)
        # The caller provides one buffer for each input and each output: bytes that are in another
        # one of them are copied.
        root = self._builder.before_reshapes(tensor)
        elsewhere = {known.name for known in self._inputs.values()}
        elsewhere |= {
            self._builder.before_reshapes(self._builder.tensors[other]).name for other in taken
        }
        if tensor.dtype != dtype:
            tensor = root = self._converted(tensor, dtype, origin, port.name)
        if root.name in elsewhere or root.name in self._builder.known:
            tensor = self._converted(tensor, dtype, origin, port.name)
        return tensor.name

    def _is_dequantized(self, expr: Any) -> bool:
        """Whether a float expression is a dequantized activation, moved or not."""
        call = self._reader.value(expr)
        return op_name(call) == "relax.dequantize" or movement_of(call) is not None

    def _place(self, origin: str) -> Place:
        return Place(self._builder, self._reader, origin)

    def _origin(self, *variables: Any) -> tuple[str, str]:
        """The model node of the first variable that names one: its text, and its name."""
        for var in variables:
            match = re.match(r"node(\d+)", str(getattr(var, "name", "")))
            if match:
                node = self._imported.nodes[int(match[1])]
                return str(node), node.short_name
        return "the model", "tensor"
