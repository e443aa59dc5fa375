"""ONNX QOperator form -> QDQ form, node by node, before import.

A quantized operator such as QLinearConv is by definition DequantizeLinear on its inputs, the float
operator, and QuantizeLinear on its output (ONNX specification of QLinearConv and QLinearMatMul;
ONNX Runtime's contrib operators for the rest). Written out, both forms are one to the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tinyaot.compiler.frontend.imported import ModelNode
from tinyaot.targets import TinyaotError

CONTRIB = "com.microsoft"


def rewrite_qoperators(
    model: onnx.ModelProto, nodes: list[ModelNode]
) -> tuple[onnx.ModelProto, list[ModelNode]]:
    """Replaces every QOperator node by dequantize -> op -> quantize.

    Args:
        model: in any mix of the two forms; not changed.
        nodes: the description of each node.

    Returns:
        The model in QDQ form, and the description of each of its nodes: that of the node it came
        from. The same objects if there is nothing to replace.

    Raises:
        TinyaotError: a QOperator node has a form that QDQ cannot express.
    """
    if not any(node.op_type in REWRITES for node in model.graph.node):
        return model, nodes
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    described: list[ModelNode] = []
    for node, description in zip(model.graph.node, nodes, strict=True):
        rewrite = REWRITES.get(node.op_type)
        if rewrite is None:
            replacement = [node]
        else:
            work = _Rewriting(node, description, constants, result.graph)
            replacement = list(rewrite(work))
        result.graph.node.extend(replacement)
        described += [description] * len(replacement)
    return result, described


@dataclass
class _Rewriting:
    """One node on its way to QDQ form; new tensors take its name."""

    node: onnx.NodeProto
    description: ModelNode
    constants: dict[str, NDArray[Any]]
    graph: onnx.GraphProto
    _count: int = field(default=0)

    def name(self, role: str) -> str:
        """A tensor name that no other node uses."""
        self._count += 1
        return f"{self.node.output[0]}/{role}_{self._count}"

    def input(self, index: int) -> str:
        """An input's name; empty where it is left out."""
        return self.node.input[index] if index < len(self.node.input) else ""

    def constant(self, index: int) -> NDArray[Any]:
        """An input that must be a constant."""
        name = self.input(index)
        if name not in self.constants:
            raise TinyaotError(
                f"{self.description} has input {index} that is not a constant",
                "scales, zero points and biases must be initializers",
            )
        return self.constants[name]

    def add_constant(self, role: str, array: NDArray[Any]) -> str:
        """A new initializer."""
        name = self.name(role)
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        self.constants[name] = array
        return name

    def dequantize(self, x: str, scale: str, zero_point: str, axis: int = 0) -> onnx.NodeProto:
        """DequantizeLinear to a new tensor."""
        inputs = [x, scale, zero_point] if zero_point else [x, scale]
        return helper.make_node("DequantizeLinear", inputs, [self.name("real")], axis=axis)

    def dequantize_input(self, first: int, axis: int = 0) -> onnx.NodeProto:
        """DequantizeLinear of an input that stands before its scale and zero point."""
        x, scale, zero_point = (self.input(first + place) for place in range(3))
        return self.dequantize(x, scale, zero_point, axis)

    def quantize(self, x: str, scale: str, zero_point: str) -> onnx.NodeProto:
        """QuantizeLinear to the node's own output."""
        return helper.make_node("QuantizeLinear", [x, scale, zero_point], [self.node.output[0]])

    def operator(self, kind: str, inputs: list[str], **attributes: Any) -> onnx.NodeProto:
        """The float operator, to a new tensor."""
        return helper.make_node(
            kind, inputs, [self.name("float")], name=self.node.name, **attributes
        )

    def attributes(self) -> dict[str, Any]:
        """The node's attributes."""
        return {one.name: helper.get_attribute_value(one) for one in self.node.attribute}


_Nodes = Iterator[onnx.NodeProto]


def _qlinear_conv(work: _Rewriting) -> _Nodes:
    x = work.dequantize_input(0)
    w = work.dequantize_input(3)
    inputs = [x.output[0], w.output[0]]
    yield x
    yield w
    if work.input(8):
        scale = np.atleast_1d(work.constant(1)) * np.atleast_1d(work.constant(4))
        bias = _bias(work, work.input(8), scale.astype(np.float32))
        inputs.append(bias.output[0])
        yield bias
    conv = work.operator("Conv", inputs, **work.attributes())
    yield conv
    yield work.quantize(conv.output[0], work.input(6), work.input(7))


def _bias(work: _Rewriting, bias: str, scale: NDArray[np.float32]) -> onnx.NodeProto:
    channels = work.constants[bias].shape[0] if bias in work.constants else scale.size
    scales = work.add_constant("bias_scale", np.broadcast_to(scale, (channels,)))
    zero_points = work.add_constant("bias_zero_point", np.zeros(channels, np.int32))
    return work.dequantize(bias, scales, zero_points)


def _qlinear_matmul(work: _Rewriting) -> _Nodes:
    a = work.dequantize_input(0)
    b = work.dequantize_input(3, axis=1)
    product = work.operator("MatMul", [a.output[0], b.output[0]])
    yield from (a, b, product)
    yield work.quantize(product.output[0], work.input(6), work.input(7))


def _qgemm(work: _Rewriting) -> _Nodes:
    attributes = work.attributes()
    transposed = attributes.get("transB", 0)
    a = work.dequantize_input(0)
    b = work.dequantize_input(3, axis=0 if transposed else 1)
    inputs = [a.output[0], b.output[0]]
    yield from (a, b)
    if work.input(6):
        alpha = np.float32(attributes.get("alpha", 1.0))
        scale = np.atleast_1d(work.constant(1)) * np.atleast_1d(work.constant(4)) * alpha
        bias = _bias(work, work.input(6), scale.astype(np.float32))
        inputs.append(bias.output[0])
        yield bias
    gemm = work.operator("Gemm", inputs, **attributes)
    yield gemm
    if not work.input(7):
        raise TinyaotError(f"{work.description} has a float output", "quantize its output")
    yield work.quantize(gemm.output[0], work.input(7), work.input(8))


def _binary(kind: str) -> Callable[[_Rewriting], _Nodes]:
    def rewrite(work: _Rewriting) -> _Nodes:
        a = work.dequantize_input(0)
        b = work.dequantize_input(3)
        result = work.operator(kind, [a.output[0], b.output[0]])
        yield from (a, b, result)
        yield work.quantize(result.output[0], work.input(6), work.input(7))

    return rewrite


def _unary(kind: str, *kept: str) -> Callable[[_Rewriting], _Nodes]:
    def rewrite(work: _Rewriting) -> _Nodes:
        attributes = work.attributes()
        if attributes.get("channels_last"):
            raise TinyaotError(
                f"{work.description} is in channels-last form", "export the model in NCHW"
            )
        x = work.dequantize_input(0)
        chosen = {name: attributes[name] for name in kept if name in attributes}
        result = work.operator(kind, [x.output[0]], **chosen)
        yield from (x, result)
        yield work.quantize(result.output[0], work.input(3), work.input(4))

    return rewrite


def _qlinear_concat(work: _Rewriting) -> _Nodes:
    parts = []
    for index in range(2, len(work.node.input), 3):
        part = work.dequantize_input(index)
        parts.append(part.output[0])
        yield part
    result = work.operator("Concat", parts, axis=work.attributes()["axis"])
    yield result
    yield work.quantize(result.output[0], work.input(0), work.input(1))


_POOL_ATTRIBUTES = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")

REWRITES: dict[str, Callable[[_Rewriting], _Nodes]] = {
    "QGemm": _qgemm,
    "QLinearAdd": _binary("Add"),
    "QLinearAveragePool": _unary("AveragePool", *_POOL_ATTRIBUTES),
    "QLinearConcat": _qlinear_concat,
    "QLinearConv": _qlinear_conv,
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearLeakyRelu": _unary("LeakyRelu", "alpha"),
    "QLinearMatMul": _qlinear_matmul,
    "QLinearMul": _binary("Mul"),
    "QLinearReduceMean": _unary("ReduceMean", "axes", "keepdims"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearSoftmax": _unary("Softmax", "axis"),
}
