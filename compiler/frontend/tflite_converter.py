"""TVM's TFLite converter, with what it gets wrong or lacks put right.

`Converter` is the one place that works around TVM's TFLite frontend. It differs in that:

- every operator's result is bound to a variable that names the model node (`node<index>`);
- AVERAGE_POOL_2D and MAX_POOL_2D become dequantize -> pool -> quantize (TVM truncates where
  TFLite rounds);
- FULLY_CONNECTED flattens inputs of any rank to (batch, depth) as TFLite does;
- SOFTMAX keeps beta;
- RESHAPE, SQUEEZE and EXPAND_DIMS are reshapes to the shape that the file declares (TVM calls its
  own expand_dims wrongly, and takes a computed shape for a dynamic one);
- the bounds of fused activations are rounded in float32 as TFLite does;
- optional inputs that are left out at the end, such as a bias, are not there;
- tensors with equal or empty names stay apart;
- variables, whether VAR_HANDLE names them or a tensor is marked so, are read and written by calls
  of that kind: see `tflite_state.py`;
- operators that lose their meaning on the way (because TVM has no quantized form of them, or their
  integer recipe is TFLite's own) become calls of `tinyaot.tflite.<OPERATOR>` on the quantized
  tensors, with the operator's options as JSON: see `OWN_CALLS` and `legalize/tflite_call.py`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import tflite
from tvm import relax
from tvm.ir import StringImm
from tvm.relax.frontend.tflite import tflite_frontend

from tinyaot.compiler.frontend.imported import ModelNode, Problem
from tinyaot.compiler.frontend.tflite_operators import OWN_CALLS, OWN_INT16_CALLS
from tinyaot.compiler.frontend.tflite_state import WITHOUT_CODE, variable_names
from tinyaot.compiler.frontend.tflite_tensors import (
    FLOAT_TYPES,
    TYPE_NAMES,
    static_shape,
    unique_names,
)
from tinyaot.compiler.legalize.fixed_point import activation_range
from tinyaot.targets import TinyaotError

if TYPE_CHECKING:
    from tvm import ir


def unreadable(where: str, error: Exception) -> TinyaotError:
    """What to say when reading an operator failed in a way that no check foresaw."""
    return TinyaotError(
        f"cannot read {where}: {first_line(error)}",
        "the file may be damaged, or the operator used in a way TFLite does not define",
    )


def first_line(error: Exception) -> str:
    """The kind of an error and the last line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else 'no details'}"


def _fields(options: Any) -> dict[str, Any]:
    """The fields of a flatbuffer table of options that are numbers or booleans, by name."""
    names = [name for name in dir(type(options)) if name[0].isupper() and "As" not in name]
    values = {}
    for name in names:
        method = getattr(options, name)
        if not name.startswith(("GetRoot", "Init")) and method.__code__.co_argcount == 1:
            values[name] = method()
    return values


class Converter(tflite_frontend.OperatorConverter):
    """TVM's converter with the differences that the module's docstring lists."""

    def __init__(self, *args: Any, nodes: list[ModelNode], problems: list[Problem] | None) -> None:
        super().__init__(*args)
        self._nodes = nodes
        self._problems = problems
        self._variables = variable_names(self.subgraph, unique_names(self.subgraph), self.model)
        self.current = "the first operator"

    def check_unsupported_ops(self) -> None:
        """Nothing: `describe_nodes` has refused unsupported operators by name."""

    def get_input_tensors(self, op: Any) -> list[Any]:
        tensors: list[Any] = super().get_input_tensors(op)
        while tensors and tensors[-1].tensor_idx < 0:
            tensors.pop()
        return tensors

    def convert_op_to_relax(self) -> None:
        for index in range(self.subgraph.OperatorsLength()):
            operator = self.subgraph.Operators(index)
            self.current = str(self._nodes[index])
            kind = self._nodes[index].kind
            if kind in WITHOUT_CODE:
                continue
            if kind == "ASSIGN_VARIABLE":
                self.bb.emit(self._assign(operator), name_hint=f"node{index}")
                continue
            outputs = self.get_output_tensors(operator)
            results = self._results(kind, operator, outputs)
            for place, (output, result) in enumerate(zip(outputs, results, strict=True)):
                name = f"node{index}_{place}" if place else f"node{index}"
                value = self.bb.emit(result, name_hint=name)
                self.exp_tab.set_expr(self._name(output), value)

    def _results(self, kind: str, op: Any, outputs: list[Any]) -> list[ir.Expr]:
        """The outputs of an operator; stand-ins if it cannot be read and problems are noted."""
        known = {problem.node for problem in self._problems or ()}
        if self.current not in known:
            try:
                if self._is_own_call(kind, op):
                    return [self._own_call(kind, op, place) for place in range(len(outputs))]
                return [self.convert_map[kind](op=op)]
            except Exception as error:
                if self._problems is None:
                    raise
                known_error = isinstance(error, TinyaotError)
                reason = error if known_error else unreadable(self.current, error)
                self._problems.append(Problem(self.current, reason))  # type: ignore[arg-type]
        description: dict[str, Any] = {"inputs": [], "output": None, "place": 0, "options": {}}
        return [self._call("UNREADABLE", [], description, output) for output in outputs]

    def _is_own_call(self, kind: str, op: Any) -> bool:
        if kind == "QUANTIZE":
            source = self.get_input_tensors(op)[0]
            return TYPE_NAMES.get(source.tensor.Type()) not in FLOAT_TYPES
        if kind not in OWN_INT16_CALLS:
            return kind in OWN_CALLS
        return "INT16" in (
            TYPE_NAMES.get(tensor.tensor.Type())
            for tensor in (self.get_input_tensors(op)[0], self.get_output_tensors(op)[0])
        )

    def _own_call(self, kind: str, op: Any, place: int) -> ir.Expr:
        """A call that computes one output of an operator from its quantized inputs.

        Omitted inputs are an empty tensor; constants are passed as such.
        """
        tensors, output = self.get_input_tensors(op), self.get_output_tensors(op)[place]
        arguments = [self._operand(tensor) for tensor in tensors]
        options_type = OWN_CALLS[kind]
        options = {} if options_type is None else _fields(self._options(op, options_type))
        description = {
            "inputs": [self._quantization(tensor) for tensor in tensors],
            "output": self._quantization(output),
            "place": place,
            "options": options,
        }
        return self._call(kind, arguments, description, output)

    def _assign(self, op: Any) -> ir.Expr:
        """A call that stores its value in a variable; what it returns is not used."""
        tensors = self.get_input_tensors(op)
        inputs = [self._quantization(tensor) for tensor in tensors]
        description: dict[str, Any] = {"inputs": inputs, "output": None, "place": 0, "options": {}}
        arguments = [self._operand(tensor) for tensor in tensors]
        return self._call("ASSIGN_VARIABLE", arguments, description, tensors[1])

    def _call(
        self, kind: str, arguments: list[ir.Expr], description: dict[str, Any], like: Any
    ) -> ir.Expr:
        return relax.op.call_pure_packed(
            f"tinyaot.tflite.{kind}",
            *arguments,
            StringImm(json.dumps(description)),
            ty_args=relax.TensorType(
                static_shape(like.tensor), self.get_tensor_type_str(like.tensor.Type())
            ),
        )

    def _operand(self, tensor: Any) -> ir.Expr:
        if tensor.tensor_idx < 0 or tensor.tensor_idx in self._variables:
            return relax.const(np.zeros(0, "int8"))
        if self.has_expr(tensor.tensor_idx):
            return self.get_expr(tensor.tensor_idx)
        value = self.get_tensor_value(tensor)
        # Left to itself, TVM makes int32 of int64.
        return relax.const(value, value.dtype.name)

    def _quantization(self, tensor: Any) -> dict[str, Any] | None:
        state = {}
        if tensor.tensor_idx in self._variables:
            state = {"state": self._variables[tensor.tensor_idx]}
        if tensor.tensor_idx < 0 or tensor.qnn_params is None:
            return state or None
        return state | {
            "scale": np.atleast_1d(tensor.qnn_params["scale"].value.numpy()).tolist(),
            "zero_point": np.atleast_1d(tensor.qnn_params["zero_point"].value.numpy()).tolist(),
        }

    def convert_pool2d(self, op: Any, pool_type: str) -> ir.Expr:
        options = self._options(op, tflite.Pool2DOptions)
        source, output = self.get_input_tensors(op)[0], self.get_output_tensors(op)[0]
        _, height, width, _ = (int(size) for size in self.get_tensor_shape(source))
        window = (options.FilterHeight(), options.FilterWidth())
        strides = (options.StrideH(), options.StrideW())
        padding = [0, 0, 0, 0]
        if options.Padding() == tflite.Padding.SAME:
            top, bottom = tflite_frontend.get_pad_value(height, window[0], strides[0])
            left, right = tflite_frontend.get_pad_value(width, window[1], strides[1])
            padding = [top, left, bottom, right]
        pool = {"average": relax.op.nn.avg_pool2d, "max": relax.op.nn.max_pool2d}[pool_type]
        pooled = pool(
            self.dequantize(self.get_expr(source.tensor_idx), source),
            pool_size=window,
            strides=strides,
            padding=padding,
            layout="NHWC",
        )
        return self._quantize_and_clamp(pooled, output, options.FusedActivationFunction())

    def convert_fully_connected(self, op: Any) -> ir.Expr:
        options = self._options(op, tflite.FullyConnectedOptions)
        tensors = self.get_input_tensors(op)
        source, weight, output = tensors[0], tensors[1], self.get_output_tensors(op)[0]
        if self.has_expr(weight.tensor_idx):
            raise TinyaotError(
                f"{self.current} takes its weights from another operator",
                "FULLY_CONNECTED needs constant weights",
            )
        depth = int(self.get_tensor_shape(weight)[1])
        flat = relax.op.reshape(self.get_expr(source.tensor_idx), (-1, depth))
        values = relax.const(np.ascontiguousarray(self.get_tensor_value(weight).T))
        result = relax.op.matmul(
            self.dequantize(flat, source),
            relax.op.dequantize(
                values, weight.qnn_params["scale"], weight.qnn_params["zero_point"], axis=1
            ),
        )
        if len(tensors) == 3:
            bias = tensors[2]
            scale = source.qnn_params["scale"].value.numpy().astype("float64")
            scale = scale * weight.qnn_params["scale"].value.numpy()
            result = relax.op.add(
                result,
                relax.op.dequantize(
                    relax.const(self.get_tensor_value(bias)),
                    relax.const(scale.astype("float32")),
                    relax.const(0, "int32"),
                    axis=0,
                ),
            )
        quantized = self._quantize_and_clamp(result, output, options.FusedActivationFunction())
        shape = tuple(int(size) for size in self.get_tensor_shape(output))
        return relax.op.reshape(quantized, shape) if len(shape) != 2 else quantized

    def convert_squeeze(self, op: Any) -> ir.Expr:
        source, output = self.get_input_tensors(op)[0], self.get_output_tensors(op)[0]
        return relax.op.reshape(self._operand(source), static_shape(output.tensor))

    convert_expand_dims = convert_reshape = convert_squeeze

    def convert_softmax(self, op: Any) -> ir.Expr:
        beta = self._options(op, tflite.SoftmaxOptions).Beta()
        source, output = self.get_input_tensors(op)[0], self.get_output_tensors(op)[0]
        logits = self.dequantize(self.get_expr(source.tensor_idx), source)
        if beta != 1.0:
            logits = relax.op.multiply(logits, relax.const(beta, "float32"))
        return self.quantize(relax.op.nn.softmax(logits, axis=-1), output)

    def convert_qnn_fused_activation_function(
        self, expr: ir.Expr, fused_activation_fn: int, scale: float, zero_point: int, dtype: str
    ) -> ir.Expr:
        bounds = self._activation_bounds(fused_activation_fn)
        low, high = activation_range(*bounds, float(scale), int(zero_point), dtype)
        return relax.op.clip(expr, min=low, max=high)

    def _quantize_and_clamp(self, expr: ir.Expr, output: Any, activation: int) -> ir.Expr:
        return self.convert_qnn_fused_activation_function(
            self.quantize(expr, output),
            activation,
            output.qnn_params["scale"].value.numpy().item(),
            output.qnn_params["zero_point"].value.numpy().item(),
            self.get_tensor_type_str(output.tensor.Type()),
        )

    def _activation_bounds(self, activation: int) -> tuple[float, float]:
        infinity = float("inf")
        kinds = tflite.ActivationFunctionType
        bounds = {
            kinds.NONE: (-infinity, infinity),
            kinds.RELU: (0.0, infinity),
            kinds.RELU6: (0.0, 6.0),
            kinds.RELU_N1_TO_1: (-1.0, 1.0),
        }
        if activation not in bounds:
            name = self.activation_fn_type.get(activation, activation)
            raise TinyaotError(
                f"{self.current} has the fused activation {name}",
                "fused activations may be RELU, RELU6 and RELU_N1_TO_1",
            )
        return bounds[activation]

    def _options(self, op: Any, kind: Any) -> Any:
        options, table = kind(), op.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def _name(self, tensor: Any) -> str:
        return str(tflite_frontend.get_tensor_name(self.subgraph, tensor.tensor_idx))
