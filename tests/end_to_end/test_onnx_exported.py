"""A network quantized and exported by PyTorch computes what ONNX Runtime computes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinyaot.compiler import compile_model
from tinyaot.compiler.compiled import CompiledModel
from tinyaot.compiler.oracle import random_inputs

MODEL = Path(__file__).parents[1] / "data" / "pt2e.onnx"


def steps(compiled: CompiledModel, count: int, on: str) -> np.ndarray:
    """Steps by which the scores of each inference differ from ONNX Runtime's."""
    inputs = random_inputs(compiled.inputs, count)
    got = compiled.measure(inputs, on=on).outputs
    expected = compiled.reference(MODEL, inputs)
    return np.stack(
        [one[0].astype(int) - other[0] for one, other in zip(got, expected, strict=True)]
    )


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
def test_pytorch_export(record_property: Callable[[str, object], None]) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    compiled = compile_model(MODEL, "host")
    differing = steps(compiled, 60, "host")
    record_property(
        "differs from ONNX Runtime", f"{np.count_nonzero(differing)} of {differing.size}"
    )
    assert np.abs(differing).max() <= 1
    assert np.count_nonzero(differing) <= 0.035 * differing.size


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_on_an_emulated_core(target: str) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    assert np.abs(steps(compile_model(MODEL, target), 6, "qemu")).max() <= 1
