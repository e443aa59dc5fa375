"""Operators on int16 activations compute what TFLite Micro computes, element for element; see
`test_operators.py`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from operator_cases import (
    CASES_PER_OPERATOR,
    Case,
    activation,
    differing_cases,
    dilated,
    window,
    write_model,
)
from tflite_builder import Tensor, TFLiteBuilder, output_size

from tinyaot.compiler import compile_model
from tinyaot.compiler.reference import evaluate

DEVIATION = 16000.0


def scale(rng: np.random.Generator) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(1e-4), np.log(1e-2)))))


def image(b: TFLiteBuilder, rng: np.random.Generator, channels: int = 0) -> Tensor:
    height, width = (int(size) for size in rng.integers(5, 10, 2))
    channels = channels or int(rng.choice([1, 2, 3, 4, 8]))
    return b.input((int(rng.choice([1, 1, 2])), height, width, channels), scale(rng), dtype="int16")


def parameters(
    b: TFLiteBuilder, rng: np.random.Generator, x: Tensor, shape: tuple[int, ...], axis: int
) -> tuple[list[Tensor], float]:
    """Weights and an int64 bias or none; and an output scale that their sums fill."""
    channels = shape[axis]
    weight = rng.integers(-127, 128, shape, np.int8)
    deviation = DEVIATION * 74 * np.sqrt(weight.size / channels)
    count = channels if rng.random() < 0.7 else 1
    scales = np.exp(rng.uniform(np.log(1e-4), np.log(1e-1), 1)) * rng.uniform(0.5, 2, count)
    tensors = [x, b.constant(weight, scales, channel_axis=axis if count > 1 else 0)]
    if rng.random() < 0.7:
        bias = rng.normal(0, deviation, channels).astype(np.int64)
        tensors.append(b.constant(bias, x.scale * tensors[1].scales[0]))
    return tensors, float(np.float32(x.scale * scales[0] * deviation / DEVIATION))


def convolution(
    b: TFLiteBuilder,
    rng: np.random.Generator,
    kind: str,
    x: Tensor,
    shape: tuple[int, ...],
    axis: int,
    **fields: Any,
) -> Tensor:
    tensors, output_scale = parameters(b, rng, x, shape, axis)
    geometry = {"dilation": (1, 1)} | dilated(rng, window(rng))
    height, width = (
        output_size(size, kernel, stride, dilation, geometry["padding"])
        for size, kernel, stride, dilation in zip(
            x.shape[1:3], shape[1:3], geometry["strides"], geometry["dilation"], strict=True
        )
    )
    return b.operator(
        *(kind, tensors, (x.shape[0], height, width, shape[axis])),
        scale=output_scale,
        dtype="int16",
        StrideH=geometry["strides"][0],
        StrideW=geometry["strides"][1],
        DilationHFactor=geometry["dilation"][0],
        DilationWFactor=geometry["dilation"][1],
        Padding=getattr(tflite.Padding, geometry["padding"]),
        FusedActivationFunction=fused(rng, output_scale),
        **fields,
    )


def fused(rng: np.random.Generator, scale: float) -> int:
    return int(getattr(tflite.ActivationFunctionType, activation(rng, scale, 0, "int16")))


def conv2d(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    shape = (int(rng.choice([1, 3, 4, 6])), *(int(n) for n in rng.integers(1, 4, 2)), x.shape[3])
    return convolution(b, rng, "CONV_2D", x, shape, 0, options="Conv2DOptions")


def grouped_conv2d(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    groups, each = (int(n) for n in rng.integers(1, 4, 2))
    x = image(b, rng, groups * each)
    shape = (groups * int(rng.integers(1, 5)), *(int(n) for n in rng.integers(1, 4, 2)), each)
    return convolution(b, rng, "CONV_2D", x, shape, 0, options="Conv2DOptions")


def depthwise_conv2d(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    multiplier = int(rng.choice([1, 1, 2, 3, 4]))
    shape = (1, *(int(n) for n in rng.integers(1, 4, 2)), x.shape[3] * multiplier)
    return convolution(
        *(b, rng, "DEPTHWISE_CONV_2D", x, shape, 3),
        options="DepthwiseConv2DOptions",
        DepthMultiplier=multiplier,
    )


def fully_connected(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """A long one too, whose sums need 64 bits."""
    depth, outputs = int(rng.choice([1, 7, 64, 700])), int(rng.integers(1, 9))
    rows = int(rng.choice([1, 3]))
    x = b.input((rows, depth), scale(rng), dtype="int16")
    tensors, output_scale = parameters(b, rng, x, (outputs, depth), 0)
    if rng.random() < 0.3:
        tensors[2:] = [b.constant(rng.integers(-(2**20), 2**20, outputs).astype(np.int32))]
    return b.operator(
        *("FULLY_CONNECTED", tensors, (rows, outputs)),
        scale=output_scale,
        dtype="int16",
        options="FullyConnectedOptions",
        FusedActivationFunction=fused(rng, output_scale),
    )


def pool(kind: str) -> Case:
    def case(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        x = image(b, rng)
        kernel, geometry = (int(n) for n in rng.integers(1, 5, 2)), window(rng)
        kernel_height, kernel_width = kernel
        height = output_size(
            x.shape[1], kernel_height, geometry["strides"][0], 1, geometry["padding"]
        )
        width = output_size(
            x.shape[2], kernel_width, geometry["strides"][1], 1, geometry["padding"]
        )
        return b.operator(
            *(kind, [x], (x.shape[0], height, width, x.shape[3])),
            **x.quantization,
            dtype="int16",
            options="Pool2DOptions",
            FilterHeight=kernel_height,
            FilterWidth=kernel_width,
            StrideH=geometry["strides"][0],
            StrideW=geometry["strides"][1],
            Padding=getattr(tflite.Padding, geometry["padding"]),
            FusedActivationFunction=fused(rng, x.scale),
        )

    case.__name__ = kind.lower()
    return case


def softmax(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    rows, depth = int(rng.integers(1, 5)), int(rng.choice([2, 3, 10, 300]))
    x = b.input((rows, depth), scale(rng), dtype="int16")
    beta = float(rng.choice([1.0, 1.0, 0.5, 2.0]))
    return b.operator(
        *("SOFTMAX", [x], x.shape),
        scale=1 / 32768,
        dtype="int16",
        options="SoftmaxOptions",
        Beta=beta,
    )


def sigmoid(kind: str) -> Case:
    def case(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        """Scales that are powers of two have a path of their own."""
        exponent = int(rng.integers(-14, -9))
        size = scale(rng) * 10 if rng.random() < 0.6 else 2.0**exponent
        return b.operator(
            *(kind, [b.input((3, 501), size, dtype="int16")], (3, 501)),
            scale=1 / 32768,
            dtype="int16",
        )

    case.__name__ = kind.lower()
    return case


def relu(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = b.input((5, 101), scale(rng) * 10, dtype="int16")
    if rng.random() < 0.5:
        return b.operator("RELU6", [x], x.shape, dtype="int16", **x.quantization)
    return b.operator("RELU", [x], x.shape, dtype="int16", scale=x.scale * rng.uniform(0.5, 2))


def leaky_relu(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = b.input((5, 101), scale(rng), dtype="int16")
    return b.operator(
        *("LEAKY_RELU", [x], x.shape),
        scale=x.scale * rng.uniform(0.5, 2),
        dtype="int16",
        options="LeakyReluOptions",
        Alpha=float(rng.uniform(0, 1.5)),
    )


def absolute(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = b.input((5, 101), scale(rng), dtype="int16")
    return b.operator("ABS", [x], x.shape, dtype="int16", scale=x.scale * rng.uniform(0.5, 2))


def network(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """A residual block of one dimension, as audio models have them, and a classifier."""
    x = b.input((1, 33, 1, 6), 1e-3, dtype="int16")
    padded = b.operator(
        *("PAD", [x, b.constant(np.array([[0, 0], [2, 0], [0, 0], [0, 0]], np.int32))]),
        (1, 35, 1, 6),
        dtype="int16",
        options="PadOptions",
        **x.quantization,
    )
    tensors, size = parameters(b, rng, padded, (6, 3, 1, 6), 0)
    y = b.operator(
        *("CONV_2D", tensors, (1, 33, 1, 6)),
        scale=size,
        dtype="int16",
        options="Conv2DOptions",
        StrideH=1,
        StrideW=1,
        DilationHFactor=1,
        DilationWFactor=1,
        Padding=tflite.Padding.VALID,
    )
    y = b.operator(
        *("LEAKY_RELU", [y], y.shape),
        dtype="int16",
        options="LeakyReluOptions",
        Alpha=0.3,
        **y.quantization,
    )
    y = b.operator(
        *("ADD", [x, y], y.shape), scale=y.scale * 2, dtype="int16", options="AddOptions"
    )
    y = b.operator("TANH", [y], y.shape, scale=1 / 32768, dtype="int16")
    axes = b.constant(np.array([1, 2], np.int32))
    y = b.operator("MEAN", [y, axes], (1, 6), scale=1e-5, dtype="int16", options="ReducerOptions")
    tensors, size = parameters(b, rng, y, (5, 6), 0)
    y = b.operator(
        *("FULLY_CONNECTED", tensors, (1, 5)),
        scale=size,
        dtype="int16",
        options="FullyConnectedOptions",
    )
    return b.operator(
        "SOFTMAX", [y], y.shape, scale=1 / 32768, dtype="int16", options="SoftmaxOptions", Beta=1.0
    )


OPERATORS: tuple[Case, ...] = (
    conv2d,
    grouped_conv2d,
    depthwise_conv2d,
    fully_connected,
    pool("AVERAGE_POOL_2D"),
    pool("MAX_POOL_2D"),
    softmax,
    sigmoid("LOGISTIC"),
    sigmoid("TANH"),
    relu,
    leaky_relu,
    absolute,
    network,
)


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.__name__)
def test_wide_operator_on_the_host(case: Case, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", *[case] * CASES_PER_OPERATOR)
    assert differing_cases(path, "host") == {}


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_wide_operators_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = write_model(tmp_path / "model.tflite", *OPERATORS, seed=1)
    assert differing_cases(path, target) == {}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
def test_rsqrt_on_the_host(tmp_path: Path) -> None:
    """Of positive numbers only: TFLite Micro refuses others."""
    rng = np.random.default_rng(0)
    builder, inputs = TFLiteBuilder(), []
    for _ in range(CASES_PER_OPERATOR):
        x = builder.input((5, 101), scale(rng), dtype="int16")
        size = float(np.float32(x.scale**-0.5 / 32768 * rng.uniform(0.02, 2)))
        builder.output(builder.operator("RSQRT", [x], x.shape, dtype="int16", scale=size))
        inputs.append(np.exp(rng.uniform(0, np.log(32767), x.shape)).astype(np.int16))
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.build())
    compiled = compile_model(path, "host")
    (expected,) = compiled.reference(path, [inputs])
    (got,) = compiled.measure([inputs]).outputs
    plain = evaluate(compiled.graph, inputs)
    for tensor, one, other in zip(compiled.outputs, got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(plain[tensor.name], other)
