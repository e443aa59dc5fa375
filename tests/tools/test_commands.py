"""What the commands do and print when all is well."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.targets import list_targets

if TYPE_CHECKING:
    from conftest import Command

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
needs_emulator = pytest.mark.skipif(
    None in (shutil.which("arm-none-eabi-gcc"), shutil.which("qemu-system-arm")),
    reason="no arm-none-eabi-gcc and qemu-system-arm on the PATH",
)


@pytest.fixture
def oracle() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


def test_help_is_complete_and_loads_nothing_heavy() -> None:
    """People type it all day; TVM alone takes longer than they want to wait."""
    script = (
        "import sys; from tinyaot.tools.main import main; status = main(['--help']);"
        "print(*sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    for word in ("compile", "run", "targets", "version", "--debug", "Exit status"):
        assert word in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "tinyaot.tools.run" in loaded
    assert loaded.isdisjoint({"tvm", "numpy", "onnx", "tflite", "rich.console", "jinja2"})


def test_compile_writes_the_library_and_reports_it(tinyaot: Command, model: Path) -> None:
    done = tinyaot("compile", model, "--target", "cortex-m55", "--json")
    assert done.status == 0
    document = done.document
    compiled = compile_model(model, "cortex-m55")
    report = compiled.report()
    assert document["file"] == "small.tar"
    assert document["target"] == "cortex-m55"
    assert document["arena_bytes"] == report.arena_bytes > 0
    assert document["arena_lower_bound_bytes"] == report.arena_lower_bound_bytes
    assert document["io_bytes"] == 12 * 11 * 3 + 10
    assert document["flash_weight_bytes"] == report.flash_weight_bytes
    assert document["macs"] == report.macs
    assert document["operators"]["conv2d"] == 1
    compiled.save("again.tar")
    assert Path("small.tar").read_bytes() == Path("again.tar").read_bytes()
    assert not done.errors


def test_compile_prints_a_table(tinyaot: Command, model: Path) -> None:
    done = tinyaot("compile", model)
    assert done.status == 0
    for words in ("small for cortex-m4", "lower bound", "1 depthwise_conv2d", "small.tar"):
        assert words in done.stdout
    assert "import ..." in done.stderr.splitlines()


@needs_emulator
def test_compile_measures_the_code_as_run_does(tinyaot: Command, model: Path) -> None:
    code = tinyaot("compile", model, "--json").document["flash_code_bytes"]
    assert code == tinyaot("run", model, "--json").document["flash_code_bytes"] > 500


def test_compile_without_a_toolchain_says_what_it_cannot_measure(
    tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    done = tinyaot("compile", model, "--json")
    assert done.status == 0
    assert done.document["flash_code_bytes"] is None
    assert "arm-none-eabi-gcc is not installed" in done.document["notes"][-1]
    assert "not measured: arm-none-eabi-gcc" in tinyaot("compile", model).stdout
    assert Path("small.tar").is_file()


@pytest.mark.parametrize(
    ("output", "file"),
    [("other.tar", "other.tar"), ("folder/", "folder/net.tar"), (".", "net.tar")],
)
def test_output_is_a_file_or_a_folder(
    output: str, file: str, tinyaot: Command, model: Path
) -> None:
    done = tinyaot("compile", model, "-o", output, "--name", "net", "--json")
    assert done.document["file"] == file
    with tarfile.open(file) as archive:
        assert "./codegen/host/include/tinyaot_net.h" in archive.getnames()


def test_the_form_after_each_step_can_be_seen(tinyaot: Command, model: Path) -> None:
    assert tinyaot("compile", model, "--dump-ir", "dump/here").status == 0
    dumped = sorted(path.name for path in Path("dump/here").iterdir())
    assert dumped[0] == "00_import.relax"
    assert any(name.endswith("tinyaot_small.c") for name in dumped)


@needs_emulator
@pytest.mark.usefixtures("oracle")
def test_run_checks_and_measures_on_an_emulated_core(tinyaot: Command, model: Path) -> None:
    done = tinyaot("run", model, "-t", "cortex-m0plus", "--check", "--profile", "--json")
    assert done.status == 0
    document = done.document
    expected = {"model": "small", "target": "cortex-m0plus", "board": "mps2-an385", "count": 5}
    assert expected.items() <= document.items()
    assert document["mismatched_elements"] == 0
    assert document["max_difference"] == 0
    assert document["compared_elements"] == 5 * 10
    assert document["instructions"] > document["macs"]
    for key in ("arena_bytes", "stack_bytes", "flash_code_bytes", "flash_weight_bytes"):
        assert document[key] > 0
    counted = sum(operator["instructions"] for operator in document["operators"])
    assert 0.98 * document["instructions"] < counted <= document["instructions"]
    assert {"node", "kind", "macs"} <= document["operators"][0].keys()


@needs_emulator
def test_run_prints_tables(tinyaot: Command, model: Path) -> None:
    done = tinyaot("run", model, "--count", "23", "--profile")
    assert done.status == 0
    for words in ("and 3 more", "CONV_2D #0", "small for cortex-m4, run on mps2-an386", "stack"):
        assert words in done.stdout


@needs_cc
@pytest.mark.usefixtures("oracle")
def test_run_on_the_host_has_no_counts(tinyaot: Command, model: Path) -> None:
    done = tinyaot("run", model, "--on", "host", "--check", "--profile", "--count", "2", "--json")
    assert done.status == 0
    document = done.document
    assert (document["board"], document["count"]) == ("host", 2)
    assert document["mismatched_elements"] == 0
    assert (document["instructions"], document["stack_bytes"]) == (None, None)
    assert "operators" not in document
    table = tinyaot("run", model, "--target", "host", "--check").stdout
    assert 'output "softmax_5": 0 of 50 elements differ from the reference' in table


@needs_cc
def test_a_difference_is_counted_and_ends_with_status_1(
    tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reference(compiled: object, path: object, inputs: object) -> list[list[np.ndarray]]:
        outputs = compiled.measure(inputs, on="host").outputs
        changed = outputs[1][0].copy()
        changed[0, :3] ^= 4
        return [outputs[0], [changed]]

    monkeypatch.setattr("tinyaot.compiler.CompiledModel.reference", reference)
    arguments = ("run", model, "--on", "host", "--count", "2", "--check")
    done = tinyaot(*arguments, "--json")
    assert done.status == 1
    document = done.document
    assert (document["mismatched_elements"], document["compared_elements"]) == (3, 20)
    assert document["max_difference"] == 4
    done = tinyaot(*arguments)
    assert done.status == 1
    assert "3 of 20 elements differ from the reference, by at most 4" in done.stdout


@needs_cc
def test_without_a_check_nothing_is_claimed(tinyaot: Command, model: Path) -> None:
    arguments = ("run", model, "--on", "host", "--seed", "7")
    document = tinyaot(*arguments, "--json").document
    assert document["mismatched_elements"] is document["compared_elements"] is None
    assert document["seed"] == 7
    assert "not compared" in tinyaot(*arguments).stdout


@needs_cc
@pytest.mark.usefixtures("oracle")
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_check_of_a_tflite_model_with_other_edges(
    dtype: str, tinyaot: Command, tmp_path: Path
) -> None:
    b = TFLiteBuilder()
    x = b.input(
        (1, 6, 5, 2), None if dtype == "float32" else 0.1, 0 if dtype == "float32" else 120, dtype
    )
    y = b.max_pool2d(b.quantize(x, scale=0.1, zero_point=-8), (2, 2))
    b.output(
        b.dequantize(y)
        if dtype == "float32"
        else b.quantize(y, scale=0.1, zero_point=120, dtype=dtype)
    )
    path = tmp_path / "edges.tflite"
    path.write_bytes(b.build())
    document = tinyaot("run", path, "--on", "host", "--check", "--json").document
    assert document["mismatched_elements"] == 0
    assert document["compared_elements"] == 5 * 5 * 4 * 2


@needs_cc
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_check_of_an_onnx_model_with_float_edges(
    dtype: str, tinyaot: Command, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("MaxPool", ["xd"], ["p"], kernel_shape=[2, 2]),
        helper.make_node("QuantizeLinear", ["p", "scale", "zero"], ["pq"]),
        helper.make_node("DequantizeLinear", ["pq", "scale", "zero"], ["y"]),
    ]
    kind = TensorProto.INT8 if dtype == "int8" else TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 5, 4])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [0.05]),
            helper.make_tensor("zero", kind, [], [100]),
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    path = tmp_path / "pool.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    document = tinyaot("run", path, "--on", "host", "--check", "--json").document
    assert document["mismatched_elements"] == 0
    assert document["compared_elements"] == 5 * 3 * 5 * 4


@needs_cc
@pytest.mark.usefixtures("oracle")
def test_an_input_comes_from_a_file(tinyaot: Command, model: Path) -> None:
    rng = np.random.default_rng(0)
    quantized = rng.integers(-128, 128, (1, 12, 11, 3), np.int8)
    real = 0.05 * (quantized.astype(np.float64) + 3)
    np.save("quantized.npy", quantized)
    np.save("real.npy", real)
    np.savez("named.npz", input_0=quantized)
    np.savez("ordered.npz", quantized)
    tables = set()
    for file in ("quantized.npy", "real.npy", "named.npz", "ordered.npz"):
        done = tinyaot("run", model, "--on", "host", "--input", file, "--check")
        assert done.status == 0
        tables.add(done.stdout)
    assert len(tables) == 1
    document = tinyaot("run", model, "--on", "host", "--input", "real.npy", "--json").document
    assert (document["count"], document["seed"]) == (1, None)


@needs_cc
def test_what_is_built_can_be_kept(tinyaot: Command, model: Path) -> None:
    assert tinyaot("run", model, "--on", "host", "--build-dir", "kept").status == 0
    assert Path("kept/model/tinyaot_small.c").is_file()
    assert Path("kept/image.elf").is_file()


@needs_cc
def test_verbose_shows_commands_as_typed(tinyaot: Command, model: Path) -> None:
    for arguments in (("run", "-v", model, "--on", "host"), ("-v", "run", model, "--on", "host")):
        commands = [line for line in tinyaot(*arguments).errors if " -c tinyaot_small.c" in line]
        assert len(commands) == 1
        assert commands[0].startswith("(cd /")
    assert not tinyaot("run", model, "--on", "host").errors


def test_targets_are_listed_with_their_boards(tinyaot: Command) -> None:
    targets = {
        target["name"]: target for target in tinyaot("targets", "--json").document["targets"]
    }
    assert set(targets) == set(list_targets())
    assert targets["host"]["board"] is None
    assert "dsp" in targets["cortex-m4"]["features"]
    assert targets["cortex-m55"]["board"]["flash_bytes"] == 2 << 20
    table = tinyaot("targets").stdout
    assert all(name in table for name in targets)


def test_versions_are_those_of_what_is_there(
    tinyaot: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tinyaot("version", "--json").document
    assert document["python"].startswith("3.")
    assert document["apache-tvm"] == "0.27.0.post1"
    assert document["tinyaot"] in tinyaot("--version").stdout
    monkeypatch.setenv("PATH", "")
    assert tinyaot("version", "--json").document["qemu-system-arm"] is None
    assert "not installed" in tinyaot("version").stdout
