"""Small ONNX models made by hand: float networks to quantize, and single quantized operators."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, version_converter

OPSET = 17

Array = NDArray[Any]


class Network:
    """A float network that grows by one operator a call; weights come from a seed.

    Every method takes the name of its input and returns the name of its output. Shapes are NCHW.
    """

    def __init__(self, shape: Sequence[int], seed: int = 0) -> None:
        self.input = "image"
        self._shapes: dict[str, tuple[int, ...]] = {self.input: tuple(shape)}
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []

    def conv(
        self, x: str, channels: int, kernel: int, stride: int = 1, *, depthwise: bool = False
    ) -> str:
        """A convolution with bias that pads by half the kernel."""
        inputs = self._channels(x)
        groups = inputs if depthwise else 1
        fan_in = inputs // groups * kernel * kernel
        weight = self._weight((channels, inputs // groups, kernel, kernel), fan_in)
        bias = self._constant(self._rng.normal(0, 0.2, channels))
        pads = [kernel // 2] * 4
        return self._node(
            "Conv", [x, weight, bias], kernel_shape=[kernel] * 2, pads=pads,
            strides=[stride] * 2, group=groups,
        )  # fmt: skip

    def relu(self, x: str) -> str:
        return self._node("Relu", [x])

    def relu6(self, x: str) -> str:
        return self._node("Clip", [x, self._constant(0.0), self._constant(6.0)])

    def add(self, x: str, y: str) -> str:
        return self._node("Add", [x, y])

    def max_pool(self, x: str, kernel: int, stride: int) -> str:
        return self._node("MaxPool", [x], kernel_shape=[kernel] * 2, strides=[stride] * 2)

    def average_pool(self, x: str, kernel: int, stride: int) -> str:
        return self._node("AveragePool", [x], kernel_shape=[kernel] * 2, strides=[stride] * 2)

    def global_average_pool(self, x: str) -> str:
        return self._node("GlobalAveragePool", [x])

    def flatten(self, x: str) -> str:
        return self._node("Flatten", [x])

    def transpose(self, x: str, axes: Sequence[int]) -> str:
        return self._node("Transpose", [x], perm=list(axes))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self._node("Reshape", [x, self._constant(np.array(shape, np.int64))])

    def gemm(self, x: str, outputs: int) -> str:
        depth = self._channels(x)
        weight = self._weight((outputs, depth), depth)
        bias = self._constant(self._rng.normal(0, 0.2, outputs))
        return self._node("Gemm", [x, weight, bias], transB=1)

    def softmax(self, x: str) -> str:
        return self._node("Softmax", [x], axis=-1)

    def batch_normalization(self, x: str) -> str:
        size = self._channels(x)
        means = [self.constant(self._rng.normal(0, 0.2, size)) for _ in range(2)]
        spreads = [self.constant(self._rng.uniform(0.5, 1.5, size)) for _ in range(2)]
        return self.op("BatchNormalization", x, spreads[0], means[0], means[1], spreads[1])

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """Parts of the channels."""
        bounds = np.cumsum([0, *sizes])
        pairs = itertools.pairwise(bounds)
        return [self.slice(x, [int(a)], [int(b)], [1]) for a, b in pairs]

    def slice(self, x: str, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int]) -> str:
        bounds = [self.constant(np.array(one, np.int64)) for one in (starts, ends, axes)]
        return self.op("Slice", x, *bounds)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Any operator with one output."""
        return self._node(kind, list(inputs), **attributes)

    def constant(self, values: Any) -> str:
        """An initializer; floats in float32."""
        return self._constant(values)

    def weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        """Random weights, their first axis of different sizes."""
        return self._weight(shape, fan_in)

    def shape(self, x: str) -> tuple[int, ...]:
        """Of a tensor made so far."""
        return self._shapes[x]

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The network with these outputs."""
        graph = helper.make_graph(
            self._nodes,
            "network",
            [_port(self.input, "float32", self._shapes[self.input])],
            [_port(name, "float32", self._shapes[name]) for name in outputs],
            self._initializers,
        )
        return make_model(graph)

    def _channels(self, x: str) -> int:
        return self._shapes[x][1]

    def _weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        # Channels of very different size make per-channel scales matter.
        spread = np.exp(self._rng.uniform(-1, 1, (shape[0],) + (1,) * (len(shape) - 1)))
        return self._constant(spread * self._rng.normal(0, np.sqrt(2 / fan_in), shape))

    def _constant(self, values: Any) -> str:
        array = np.asarray(values)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = f"constant{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(array, name))
        return name

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(
            self._nodes,
            "partial",
            [_port(self.input, "float32", self._shapes[self.input])],
            [value],
            self._initializers,
        )
        inferred = onnx.shape_inference.infer_shapes(make_model(graph), strict_mode=True)
        dims = inferred.graph.output[0].type.tensor_type.shape.dim
        self._shapes[output] = tuple(size.dim_value for size in dims)
        return output


def make_model(graph: onnx.GraphProto, opset: int = OPSET) -> onnx.ModelProto:
    """The graph as a model that ONNX Runtime accepts."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def residual_network(*, softmax: bool = True) -> onnx.ModelProto:
    """ResNet-like: strided convolutions, two residual sums, global average, classifier."""
    net = Network((1, 3, 16, 16), seed=1)
    x = net.relu(net.conv(net.input, 8, 3))
    y = net.relu(net.conv(x, 8, 3))
    y = net.conv(y, 8, 3)
    x = net.relu(net.add(x, y))
    y = net.relu(net.conv(x, 16, 3, stride=2))
    y = net.conv(y, 16, 3)
    shortcut = net.conv(x, 16, 1, stride=2)
    x = net.relu(net.add(y, shortcut))
    x = net.gemm(net.flatten(net.global_average_pool(x)), 10)
    return net.model(net.softmax(x) if softmax else x)


def mobile_network() -> onnx.ModelProto:
    """MobileNet-like: depthwise convolutions, Relu6, both poolings; flattens several pixels."""
    net = Network((1, 2, 20, 12), seed=2)
    x = net.relu6(net.conv(net.input, 8, 3, stride=2))
    x = net.relu6(net.conv(x, 8, 3, depthwise=True))
    x = net.relu6(net.conv(x, 12, 1))
    x = net.max_pool(x, 2, 1)
    x = net.relu6(net.conv(x, 12, 3, stride=2, depthwise=True))
    x = net.relu6(net.conv(x, 16, 1))
    x = net.average_pool(x, 3, 1)
    return net.model(net.gemm(net.flatten(x), 6))


@dataclass(frozen=True)
class Quantization:
    """How a tensor is quantized: real = scale * (q - zero_point)."""

    dtype: str
    scale: float
    zero_point: int

    @property
    def range(self) -> tuple[int, int]:
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)


class QdqModel:
    """A model of quantized operators, each operand of which comes from a DequantizeLinear.

    Methods take and return the names of float tensors.
    """

    def __init__(self, opset: int = OPSET) -> None:
        self._opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, shape: Sequence[int], q: Quantization, *, as_float: bool = False) -> str:
        """A model input: quantized, or float and quantized at once."""
        name = f"input_{len(self._inputs)}"
        self._inputs.append(_port(name, "float32" if as_float else q.dtype, shape))
        return self.dequantize(self.quantize(name, q) if as_float else name, q)

    def output(
        self, x: str, q: Quantization, shape: Sequence[int], *, as_float: bool = False
    ) -> str:
        """Quantizes a float tensor and makes it a model output, dequantized again or not."""
        quantized = self.quantize(x, q)
        name = self.dequantize(quantized, q) if as_float else quantized
        self._outputs.append(_port(name, "float32" if as_float else q.dtype, shape))
        return name

    def quantize(self, x: str, q: Quantization) -> str:
        return self.operator("QuantizeLinear", x, *self._parameters(q))

    def dequantize(self, x: str, q: Quantization) -> str:
        return self.operator("DequantizeLinear", x, *self._parameters(q))

    def weight(self, values: Array, scale: Array, axis: int = 0) -> str:
        """An int8 or int32 constant with zero point 0, dequantized."""
        zero_point = self.constant(np.zeros(np.shape(scale), values.dtype))
        scales = self.constant(np.asarray(scale, np.float32))
        return self.operator(
            "DequantizeLinear", self.constant(values), scales, zero_point, axis=axis
        )

    def operator(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def constant(self, values: Any) -> str:
        name = f"constant_{len(self._initializers)}"
        self._initializers.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes, "operators", self._inputs, self._outputs, self._initializers
        )
        return make_model(graph, self._opset)

    def _parameters(self, q: Quantization) -> tuple[str, str]:
        zero_point = np.array(q.zero_point, q.dtype)
        return self.constant(np.float32(q.scale)), self.constant(zero_point)


class _Calibration:
    def __init__(self, images: Sequence[Array]) -> None:
        self._images: Iterator[Array] = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image}


def quantize(
    model: onnx.ModelProto,
    path: Path,
    *,
    activations: str = "int8",
    weights: str = "int8",
    per_channel: bool = True,
    symmetric: bool = False,
    form: str = "QDQ",
    opset: int = OPSET,
    **options: Any,
) -> Path:
    """Writes the network as ONNX Runtime's tools quantize it, in QDQ or QOperator form."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    types = {"int4": QuantType.QInt4, "int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(3)
    images = [rng.normal(0, 1, shape).astype(np.float32) for _ in range(8)]
    if opset != OPSET:
        model = version_converter.convert_version(model, opset)
    # ONNX Runtime changes a model that it is handed in memory.
    onnx.save(model, path.with_suffix(".float.onnx"))
    quantize_static(
        path.with_suffix(".float.onnx"),
        path,
        _Calibration(images),
        quant_format=QuantFormat[form],
        activation_type=types[activations],
        weight_type=types[weights],
        per_channel=per_channel,
        extra_options={"ActivationSymmetric": symmetric, **options},
    )
    return path


def _port(name: str, dtype: str, shape: Sequence[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
    )
