"""The MLPerf Tiny models compute on every core what TFLite Micro computes, element for element.

The suite takes a sample that holds every model and every core; `pytest -m campaign` runs all
models on all cores with more inputs.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tflite

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import list_targets

MODELS = ("ad01", "kws", "resnet8", "streaming_wakeword", "vww_96")
TARGETS = list_targets()
# Each model on two targets, so that each target has a model and the smallest core two.
SAMPLE = [
    ("ad01", "cortex-m0plus"),
    ("ad01", "cortex-m7"),
    ("kws", "cortex-m3"),
    ("kws", "cortex-m55"),
    ("resnet8", "host"),
    ("resnet8", "cortex-m4"),
    ("streaming_wakeword", "cortex-m33"),
    ("streaming_wakeword", "cortex-m0plus"),
    ("vww_96", "cortex-m4"),
    ("vww_96", "cortex-m55"),
]

Find = Callable[[str], Path]


def check(path: Path, target: str, count: int) -> None:
    """Compiles a model, runs it on `count` inputs and compares with the oracle."""
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    on = "host" if target == "host" else "qemu"
    for tool in ("cc",) if on == "host" else ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    compiled = compile_model(path, target)
    inputs = random_inputs(compiled.inputs, count)
    measured = compiled.measure(inputs, on=on)
    expected = compiled.reference(path, inputs)
    # Outputs that are all alike would be easy to get right.
    assert len({one[0].tobytes() for one in expected}) > min(count, 8) // 2
    differing = sum(
        int(np.count_nonzero(a != b))
        for one, other in zip(measured.outputs, expected, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    assert differing == 0
    report = compiled.report()
    assert report.arena_bytes <= 1.05 * report.arena_lower_bound_bytes


def without_softmax(data: bytes) -> bytes:
    """The model with the input of its last operator, a softmax, as its output.

    Softmax saturates: different scores have one probability, and mistakes before it do not show.
    """
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    last = graph.Operators(graph.OperatorsLength() - 1)
    assert list(last.OutputsAsNumpy()) == list(graph.OutputsAsNumpy())
    # The vector of outputs is the third field of the table SubGraph; it holds one index.
    place = graph._tab.Vector(graph._tab.Offset(8))
    changed = bytearray(data)
    struct.pack_into("<i", changed, place, last.Inputs(0))
    return bytes(changed)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "ad01"])
def test_scores_before_the_softmax(model: str, mlperf_tiny: Find, tmp_path: Path) -> None:
    path = tmp_path / f"{model}.tflite"
    path.write_bytes(without_softmax(mlperf_tiny(f"{model}_int8.tflite").read_bytes()))
    assert tflite.Model.GetRootAsModel(path.read_bytes(), 0).Subgraphs(0).OutputsLength() == 1
    check(path, "host", 20)


def test_the_sample_holds_every_model_and_target() -> None:
    models, targets = zip(*SAMPLE, strict=True)
    assert set(models) == set(MODELS)
    assert set(targets) == set(TARGETS)


@pytest.mark.parametrize(("model", "target"), SAMPLE)
def test_model(model: str, target: str, mlperf_tiny: Find) -> None:
    check(mlperf_tiny(f"{model}_int8.tflite"), target, 5)


@pytest.mark.campaign
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_on_every_target(model: str, target: str, mlperf_tiny: Find) -> None:
    check(mlperf_tiny(f"{model}_int8.tflite"), target, 20)


@pytest.mark.parametrize(("model", "target"), [("resnet8", "cortex-m4"), ("kws", "cortex-m55")])
def test_the_archive_has_the_same_bytes(
    model: str, target: str, mlperf_tiny: Find, tmp_path: Path
) -> None:
    """In another process with other hash seeds, and so another order of sets."""
    script = (
        "import sys; from tinyaot.compiler import compile_model; "
        "compile_model(sys.argv[1], sys.argv[2]).save(sys.argv[3])"
    )
    archives = []
    for seed in ("1", "2"):
        archive = tmp_path / f"{seed}.tar"
        arguments = [str(mlperf_tiny(f"{model}_int8.tflite")), target, str(archive)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", script, *arguments], env=environment, check=True)
        archives.append(archive.read_bytes())
    assert archives[0] == archives[1]
