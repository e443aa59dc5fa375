"""Whole models with their NPU part on the functional model, against TFLite Micro."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.schedules.workload_npu import NpuRegion

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("ethosu") is None, reason="needs the extra ethos-u"
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("tflite_micro") is None, reason="needs tflite-micro"
    ),
]
needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler for the host")
needs_arm = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)

Find = Callable[[str], Path]

MODELS = ("ad01", "kws", "resnet8", "streaming_wakeword", "vww_96")
OWN = (
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
)


def differing(path: Path, target: str, on: str, count: int, **options: object) -> int:
    """Elements of the outputs that differ from TFLite Micro's."""
    compiled = compile_model(path, target, npu={"codegen": "own", **(options or {})})
    assert compiled.graph.nodes != ()
    assert any(node.workload.kind == "npu_region" for node in compiled.graph.nodes)
    inputs = random_inputs(compiled.inputs, count, 11)
    expected = compiled.reference(path, inputs)
    got = compiled.measure(inputs, on=on).outputs
    return sum(
        int((a != b).sum())
        for one, other in zip(expected, got, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@needs_cc
@pytest.mark.campaign
@pytest.mark.parametrize("npu", OWN)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimise", ["performance", "size"])
def test_models_on_every_accelerator(
    model: str, npu: str, optimise: str, mlperf_tiny: Find
) -> None:
    path = mlperf_tiny(f"{model}_int8.tflite")
    target = f"cortex-m55+{npu}"
    assert differing(path, target, "ethosu-model", 20, optimise=optimise) == 0


@needs_cc
@pytest.mark.campaign
@pytest.mark.parametrize("npu", OWN)
@pytest.mark.parametrize("model", MODELS)
def test_every_layer_of_the_models(model: str, npu: str, mlperf_tiny: Find) -> None:
    path = mlperf_tiny(f"{model}_int8.tflite")
    compiled = compile_model(path, f"cortex-m55+{npu}")
    layers = compiled.layers(path, random_inputs(compiled.inputs, 20, 3), "ethosu-model")
    assert layers
    assert [layer.node for layer in layers if (layer.got != layer.expected).any()] == []


@needs_cc
@pytest.mark.parametrize(("model", "npu"), [("kws", "ethos-u65-512"), ("resnet8", "ethos-u55-64")])
def test_a_sample_of_the_models(model: str, npu: str, mlperf_tiny: Find) -> None:
    path = mlperf_tiny(f"{model}_int8.tflite")
    assert differing(path, f"cortex-m55+{npu}", "ethosu-model", 2) == 0


def mixed(path: Path) -> Path:
    """A model of which a part in the middle and the end are not for the NPU."""
    builder, rng = TFLiteBuilder(), np.random.default_rng(1)
    x = builder.input((1, 8, 8, 3), 0.04, -5)
    weight = rng.integers(-99, 99, (12, 3, 3, 3)).astype(np.int8)
    y = builder.conv2d(x, weight=weight, weight_scale=0.01, scale=0.07, padding="SAME")
    z = _normalized(builder, builder.transpose(y, (0, 2, 1, 3)))
    weight = rng.integers(-99, 99, (12, 3, 3, 12)).astype(np.int8)
    z = builder.conv2d(z, weight=weight, weight_scale=0.02, scale=0.05, padding="SAME")
    z = builder.add(y, z, scale=0.1, zero_point=7)
    scores = builder.reshape(builder.max_pool2d(z, (8, 8)), (1, 12))
    builder.output(builder.softmax(scores))
    builder.output(_normalized(builder, builder.logistic(z)))
    path.write_bytes(builder.build())
    return path


def _normalized(builder: TFLiteBuilder, x: Tensor) -> Tensor:
    return builder.operator(
        "L2_NORMALIZATION", [x], x.shape, scale=1 / 128, zero_point=0, options="L2NormOptions"
    )


@needs_cc
def test_a_mixed_model_on_the_host(tmp_path: Path) -> None:
    path = mixed(tmp_path / "mixed.tflite")
    assert differing(path, "cortex-m4+ethos-u65-512", "ethosu-model", 5) == 0


@needs_cc
@pytest.mark.parametrize("codegen", ["own", "vela"])
def test_a_mixed_model_beside_an_sram_of_the_npu(tmp_path: Path, codegen: str) -> None:
    path, options = mixed(tmp_path / "mixed.tflite"), {"memory": "Dedicated_Sram_256KB"}
    options |= {"system": "Ethos_U65_High_End", "codegen": codegen}
    assert differing(path, "cortex-m4+ethos-u65-256", "ethosu-model", 3, **options) == 0
    compiled = compile_model(path, "cortex-m4+ethos-u65-256", npu=options)
    regions = [
        node.workload for node in compiled.graph.nodes if isinstance(node.workload, NpuRegion)
    ]
    largest = max(region.cache for region in regions)
    assert largest > 0
    source = compiled.program.files[f"tinyaot_{compiled.graph.name}.c"]
    assert f'(".bss.tinyaot_npu_cache") static uint8_t npu_cache[{largest}];' in source


@needs_arm
def test_a_mixed_model_in_the_emulator(tmp_path: Path) -> None:
    """The C around the NPU on the core: base pointers, shared arena, both kinds of operators."""
    path = mixed(tmp_path / "mixed.tflite")
    compiled = compile_model(path, "cortex-m55+ethos-u55-128")
    kinds = [node.workload.kind for node in compiled.graph.nodes]
    assert kinds.count("npu_region") == 2
    assert kinds.count("l2_normalization") == 2
    assert differing(path, "cortex-m55+ethos-u55-128", "qemu", 3) == 0


def test_what_stays_on_the_cpu_is_noted(tmp_path: Path) -> None:
    path = mixed(tmp_path / "mixed.tflite")
    compiled = compile_model(path, "cortex-m55+ethos-u55-128")
    notes = [note for note in compiled.report().notes if note.startswith("on the CPU")]
    assert len(notes) == 2
    assert all("l2_normalization is not" in note and "ethos-u55-128" in note for note in notes)
    report = compiled.npu_report()
    assert report is not None
    assert report.cycles > 0
    assert {one.kind for one in report.operations} >= {"conv2d", "add", "max_pool"}


def test_output_is_deterministic(tmp_path: Path) -> None:
    path = mixed(tmp_path / "mixed.tflite")
    first, second = (
        compile_model(path, "cortex-m55+ethos-u65-256").program.files for _ in range(2)
    )
    assert first == second
