"""SVDF, LSTM and transposed convolutions compute what TFLite Micro computes, one inference at a
time and as a stream."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from operator_cases import scale, zero_point
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.compiler.reference import evaluate

Rng = np.random.Generator
Case = Callable[[TFLiteBuilder, Rng], Tensor]

CASES = 6
INFERENCES = 6
DEVIATION = 74.0


def weights(rng: Rng, *shape: int) -> np.ndarray[Any, Any]:
    return rng.integers(-127, 128, shape, np.int8)


def transpose_conv(b: TFLiteBuilder, rng: Rng, dtype: str = "int8") -> Tensor:
    height, width, channels, outputs = (int(size) for size in rng.integers(1, 7, 4))
    kernel = [int(size) for size in rng.integers(1, 5, 2)]
    strides = [int(size) for size in rng.integers(1, 4, 2)]
    batch, padding = int(rng.integers(1, 3)), str(rng.choice(["SAME", "VALID"]))
    wide = dtype == "int16"
    x = b.input((batch, height, width, channels), scale(rng), 0 if wide else zero_point(rng), dtype)
    shape = [batch]
    for size, window, stride in zip((height, width), kernel, strides, strict=True):
        extra = max(window - stride, 0)
        shape.append(size * stride if padding == "SAME" else size * stride + extra)
    shape.append(outputs)
    count = outputs if rng.random() < 0.7 else 1
    factors = np.exp(rng.uniform(np.log(0.3), np.log(3), count))
    target = scale(rng) / (200 if wide else 1)
    spread = DEVIATION * np.sqrt(2 * channels * kernel[0] * kernel[1])
    range_ = 200 if wide else 1
    weight_scale = (factors * target * range_ / spread / x.scale).astype(np.float32)
    operands: list[Tensor | None] = [
        b.constant(np.array(shape, np.int32)),
        b.constant(weights(rng, outputs, *kernel, channels), weight_scale),
        x,
    ]
    if rng.random() < 0.7:
        bias = rng.normal(0, DEVIATION * spread, outputs).astype(np.int64 if wide else np.int32)
        bias_scale = np.float32(x.scale) * weight_scale
        operands.append(b.constant(bias, bias_scale))
    return b.operator(
        *("TRANSPOSE_CONV", operands, shape),
        scale=target,
        zero_point=0 if wide else zero_point(rng),
        dtype=dtype,
        options="TransposeConvOptions",
        Padding=getattr(tflite.Padding, padding),
        StrideH=strides[0],
        StrideW=strides[1],
    )


def wide_transpose_conv(b: TFLiteBuilder, rng: Rng) -> Tensor:
    return transpose_conv(b, rng, "int16")


def svdf(b: TFLiteBuilder, rng: Rng) -> Tensor:
    batch, inputs, memory, units = (int(size) for size in rng.integers(1, [3, 20, 8, 7]))
    rank, state_dtype = int(rng.integers(1, 3)), str(rng.choice(["int16", "int8"]))
    filters = units * rank
    x = b.input((batch, inputs), scale(rng), zero_point(rng))
    feature_scale, time_scale = np.float32(scale(rng) / 10), np.float32(scale(rng) / 100)
    wide = state_dtype == "int16"
    largest = 127 * np.sqrt(2 * inputs) * DEVIATION
    state_scale = float(np.float32(x.scale * feature_scale * largest / (6000 if wide else 50)))
    state = b.variable_tensor(
        (batch, filters * memory), state_scale, 0 if wide else zero_point(rng) // 4, state_dtype
    )
    time = rng.integers(-2000, 2001, (filters, memory)) if wide else weights(rng, filters, memory)
    spread = (6000 * 2000 if wide else 50 * 127) * np.sqrt(memory * rank)
    bias = rng.normal(0, spread / 4, units).astype(np.int32)
    product = np.float32(np.float32(state_scale) * time_scale)
    return b.operator(
        "SVDF",
        [
            x,
            b.constant(weights(rng, filters, inputs), feature_scale),
            b.constant(time.astype(state_dtype), time_scale),
            b.constant(bias, product),
            state,
        ],
        (batch, units),
        scale=float(np.float32(product * spread / DEVIATION)),
        zero_point=zero_point(rng) // 2,
        options="SVDFOptions",
        Rank=rank,
    )


def lstm(b: TFLiteBuilder, rng: Rng, dtype: str = "int8") -> Tensor:
    batch, steps, inputs, units = (int(size) for size in rng.integers(1, [3, 6, 10, 9]))
    time_major = bool(rng.random() < 0.5)
    shape = (steps, batch) if time_major else (batch, steps)
    wide = dtype == "int16"
    deviation = DEVIATION * (256 if wide else 1)
    x = b.input((*shape, inputs), scale(rng), 0 if wide else zero_point(rng), dtype)
    hidden_zero_point = 0 if wide else int(rng.integers(-20, 20))
    hidden = b.variable_tensor(
        (batch, units), 2.0 ** -(15 if wide else 7), hidden_zero_point, dtype
    )
    cell = b.variable_tensor((batch, units), 2.0 ** -int(rng.integers(9, 16)), 0, "int16")

    def gate(width: int, real: float) -> Tensor:
        """Weights with which sums of products reach a few units, as a gate can use."""
        each = np.float32(rng.uniform(0.3, 2) / (np.sqrt(width) * DEVIATION * deviation * real))
        return b.constant(weights(rng, units, width), each)

    operands: list[Tensor | None] = [None] * 24
    operands[0] = x
    for place in range(4):
        operands[1 + place] = weight = gate(inputs, x.scale)
        operands[5 + place] = gate(units, hidden.scale)
        bias_scale = np.float32(weight.scale) * np.float32(x.scale)
        bias = (rng.normal(0, 1, units) / bias_scale).astype(np.int64 if wide else np.int32)
        operands[12 + place] = b.constant(bias, bias_scale)
    operands[18], operands[19] = hidden, cell
    return b.operator(
        *("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, (*shape, units)),
        **hidden.quantization,
        dtype=dtype,
        options="UnidirectionalSequenceLSTMOptions",
        FusedActivationFunction=tflite.ActivationFunctionType.TANH,
        CellClip=float(rng.choice([0.0, 0.5, 10.0])),
        TimeMajor=time_major,
    )


def wide_lstm(b: TFLiteBuilder, rng: Rng) -> Tensor:
    return lstm(b, rng, "int16")


OPERATORS: tuple[Case, ...] = (transpose_conv, wide_transpose_conv, svdf, lstm, wide_lstm)
STATEFUL = (svdf, lstm, wide_lstm)


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


def write_model(path: Path, cases: tuple[Case, ...], seed: int) -> Path:
    b, rng = TFLiteBuilder(), np.random.default_rng(seed)
    for case in cases:
        b.output(case(b, rng))
    path.write_bytes(b.build())
    return path


def assert_exact(path: Path, target: str, keep_state: bool) -> None:
    """The generated C and the interpreter against TFLite Micro."""
    compiled = compile_model(path, target)
    inputs = random_inputs(compiled.inputs, INFERENCES)
    expected = compiled.reference(path, inputs, keep_state=keep_state)
    for tensor, *arrays in zip(compiled.outputs, *expected, strict=True):
        assert len(np.unique(np.stack(arrays))) > 1, f"{tensor} is constant: choose other cases"
    got = compiled.measure(inputs, keep_state=keep_state).outputs
    states = None
    for one, want, outputs in zip(inputs, expected, got, strict=True):
        values = evaluate(compiled.graph, one, states)
        states = values if keep_state else None
        for name, reference, array in zip(compiled.graph.outputs, want, outputs, strict=True):
            np.testing.assert_array_equal(array, reference, name)
            np.testing.assert_array_equal(values[name], reference, name)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.__name__)
def test_operator_on_the_host(case: Case, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", (case,) * CASES, 0)
    assert_exact(path, "host", keep_state=False)
    if case in STATEFUL:
        assert_exact(path, "host", keep_state=True)


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_operators_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = write_model(tmp_path / "model.tflite", OPERATORS, 1)
    assert_exact(path, target, keep_state=True)
