"""Reductions, matrix products and changes of type compute what TFLite Micro computes; see
`test_operators.py`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operator_cases import Case, differing_cases, write_model, zero_point
from tflite_builder import Tensor, TFLiteBuilder

CASES = 12


def quantization(rng: np.random.Generator, dtype: str) -> dict[str, Any]:
    middle = 0.05 if dtype == "int8" else 1e-3
    scale = float(np.float32(middle * np.exp(rng.uniform(-1.5, 1.5))))
    return {"scale": scale, "zero_point": zero_point(rng) if dtype == "int8" else 0}


def reduced(
    b: TFLiteBuilder, rng: np.random.Generator, kind: str, dtype: str
) -> tuple[Tensor, Tensor, tuple[int, ...], int, bool]:
    """An input, its reduced axes, the shape and the size of what becomes one element."""
    rank = int(rng.integers(1, 5))
    x = b.input(
        tuple(int(n) for n in rng.integers(1, 7, rank)), dtype=dtype, **quantization(rng, dtype)
    )
    count = int(rng.integers(1, rank + 1))
    axes = [int(axis) for axis in rng.permutation(rank)[:count]]
    keep = bool(rng.random() < 0.5)
    shape = tuple(
        1 if axis in axes else size for axis, size in enumerate(x.shape) if keep or axis not in axes
    )
    signed = np.array([axis - rank if rng.random() < 0.3 else axis for axis in axes], np.int32)
    return x, b.constant(signed), shape, int(np.prod([x.shape[axis] for axis in axes])), keep


def sums(kind: str, dtype: str) -> Case:
    def case(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        x, axes, shape, count, keep = reduced(b, rng, kind, dtype)
        spread = count**0.5 if kind == "SUM" else count**-0.5
        size = float(np.float32(x.scale * spread * rng.uniform(0.5, 2)))
        shift = int(np.clip(x.zero_point + rng.integers(-50, 51), -128, 127))
        return b.operator(
            *(kind, [x, axes], shape),
            scale=size,
            zero_point=shift if dtype == "int8" else 0,
            dtype=dtype,
            options="ReducerOptions",
            KeepDims=keep,
        )

    case.__name__ = f"{kind.lower()}_{dtype}"
    return case


def extreme(kind: str) -> Case:
    def case(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        x, axes, shape, _, keep = reduced(b, rng, kind, "int8")
        options = {"options": "ReducerOptions", "KeepDims": keep}
        return b.operator(kind, [x, axes], shape, **x.quantization, **options)

    case.__name__ = kind.lower()
    return case


def argument(kind: str) -> Case:
    def case(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        rank = int(rng.integers(1, 5))
        shape = tuple(int(n) for n in rng.integers(2, 7, rank))
        axis = int(rng.integers(0, rank))
        x = b.input(shape, **quantization(rng, "int8"))
        return b.operator(
            *(kind, [x, b.constant(np.array([axis], np.int32))], shape[:axis] + shape[axis + 1 :]),
            dtype="int32",
            options=f"Arg{kind[4:].title()}Options",
            OutputType=2,
        )

    case.__name__ = kind.lower()
    return case


def matmul(dtype: str) -> Case:
    def case(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        rows, depth, columns = (int(n) for n in rng.integers(1, 9, 3))
        batch = tuple(int(n) for n in rng.integers(1, 4, int(rng.integers(0, 3))))
        other = tuple(1 if rng.random() < 0.3 else n for n in batch)
        adjoint = [bool(rng.random() < 0.5) for _ in range(2)]
        x = b.input(
            (*batch, depth, rows) if adjoint[0] else (*batch, rows, depth),
            dtype=dtype,
            **quantization(rng, dtype),
        )
        y = b.input(
            (*other, columns, depth) if adjoint[1] else (*other, depth, columns),
            dtype=dtype,
            **quantization(rng, dtype),
        )
        spread = 74 if dtype == "int8" else 18000
        output = quantization(rng, dtype)
        output["scale"] = float(np.float32(x.scale * y.scale * spread * 1.5 * depth**0.5))
        return b.operator(
            *("BATCH_MATMUL", [x, y], (*batch, rows, columns)),
            dtype=dtype,
            options="BatchMatMulOptions",
            AdjX=adjoint[0],
            AdjY=adjoint[1],
            **output,
        )

    case.__name__ = f"batch_matmul_{dtype}"
    return case


def l2_normalization(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    x = b.input((int(rng.integers(1, 5)), int(rng.integers(1, 40))), **quantization(rng, "int8"))
    return b.operator(
        *("L2_NORMALIZATION", [x], x.shape), scale=1 / 128, zero_point=0, options="L2NormOptions"
    )


def log_softmax(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    depth = int(rng.choice([2, 5, 40, 900]))
    scale = float(np.float32(np.exp(rng.uniform(np.log(1e-3), np.log(2)))))
    x = b.input((int(rng.integers(1, 5)), depth), scale, zero_point(rng))
    return b.operator("LOG_SOFTMAX", [x], x.shape, scale=1 / 16, zero_point=127)


def softmax_int16(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    depth = int(rng.choice([2, 5, 40, 900]))
    scale = float(np.float32(np.exp(rng.uniform(np.log(1e-3), np.log(1)))))
    x = b.input((int(rng.integers(1, 5)), depth), scale, zero_point(rng))
    return b.operator(
        *("SOFTMAX", [x], x.shape),
        scale=1 / 65536,
        zero_point=-32768,
        dtype="int16",
        options="SoftmaxOptions",
        Beta=float(rng.choice([1.0, 0.5, 2.0])),
    )


def requantize(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    pairs = [
        *("int8 int16", "int16 int8", "int16 int16", "int8 int8", "uint8 int8", "int8 uint8"),
        *("int32 int8", "int32 int16", "int16 int32", "int8 int32"),
    ]
    source, target = str(rng.choice(pairs)).split()
    steps = {"int8": 0.05, "uint8": 0.05, "int16": 2e-4, "int32": 1e-8}
    x = b.input((3, 41), steps[source], *([0] if source == "int16" else [3]), dtype=source)
    return b.operator(
        *("QUANTIZE", [x], x.shape),
        scale=float(np.float32(steps[target] * rng.uniform(0.5, 2))),
        zero_point=0 if target == "int16" else int(rng.integers(0, 50)),
        dtype=target,
    )


def wide_float_edges(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    """Float in and out, int16 inside."""
    x = b.input((1, 6, 5, 3), dtype="float32")
    x = b.quantize(x, scale=float(np.float32(rng.uniform(1e-4, 1e-2))), dtype="int16")
    y = b.operator("ABS", [x], x.shape, dtype="int16", **x.quantization)
    return b.dequantize(y)


OPERATORS: tuple[Case, ...] = (
    *(sums(kind, dtype) for kind in ("SUM", "MEAN") for dtype in ("int8", "int16")),
    extreme("REDUCE_MAX"),
    extreme("REDUCE_MIN"),
    argument("ARG_MAX"),
    argument("ARG_MIN"),
    matmul("int8"),
    matmul("int16"),
    l2_normalization,
    log_softmax,
    softmax_int16,
    requantize,
    wide_float_edges,
)


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.__name__)
def test_reduction_on_the_host(case: Case, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", *[case] * CASES)
    assert differing_cases(path, "host", constant=True) == {}


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_reductions_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = write_model(tmp_path / "model.tflite", *OPERATORS, seed=1)
    assert differing_cases(path, target, constant=True) == {}
