"""A sample of the fuzzing campaign, and that the campaign notices what it looks for."""

from __future__ import annotations

import importlib.util
import shutil

import numpy as np
import pytest
from fuzz import campaign, onnx_campaign

from tinyaot.compiler import compiled

needs_reference = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="needs tflite-micro"
)
needs_arm = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)


@needs_reference
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler for the host")
@pytest.mark.parametrize("first", range(0, 200, 40))
def test_random_graphs_on_the_host(first: int) -> None:
    assert campaign.compare(range(first, first + 40), "host") == {}


@needs_reference
@needs_arm
@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55"])
def test_random_graphs_on_emulated_cores(target: str) -> None:
    """Each core has kernels of its own; seeds differ from those of the host."""
    assert campaign.compare(range(1000, 1024), target) == {}


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler for the host")
@pytest.mark.parametrize("first", [0, 20])
def test_random_onnx_graphs_on_the_host(first: int) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    assert onnx_campaign.compare(range(first, first + 20), "host") == {}


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler for the host")
def test_a_wrong_tensor_of_an_onnx_graph_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor with a bit flipped in one graph is reported for that graph, in its shortest form."""
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    measure = compiled.CompiledModel.measure

    def wrong(self: compiled.CompiledModel, *args: object, **options: object) -> object:
        measured = measure(self, *args, **options)  # type: ignore[arg-type]
        last = measured.outputs[0][-1]
        measured.outputs[0][-1] = last ^ last.dtype.type(64)
        return measured

    monkeypatch.setattr(compiled.CompiledModel, "measure", wrong)
    failures = onnx_campaign.examine([5], "host")
    assert [(failure.seed, failure.steps) for failure in failures] == [(5, 1)]


@needs_reference
@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler for the host")
def test_a_wrong_element_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """One element off by one in one graph is reported for that graph, in its shortest form."""
    measure = compiled.CompiledModel.measure

    def wrong(self: compiled.CompiledModel, *args: object, **options: object) -> object:
        measured = measure(self, *args, **options)  # type: ignore[arg-type]
        measured.outputs[0][0] = measured.outputs[0][0] + np.int8(1)
        return measured

    monkeypatch.setattr(compiled.CompiledModel, "measure", wrong)
    failures = campaign.examine([3, 4], "host")
    assert [(failure.seed, failure.steps) for failure in failures] == [(3, 1)]
