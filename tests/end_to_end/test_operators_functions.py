"""int8 functions of one variable compute what TFLite Micro computes, for each of the 256 values."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operator_cases import write_model, zero_point
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import compile_model

CASES = 24
EVERY_VALUE = np.arange(-128, 128, dtype=np.int8)

# What TFLite prescribes for the outputs.
OUTPUTS: dict[str, dict[str, Any]] = {
    "LOGISTIC": {"scale": 1 / 256, "zero_point": -128},
    "TANH": {"scale": 1 / 128, "zero_point": 0},
}
MICRO = ("ABS", "ELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "RSQRT", "TANH")
# TFLite Micro lacks these.
LITE = ("EXP", "LOG", "RELU_0_TO_1")


def case(b: TFLiteBuilder, rng: np.random.Generator, kind: str) -> Tensor:
    """A scale from a very fine to a very coarse one, any zero point."""
    size = float(np.float32(np.exp(rng.uniform(np.log(1e-4), np.log(2)))))
    x = b.input((256,), size, zero_point(rng) if kind != "RSQRT" else -128)
    span = {"RSQRT": size**-0.5 / 250, "EXP": np.exp(min(size * 30, 30)) / 100, "LOG": 0.1}
    output = OUTPUTS.get(kind) or {
        "scale": float(np.float32(span.get(kind, size) * rng.uniform(0.3, 3))),
        "zero_point": zero_point(rng),
    }
    options: dict[str, Any] = {}
    if kind == "LEAKY_RELU":
        options = {"options": "LeakyReluOptions", "Alpha": float(rng.uniform(0, 1.5))}
    return b.operator(kind, [x], x.shape, **output, **options)


def model(path: Path, kind: str) -> Path:
    return write_model(path, *[lambda b, rng: case(b, rng, kind)] * CASES)


def check(path: Path, expected: list[np.ndarray[Any, Any]]) -> None:
    compiled = compile_model(path, "host")
    (got,) = compiled.measure([[EVERY_VALUE] * CASES]).outputs
    wrong = {
        index: np.stack([EVERY_VALUE, one, other])[:, one != other].T.tolist()
        for index, (one, other) in enumerate(zip(got, expected, strict=True))
        if (one != other).any()
    }
    assert wrong == {}
    assert sum(len(np.unique(one)) for one in got) > 20 * CASES


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("kind", MICRO)
def test_function_of_tflite_micro(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    path = model(tmp_path / "model.tflite", kind)
    compiled = compile_model(path, "host")
    check(path, compiled.reference(path, [[EVERY_VALUE] * CASES])[0])


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("kind", LITE)
def test_function_of_litert(kind: str, tmp_path: Path) -> None:
    interpreters = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is missing")
    path = model(tmp_path / "model.tflite", kind)
    resolver = interpreters.OpResolverType.BUILTIN_REF
    lite = interpreters.Interpreter(str(path), experimental_op_resolver_type=resolver)
    lite.allocate_tensors()
    for port in lite.get_input_details():
        lite.set_tensor(port["index"], EVERY_VALUE)
    lite.invoke()
    # LiteRT names outputs as the file does; ours are in the file's order.
    check(path, [lite.get_tensor(port["index"]) for port in lite.get_output_details()])
