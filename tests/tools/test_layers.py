"""`tinyaot run --per-layer` and `--on reference`."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_builder
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import compiled, reference
from tinyaot.compiler.graph import Graph
from tinyaot.schedules.workload import DepthwiseConv2D

if TYPE_CHECKING:
    from conftest import Command

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
needs_emulator = pytest.mark.skipif(
    None in (shutil.which("arm-none-eabi-gcc"), shutil.which("qemu-system-arm")),
    reason="no arm-none-eabi-gcc and qemu-system-arm on the PATH",
)
RUNNERS = (
    "reference",
    pytest.param("host", marks=needs_cc),
    pytest.param("qemu", marks=needs_emulator),
)

pytestmark = pytest.mark.usefixtures("oracle")


@pytest.fixture
def oracle() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


@pytest.fixture(scope="session")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with channels that the compiler removes, a reshape, an index and a bool inside."""
    rng = np.random.default_rng(0)
    b = TFLiteBuilder()
    x = b.input((1, 7, 6, 3), 0.05, -3)
    weight = rng.integers(-127, 128, (12, 3, 3, 3), np.int8)
    weight[[1, 2, 3, 6, 7, 9]] = 0
    y = b.conv2d(x, weight, weight_scale=0.01, scale=0.3, padding="SAME")
    y = b.depthwise_conv2d(
        y, rng.integers(-127, 128, (1, 3, 3, 12), np.int8), weight_scale=0.01, scale=0.9
    )
    y = b.conv2d(y, rng.integers(-127, 128, (5, 1, 1, 12), np.int8), weight_scale=0.01, scale=1.5)
    y = b.reshape(y, (20, 5))
    best = b.operator(
        *("ARG_MAX", [y, b.constant(np.array(1, np.int32))], (20,)),
        dtype="int32",
        options="ArgMaxOptions",
        OutputType=2,
    )
    b.output(best)
    b.output(b.softmax(y))
    path = tmp_path_factory.mktemp("models") / "pruned.tflite"
    path.write_bytes(b.build())
    return path


@pytest.mark.parametrize("runner", RUNNERS)
def test_every_layer_is_compared(runner: str, tinyaot: Command, pruned: Path) -> None:
    done = tinyaot("run", pruned, "--on", runner, "--check", "--per-layer", "--json")
    assert done.status == 0, done.stderr
    layers = done.document["layers"]
    assert [layer["node"].split()[0] for layer in layers] == [
        *("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "RESHAPE", "ARG_MAX", "SOFTMAX")
    ]
    # Eight of twelve channels are left of the first two.
    elements = [layer["compared_elements"] for layer in layers]
    assert elements == [5 * 42 * 8, 5 * 20 * 8, 5 * 100, 5 * 100, 5 * 20, 5 * 100]
    assert layers[0]["shape"] == [1, 7, 6, 12]
    assert not any(layer["mismatched_elements"] for layer in layers)
    assert done.document["first_difference"] is None
    assert done.document["mismatched_elements"] == 0


def test_a_wrong_recipe_is_named(
    tinyaot: Command, pruned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One element of the depthwise convolution, in a channel behind one that was removed."""
    depthwise = reference._FUNCTIONS[DepthwiseConv2D]

    def wrong(workload: Any, inputs: Any, constants: Any) -> Any:
        result = depthwise(workload, inputs, constants).reshape(1, 5, 4, 8)
        result[0, 2, 3, 7] = 3 - result[0, 2, 3, 7]
        return result

    monkeypatch.setitem(reference._FUNCTIONS, DepthwiseConv2D, wrong)
    arguments = ("run", pruned, "--on", "reference", "--check", "--per-layer", "--count", "1")
    done = tinyaot(*arguments, "--json")
    assert done.status == 1
    first = done.document["first_difference"]
    assert first["node"].startswith("DEPTHWISE_CONV_2D #1")
    assert (first["index"], first["inference"]) == ([0, 2, 3, 11], 0)
    assert first["got"] == 3 - first["expected"]
    by_layer = [layer["mismatched_elements"] for layer in done.document["layers"]]
    assert by_layer[:2] == [0, 1]
    text = tinyaot(*arguments).stdout
    assert "first to differ: DEPTHWISE_CONV_2D #1" in text
    assert f"element [0, 2, 3, 11] of inference 0 is {first['got']} and not" in text


@needs_cc
def test_a_wrong_kernel_is_named(
    tinyaot: Command, pruned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = compiled.schedule_graph

    def wrong(graph: Graph, *arguments: Any) -> Any:
        operators = list(schedule(graph, *arguments))
        constants = dict(operators[2].constants)
        name = next(name for name in constants if "weight" in name)
        constants[name] = np.negative(constants[name])
        operators[2] = replace(operators[2], constants=constants)
        return tuple(operators)

    monkeypatch.setattr(compiled, "schedule_graph", wrong)
    done = tinyaot("run", pruned, "--on", "host", "--check", "--per-layer", "--json")
    assert done.status == 1
    assert done.document["first_difference"]["node"].startswith("CONV_2D #2")


@pytest.mark.parametrize("runner", ["reference", pytest.param("host", marks=needs_cc)])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_layers_of_an_onnx_network(
    dtype: str, runner: str, tinyaot: Command, tmp_path: Path
) -> None:
    """Images are stored NHWC inside, whatever the file's order, and flattened as such."""
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    path = tmp_path / "network.onnx"
    onnx_builder.quantize(onnx_builder.mobile_network(), path, activations=dtype)
    done = tinyaot("run", path, "--on", runner, "--check", "--per-layer", "--json", "--count", "2")
    assert done.status in (0, 1), done.stderr
    layers = done.document["layers"]
    assert len(layers) > 6
    # Roundings of ties differ, and later layers inherit that.
    assert all(layer["max_difference"] <= 2 for layer in layers)
    assert sum(layer["mismatched_elements"] for layer in layers) < 0.02 * sum(
        layer["compared_elements"] for layer in layers
    )


def test_interpreted_without_a_compiler(
    tinyaot: Command, pruned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    done = tinyaot("run", pruned, "--on", "reference", "--check", "--profile")
    assert done.status == 0
    for words in ("run on reference", "not counted by the interpreter", "0 of 100 elements"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--per-layer",), "error: --per-layer compares with the reference"),
        (("--on", "reference", "--board", "mps2-an386"), "error: --board and --build-dir are"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: tuple[str, ...], error: str, tinyaot: Command, pruned: Path
) -> None:
    done = tinyaot("run", pruned, *arguments)
    assert done.status == 2
    assert done.errors[0].startswith(error)
