"""Every operator, compiled and run, computes what TFLite Micro computes, element for element.

Each test is one model that holds many independent cases, each with its own inputs and output:
seeded random shapes, quantization and attributes. A failure names the cases that differ.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operator_cases import (
    CASES_PER_OPERATOR,
    Case,
    activation,
    differing_cases,
    dilated,
    scale,
    window,
    write_model,
    zero_point,
)
from tflite_builder import Tensor, TFLiteBuilder

# Standard deviation of what is uniform over the whole of int8.
DEVIATION = 74.0


def activation_input(b: TFLiteBuilder, rng: np.random.Generator, *shape: int) -> Tensor:
    return b.input(shape, scale(rng), zero_point(rng))


def image(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """An input of odd and even sizes and few channels."""
    height, width = (int(size) for size in rng.integers(5, 12, 2))
    return activation_input(b, rng, 1, height, width, int(rng.choice([1, 2, 3, 4, 5, 8])))


def output(rng: np.random.Generator) -> dict[str, Any]:
    """Quantization and fused activation of an operator that rescales."""
    quantization: dict[str, Any] = {"scale": scale(rng), "zero_point": zero_point(rng)}
    return quantization | {"activation": activation(rng, **quantization)}


def parameters(
    rng: np.random.Generator, x: Tensor, shape: tuple[int, ...], channel_axis: int, scale: float
) -> dict[str, Any]:
    """Weights and bias with which sums of products fill the range of an output of that scale.

    The weights have one scale, or one per channel.
    """
    channels = shape[channel_axis]
    weight = rng.integers(-(limit := int(rng.choice([3, 127, 127]))), limit + 1, shape, np.int8)
    deviation = DEVIATION * max(1.0, float(weight.std())) * np.sqrt(2 * weight.size / channels)
    count = channels if rng.random() < 0.7 else 1
    factors = np.exp(rng.uniform(np.log(0.3), np.log(3), count))
    return {
        "weight": weight,
        "bias": rng.normal(0, deviation, channels).astype(np.int32) if rng.random() < 0.8 else None,
        "weight_scale": (factors * scale * DEVIATION / deviation / x.scale).astype(np.float32),
    }


def conv2d(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    height, width = (int(size) for size in rng.integers(1, 4, 2))
    shape = (int(rng.choice([1, 3, 4, 6])), height, width, x.shape[3])
    y = output(rng)
    weights = parameters(rng, x, shape, 0, y["scale"])
    return b.conv2d(x, **weights, **y, **dilated(rng, window(rng)))


def depthwise_conv2d(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    height, width = (int(size) for size in rng.integers(1, 4, 2))
    shape = (1, height, width, x.shape[3] * int(rng.choice([1, 1, 2, 3, 4])))
    y = output(rng)
    weights = parameters(rng, x, shape, 3, y["scale"])
    return b.depthwise_conv2d(x, **weights, **y, **dilated(rng, window(rng)))


def fully_connected(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """One row, several, an image as one row, or an image as a row per place."""
    depth, outputs = (int(size) for size in rng.integers(1, [70, 12]))
    rows = 1 if rng.random() < 0.6 else int(rng.integers(2, 5))
    shape = ((rows, depth), (1, 3, 2, depth))[int(rng.random() < 0.3)]
    keep_dims = len(shape) == 4 and rng.random() < 0.5
    x, y = activation_input(b, rng, *shape), output(rng)
    terms = depth if keep_dims or len(shape) == 2 else 6 * depth
    weights = parameters(rng, x, (outputs, terms), 0, y["scale"])
    return b.fully_connected(x, **weights, **y, keep_dims=keep_dims)


def one_value(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """A layer whose activation leaves one value of its type, RELU with the highest zero point,
    added to another."""
    x = activation_input(b, rng, 1, 20)
    y: dict[str, Any] = {"scale": scale(rng), "zero_point": 127, "activation": "RELU"}
    one = b.fully_connected(x, **parameters(rng, x, (6, 20), 0, y["scale"]), **y)
    other = activation_input(b, rng, 1, 6)
    return b.add(one, other, scale=other.scale, zero_point=other.zero_point)


def add(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    return b.add(x, activation_input(b, rng, *x.shape), **output(rng))


def average_pool2d(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    kernel = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    return b.average_pool2d(x, kernel, activation=activation(rng, **x.quantization), **window(rng))


def max_pool2d(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    kernel = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    return b.max_pool2d(x, kernel, activation=activation(rng, **x.quantization), **window(rng))


def mean(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    axes = ((1, 2), (1, 2), (2, 1), (1,), (2,), (3,), (-3, -2))
    return b.mean(
        x,
        axes[rng.integers(len(axes))],
        scale=float(np.float32(x.scale * rng.uniform(0.2, 1.2))),
        # Far from the input's, all means would saturate.
        zero_point=int(np.clip(x.zero_point + rng.integers(-50, 51), -128, 127)),
        keep_dims=bool(rng.random() < 0.5),
    )


def reshape(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    _, height, width, channels = x.shape
    shapes = [(1, height * width * channels), (1, width, height, channels), (height, -1)]
    shape = list(shapes[rng.integers(len(shapes))])
    if -1 in shape:
        shape[1] = width * channels
    return b.reshape(x, shape)


def softmax(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    rows = 1 if rng.random() < 0.6 else int(rng.integers(2, 5))
    x = activation_input(b, rng, rows, int(rng.integers(2, 40)))
    return b.softmax(x, beta=float(rng.choice([1.0, 1.0, 0.5, 2.0])))


def logistic(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    return b.logistic(image(b, rng))


def squeeze_and_expand(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = activation_input(b, rng, 1, 1, int(rng.integers(2, 9)), 1, int(rng.integers(2, 9)))
    return b.expand_dims(b.squeeze(x, (1, 3)), int(rng.integers(0, 4)))


def pad(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    amounts = [(0, 0), *(tuple(int(n) for n in rng.integers(0, 4, 2)) for _ in range(3))]
    return b.pad(x, amounts, None if rng.random() < 0.5 else int(rng.integers(-128, 128)))


def relu(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """Zero points leave something above zero. TFLite Micro's RELU6 clamps without rescaling: its
    input and output are quantized alike."""
    height, width, channels = (int(size) for size in rng.integers(1, 9, 3))
    x = b.input((1, height, width, channels), scale(rng), int(rng.integers(-128, 100)))
    if activation(rng, **x.quantization) == "RELU6":
        return b.relu(x, kind="RELU6", **x.quantization)
    return b.relu(x, scale=scale(rng), zero_point=int(rng.integers(-128, 100)))


def requantize(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = image(b, rng)
    return b.quantize(
        x, scale=float(np.float32(x.scale * rng.uniform(0.3, 3))), zero_point=zero_point(rng)
    )


def transpose(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    axes = [0, *(int(axis) for axis in 1 + rng.permutation(3))]
    return b.transpose(image(b, rng), axes)


def float_edges(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """Float in and out, quantized inside."""
    x = b.input((1, 6, 5, 3), dtype="float32")
    x = b.quantize(x, scale=scale(rng), zero_point=zero_point(rng))
    return b.dequantize(b.max_pool2d(x, (2, 2)))


OPERATORS: tuple[Case, ...] = (
    conv2d,
    depthwise_conv2d,
    fully_connected,
    one_value,
    add,
    average_pool2d,
    max_pool2d,
    mean,
    reshape,
    softmax,
    logistic,
    squeeze_and_expand,
    pad,
    relu,
    requantize,
    transpose,
    float_edges,
)


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.__name__)
def test_operator_on_the_host(case: Case, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", *[case] * CASES_PER_OPERATOR)
    assert differing_cases(path, "host") == {}


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_operators_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = write_model(tmp_path / "model.tflite", *OPERATORS, *OPERATORS, seed=1)
    assert differing_cases(path, target) == {}
