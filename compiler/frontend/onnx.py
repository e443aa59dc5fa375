"""ONNX QDQ model -> Relax, through TVM's importer.

`_Importer` is the one place that works around TVM's ONNX frontend: it binds every operator's
result to a variable that names the model node (`node<index>`) and turns the importer's
exceptions into errors that name the node.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import onnx
from onnx import numpy_helper
from tvm import ir, relax
from tvm.relax.frontend.onnx import onnx_frontend

from tinyaot.compiler.frontend.imported import Imported, ModelNode, Port
from tinyaot.targets import TinyaotError

SUPPORTED = frozenset(
    {
        "Add",
        "AveragePool",
        "Clip",
        "Constant",
        "Conv",
        "DequantizeLinear",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "Identity",
        "MatMul",
        "MaxPool",
        "Pad",
        "QuantizeLinear",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Softmax",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)

_MINIMUM_OPSET = 13


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
    graph = model.graph
    nodes = [
        ModelNode(node.op_type, index, node.name or (node.output[0] if node.output else ""))
        for index, node in enumerate(graph.node)
    ]
    _refuse_unsupported(model, nodes)
    shapes, notes = _static_shapes(graph)
    importer = _Importer(shapes, nodes)
    try:
        # The importer prints and warns about what the errors below say better.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            module = importer.from_onnx(graph, _opset(model))
    except TinyaotError:
        raise
    except Exception as error:
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
    return Imported(module, tuple(nodes), inputs, outputs, tuple(notes), rounding="single")


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
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise TinyaotError(
                f'tensor "{tensor.name}" is stored in another file',
                "save the model with its weights inside",
            )
        numpy_helper.to_array(tensor)
    return model


def _opset(model: onnx.ModelProto) -> int:
    return next(
        (opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), 1
    )


def _refuse_unsupported(model: onnx.ModelProto, nodes: list[ModelNode]) -> None:
    opset = _opset(model)
    if opset < _MINIMUM_OPSET:
        raise TinyaotError(
            f"the model uses ONNX opset {opset}",
            f"convert it to opset {_MINIMUM_OPSET} or newer with onnx.version_converter",
        )
    kinds = {node.kind for node in nodes}
    if "QuantizeLinear" not in kinds and not any(kind.startswith("QLinear") for kind in kinds):
        raise TinyaotError(
            "the model is not quantized: it holds no QuantizeLinear",
            "quantize it to int8 with onnxruntime.quantization.quantize_static in QDQ format",
        )
    unsupported = [str(node) for node in nodes if node.kind not in SUPPORTED]
    if unsupported:
        more = f" and {len(unsupported) - 3} more" if len(unsupported) > 3 else ""
        hints = [f"supported are {', '.join(sorted(SUPPORTED))}"]
        if any(kind.startswith("QLinear") for kind in kinds):
            hints.insert(0, "quantize in QDQ format instead of QOperator format")
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

    def __init__(self, shapes: dict[str, tuple[int, ...]], nodes: list[ModelNode]) -> None:
        super().__init__({name: list(shape) for name, shape in shapes.items()}, "float32")
        self._model_nodes = nodes
        self._count = 0
        self.current = "the model's inputs"

    def _convert_operator(
        self, op_name: str, inputs: list[relax.Expr], attrs: dict[str, Any], opset: int
    ) -> relax.Expr:
        index = self._count
        self._count += 1
        self.current = str(self._model_nodes[index])
        result = super()._convert_operator(op_name, inputs, attrs, opset)
        if isinstance(result, ir.Call) and isinstance(result.ty, relax.TensorType):
            return self.bb.emit(result, name_hint=f"node{index}")
        return result
