"""Float ONNX networks of the families that run on microcontrollers, as exporters write them.

Small in every size, so that quantizing, compiling and running one takes about a second. Weights
come from a seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx_builder import Network


def mobilenet_v2() -> onnx.ModelProto:
    """Inverted residuals with Clip at 0 and 6, as PyTorch exports ReLU6."""
    net = Network((1, 3, 16, 16), seed=11)
    x = net.relu6(net.conv(net.input, 8, 3, stride=2))
    for channels, stride in ((8, 1), (12, 2), (12, 1)):
        y = net.relu6(net.conv(x, 24, 1))
        y = net.relu6(net.conv(y, 24, 3, stride=stride, depthwise=True))
        y = net.conv(y, channels, 1)
        x = net.add(x, y) if stride == 1 else y
    x = net.relu6(net.conv(x, 24, 1))
    return net.model(net.gemm(net.flatten(net.global_average_pool(x)), 10))


def mobilenet_v3() -> onnx.ModelProto:
    """Squeeze and excite with HardSigmoid, HardSwish as an operator and taken apart."""
    net = Network((1, 3, 16, 16), seed=12)
    x = net.conv(net.input, 8, 3, stride=2)
    x = net.op("HardSwish", x)
    for channels, stride, apart in ((8, 1, False), (12, 2, True)):
        y = _hard_swish(net, net.conv(x, 16, 1), apart)
        y = net.conv(y, 16, 5, stride=stride, depthwise=True)
        y = _hard_swish(net, _squeeze_and_excite(net, y), apart)
        y = net.conv(y, channels, 1)
        x = net.add(x, y) if stride == 1 else y
    x = net.global_average_pool(_hard_swish(net, net.conv(x, 16, 1), False))
    x = net.flatten(net.op("HardSwish", net.conv(x, 24, 1)))
    return net.model(net.gemm(x, 10))


def _hard_swish(net: Network, x: str, apart: bool) -> str:
    if not apart:
        return net.op("Mul", x, net.op("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    gate = net.op("Clip", net.op("Add", x, net.constant(3.0)), net.constant(0.0), net.constant(6.0))
    return net.op("Div", net.op("Mul", x, gate), net.constant(6.0))


def _squeeze_and_excite(net: Network, x: str) -> str:
    y = net.op("ReduceMean", x, axes=[2, 3], keepdims=1)
    y = net.relu(net.conv(y, 4, 1))
    y = net.op("HardSigmoid", net.conv(y, 16, 1), alpha=1 / 6, beta=0.5)
    return net.op("Mul", x, y)


def efficientnet_lite() -> onnx.ModelProto:
    """SAME_UPPER padding as Keras exports it, BatchNormalization behind convolutions, Swish."""
    net = Network((1, 3, 17, 17), seed=13)
    x = _swish(net, _same_conv(net, net.input, 8, 3, 2))
    y = _swish(net, net.batch_normalization(net.conv(x, 24, 1)))
    y = _swish(net, _same_conv(net, y, 24, 5, 1, depthwise=True))
    y = net.batch_normalization(net.conv(y, 8, 1))
    x = net.op("ReduceMean", net.add(x, y), axes=[2, 3], keepdims=0)
    weight = net.weight((8, 10), 8)
    x = net.op("MatMul", x, weight)
    x = net.op("Add", x, net.constant(np.linspace(-1, 1, 10)))
    return net.model(x)


def _swish(net: Network, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", x))


def _same_conv(
    net: Network, x: str, channels: int, kernel: int, stride: int, *, depthwise: bool = False
) -> str:
    groups = channels if depthwise else 1
    inputs = net.shape(x)[1] // groups
    weight = net.weight((channels, inputs, kernel, kernel), inputs * kernel * kernel)
    return net.op(
        "Conv", x, weight, auto_pad="SAME_UPPER", strides=[stride] * 2, group=groups,
        kernel_shape=[kernel] * 2,
    )  # fmt: skip


def u_net() -> onnx.ModelProto:
    """Skips by Concat; up by ConvTranspose and by Resize, nearest and linear."""
    net = Network((1, 1, 16, 16), seed=14)
    first = net.relu(net.conv(net.input, 6, 3))
    second = net.relu(net.conv(net.max_pool(first, 2, 2), 8, 3))
    x = net.relu(net.conv(net.max_pool(second, 2, 2), 12, 3))
    weight = net.weight((12, 8, 2, 2), 12)
    bias = net.constant(np.linspace(-0.2, 0.2, 8))
    x = net.op("ConvTranspose", x, weight, bias, kernel_shape=[2, 2], strides=[2, 2])
    x = net.relu(net.conv(net.op("Concat", x, second, axis=1), 8, 3))
    scales = net.constant([1.0, 1, 2, 2])
    up = net.op(
        "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip
    linear = net.op(
        "Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
    )
    x = net.op("Concat", up, linear, first, axis=1)
    return net.model(net.op("Sigmoid", net.conv(net.relu(net.conv(x, 6, 3)), 1, 1)))


def audio() -> onnx.ModelProto:
    """One-dimensional convolutions over a waveform: strided, dilated, depthwise."""
    net = Network((1, 1, 256), seed=15)
    x = net.relu(net.batch_normalization(_conv1d(net, net.input, 8, 16, stride=4)))
    x = net.op("MaxPool", x, kernel_shape=[4], strides=[4])
    x = net.relu(_conv1d(net, x, 8, 3, dilation=2, groups=8))
    x = net.add(x, net.op("LeakyRelu", _conv1d(net, x, 8, 1), alpha=0.1))
    x = net.op("AveragePool", x, kernel_shape=[2], strides=[2])
    x = net.op("GlobalAveragePool", _conv1d(net, x, 12, 3))
    x = net.gemm(net.op("Squeeze", x, net.constant(np.array([2]))), 6)
    return net.model(net.op("Softmax", x, axis=1))


def _conv1d(
    net: Network, x: str, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1,
    groups: int = 1,
) -> str:  # fmt: skip
    inputs = net.shape(x)[1] // groups
    weight = net.weight((channels, inputs, kernel), inputs * kernel)
    bias = net.constant(np.linspace(-0.1, 0.1, channels))
    half = (kernel - 1) * dilation // 2
    return net.op(
        "Conv", x, weight, bias, kernel_shape=[kernel], strides=[stride], dilations=[dilation],
        pads=[half, half], group=groups,
    )  # fmt: skip


def attention() -> onnx.ModelProto:
    """A transformer's encoder block: LayerNormalization, two heads, GELU taken apart into Erf."""
    net = Network((1, 6, 16), seed=16)
    x = net.op("Add", net.input, net.constant(_positions(6, 16)))
    y = _layer_normalization(net, x)
    heads = [_head(net, y, transposed) for transposed in (False, True, False)]
    scores = net.op("Div", net.op("MatMul", heads[0], heads[1]), net.constant(np.sqrt(8.0)))
    y = net.op("MatMul", net.op("Softmax", scores, axis=-1), heads[2])
    y = net.op("Reshape", net.transpose(y, (0, 2, 1, 3)), net.constant(np.array([1, 6, 16])))
    x = net.add(x, _linear(net, y, 16))
    y = _gelu(net, _linear(net, _layer_normalization(net, x), 32))
    x = _layer_normalization(net, net.add(x, _linear(net, y, 16)))
    x = net.op("ReduceMean", x, axes=[1], keepdims=0)
    return net.model(net.gemm(x, 5))


def _positions(length: int, width: int) -> np.ndarray:
    return np.sin(np.arange(length * width).reshape(1, length, width))


def _linear(net: Network, x: str, outputs: int) -> str:
    inputs = net.shape(x)[-1]
    product = net.op("MatMul", x, net.weight((inputs, outputs), inputs))
    return net.op("Add", net.constant(np.linspace(-0.2, 0.2, outputs)), product)


def _head(net: Network, x: str, transposed: bool) -> str:
    x = net.op("Reshape", _linear(net, x, 16), net.constant(np.array([0, 0, 2, 8])))
    return net.transpose(x, (0, 2, 3, 1) if transposed else (0, 2, 1, 3))


def _layer_normalization(net: Network, x: str) -> str:
    scale = net.constant(np.linspace(0.8, 1.2, net.shape(x)[-1]))
    bias = net.constant(np.linspace(-0.1, 0.1, net.shape(x)[-1]))
    return net.op("LayerNormalization", x, scale, bias, axis=-1)


def _gelu(net: Network, x: str) -> str:
    inner = net.op("Erf", net.op("Div", x, net.constant(np.sqrt(2.0))))
    product = net.op("Mul", x, net.op("Add", inner, net.constant(1.0)))
    return net.op("Mul", product, net.constant(0.5))


def autoencoder() -> onnx.ModelProto:
    """Dense layers to a bottleneck and back, as for anomaly detection."""
    net = Network((1, 40), seed=17)
    x = net.input
    for outputs in (16, 4, 16):
        x = net.relu(net.batch_normalization(net.gemm(x, outputs)))
    return net.model(net.gemm(x, 40))


def keyword_spotting() -> onnx.ModelProto:
    """DS-CNN as TensorFlow's converter writes it: channels last outside, Transpose around."""
    net = Network((1, 20, 10, 1), seed=18)
    x = net.transpose(net.input, (0, 3, 1, 2))
    x = net.relu(_same_conv(net, x, 12, 4, 2))
    for _ in range(2):
        x = net.relu(net.batch_normalization(_same_conv(net, x, 12, 3, 1, depthwise=True)))
        x = net.relu(net.conv(x, 12, 1))
    x = net.op("AveragePool", x, kernel_shape=list(net.shape(x)[2:]))
    x = net.transpose(x, (0, 2, 3, 1))
    x = net.op("Reshape", x, net.constant(np.array([1, 12])))
    x = net.op("MatMul", x, net.weight((12, 8), 12))
    return net.model(net.op("Softmax", net.op("Add", x, net.constant(np.linspace(-1, 1, 8)))))


def detector() -> onnx.ModelProto:
    """A one-stage detector's head: scores and boxes, split, sliced, reshaped and joined."""
    net = Network((1, 3, 16, 16), seed=19)
    x = net.op("LeakyRelu", net.conv(net.input, 8, 3, stride=2), alpha=0.1)
    a, b = net.split(net.op("LeakyRelu", net.conv(x, 8, 3), alpha=0.1), (4, 4))
    x = net.op("Concat", a, net.add(net.conv(b, 4, 3), b), x, axis=1)
    heads = []
    for size in (1, 2):
        y = net.conv(x if size == 1 else net.max_pool(x, 2, 2), 6, 1)
        count = int(np.prod(net.shape(y)[2:]))
        heads.append(net.op("Reshape", y, net.constant(np.array([1, 6, count]))))
    x = net.transpose(net.op("Concat", *heads, axis=2), (0, 2, 1))
    boxes = net.slice(x, [0], [4], [2])
    scores = net.op("Sigmoid", net.slice(x, [4], [6], [2]))
    return net.model(net.op("Concat", boxes, scores, axis=2))


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    function.__name__: function
    for function in (
        mobilenet_v2,
        mobilenet_v3,
        efficientnet_lite,
        u_net,
        audio,
        attention,
        autoencoder,
        keyword_spotting,
        detector,
    )
}
