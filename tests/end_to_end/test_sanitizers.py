"""Generated C has no undefined behaviour, stays inside its buffers, and compiles without warnings.

The same C runs on the host under the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_builder import mobile_network, quantize, residual_network
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import Program, TinyaotError, build_image, get_target, list_targets, run_image

# Beyond what every build enforces: strict C99 and warnings that point at real mistakes.
STRICT = (
    "-pedantic",
    "-Wcast-align",
    "-Wcast-qual",
    "-Wformat=2",
    "-Winline",
    "-Wmissing-prototypes",
    "-Wpointer-arith",
    "-Wredundant-decls",
    "-Wshadow",
    "-Wsign-conversion",
    "-Wstrict-prototypes",
    "-Wundef",
    "-Wvla",
    "-Wwrite-strings",
)


def sanitizers_work(directory: Path) -> bool:
    """Whether the host's compiler has the sanitizers and its programs run under them."""
    (directory / "probe.c").write_text("int main(void) { return 0; }\n")
    command = ["cc", "-fsanitize=address,undefined", "probe.c", "-o", "probe"]
    try:
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        subprocess.run([directory / "probe"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@pytest.fixture(scope="module", autouse=True)
def sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    if not sanitizers_work(tmp_path_factory.mktemp("probe")):
        pytest.skip("cc cannot build or run programs with sanitizers")


def run_sanitized(compiled: CompiledModel, directory: Path, count: int) -> None:
    """Runs under the sanitizers and compares with a plain build: both see the same numbers."""
    inputs = random_inputs(compiled.inputs, count)
    data = [[array.tobytes() for array in one] for one in inputs]
    host = get_target("host")
    image = build_image(
        compiled.program, host, directory=directory, sanitize=True, optimize=("-O1",)
    )
    outputs = run_image(image, data).outputs
    plain = compiled.measure(inputs, on="host").outputs
    assert [[array.tobytes() for array in one] for one in plain] == [list(one) for one in outputs]


@pytest.fixture(scope="module")
def many_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kernels at their edges: windows larger than the image, strides that skip, single pixels."""
    rng = np.random.default_rng(0)
    b = TFLiteBuilder()

    def weight(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape, np.int8)

    extremes = {"scale": 0.01, "zero_point": -128}
    for height, width, channels in ((1, 1, 1), (2, 3, 5), (7, 4, 8)):
        x = b.input((1, height, width, channels), 0.2, 127)
        for kernel, strides in ((3, (1, 1)), (5, (3, 2)), (1, (2, 2))):
            shape = {"strides": strides, "padding": "SAME"}
            w = weight(6, kernel, kernel, channels)
            b.output(b.conv2d(x, w, weight_scale=0.9, **shape, **extremes))
            w = weight(1, kernel, kernel, channels * 2)
            b.output(b.depthwise_conv2d(x, w, weight_scale=0.9, **shape, **extremes))
            b.output(b.max_pool2d(x, (kernel, kernel), **shape))
            b.output(b.average_pool2d(x, (kernel, kernel), **shape))
        b.output(b.add(x, x, scale=0.001, zero_point=127))
        b.output(b.mean(x, (1, 2), scale=0.001, zero_point=-128))
        b.output(b.softmax(b.reshape(x, (1, height * width * channels))))
        b.output(b.pad(x, [(0, 0), (2, 0), (0, 3), (1, 1)]))
        b.output(b.transpose(x, (0, 3, 2, 1)))
        flat = b.reshape(x, (1, height * width * channels))
        w = weight(5, height * width * channels)
        b.output(b.fully_connected(flat, w, weight_scale=0.9, **extremes))
    path = tmp_path_factory.mktemp("models") / "shapes.tflite"
    path.write_bytes(b.build())
    return path


SAMPLE = ("cortex-m0plus", "cortex-m4", "cortex-m55")

# The host has no features, but its compiler takes the C of any core that uses no intrinsics.
PORTABLE = ("host", "cortex-m0plus")


@pytest.mark.parametrize("target", PORTABLE)
def test_kernels_at_their_edges(target: str, many_shapes: Path, tmp_path: Path) -> None:
    run_sanitized(compile_model(many_shapes, target), tmp_path, 8)


@pytest.mark.parametrize("network", [residual_network, mobile_network])
def test_onnx_networks(network: Callable[[], object], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="quantizes the networks")
    path = quantize(network(), tmp_path / "network.onnx", activations="uint8")
    run_sanitized(compile_model(path, "host"), tmp_path / "build", 8)


@pytest.mark.parametrize("model", ["kws", "resnet8"])
def test_models(model: str, mlperf_tiny: Callable[[str], Path], tmp_path: Path) -> None:
    run_sanitized(compile_model(mlperf_tiny(f"{model}_int8.tflite"), "host"), tmp_path, 5)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("y[i] = ", "y[i + 1] = ", "AddressSanitizer"),
        ("tinyaot_clamp(value,", "tinyaot_clamp(value + 2147483647,", "runtime error"),
    ],
    ids=["overrun", "overflow"],
)
def test_the_sanitizers_see_planted_mistakes(
    old: str, new: str, found: str, tmp_path: Path
) -> None:
    b = TFLiteBuilder()
    b.output(b.relu(b.input((1, 16), 0.1, 3), scale=0.05))
    program = compile_model(b.build(), "host", name="model").program
    text = program.files["tinyaot_model.c"]
    assert old in text
    files = {**program.files, "tinyaot_model.c": text.replace(old, new)}
    broken = Program(program.name, files, program.inputs, program.outputs, program.operators)
    image = build_image(broken, get_target("host"), directory=tmp_path, sanitize=True)
    with pytest.raises(TinyaotError, match=found):
        run_image(image, [[bytes(range(16))]])


# One core for each set of features in the suite, the others in the campaign.
TARGETS = [
    pytest.param(name, marks=[] if name in SAMPLE else [pytest.mark.campaign])
    for name in list_targets()
]


@pytest.mark.parametrize("target", TARGETS)
def test_no_strict_warning(target: str, many_shapes: Path, tmp_path: Path) -> None:
    if target != "host" and shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("no arm-none-eabi-gcc on the PATH")
    program = compile_model(many_shapes, target).program
    build_image(program, get_target(target), directory=tmp_path, optimize=("-O2", *STRICT))


def test_clang_compiles_without_a_warning(
    many_shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang on the PATH")
    monkeypatch.setenv("CC", "clang")
    program = compile_model(many_shapes, "host").program
    build_image(program, get_target("host"), directory=tmp_path, optimize=("-O2", "-pedantic"))
