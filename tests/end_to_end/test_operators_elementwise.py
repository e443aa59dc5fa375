"""Operators on two or more tensors compute what TFLite Micro computes, with and without
broadcasting and constants; see `test_operators.py`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from operator_cases import Case, activation, differing_cases, write_model, zero_point
from tflite_builder import Tensor, TFLiteBuilder

CASES = 16

# By operator the types it takes.
ARITHMETIC = {
    "ADD": ("int8", "int16", "int32"),
    "SUB": ("int8", "int16", "int32"),
    "MUL": ("int8", "int16", "int32"),
    "DIV": ("int32",),
    "MAXIMUM": ("int8", "int16", "int32", "int64"),
    "MINIMUM": ("int8", "int16", "int32", "int64"),
    "SQUARED_DIFFERENCE": ("int8", "int16", "int32"),
    "PRELU": ("int8",),
}
COMPARISONS = {
    "EQUAL": ("int8", "int32", "int64", "bool"),
    "NOT_EQUAL": ("int8", "int32", "int64", "bool"),
    "GREATER": ("int8", "int32", "int64"),
    "GREATER_EQUAL": ("int8", "int32", "int64"),
    "LESS": ("int8", "int32", "int64"),
    "LESS_EQUAL": ("int8", "int32", "int64"),
    "LOGICAL_AND": ("bool",),
    "LOGICAL_OR": ("bool",),
}
OPTIONS = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}
QUANTIZED = ("int8", "int16")


def scale(rng: np.random.Generator, dtype: str) -> float:
    middle = 0.05 if dtype == "int8" else 1e-3
    return float(np.float32(middle * np.exp(rng.uniform(-1.5, 1.5))))


def shapes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Equal in half of the cases; else some axes of either are 1, or the second lacks some."""
    rank = int(rng.integers(1, 5))
    whole = tuple(int(size) for size in rng.integers(1, 6, rank))
    if rng.random() < 0.5:
        return whole, whole
    first, second = (tuple(1 if rng.random() < 0.3 else size for size in whole) for _ in range(2))
    return first, second[int(rng.integers(0, rank)) :] if first == whole else second


def operand(
    b: TFLiteBuilder,
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: str,
    quantization: dict[str, Any],
    constant: bool,
) -> Tensor:
    if not constant:
        return b.input(shape, dtype=dtype, **quantization)
    if dtype == "bool":
        return b.constant(rng.random(shape) < 0.5)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    # Nothing can be divided by 0.
    values[values == 0] = 1
    return b.constant(values, quantization.get("scale", ()), quantization.get("zero_point", 0))


def quantization(rng: np.random.Generator, dtype: str) -> dict[str, Any]:
    if dtype not in QUANTIZED:
        return {}
    return {"scale": scale(rng, dtype), "zero_point": zero_point(rng) if dtype == "int8" else 0}


def result_quantization(
    rng: np.random.Generator, kind: str, a: dict[str, Any], b: dict[str, Any], dtype: str
) -> dict[str, Any]:
    """What spreads the results over the output's range."""
    if dtype not in QUANTIZED:
        return {}
    half = 2.0 ** (7 if dtype == "int8" else 15)
    largest = max(a["scale"], b["scale"])
    size = {
        "MUL": a["scale"] * b["scale"] * half / 2,
        "SQUARED_DIFFERENCE": largest * largest * half,
        "PRELU": a["scale"],
    }.get(kind, largest)
    size = float(np.float32(size * rng.uniform(0.5, 2)))
    return {"scale": size, "zero_point": zero_point(rng) if dtype == "int8" else 0}


def binary(kind: str, dtype: str) -> Case:
    def case(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
        first_shape, second_shape = shapes(rng)
        first = quantization(rng, dtype)
        second = quantization(rng, dtype)
        if kind in ("MAXIMUM", "MINIMUM"):
            second = first
        constant = rng.random() < 0.3 or kind in ("PRELU", "DIV")
        x = operand(b, rng, first_shape, dtype, first, False)
        y = operand(b, rng, second_shape, dtype, second, constant)
        output, output_dtype = result_quantization(rng, kind, first, second, dtype), dtype
        if kind in COMPARISONS:
            output, output_dtype = {}, "bool"
        elif kind in ("MAXIMUM", "MINIMUM"):
            output = first
        fused: dict[str, Any] = {}
        if kind in OPTIONS:
            name = activation(rng, **output, dtype=dtype) if output else "NONE"
            code = getattr(tflite.ActivationFunctionType, name)
            fused = {"options": OPTIONS[kind], "FusedActivationFunction": code}
        operands = [x, y] if rng.random() < 0.7 or kind in ("PRELU", "DIV") else [y, x]
        shape = np.broadcast_shapes(x.shape, y.shape)
        return b.operator(kind, operands, shape, dtype=output_dtype, **output, **fused)

    case.__name__ = f"{kind.lower()}_{dtype}"
    return case


def add_n(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    given = quantization(rng, "int8")
    tensors = [b.input((3, 7), **given) for _ in range(int(rng.integers(2, 6)))]
    output = {"scale": given["scale"] * rng.uniform(1, 4), "zero_point": zero_point(rng)}
    return b.operator("ADD_N", tensors, (3, 7), **output)


def select(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    dtype = str(rng.choice(["int8", "int16"]))
    first, second = shapes(rng)
    given = quantization(rng, dtype)
    condition = b.input(second, dtype="bool")
    tensors = [condition, *(b.input(shape, dtype=dtype, **given) for shape in (first, second))]
    shape = np.broadcast_shapes(first, second)
    return b.operator("SELECT_V2", tensors, shape, dtype=dtype, **given)


def logical_not(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    return b.operator("LOGICAL_NOT", [b.input((3, 7), dtype="bool")], (3, 7), dtype="bool")


def cast(b: TFLiteBuilder, rng: np.random.Generator) -> Tensor:
    source, target = rng.choice(["int8", "int16", "int32", "bool"], 2, replace=False)
    x = b.input((3, 7), dtype=str(source))
    return b.operator("CAST", [x], x.shape, dtype=str(target), options="CastOptions")


OPERATORS = (
    *(
        binary(kind, dtype)
        for kinds in (ARITHMETIC, COMPARISONS)
        for kind, dtypes in kinds.items()
        for dtype in dtypes
    ),
    add_n,
    select,
    logical_not,
    cast,
)


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.__name__)
def test_element_wise_operator_on_the_host(case: Case, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.tflite", *[case] * CASES)
    assert differing_cases(path, "host", constant=True) == {}


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_element_wise_operators_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = write_model(tmp_path / "model.tflite", *OPERATORS, seed=1)
    assert differing_cases(path, target, constant=True) == {}
