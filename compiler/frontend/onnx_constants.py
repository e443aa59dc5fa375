"""What an ONNX graph computes of constants alone, computed once: by ONNX's reference evaluator.

Exporters leave shape arithmetic, casts and quantized weights as nodes. They become initializers
here; DequantizeLinear stays, because its integers are what the integer kernels read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tinyaot.compiler.frontend.imported import ModelNode

Array = NDArray[Any]

# Functions whose result has the shape of their first operand; ONNX's shape inference leaves them.
_SHAPED_AS_INPUT = frozenset({"GroupNormalization", "MeanVarianceNormalization"})
_KEPT = frozenset({"DequantizeLinear", "Dropout"})
_WIDER = {
    onnx.TensorProto.INT2: np.int8,
    onnx.TensorProto.INT4: np.int8,
    onnx.TensorProto.UINT2: np.uint8,
    onnx.TensorProto.UINT4: np.uint8,
}
_RANDOM = ("Random", "Bernoulli", "Multinomial")
_LARGEST = 1 << 24
_LARGEST_OF_SHAPE_RULES = 1 << 12


def fold_constants(
    model: onnx.ModelProto, nodes: list[ModelNode], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[onnx.ModelProto, list[ModelNode]]:
    """Replaces every node whose inputs are constants, or that asks for a known shape.

    Args:
        model: not changed.
        nodes: the description of each node.
        shapes: of the inputs.

    Returns:
        The model with fewer nodes and more initializers, and the descriptions of those left.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    opset = opset_of(result)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in result.graph.initializer}
    types = {
        value.name: helper.make_tensor_type_proto(
            value.type.tensor_type.elem_type, shapes[value.name]
        )
        for value in result.graph.input
        if value.name not in constants and value.name in shapes
    }
    del result.graph.node[:]
    kept: list[ModelNode] = []
    for node, description in zip(model.graph.node, nodes, strict=True):
        inferred = infer_types(node, types, constants, opset)
        types |= inferred
        values = _folded(node, types, constants, inferred, opset)
        if values is None:
            result.graph.node.append(node)
            kept.append(description)
            continue
        for name, value in zip(node.output, values, strict=False):
            if name:
                constants[name] = value
                result.graph.initializer.append(numpy_helper.from_array(value, name))
    return result, kept


def widen_constants(model: onnx.ModelProto) -> None:
    """Stores constants of 2 and 4 bits, which are packed, in 8 bits each; changes the model."""
    for tensor in model.graph.initializer:
        wider = _WIDER.get(tensor.data_type)
        if wider is not None:
            values = numpy_helper.to_array(tensor).astype(wider)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def infer_types(
    node: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    constants: Mapping[str, Array],
    opset: int,
) -> dict[str, onnx.TypeProto]:
    """The types of a node's outputs, with static shapes; empty where ONNX cannot tell.

    Args:
        node: a node.
        types: of tensors that are not constants.
        constants: values of those that are.
        opset: of the model.
    """
    names = dict.fromkeys(name for name in node.input if name)
    if any(name not in types and name not in constants for name in names):
        return {}
    small = {
        name: constants[name]
        for name in names
        if name in constants and constants[name].size <= _LARGEST_OF_SHAPE_RULES
    }
    inputs = []
    for name in names:
        if name in small:
            continue
        known = types[name] if name in types else _type_of(constants[name])
        inputs.append(helper.make_value_info(name, known))
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    initializers = [numpy_helper.from_array(value, name) for name, value in small.items()]
    graph = helper.make_graph([node], "node", inputs, outputs, initializers)
    try:
        inferred = onnx.shape_inference.infer_shapes(_model(graph, node, opset), data_prop=True)
    except Exception:
        return {}
    found = {value.name: value.type for value in inferred.graph.output}
    if node.op_type in _SHAPED_AS_INPUT and node.input[0] in types:
        found[node.output[0]] = types[node.input[0]]
    return {name: known for name, known in found.items() if static_shape(known) is not None}


def evaluate(node: onnx.NodeProto, inputs: Sequence[Array | None], opset: int) -> list[Array]:
    """The outputs of a node by ONNX's reference evaluator; an input left out is None."""
    from onnx.reference import ReferenceEvaluator

    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    names = ["" if array is None else f"x{index}" for index, array in enumerate(inputs)]
    del renamed.input[:]
    renamed.input.extend(names)
    feeds = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
    graph = helper.make_graph(
        [renamed],
        "node",
        [helper.make_value_info(name, _type_of(array)) for name, array in feeds.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(_model(graph, node, opset)).run(None, feeds)
    return [np.asarray(result) for result in results]


def static_shape(known: onnx.TypeProto) -> tuple[int, ...] | None:
    """The shape of a tensor type; None if it is not one or not static."""
    tensor = known.tensor_type
    if not known.HasField("tensor_type") or not tensor.elem_type or not tensor.HasField("shape"):
        return None
    if not all(size.HasField("dim_value") for size in tensor.shape.dim):
        return None
    return tuple(size.dim_value for size in tensor.shape.dim)


def _folded(
    node: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    constants: Mapping[str, Array],
    inferred: Mapping[str, onnx.TypeProto],
    opset: int,
) -> list[Array] | None:
    if node.op_type == "Shape" and node.input[0] in types:
        shape = static_shape(types[node.input[0]])
        return None if shape is None else _evaluated(node, [np.empty(shape, bool)], opset)
    if node.op_type in _KEPT or node.op_type.startswith(_RANDOM):
        return None
    if any(name and name not in constants for name in node.input):
        return None
    if any(attribute.type in (onnx.AttributeProto.GRAPH,) for attribute in node.attribute):
        return None
    sizes = [static_shape(known) for known in inferred.values()]
    if not sizes or any(size is None or math.prod(size) > _LARGEST for size in sizes):
        return None
    return _evaluated(node, [constants[name] if name else None for name in node.input], opset)


def _evaluated(
    node: onnx.NodeProto, inputs: Sequence[Array | None], opset: int
) -> list[Array] | None:
    try:
        return evaluate(node, inputs, opset)
    except Exception:
        # What the evaluator cannot compute is left for legalization to refuse by name.
        return None


def _type_of(array: Array) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def _model(graph: onnx.GraphProto, node: onnx.NodeProto, opset: int) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", opset)]
    if node.domain not in ("", "ai.onnx"):
        imports.append(helper.make_opsetid(node.domain, 1))
    return helper.make_model(graph, opset_imports=imports)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's operators that a model uses."""
    return next(
        (known.version for known in model.opset_import if known.domain in ("", "ai.onnx")), 1
    )
