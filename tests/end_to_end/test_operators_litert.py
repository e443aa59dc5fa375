"""Operators and types that TFLite Micro has no kernel for compute what LiteRT's reference kernels
compute; see `test_operators.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from operator_cases import (
    CASES_PER_OPERATOR,
    Case,
    differing_cases,
    scale,
    write_model,
    zero_point,
)
from tflite_builder import Tensor, TFLiteBuilder

Rng = np.random.Generator


def image(b: TFLiteBuilder, rng: Rng, dtype: str, size: float = 0.0) -> Tensor:
    shape = tuple(int(n) for n in rng.integers(1, 7, 4))
    if dtype in ("int32", "bool"):
        return b.input(shape, dtype=dtype)
    zero = zero_point(rng) if dtype == "int8" else 0
    return b.input(shape, size or scale(rng) / (1 if dtype == "int8" else 100), zero, dtype)


def like(x: Tensor) -> dict[str, object]:
    return {"dtype": x.dtype, **(x.quantization if x.scales else {})}


def numbers(b: TFLiteBuilder, *values: int) -> Tensor:
    return b.constant(np.array(values, np.int32))


def comparison(kind: str) -> Case:
    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x = image(b, rng, "int16")
        size = x.scale * rng.uniform(0.5, 2) if kind in ("EQUAL", "NOT_EQUAL") else x.scale
        y = b.input(x.shape[-1:], size, dtype="int16")
        return b.operator(kind, [x, y], x.shape, dtype="bool")

    case.__name__ = kind.lower()
    return case


def reduction(kind: str, dtype: str) -> Case:
    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x = image(b, rng, dtype)
        axes = sorted(int(axis) for axis in rng.permutation(4)[: rng.integers(1, 4)])
        keep = bool(rng.random() < 0.5)
        shape = [
            1 if axis in axes else size
            for axis, size in enumerate(x.shape)
            if keep or axis not in axes
        ]
        operands = [x, numbers(b, *axes)]
        return b.operator(kind, operands, shape, **like(x), options="ReducerOptions", KeepDims=keep)

    case.__name__ = f"{kind.lower()}_{dtype}"
    return case


def argument(kind: str, dtype: str) -> Case:
    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x, axis = image(b, rng, dtype), int(rng.integers(0, 4))
        found = str(rng.choice(["int32", "int64"]))
        return b.operator(
            *(kind, [x, b.constant(np.array(axis, np.int32))]),
            [size for place, size in enumerate(x.shape) if place != axis],
            dtype=found,
            options="ArgMaxOptions" if kind == "ARG_MAX" else "ArgMinOptions",
            OutputType={"int32": 2, "int64": 4}[found],
        )

    case.__name__ = f"{kind.lower()}_{dtype}"
    return case


def resize_bilinear(b: TFLiteBuilder, rng: Rng) -> Tensor:
    x = image(b, rng, "int16")
    height, width = (int(n) for n in rng.integers(1, 12, 2))
    corners, centers = ((0, 0), (1, 0), (0, 1))[int(rng.integers(3))]
    return b.operator(
        *("RESIZE_BILINEAR", [x, numbers(b, height, width)]),
        (x.shape[0], height, width, x.shape[3]),
        **like(x),
        options="ResizeBilinearOptions",
        AlignCorners=corners,
        HalfPixelCenters=centers,
    )


def function(kind: str, dtype: str, output: tuple[float, float]) -> Case:
    """`output` bounds the largest real output."""

    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        steps = 128 if dtype == "int8" else 32768
        zero = zero_point(rng) if dtype == "int8" else 0
        x = b.input((3, 301), float(np.float32(rng.uniform(1, 5) / steps)), zero, dtype)
        largest = float(np.exp(rng.uniform(*np.log(output))))
        return b.operator(
            *(kind, [x], x.shape),
            scale=float(np.float32(largest / steps)),
            zero_point=zero_point(rng) if dtype == "int8" else 0,
            dtype=dtype,
            options="ExpOptions" if kind == "EXP" else "",
        )

    case.__name__ = f"{kind.lower()}_{dtype}"
    return case


def negative(dtype: str) -> Case:
    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x = image(b, rng, dtype)
        quantization = like(x)
        if dtype == "int8":
            quantization["zero_point"] = max(-x.zero_point, -128)
            x = x if x.zero_point > -128 else b.input(x.shape, x.scale, 0)
            quantization["zero_point"] = -x.zero_point
        return b.operator("NEG", [x], x.shape, **quantization, options="NegOptions")

    case.__name__ = f"neg_{dtype}"
    return case


def absolute(b: TFLiteBuilder, rng: Rng) -> Tensor:
    x = image(b, rng, "int32")
    return b.operator("ABS", [x], x.shape, **like(x), options="AbsOptions")


def add_n(b: TFLiteBuilder, rng: Rng) -> Tensor:
    x = image(b, rng, "int32")
    more = [b.input(x.shape, dtype="int32") for _ in range(int(rng.integers(1, 4)))]
    return b.operator("ADD_N", [x, *more], x.shape, **like(x), options="AddNOptions")


def select(dtype: str) -> Case:
    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x = image(b, rng, dtype)
        y = b.input(x.shape, x.scale, x.zero_point, dtype)
        shape = x.shape[:1] if rng.random() < 0.5 else x.shape
        condition = b.input(shape, dtype="bool")
        operands = [condition, x, y]
        return b.operator("SELECT", operands, x.shape, **like(x), options="SelectOptions")

    case.__name__ = f"select_{dtype}"
    return case


def gather_nd(b: TFLiteBuilder, rng: Rng) -> Tensor:
    """Computed indices; TFLite Micro has this one, but stops where they are out of range."""
    shape = tuple(int(n) for n in rng.integers(1, 6, 3))
    x, depth, count = b.input(shape, 0.1), int(rng.integers(1, 4)), int(rng.integers(1, 5))
    places = b.input((count, depth), dtype="int32")
    limits = np.array(shape[:depth], np.int32) - 1
    for kind, bound in (("MAXIMUM", 0 * limits), ("MINIMUM", limits)):
        places = b.operator(
            *(kind, [places, b.constant(bound)], places.shape),
            dtype="int32",
            options="MaximumMinimumOptions",
        )
    output = (count, *shape[depth:])
    return b.operator("GATHER_ND", [x, places], output, **like(x), options="GatherNdOptions")


OPERATORS: tuple[Case, ...] = (
    *map(comparison, ("EQUAL", "NOT_EQUAL", "GREATER_EQUAL", "LESS", "LESS_EQUAL")),
    *(
        reduction(kind, dtype)
        for kind in ("REDUCE_MAX", "REDUCE_MIN")
        for dtype in ("int16", "int32")
    ),
    reduction("REDUCE_ANY", "bool"),
    reduction("REDUCE_ALL", "bool"),
    argument("ARG_MAX", "int8"),
    argument("ARG_MIN", "int8"),
    argument("ARG_MAX", "int32"),
    argument("ARG_MIN", "int32"),
    resize_bilinear,
    function("EXP", "int8", (1, 100)),
    function("EXP", "int16", (1, 100)),
    function("LOG", "int8", (1, 8)),
    function("LOG", "int16", (1, 8)),
    *map(negative, ("int8", "int16", "int32")),
    absolute,
    add_n,
    *map(select, ("int8", "int16")),
    gather_nd,
)


@pytest.fixture(scope="module", autouse=True)
def oracles() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("first", range(0, len(OPERATORS), 7))
def test_operators_of_tflite_on_the_host(first: int, tmp_path: Path) -> None:
    cases = [case for case in OPERATORS[first : first + 7] for _ in range(CASES_PER_OPERATOR)]
    path = write_model(tmp_path / "model.tflite", *cases)
    assert differing_cases(path, "host", constant=True) == {}


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m55"])
def test_operators_of_tflite_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = write_model(tmp_path / "model.tflite", *OPERATORS, seed=1)
    assert differing_cases(path, target, constant=True) == {}
