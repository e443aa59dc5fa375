"""Instruction counts of a few representative layers, kept so that a slower kernel is noticed.

Run it to measure anew and write `data/instruction_counts.json`, after a change that is meant to
change the counts: `python tests/instruction_counts.py`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs

TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
STORED = Path(__file__).parent / "data" / "instruction_counts.json"

_SCALE = 0.05
_ZERO_POINT = -128


def _convolution(
    shape: tuple[int, int, int], channels: int, kernel: tuple[int, int], stride: int
) -> Callable[[TFLiteBuilder, np.random.Generator], Tensor]:
    def build(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        x = b.input((1, *shape), _SCALE, _ZERO_POINT)
        weight = rng.integers(-100, 101, (channels, *kernel, shape[2])).astype(np.int8)
        return b.conv2d(
            x,
            weight,
            rng.integers(-2000, 2001, channels).astype(np.int32),
            weight_scale=rng.uniform(0.001, 0.002, channels),
            scale=_SCALE,
            zero_point=_ZERO_POINT,
            strides=(stride, stride),
            padding="SAME",
            activation="RELU",
        )

    return build


def _depthwise(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = b.input((1, 24, 24, 32), _SCALE, _ZERO_POINT)
    return b.depthwise_conv2d(
        x,
        rng.integers(-100, 101, (1, 3, 3, 32)).astype(np.int8),
        rng.integers(-2000, 2001, 32).astype(np.int32),
        weight_scale=rng.uniform(0.003, 0.006, 32),
        scale=_SCALE,
        zero_point=_ZERO_POINT,
        padding="SAME",
        activation="RELU",
    )


def _dense(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = b.input((1, 128), _SCALE, _ZERO_POINT)
    return b.fully_connected(
        x,
        rng.integers(-100, 101, (128, 128)).astype(np.int8),
        rng.integers(-2000, 2001, 128).astype(np.int32),
        weight_scale=0.002,
        scale=_SCALE,
        zero_point=3,
    )


def _wide(
    kind: str, shape: tuple[int, ...], output: tuple[int, ...], weights: tuple[int, ...]
) -> Callable[[TFLiteBuilder, np.random.Generator], Tensor]:
    """A layer on int16 whose padding is SAME."""
    window = dict.fromkeys(("StrideH", "StrideW", "DilationHFactor", "DilationWFactor"), 1)

    def build(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        x = b.input(shape, 1e-3, dtype="int16")
        weight = rng.integers(-100, 101, weights).astype(np.int8)
        bias = rng.integers(-(2**20), 2**20, output[-1])
        axis = weights.index(output[-1])
        filters = b.constant(weight, rng.uniform(0.001, 0.002, output[-1]), channel_axis=axis)
        names = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}
        options: dict[str, Any] = {"options": names.get(kind, "FullyConnectedOptions")}
        options |= window if kind in names else {}
        options |= {"DepthMultiplier": 1} if kind == "DEPTHWISE_CONV_2D" else {}
        inputs = [x, filters, b.constant(bias)]
        return b.operator(kind, inputs, output, scale=2e-3, dtype="int16", **options)

    return build


def _wide_add(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    first, second = (b.input((1, 1, 32, 32), scale, dtype="int16") for scale in (1e-3, 7e-4))
    options = {"scale": 1e-3, "dtype": "int16", "options": "AddOptions"}
    return b.operator("ADD", [first, second], first.shape, **options)


def _wide_leaky_relu(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = b.input((1, 1, 32, 32), 1e-3, dtype="int16")
    options = {"dtype": "int16", "options": "LeakyReluOptions", "Alpha": 0.3}
    return b.operator("LEAKY_RELU", [x], x.shape, **x.quantization, **options)


def _add(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    first = b.input((1, 32, 32, 4), _SCALE, 3)
    second = b.input((1, 32, 32, 4), 0.03, _ZERO_POINT)
    return b.add(first, second, scale=0.07, zero_point=_ZERO_POINT, activation="RELU")


LAYERS: dict[str, Callable[[TFLiteBuilder, np.random.Generator], Tensor]] = {
    "conv2d 1x1 25x5x64->64": _convolution((25, 5, 64), 64, (1, 1), 1),
    "conv2d 3x3 16x16x32->32": _convolution((16, 16, 32), 32, (3, 3), 1),
    "conv2d 3x3 stride 2 48x48x3->8": _convolution((48, 48, 3), 8, (3, 3), 2),
    "depthwise 3x3 24x24x32": _depthwise,
    "fully connected 128->128": _dense,
    "add 4096": _add,
    "average pool 8x8x64": lambda b, rng: b.average_pool2d(
        b.input((1, 8, 8, 64), _SCALE, _ZERO_POINT), (8, 8)
    ),
    "softmax 12": lambda b, rng: b.softmax(b.input((1, 12), 0.1, 10)),
    "int16 conv2d 1x3 32x16->32": _wide("CONV_2D", (1, 1, 32, 16), (1, 1, 32, 32), (32, 1, 3, 16)),
    "int16 fully connected 128->64": _wide("FULLY_CONNECTED", (1, 128), (1, 64), (64, 128)),
    "int16 depthwise 3x3 8x8x16": _wide(
        "DEPTHWISE_CONV_2D", (1, 8, 8, 16), (1, 8, 8, 16), (1, 3, 3, 16)
    ),
    "int16 add 1024": _wide_add,
    "int16 leaky relu 1024": _wide_leaky_relu,
}


def measure(target: str) -> dict[str, int]:
    """Instructions of each layer on a core, all in one image."""
    builder = TFLiteBuilder()
    for index, build in enumerate(LAYERS.values()):
        builder.output(build(builder, np.random.default_rng(index)))
    with tempfile.TemporaryDirectory(prefix="tinyaot-counts-") as folder:
        path = Path(folder) / "layers.tflite"
        path.write_bytes(builder.build())
        compiled = compile_model(path, target, tuned=False)
    inputs = random_inputs(compiled.inputs, 1, 0)
    counts = compiled.measure(inputs, profile=True).operator_instructions
    assert counts is not None
    assert len(counts) == len(LAYERS)
    return dict(zip(LAYERS, counts, strict=True))


def compiler_version() -> str:
    """The Arm compiler, whose code the counts depend on."""
    command = ["arm-none-eabi-gcc", "-dumpfullversion"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Measures all layers on all cores and stores the counts."""
    document = {
        "compiler": compiler_version(),
        "counts": {target: measure(target) for target in TARGETS},
    }
    STORED.parent.mkdir(exist_ok=True)
    STORED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
