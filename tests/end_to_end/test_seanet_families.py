"""The families of TFLite Micro's SEANet integration models, layer by layer, and odd quantization.

SEANet is a streaming speech network on int16: dilated convolutions along time, transposed ones,
leaky ReLUs, residual sums, and the padding and slicing that hold its history. See
`test_operators.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from operator_cases import Case, differing_cases, write_model
from tflite_builder import Tensor, TFLiteBuilder, output_size

Rng = np.random.Generator


def scale(rng: Rng) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(2e-5), np.log(2e-3)))))


def signal(b: TFLiteBuilder, rng: Rng) -> Tensor:
    """(1, 1, time, channels) or (1, time, 1, channels)."""
    time, channels = int(rng.integers(3, 40)), int(rng.choice([1, 2, 8, 16, 17]))
    shape = (1, time, 1, channels) if rng.random() < 0.5 else (1, 1, time, channels)
    return b.input(shape, scale(rng), dtype="int16")


def along_time(x: Tensor, value: int) -> tuple[int, int]:
    return (value, 1) if x.shape[2] == 1 else (1, value)


def weighted(b: TFLiteBuilder, rng: Rng, x: Tensor, shape: tuple[int, ...]) -> tuple[Any, float]:
    """Weights per channel, an int64 bias or none, and an output scale that the sums fill."""
    weight = rng.integers(-127, 128, shape, np.int8)
    scales = np.float32(np.exp(rng.uniform(-9, -4, shape[0])))
    deviation = 74 * np.sqrt(weight.size / shape[0])
    tensors = [b.constant(weight, scales)]
    if rng.random() < 0.8:
        bias = rng.normal(0, 16000 * deviation, shape[0]).astype(np.int64)
        tensors.append(b.constant(bias, np.float32(x.scale) * scales))
    return tensors, float(np.float32(x.scale * float(np.median(scales)) * deviation))


def conv(b: TFLiteBuilder, rng: Rng) -> Tensor:
    x, kernel = signal(b, rng), int(rng.choice([1, 3, 7]))
    time = max(x.shape[1:3])
    dilation = int(rng.choice([1, 3, 9])) if time > 9 * kernel else 1
    stride = int(rng.choice([1, 2, 4])) if dilation == 1 else 1
    padding = "SAME" if kernel > time else str(rng.choice(["SAME", "VALID"]))
    outputs = int(rng.choice([1, 4, 8, 13]))
    shape = (outputs, *along_time(x, kernel), x.shape[3])
    weights, size = weighted(b, rng, x, shape)
    strides, dilations = along_time(x, stride), along_time(x, dilation)
    height, width = (
        output_size(*sizes, padding)
        for sizes in zip(x.shape[1:3], shape[1:3], strides, dilations, strict=True)
    )
    return b.operator(
        *("CONV_2D", [x, *weights], (1, height, width, outputs)),
        scale=size,
        dtype="int16",
        options="Conv2DOptions",
        StrideH=strides[0],
        StrideW=strides[1],
        DilationHFactor=dilations[0],
        DilationWFactor=dilations[1],
        Padding=getattr(tflite.Padding, padding),
    )


def transpose_conv(b: TFLiteBuilder, rng: Rng) -> Tensor:
    """A window of twice the stride, as an upsampling decoder has it."""
    x, stride, outputs = signal(b, rng), int(rng.choice([2, 4, 5])), int(rng.choice([1, 4, 8]))
    weights, size = weighted(b, rng, x, (outputs, *along_time(x, 2 * stride), x.shape[3]))
    (kernel, *bias), strides = weights, along_time(x, stride)
    valid = bool(rng.random() < 0.6)
    shape = [
        1,
        *(
            extent * step + (window - step if valid else 0)
            for extent, step, window in zip(x.shape[1:3], strides, kernel.shape[1:3], strict=True)
        ),
        outputs,
    ]
    return b.operator(
        *("TRANSPOSE_CONV", [b.constant(np.array(shape, np.int32)), kernel, x, *bias], shape),
        scale=size,
        dtype="int16",
        options="TransposeConvOptions",
        StrideH=strides[0],
        StrideW=strides[1],
        Padding=tflite.Padding.VALID if valid else tflite.Padding.SAME,
    )


def residual(kind: str) -> Case:
    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x = signal(b, rng)
        y = b.input(x.shape, scale(rng), dtype="int16")
        return b.operator(
            *(kind, [x, y], x.shape),
            scale=float(np.float32(max(x.scale, y.scale) * rng.uniform(0.3, 2))),
            dtype="int16",
            options=f"{kind.title()}Options",
        )

    case.__name__ = kind.lower()
    return case


def leaky_relu(b: TFLiteBuilder, rng: Rng) -> Tensor:
    x = signal(b, rng)
    return b.operator(
        *("LEAKY_RELU", [x], x.shape),
        scale=float(np.float32(x.scale * rng.uniform(0.3, 2))),
        dtype="int16",
        options="LeakyReluOptions",
        Alpha=float(rng.choice([0.2, 0.3, 0.01])),
    )


def pad(b: TFLiteBuilder, rng: Rng) -> Tensor:
    x = signal(b, rng)
    axis = int(np.argmax(x.shape[1:3])) + 1
    amounts = np.zeros((4, 2), np.int32)
    amounts[axis] = rng.integers(0, 9, 2)
    shape = [size + int(sum(pair)) for size, pair in zip(x.shape, amounts, strict=True)]
    return b.operator(
        *("PAD", [x, b.constant(amounts)], shape),
        dtype="int16",
        options="PadOptions",
        **x.quantization,
    )


def strided_slice(b: TFLiteBuilder, rng: Rng) -> Tensor:
    """The last or first samples, as a history is cut, by masks or by indices from the end."""
    x = signal(b, rng)
    axis, begin, end = int(np.argmax(x.shape[1:3])) + 1, [0] * 4, list(x.shape)
    count = int(rng.integers(1, x.shape[axis] + 1))
    begin_mask = end_mask = 0b1111
    if rng.random() < 0.5:
        begin[axis], begin_mask = -count, 0b1111 & ~(1 << axis)
    else:
        end[axis], end_mask = count, 0b1111 & ~(1 << axis)
    operands = [b.constant(np.array(values, np.int32)) for values in (begin, end, [1] * 4)]
    return b.operator(
        *("STRIDED_SLICE", [x, *operands]),
        [count if place == axis else size for place, size in enumerate(x.shape)],
        dtype="int16",
        options="StridedSliceOptions",
        BeginMask=begin_mask,
        EndMask=end_mask,
        **x.quantization,
    )


def quantize(source: str, target: str) -> Case:
    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        fine = 2.0 ** int(rng.integers(-31, -24))
        x = b.input((1, 1, 33, 4), scale(rng) if source == "int16" else fine, dtype=source)
        size = {"int32": x.scale / 2 ** int(rng.integers(1, 12))}.get(target)
        if size is None:
            size = x.scale * (2**15 if source == "int32" else 1) * rng.uniform(0.5, 3)
        return b.quantize(x, scale=float(np.float32(size)), dtype=target)

    case.__name__ = f"quantize_{source}_{target}"
    return case


FAMILIES: tuple[Case, ...] = (
    conv,
    transpose_conv,
    residual("ADD"),
    residual("SUB"),
    leaky_relu,
    pad,
    strided_slice,
    quantize("int16", "int16"),
    quantize("int16", "int32"),
    quantize("int32", "int16"),
)


def extreme(kind: str) -> Case:
    """int8 layers whose quantization is far from what a converter gives."""

    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x_scale = float(np.float32(10.0 ** rng.uniform(-9, 3)))
        shape = tuple(int(n) for n in rng.choice([1, 1, 3, 7, 11, 13], 3))
        x = b.input((int(rng.choice([1, 3])), *shape), x_scale, int(rng.choice([-128, 127, 5])))
        weight_scale = float(np.float32(10.0 ** rng.uniform(-6, 1)))
        # From sums that all become the zero point to sums that saturate at either end.
        size = float(np.float32(x_scale * weight_scale * 10.0 ** rng.uniform(-2.5, 4)))
        kernel = tuple(int(n) for n in rng.choice([1, 2, 3], 2))
        output: dict[str, Any] = {
            "weight_scale": weight_scale,
            "scale": size,
            "zero_point": int(rng.choice([-128, 127, -7])),
        }
        window = {"strides": tuple(int(n) for n in rng.integers(1, 6, 2)), "padding": "SAME"}
        channels = x.shape[3]
        largest = 2**31 - 1 - 127 * 255 * 9 * channels
        bias = rng.integers(-largest, largest, 5) // int(rng.choice([1, 2**12, 2**24]))
        if kind == "depthwise":
            weight = rng.integers(-127, 128, (1, *kernel, channels), np.int8)
            window["strides"] = (window["strides"][0],) * 2
            return b.depthwise_conv2d(x, weight, **window, **output)
        if kind == "conv":
            weight = rng.integers(-127, 128, (5, *kernel, channels), np.int8)
            return b.conv2d(x, weight, bias.astype(np.int32), **window, **output)
        depth = int(np.prod(x.shape[1:]))
        weight = rng.integers(-127, 128, (5, depth), np.int8)
        return b.fully_connected(
            b.reshape(x, (x.shape[0], depth)), weight, (bias // depth).astype(np.int32), **output
        )

    case.__name__ = f"extreme_{kind}"
    return case


EXTREMES = tuple(map(extreme, ("conv", "depthwise", "dense")))


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.__name__)
def test_family_on_the_host(case: Case, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", *[case] * 8)
    assert differing_cases(path, "host", constant=True) == {}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", EXTREMES, ids=lambda case: case.__name__)
def test_odd_quantization_on_the_host(case: Case, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", *[case] * 12)
    assert differing_cases(path, "host", constant=True) == {}


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_families_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = write_model(tmp_path / "model.tflite", *FAMILIES, *EXTREMES, seed=1)
    assert differing_cases(path, target, constant=True) == {}
