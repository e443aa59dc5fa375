"""TFLite flatbuffer -> Relax, through TVM's importer.

`_Converter` is the one place that works around TVM's TFLite frontend. It differs in that:

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
  tensors, with the operator's options as JSON: see `_OWN_CALLS` and `legalize/tflite_call.py`.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import tflite
from tvm import relax
from tvm.ir import StringImm
from tvm.relax.frontend.tflite import tflite_frontend

from tinyaot.compiler.frontend.imported import (
    Imported,
    ModelNode,
    Port,
    Problem,
    close_blocks,
)
from tinyaot.compiler.frontend.tflite_state import WITHOUT_CODE, read_states, variable_names
from tinyaot.compiler.frontend.tflite_tensors import check_tensors
from tinyaot.compiler.legalize.fixed_point import activation_range
from tinyaot.targets import TinyaotError

if TYPE_CHECKING:
    from tvm import ir

# Operators that stay TFLite's own where they read or write int16.
_OWN_INT16_CALLS: dict[str, Any] = {
    "AVERAGE_POOL_2D": tflite.Pool2DOptions,
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "FULLY_CONNECTED": tflite.FullyConnectedOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
    "RELU": None,
    "RELU6": None,
    "SOFTMAX": tflite.SoftmaxOptions,
}

# Operators that stay TFLite's own, and the table of their options.
_OWN_CALLS: dict[str, Any] = {
    **_OWN_INT16_CALLS,
    "ABS": None,
    "ADD": tflite.AddOptions,
    "ADD_N": None,
    "ARG_MAX": None,
    "ARG_MIN": None,
    "BATCH_MATMUL": tflite.BatchMatMulOptions,
    "L2_NORMALIZATION": None,
    "LOG_SOFTMAX": None,
    "MEAN": None,
    "REDUCE_ALL": None,
    "REDUCE_ANY": None,
    "REDUCE_MAX": None,
    "REDUCE_MIN": None,
    "SUM": None,
    "CAST": None,
    "DIV": tflite.DivOptions,
    "EQUAL": None,
    "GREATER": None,
    "GREATER_EQUAL": None,
    "LESS": None,
    "LESS_EQUAL": None,
    "LOGICAL_AND": None,
    "LOGICAL_NOT": None,
    "LOGICAL_OR": None,
    "MAXIMUM": None,
    "MINIMUM": None,
    "MUL": tflite.MulOptions,
    "NEG": None,
    "NOT_EQUAL": None,
    "PRELU": None,
    "QUANTIZE": None,
    "SELECT": None,
    "SELECT_V2": None,
    "SQUARED_DIFFERENCE": None,
    "SUB": tflite.SubOptions,
    "ELU": None,
    "EXP": None,
    "HARD_SWISH": None,
    "LEAKY_RELU": tflite.LeakyReluOptions,
    "LOG": None,
    "RELU_0_TO_1": None,
    "RSQRT": None,
    "BATCH_TO_SPACE_ND": None,
    "BROADCAST_TO": None,
    "CONCATENATION": tflite.ConcatenationOptions,
    "DEPTH_TO_SPACE": tflite.DepthToSpaceOptions,
    "FILL": None,
    "GATHER": tflite.GatherOptions,
    "GATHER_ND": None,
    "LOGISTIC": None,
    "TANH": None,
    "MIRROR_PAD": tflite.MirrorPadOptions,
    "PACK": tflite.PackOptions,
    "PAD": None,
    "PADV2": None,
    "RANK": None,
    "READ_VARIABLE": None,
    "RESIZE_BILINEAR": tflite.ResizeBilinearOptions,
    "RESIZE_NEAREST_NEIGHBOR": tflite.ResizeNearestNeighborOptions,
    "REVERSE_V2": None,
    "SHAPE": None,
    "SLICE": None,
    "SPACE_TO_BATCH_ND": None,
    "SPACE_TO_DEPTH": tflite.SpaceToDepthOptions,
    "SPLIT": tflite.SplitOptions,
    "SPLIT_V": tflite.SplitVOptions,
    "STRIDED_SLICE": tflite.StridedSliceOptions,
    "SVDF": tflite.SVDFOptions,
    "TILE": None,
    "TRANSPOSE": None,
    "TRANSPOSE_CONV": tflite.TransposeConvOptions,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tflite.UnidirectionalSequenceLSTMOptions,
    "UNPACK": tflite.UnpackOptions,
    "ZEROS_LIKE": None,
}

INT16_TOO = frozenset(_OWN_INT16_CALLS)
"""Operators that reach legalization through TVM on int8 and as themselves on int16."""

SUPPORTED = frozenset(
    {
        *_OWN_CALLS,
        *WITHOUT_CODE,
        "ASSIGN_VARIABLE",
        "AVERAGE_POOL_2D",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "DEQUANTIZE",
        "FULLY_CONNECTED",
        "MAX_POOL_2D",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "SOFTMAX",
        "SQUEEZE",
        "EXPAND_DIMS",
    }
)

_FLOAT_TYPES = ("FLOAT32", "FLOAT16", "FLOAT64")
_EDGE_OPERATORS = ("QUANTIZE", "DEQUANTIZE")


def _names(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_TYPE_NAMES = _names(tflite.TensorType)
_OPERATOR_NAMES = _names(tflite.BuiltinOperator)


def is_tflite(data: bytes) -> bool:
    """Whether the bytes carry TFLite's file identifier."""
    return data[4:8] == b"TFL3"


def import_tflite(data: bytes, problems: list[Problem] | None = None) -> Imported:
    """Reads a quantized TFLite model.

    Args:
        data: the flatbuffer.
        problems: see `import_model`.

    Returns:
        A Relax module in the form dequantize -> op -> quantize, with what the user should know.

    Raises:
        TinyaotError: the file is damaged, a float model, or uses something unsupported.
    """
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        nodes = _describe_nodes(model, problems)
        unique = unique_names(model.Subgraphs(0))
        check_tensors(model.Subgraphs(0), unique)
        inputs, outputs, notes = _ports(model)
        states = read_states(model, unique)
    except TinyaotError:
        raise
    except Exception as error:
        raise TinyaotError(
            f"the TFLite file is damaged: {_first_line(error)}", "export or download it again"
        ) from error
    converters: list[_Converter] = []

    def converter(*args: Any) -> _Converter:
        converters.append(_Converter(*args, nodes=nodes, problems=problems))
        return converters[-1]

    with mock.patch.object(tflite_frontend, "get_tensor_name", lambda _, index: unique[index]):
        try:
            module = tflite_frontend.from_tflite(model, op_converter=converter)
        except Exception as error:
            if converters:
                close_blocks(converters[0].bb)
            if isinstance(error, TinyaotError):
                raise
            where = converters[0].current if converters else "the model's inputs"
            raise _unreadable(where, error) from error
    results = _results(model.Subgraphs(0), unique)
    return Imported(module, tuple(nodes), inputs, outputs, notes, "double", states, results)


def _results(graph: Any, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The names of the tensors that each operator writes."""
    operators = map(graph.Operators, range(graph.OperatorsLength()))
    return tuple(
        tuple(names[index] for index in _indices(operator.OutputsAsNumpy()))
        for operator in operators
    )


def result_names(data: bytes) -> list[str]:
    """The names of all tensors that operators write, as in `Imported.results`."""
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    return [name for names in _results(graph, unique_names(graph)) for name in names]


def with_outputs(data: bytes, names: Sequence[str]) -> bytes:
    """A copy of a TFLite file whose outputs are other tensors.

    The new vector of outputs is appended, and the field of the main subgraph points to it.

    Args:
        data: the flatbuffer.
        names: of tensors, as in `Imported.results`.
    """
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    places = {name: index for index, name in enumerate(unique_names(graph))}
    padded = bytearray(data) + bytes(-len(data) % 4)
    outputs = [places[name] for name in names]
    vector = struct.pack(f"<{1 + len(outputs)}i", len(outputs), *outputs)
    # Outputs are the third field; its offset is from where it stands.
    field = graph._tab.Pos + graph._tab.Offset(8)
    padded[field : field + 4] = struct.pack("<I", len(padded) - field)
    return bytes(padded + vector)


def _unreadable(where: str, error: Exception) -> TinyaotError:
    return TinyaotError(
        f"cannot read {where}: {_first_line(error)}",
        "the file may be damaged, or the operator used in a way TFLite does not define",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else 'no details'}"


def _operator_name(model: Any, operator: Any) -> str:
    code = model.OperatorCodes(operator.OpcodeIndex())
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if builtin == tflite.BuiltinOperator.CUSTOM:
        custom = code.CustomCode()
        return f"CUSTOM({custom.decode(errors='replace') if custom else ''})"
    return _OPERATOR_NAMES.get(builtin, f"operator code {builtin}")


def _tensor_name(tensor: Any) -> str:
    name = tensor.Name()
    return name.decode(errors="replace") if name else ""


def _describe_nodes(model: Any, problems: list[Problem] | None) -> list[ModelNode]:
    """Every operator of the main subgraph; refuses, or notes, what cannot be compiled."""
    graph = model.Subgraphs(0)
    nodes: list[ModelNode] = []
    unsupported: list[str] = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        name = _operator_name(model, operator)
        named = operator.Outputs(0) if operator.OutputsLength() else -1
        if named < 0 and operator.InputsLength():
            named = operator.Inputs(0)
        node = ModelNode(name, index, _tensor_name(graph.Tensors(named)) if named >= 0 else "")
        nodes.append(node)
        if name not in SUPPORTED:
            unsupported.append(str(node))
            if problems is not None:
                problems.append(Problem(str(node), _unsupported([str(node)])))
        for position in range(operator.InputsLength()):
            if operator.Inputs(position) < 0 or name in _EDGE_OPERATORS:
                continue
            tensor = graph.Tensors(operator.Inputs(position))
            kind = _TYPE_NAMES.get(tensor.Type(), "unknown")
            if kind in _FLOAT_TYPES:
                error = TinyaotError(
                    f"{node} computes in {kind.lower()}: this is not a fully quantized model",
                    "convert with full-integer quantization (int8 activations and weights) and "
                    "a representative data set",
                )
                if problems is None:
                    raise error
                problems.append(Problem(str(node), error))
    if unsupported and problems is None:
        raise _unsupported(unsupported)
    return nodes


def _unsupported(nodes: Sequence[str]) -> TinyaotError:
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return TinyaotError(
        f"operator not supported: {', '.join(nodes[:3])}{more}",
        f"supported are {', '.join(sorted(SUPPORTED))}",
    )


def unique_names(graph: Any) -> list[str]:
    """Names of a subgraph's tensors, made unique: those that a graph's layers call their source."""
    names = [_tensor_name(graph.Tensors(index)) for index in range(graph.TensorsLength())]
    counts = Counter(names)
    return [
        name if name and counts[name] == 1 else f"{name or 'tensor'}_{index}"
        for index, name in enumerate(names)
    ]


def _ports(model: Any) -> tuple[tuple[Port, ...], tuple[Port, ...], tuple[str, ...]]:
    """Inputs, outputs and notes; refuses shapes that are not known."""
    graph = model.Subgraphs(0)
    names = unique_names(graph)
    notes: list[str] = []

    def port(index: int, role: str) -> Port:
        tensor = graph.Tensors(index)
        name = names[index]
        shape = tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
        signature = shape
        if tensor.ShapeSignatureLength() == len(shape) and shape:
            signature = tuple(int(size) for size in tensor.ShapeSignatureAsNumpy())
        for axis, (size, declared) in enumerate(itertools.zip_longest(shape, signature)):
            if size < 1 or (declared == -1 and axis > 0 and size != 1):
                raise TinyaotError(
                    f'{role} "{name}" has a dynamic shape {list(signature)}',
                    "fix every dimension when converting the model",
                )
        if signature and signature[0] == -1:
            notes.append(f'{role} "{name}": dynamic batch set to {shape[0]}')
        quantization = tensor.Quantization()
        scale, zero_point = None, 0
        if quantization is not None and quantization.ScaleLength() == 1:
            scale, zero_point = float(quantization.Scale(0)), int(quantization.ZeroPoint(0))
        dtype = _TYPE_NAMES.get(tensor.Type(), "unknown").lower()
        return Port(name, shape, dtype, scale, zero_point)

    inputs = tuple(port(int(index), "input") for index in _indices(graph.InputsAsNumpy()))
    outputs = tuple(port(int(index), "output") for index in _indices(graph.OutputsAsNumpy()))
    if not inputs or not outputs:
        raise TinyaotError("the model has no inputs or no outputs", "export it again")
    return inputs, outputs, tuple(notes)


def _static_shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()


def _indices(array: Any) -> list[int]:
    return [] if isinstance(array, int) else [int(index) for index in array]


def _fields(options: Any) -> dict[str, Any]:
    """The fields of a flatbuffer table of options that are numbers or booleans, by name."""
    names = [name for name in dir(type(options)) if name[0].isupper() and "As" not in name]
    values = {}
    for name in names:
        method = getattr(options, name)
        if not name.startswith(("GetRoot", "Init")) and method.__code__.co_argcount == 1:
            values[name] = method()
    return values


class _Converter(tflite_frontend.OperatorConverter):
    """TVM's converter with the differences that the module's docstring lists."""

    def __init__(self, *args: Any, nodes: list[ModelNode], problems: list[Problem] | None) -> None:
        super().__init__(*args)
        self._nodes = nodes
        self._problems = problems
        self._variables = variable_names(self.subgraph, unique_names(self.subgraph), self.model)
        self.current = "the first operator"

    def check_unsupported_ops(self) -> None:
        """Nothing: `_describe_nodes` has refused unsupported operators by name."""

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
                reason = error if known_error else _unreadable(self.current, error)
                self._problems.append(Problem(self.current, reason))  # type: ignore[arg-type]
        description: dict[str, Any] = {"inputs": [], "output": None, "place": 0, "options": {}}
        return [self._call("UNREADABLE", [], description, output) for output in outputs]

    def _is_own_call(self, kind: str, op: Any) -> bool:
        if kind == "QUANTIZE":
            source = self.get_input_tensors(op)[0]
            return _TYPE_NAMES.get(source.tensor.Type()) not in _FLOAT_TYPES
        if kind not in _OWN_INT16_CALLS:
            return kind in _OWN_CALLS
        return "INT16" in (
            _TYPE_NAMES.get(tensor.tensor.Type())
            for tensor in (self.get_input_tensors(op)[0], self.get_output_tensors(op)[0])
        )

    def _own_call(self, kind: str, op: Any, place: int) -> ir.Expr:
        """A call that computes one output of an operator from its quantized inputs.

        Omitted inputs are an empty tensor; constants are passed as such.
        """
        tensors, output = self.get_input_tensors(op), self.get_output_tensors(op)[place]
        arguments = [self._operand(tensor) for tensor in tensors]
        options_type = _OWN_CALLS[kind]
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
                _static_shape(like.tensor), self.get_tensor_type_str(like.tensor.Type())
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
        return relax.op.reshape(self._operand(source), _static_shape(output.tensor))

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
