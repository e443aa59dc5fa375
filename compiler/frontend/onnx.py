"""ONNX model in QDQ or QOperator form -> Relax, through TVM's importer.

Before it, QOperator nodes are written out as QDQ (`onnx_qoperator.py`) and what depends on
constants alone is computed (`onnx_constants.py`).

`_Importer` is the one place that works around TVM's ONNX frontend. It differs in that:

- every operator's result is bound to a variable that names the model node (`node<index>`), and
  the importer's exceptions become errors that name the node;
- Clip becomes relax.clip and constant Pad relax.nn.pad (TVM expands both into loops at once);
- Conv with auto_pad pads in the convolution and not before it; one over a line (rank 3) is one
  over an image of height 1;
- `OWN_CALLS`, operators that TVM takes apart, rejects or mistranslates, become calls of
  `tinyaot.onnx.<Operator>` that carry the node itself: see `legalize/onnx_call.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from tvm import ir, relax
from tvm.relax.frontend.onnx import onnx_frontend

from tinyaot.compiler.frontend.imported import (
    Imported,
    ModelNode,
    Port,
    Problem,
    close_blocks,
)
from tinyaot.compiler.frontend.onnx_constants import (
    fold_constants,
    infer_types,
    opset_of,
    static_shape,
    widen_constants,
)
from tinyaot.compiler.frontend.onnx_qoperator import rewrite_qoperators
from tinyaot.targets import TinyaotError

# Operators that work on each element alone (or on an element of each operand).
ELEMENTWISE = frozenset(
    """
    Abs Acos Acosh And Asin Asinh Atan Atanh BatchNormalization Cast Ceil Celu Cos Cosh Div Elu
    Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish LeakyRelu Less
    LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Round Selu Shrink
    Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
    """.split()
)

# Operators whose output elements are elements of an input, or a constant.
MOVEMENT = frozenset(
    """
    CenterCropPad Concat DepthToSpace Expand Gather GatherElements GatherND Pad Resize
    ReverseSequence Slice SpaceToDepth Split Tile Trilu
    """.split()
)

_WINDOWS_AND_AXES = frozenset(
    """
    ArgMax ArgMin AveragePool ConvTranspose GlobalMaxPool GroupNormalization InstanceNormalization
    LayerNormalization LogSoftmax LpNormalization MaxPool MeanVarianceNormalization
    RMSNormalization ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMin ReduceSum
    ReduceSumSquare
    """.split()
)

OWN_CALLS = ELEMENTWISE | MOVEMENT | _WINDOWS_AND_AXES

_THROUGH_TVM = frozenset(
    """
    Add Clip Constant Conv DequantizeLinear Flatten Gemm GlobalAveragePool Identity MatMul
    QuantizeLinear ReduceMean Relu Reshape Softmax Squeeze Transpose Unsqueeze
    """.split()
)

SUPPORTED = OWN_CALLS | _THROUGH_TVM | {"Dropout"}

_AT_RUN_TIME = "computes quantization ranges at run time, which takes floating point"
_NEEDS_STATIC = "quantize statically: onnxruntime.quantization.quantize_static in QDQ format"
# Operators whose refusal has a reason of its own, and what to do.
_REFUSALS = {
    "DynamicQuantizeLinear": (_AT_RUN_TIME, _NEEDS_STATIC),
    "DynamicQuantizeLSTM": (_AT_RUN_TIME, _NEEDS_STATIC),
    "DynamicQuantizeMatMul": (_AT_RUN_TIME, _NEEDS_STATIC),
    "MatMulIntegerToFloat": ("has a float result", _NEEDS_STATIC),
    "ConvInteger": ("has a result without a scale", _NEEDS_STATIC),
    "MatMulInteger": ("has a result without a scale", _NEEDS_STATIC),
}

_MINIMUM_OPSET = 13

_Conversion = Callable[[list[Any], dict[str, Any]], relax.Expr]


def import_onnx(data: bytes) -> Imported:
    """Reads a QDQ-quantized ONNX model.

    Args:
        data: the serialized ModelProto.

    Returns:
        A Relax module in the form dequantize -> op -> quantize, NCHW as in the file.

    Raises:
        TinyaotError: the file is damaged, a float model, or uses something unsupported.
    """
    model = _parse(data)
    widen_constants(model)
    graph = model.graph
    nodes = [
        ModelNode(node.op_type, index, node.name or (node.output[0] if node.output else ""))
        for index, node in enumerate(graph.node)
    ]
    model, nodes = rewrite_qoperators(model, nodes)
    shapes, notes = _static_shapes(model.graph)
    model, nodes = fold_constants(model, nodes, shapes)
    _refuse_unsupported(model, nodes)
    graph = model.graph
    importer = _Importer(shapes, nodes, graph)
    try:
        # The importer prints and warns about what the errors below say better.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            module = importer.from_onnx(graph, opset_of(model))
    except Exception as error:
        close_blocks(importer.bb)
        if isinstance(error, TinyaotError):
            raise
        lines = str(error).strip().splitlines()
        raise TinyaotError(
            f"cannot read {importer.current}: {type(error).__name__}: {lines[-1] if lines else ''}",
            "check the model with onnx.checker.check_model",
        ) from error
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = tuple(
        Port(value.name, shapes[value.name], _dtype(value))
        for value in graph.input
        if value.name not in initializers
    )
    outputs = tuple(Port(value.name, (), _dtype(value)) for value in graph.output)
    return Imported(
        *(module, tuple(nodes), inputs, outputs, tuple(notes)),
        rounding="single",
        results=tuple(tuple(node.output) for node in graph.node),
    )


def _parse(data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise TinyaotError(
            "neither a TFLite nor an ONNX file, or a damaged one", "give a .tflite or .onnx file"
        ) from error
    if not model.graph.node or not model.graph.input or not model.graph.output:
        raise TinyaotError(
            "the ONNX file holds no graph with inputs and outputs", "export the model again"
        )
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise TinyaotError(
            f"not a valid ONNX model: {str(error).strip().splitlines()[0]}",
            "export the model again",
        ) from error
    graph = model.graph
    names = [text for node in graph.node for text in (node.name, *node.input, *node.output)]
    names += [named.name for named in (*graph.initializer, *graph.input, *graph.output)]
    # Protobuf hands out bytes where it can decode no text.
    if not all(isinstance(name, str) for name in names):
        raise TinyaotError("the ONNX file has names that are not UTF-8", "export the model again")
    for tensor in graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise TinyaotError(
                f'tensor "{tensor.name}" is stored in another file',
                "save the model with its weights inside",
            )
        try:
            numpy_helper.to_array(tensor)
        except Exception as error:
            raise TinyaotError(
                f'tensor "{tensor.name}" is damaged: {" ".join(str(error).split())}',
                "export the model again",
            ) from error
    return model


def list_problems(
    data: bytes, error: TinyaotError
) -> tuple[tuple[ModelNode, ...], tuple[Problem, ...]]:
    """The operators of a file, and what is wrong with each, as far as that is known.

    Args:
        data: the serialized ModelProto.
        error: what `import_onnx` raised for it.

    Raises:
        TinyaotError: the error itself, if it is about no operator.
    """
    model = _parse(data)
    nodes, problems = [], []
    for index, proto in enumerate(model.graph.node):
        name = proto.name or (proto.output[0] if proto.output else "")
        node = ModelNode(proto.op_type, index, name)
        nodes.append(node)
        if proto.op_type in _REFUSALS:
            reason, hint = _REFUSALS[proto.op_type]
            problems.append(Problem(str(node), TinyaotError(f"{node} {reason}", hint)))
        elif proto.op_type not in SUPPORTED and not re.match("QLinear|QGemm", proto.op_type):
            unsupported = TinyaotError(
                f"operator not supported: {node}", f"supported are {', '.join(sorted(SUPPORTED))}"
            )
            problems.append(Problem(str(node), unsupported))
        elif str(node) in error.message:
            problems.append(Problem(str(node), error))
    if not problems:
        raise error
    return tuple(nodes), tuple(problems)


def _refuse_unsupported(model: onnx.ModelProto, nodes: list[ModelNode]) -> None:
    opset = opset_of(model)
    if opset < _MINIMUM_OPSET:
        raise TinyaotError(
            f"the model uses ONNX opset {opset}",
            f"convert it to opset {_MINIMUM_OPSET} or newer with onnx.version_converter",
        )
    for described, node in zip(nodes, model.graph.node, strict=True):
        if node.op_type in _REFUSALS:
            reason, hint = _REFUSALS[node.op_type]
            raise TinyaotError(f"{described} {reason}", hint)
        if any(one.name == "block_size" and one.i for one in node.attribute):
            raise TinyaotError(
                f"{described} has a scale for each block of elements",
                "quantize per tensor or per channel",
            )
    if not any(re.match("Quantize|Dequantize|QLinear", node.op_type) for node in model.graph.node):
        raise TinyaotError(
            "the model is not quantized: it holds no QuantizeLinear",
            "quantize it to int8 with onnxruntime.quantization.quantize_static in QDQ format",
        )
    unsupported = [
        str(described)
        for described, node in zip(nodes, model.graph.node, strict=True)
        if node.op_type not in SUPPORTED
    ]
    if unsupported:
        more = f" and {len(unsupported) - 3} more" if len(unsupported) > 3 else ""
        hints = [f"supported are {', '.join(sorted(SUPPORTED))}"]
        raise TinyaotError(f"operator not supported: {', '.join(unsupported[:3])}{more}", *hints)


def _dtype(value: onnx.ValueInfoProto) -> str:
    return str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _static_shapes(graph: onnx.GraphProto) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The shape of each input, a dynamic batch set to one, and the notes about it."""
    initializers = {tensor.name for tensor in graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    notes: list[str] = []
    for value in graph.input:
        if value.name in initializers:
            continue
        sizes = []
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            fixed = size.dim_value
            if fixed < 1:
                if axis > 0:
                    raise TinyaotError(
                        f'input "{value.name}" has a dynamic dimension {axis} '
                        f'("{size.dim_param or "?"}")',
                        "fix every dimension when exporting the model",
                    )
                fixed = 1
                notes.append(f'input "{value.name}": dynamic batch set to 1')
            sizes.append(fixed)
        shapes[value.name] = tuple(sizes)
    return shapes, notes


class _Importer(onnx_frontend.ONNXGraphImporter):
    """TVM's importer that remembers which model node each Relax variable belongs to."""

    def __init__(
        self, shapes: dict[str, tuple[int, ...]], nodes: list[ModelNode], graph: onnx.GraphProto
    ) -> None:
        super().__init__({name: list(shape) for name, shape in shapes.items()}, "float32")
        self._model_nodes = nodes
        self._protos = list(graph.node)
        self._count = 0
        self._replacements: dict[str, _Conversion] = {
            "Clip": self._clip,
            "Conv": self._conv,
            "Dropout": self._dropout,
        }
        self.current = "the model's inputs"

    def _convert_operator(
        self, op_name: str, inputs: list[relax.Expr], attrs: dict[str, Any], opset: int
    ) -> relax.Expr:
        index = self._count
        self._count += 1
        self.current = str(self._model_nodes[index])
        if op_name in ("DequantizeLinear", "QuantizeLinear") and len(inputs[0].ty.shape) < 2:
            # ONNX's default axis of 1, which means nothing to one scale, is out of Relax's range.
            attrs["axis"] = 0
        replacement = self._replacements.get(op_name)
        if op_name == "Pad" and attrs.get("mode", b"constant") == b"constant":
            result = self._pad(inputs, attrs)
        elif op_name in OWN_CALLS:
            results = self._own_calls(self._protos[index], inputs, opset)
            # Of two variables with one name TVM would call the second by another number.
            fields = [
                self.bb.emit(one, name_hint=f"node{index}_{place}" if place else f"node{index}")
                for place, one in enumerate(results)
            ]
            return fields[0] if len(fields) == 1 else relax.Tuple(fields)
        elif replacement is not None:
            result = replacement(inputs, attrs)
        else:
            result = super()._convert_operator(op_name, inputs, attrs, opset)
        if isinstance(result, ir.Call):
            # A call that is not bound yet may have no type.
            result = self.bb.normalize(result)
        if isinstance(result, ir.Call) and isinstance(result.ty, relax.TensorType):
            return self.bb.emit(result, name_hint=f"node{index}")
        return result

    def _check_for_unsupported_ops(self, graph: onnx.GraphProto) -> None:
        """Nothing: `_refuse_unsupported` has done so, and own calls are unknown to TVM."""

    def _own_calls(
        self, node: onnx.NodeProto, inputs: list[relax.Expr], opset: int
    ) -> list[relax.Expr]:
        """A call for each output of a node; operands that are left out are the empty tuple."""
        constants: dict[str, NDArray[Any]] = {}
        types: dict[str, onnx.TypeProto] = {}
        for name, expr in zip(node.input, inputs, strict=False):
            if not name:
                continue
            if isinstance(expr, ir.GenericConst):
                constants[name] = np.asarray(expr.value.numpy())
                continue
            types[name] = onnx.helper.make_tensor_type_proto(
                onnx.helper.np_dtype_to_tensor_dtype(np.dtype(str(expr.ty.dtype))),
                [int(size) for size in expr.ty.shape],
            )
        inferred = infer_types(node, types, constants, opset)
        arguments = [relax.Tuple([]) if expr is None else expr for expr in inputs]
        calls = []
        for place, name in enumerate(node.output):
            if not name:
                continue
            shape = static_shape(inferred[name]) if name in inferred else None
            if shape is None:
                raise TinyaotError(
                    f"{self.current} has an output whose shape is not fixed by the model",
                    "fold constants and fix every dimension when exporting the model",
                )
            dtype = onnx.helper.tensor_dtype_to_np_dtype(inferred[name].tensor_type.elem_type)
            description = {"place": place, "opset": opset, "node": node.SerializeToString().hex()}
            calls.append(
                relax.op.call_pure_packed(
                    f"tinyaot.onnx.{node.op_type}",
                    *arguments,
                    ir.StringImm(json.dumps(description)),
                    ty_args=relax.TensorType(shape, str(dtype)),
                )
            )
        return calls

    def _dropout(self, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr:
        training = self._constant(inputs[2]) if len(inputs) > 2 else None
        if (training is not None and training.any()) or attrs["tvm_custom"]["num_outputs"] > 1:
            raise TinyaotError(f"{self.current} is in training mode", "export for inference")
        return inputs[0]

    def _conv(self, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr:
        _explicit_padding(inputs, attrs)
        if len(inputs[0].ty.shape) != 3:
            return super()._convert_operator("Conv", inputs, attrs, self.opset)
        for place in range(2):
            batch, channels, length = (int(size) for size in inputs[place].ty.shape)
            inputs[place] = self.bb.emit(
                relax.op.reshape(inputs[place], (batch, channels, 1, length))
            )
        for name, neutral in (("kernel_shape", 1), ("strides", 1), ("dilations", 1)):
            if name in attrs:
                attrs[name] = [neutral, *attrs[name]]
        if "pads" in attrs:
            before, after = attrs["pads"]
            attrs["pads"] = [0, before, 0, after]
        wide = self.bb.emit(super()._convert_operator("Conv", inputs, attrs, self.opset))
        batch, channels, _, length = (int(size) for size in wide.ty.shape)
        return relax.op.reshape(wide, (batch, channels, length))

    def _clip(self, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr:
        low, high = (self._number(inputs[place], default) for place, default in _CLIP_BOUNDS)
        return relax.op.clip(inputs[0], min=low, max=high)

    def _pad(self, inputs: list[relax.Expr], attrs: dict[str, Any]) -> relax.Expr:
        widths, axes = self._constant(inputs[1]), self._constant(inputs[3])
        value = self._number(inputs[2], 0.0)
        if widths is None or (axes is None) != (inputs[3] is None):
            raise TinyaotError(
                f"{self.current} pads by widths that are not constant",
                "fold constants when exporting the model",
            )
        rank = len(inputs[0].ty.shape)
        padding = np.zeros((rank, 2), np.int64)
        places = range(rank) if axes is None else axes.reshape(-1).tolist()
        padding[list(places)] = widths.reshape(2, -1).T
        return relax.op.nn.pad(inputs[0], padding.reshape(-1).tolist(), "constant", value)

    def _number(self, expr: Any, default: float) -> float:
        """A scalar input; the default where it is left out, or not a number as ONNX defines."""
        array = np.array(default) if expr is None else self._constant(expr)
        if array is None or array.size != 1:
            raise TinyaotError(
                f"{self.current} has a bound or value that is not a constant",
                "fold constants when exporting the model",
            )
        number = float(array.reshape(-1)[0])
        return default if math.isnan(number) else number

    def _constant(self, expr: Any) -> NDArray[Any] | None:
        """The value of a constant or of a dequantized constant; None if it is neither."""
        if isinstance(expr, ir.Var):
            expr = self.bb.lookup_binding(expr)
        if isinstance(expr, ir.GenericConst):
            return np.asarray(expr.value.numpy())
        if isinstance(expr, ir.Call) and str(expr.op.name) == "relax.dequantize":
            values, scale, zero_point = (self._constant(arg) for arg in expr.args[:3])
            if values is not None and scale is not None and zero_point is not None:
                centred = values.astype(np.int64) - zero_point.astype(np.int64)
                return np.asarray(centred.astype(np.float32) * scale)
        return None


_CLIP_BOUNDS = ((1, -math.inf), (2, math.inf))


def _explicit_padding(inputs: list[relax.Expr], attrs: dict[str, Any]) -> None:
    """Replaces SAME_UPPER and SAME_LOWER by the padding that they stand for."""
    mode = attrs.get("auto_pad", b"NOTSET").decode()
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return
    before, after = [], []
    sizes = [int(size) for size in inputs[0].ty.shape][2:]
    kernels = attrs.get("kernel_shape") or [int(size) for size in inputs[1].ty.shape][2:]
    strides = attrs.get("strides", [1] * len(sizes))
    dilations = attrs.get("dilations", [1] * len(sizes))
    for size, kernel, stride, dilation in zip(sizes, kernels, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if mode == "SAME_UPPER" else more)
        after.append(more if mode == "SAME_UPPER" else less)
    attrs["pads"] = [*before, *after]
    del attrs["auto_pad"]
