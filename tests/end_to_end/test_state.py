"""Models that keep values from one inference to the next compute what TFLite Micro computes, as a
stream and one by one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.compiler.reference import evaluate
from tinyaot.targets import TinyaotError

INFERENCES = 6


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    if shutil.which("cc") is None:
        pytest.skip("no cc on the PATH")


def ring_buffer(path: Path, dtype: str, with_initial: bool) -> Path:
    """The last 8 values of the input, read before and after the input is added."""
    b = TFLiteBuilder()
    zero_point = 5 if dtype == "int8" else 0
    x = b.input((1, 2), 0.5, zero_point, dtype)
    like = Tensor(0, (1, 8), dtype, (0.5,), zero_point)
    initial = np.arange(1, 9, dtype=dtype).reshape(1, 8)
    handle = b.variable("ring", (initial, like) if with_initial else None)
    before = b.read_variable(handle, like)
    joined = b.operator(
        *("CONCATENATION", [before, x], (1, 10)),
        dtype=dtype,
        **x.quantization,
        options="ConcatenationOptions",
        Axis=1,
    )
    begin, size = (b.constant(np.array(values, np.int32)) for values in ([0, 2], [1, 8]))
    kept = b.operator(
        *("SLICE", [joined, begin, size], (1, 8)),
        dtype=dtype,
        **x.quantization,
        options="SliceOptions",
    )
    b.assign_variable(handle, kept)
    after = b.read_variable(b.variable("ring"), like)
    for tensor in (before, joined, after):
        b.output(tensor)
    path.write_bytes(b.build())
    return path


def agrees(path: Path, compiled: CompiledModel, on: str = "qemu") -> None:
    """Independent inferences and a stream, on the target and in the interpreter."""
    inputs = random_inputs(compiled.inputs, INFERENCES)
    outputs: dict[bool, list[Any]] = {}
    for keep_state in (False, True):
        expected = compiled.reference(path, inputs, keep_state=keep_state)
        outputs[keep_state] = compiled.measure(inputs, on=on, keep_state=keep_state).outputs
        states = None
        for one, want, got in zip(inputs, expected, outputs[keep_state], strict=True):
            values = evaluate(compiled.graph, one, states)
            for name, reference, array in zip(compiled.graph.outputs, want, got, strict=True):
                np.testing.assert_array_equal(array, reference, name)
                np.testing.assert_array_equal(values[name], reference, name)
            states = values if keep_state else None
    differ = [
        not np.array_equal(one, other)
        for one, other in zip(outputs[False][-1], outputs[True][-1], strict=True)
    ]
    assert any(differ), "the state has no effect: choose another model"


@pytest.mark.parametrize("with_initial", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_resource_variables(dtype: str, with_initial: bool, tmp_path: Path) -> None:
    path = ring_buffer(tmp_path / "model.tflite", dtype, with_initial)
    agrees(path, compile_model(path, "host"))


def test_resource_variables_on_an_emulated_core(tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = ring_buffer(tmp_path / "model.tflite", "int8", True)
    agrees(path, compile_model(path, "cortex-m4"))


def test_state_is_in_the_interface(tmp_path: Path) -> None:
    """The reset function and the size of the state are there, if and only if there is a state."""
    path = ring_buffer(tmp_path / "model.tflite", "int16", True)
    compiled = compile_model(path, "host")
    header = compiled.program.files["tinyaot_model.h"]
    assert "void tinyaot_model_reset(void);" in header
    assert re.search(r"#define TINYAOT_MODEL_STATE_SIZE 16\n", header)
    assert compiled.report().state_bytes == 16
    b = TFLiteBuilder()
    b.output(b.logistic(b.input((1, 4), 0.1)))
    path.write_bytes(b.build())
    compiled = compile_model(path, "host")
    assert "reset" not in "".join(compiled.program.files.values())
    assert compiled.report().state_bytes == 0


def test_a_first_inference_needs_no_reset(tmp_path: Path) -> None:
    """A caller that never resets starts from the initial values all the same."""
    path = ring_buffer(tmp_path / "model.tflite", "int8", True)
    compiled = compile_model(path, "host")
    (one,) = random_inputs(compiled.inputs, 1)
    ((before, *_),) = compiled.measure([one], keep_state=True).outputs
    np.testing.assert_array_equal(before, [range(1, 9)])


def test_float_variables_are_refused(tmp_path: Path) -> None:
    b = TFLiteBuilder()
    x = b.input((1, 4), 0.5)
    b.output(b.logistic(x))
    handle = b.variable("state")
    b.read_variable(handle, Tensor(0, (1, 4), "float32"))
    path = tmp_path / "model.tflite"
    path.write_bytes(b.build())
    with pytest.raises(TinyaotError, match='variable "state" has a type'):
        compile_model(path, "host")
