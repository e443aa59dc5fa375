"""What goes wrong ends with one clear line, the right status, and nothing half-written."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.targets import get_board

if TYPE_CHECKING:
    from conftest import Command, Done

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
needs_arm = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on the PATH"
)


def assert_error(done: Done, *words: str, hint: str = "") -> None:
    """One line that holds the words, a hint, status 2, no result and no file."""
    assert done.status == 2, done.stderr
    error, *hints = done.errors
    assert error.startswith("error: ")
    for word in words:
        assert word in error
    assert all(line.startswith("       ") for line in hints[1:])
    assert not hints or hints[0].startswith("  try: ")
    assert hint in "\n".join(hints)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(Path().iterdir())


def float_model(model: bytes) -> bytes:
    b = TFLiteBuilder()
    x = b.input((1, 4), dtype="float32")
    weight = b.constant(np.ones((2, 4), np.float32))
    b.output(
        b.operator(
            *("FULLY_CONNECTED", [x, weight, None], (1, 2)),
            dtype="float32",
            options="FullyConnectedOptions",
        )
    )
    return b.build()


def unsupported_operator(model: bytes) -> bytes:
    b = TFLiteBuilder()
    x = b.input((1, 4), 0.5, 0)
    b.output(b.operator("SEGMENT_SUM", [x], (1, 4), scale=0.5))
    return b.build()


def dynamic_shape(model: bytes) -> bytes:
    b = TFLiteBuilder()
    x = b.input((1, 0, 4, 2), 0.5, 0)
    b.output(b.operator("RELU", [x], (1, 0, 4, 2), scale=0.5))
    return b.build()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: b"", "the file is empty"),
        (lambda model: b"This is no model.\n" * 100, "neither a TFLite nor an ONNX file"),
        (lambda model: model[:100], "damaged"),
        (lambda model: model[: len(model) * 9 // 10], 'cannot read CONV_2D #0 "conv_2d_0"'),
        (lambda model: model[:8] + bytes(len(model) - 8), "damaged"),
        (float_model, "computes in float32"),
        (unsupported_operator, "SEGMENT_SUM"),
        (dynamic_shape, "dynamic shape"),
    ],
    ids=[
        *("empty", "text", "cut-early", "cut-late", "zeros", "float", "operator", "dynamic-shape"),
    ],
)
def test_a_file_that_is_no_model(
    change: Callable[[bytes], bytes], words: str, tinyaot: Command, model: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(change(model.read_bytes()))
    assert_error(tinyaot("compile", bad), str(bad), words, hint="try: ")


def test_corrupted_models_never_end_as_a_bug(tinyaot: Command, model: Path, tmp_path: Path) -> None:
    """Flipped bytes compile, where they are weights, or end with an error that names the file."""
    data = model.read_bytes()
    rng = np.random.default_rng(0)
    statuses = []
    for index in range(60):
        flipped = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            flipped[place] = rng.choice([0, 1, 127, 128, 255])
        path = tmp_path / f"{index}.tflite"
        path.write_bytes(flipped)
        done = tinyaot("run", path, "--input", "missing.npy")
        statuses.append(done.status)
        assert done.errors[0].startswith("error: ")
        assert "missing.npy" in done.errors[0] or str(path) in done.errors[0]
    assert set(statuses) == {2}


def test_a_missing_model(tinyaot: Command) -> None:
    assert_error(tinyaot("compile", "none.tflite"), "none.tflite: No such file", hint="path")
    assert_error(tinyaot("run", "/"), "cannot read the model /: Is a directory")


def test_an_unknown_target_names_the_closest(tinyaot: Command, model: Path) -> None:
    for command in ("compile", "run"):
        done = tinyaot(command, model, "--target", "cortex-m44")
        assert_error(done, "unknown target 'cortex-m44'", hint="did you mean cortex-m4?")


def test_a_comparison_of_npus_without_one(tinyaot: Command, model: Path) -> None:
    done = tinyaot("bench", "--npu", model, "--target", "cortex-m4")
    assert_error(done, "cortex-m4 has no NPU to compare", hint="cortex-m4+ethos-u55-128")


def test_an_unknown_board(tinyaot: Command, model: Path) -> None:
    done = tinyaot("run", model, "--board", "mps2-an386x")
    assert_error(done, "unknown board 'mps2-an386x'", hint="did you mean mps2-an386?")


@needs_arm
def test_a_board_of_another_core(tinyaot: Command, model: Path) -> None:
    done = tinyaot("run", model, "--board", "mps3-an547")
    assert_error(done, "board mps3-an547 does not run code for cortex-m4", hint="cortex-m55")


@needs_arm
@pytest.mark.parametrize("memory", ["flash", "ram"])
def test_a_model_that_does_not_fit_the_board(
    memory: str, tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = get_board("mps2-an386")
    region = dataclasses.replace(
        getattr(board, memory), size=1 << 10 if memory == "flash" else 20800
    )
    small = dataclasses.replace(board, name="small", **{memory: region})
    monkeypatch.setattr("tinyaot.targets.cortex_m.toolchain.get_board", lambda name: small)
    name = memory if memory == "flash" else "RAM"
    done = tinyaot("run", model)
    assert_error(
        done, f"does not fit the {name} of board small", "bytes are needed", hint="smaller model"
    )


@pytest.mark.parametrize("on", ["qemu", "host"])
def test_a_missing_toolchain(
    on: str, tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    tool = {"qemu": "arm-none-eabi-gcc", "host": "cc"}[on]
    done = tinyaot("run", model, "--on", on)
    assert_error(done, f"{tool} is not installed", hint="sudo apt-get install")


@needs_arm
def test_a_missing_emulator(
    tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tool in ("arm-none-eabi-gcc", "arm-none-eabi-as", "arm-none-eabi-ld"):
        found = shutil.which(tool)
        if found is not None:
            (tmp_path / tool).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_error(tinyaot("run", model), "qemu-system-arm is not installed", hint="qemu-system-arm")


def test_a_missing_oracle(tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyaot.compiler.oracle.importlib.util.find_spec", lambda name: None)
    done = tinyaot("run", model, "--check")
    assert_error(done, "TFLite Micro", "is not installed", hint="pip install 'tinyaot[oracle]'")


@pytest.mark.parametrize("output", ["no/such/folder/x.tar", "/dev/null/x.tar", "/dev/null/folder/"])
def test_an_output_that_cannot_be_written(output: str, tinyaot: Command, model: Path) -> None:
    done = tinyaot("compile", model, "-o", output)
    assert_error(done, output.rstrip("/"), hint="choose another path")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_leaves_what_was_there(
    tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "old.tar"
    target.write_text("old")
    monkeypatch.setattr("tinyaot.compiler.codegen.model_library._write_tar", full)
    assert_error(tinyaot("compile", model, "-o", target), "No space left on device")
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cwd", "old.tar"]


def test_only_regular_files_are_replaced(tinyaot: Command, model: Path, tmp_path: Path) -> None:
    pipe, target, link = (tmp_path / name for name in ("pipe", "target.tar", "link.tar"))
    os.mkfifo(pipe)
    assert_error(tinyaot("compile", model, "-o", pipe), "not a regular file")
    assert pipe.is_fifo()
    link.symlink_to(target)
    assert tinyaot("compile", model, "-o", link).status == 0
    assert link.is_symlink()
    usual = tmp_path / "usual"
    usual.touch()
    assert target.stat().st_mode == usual.stat().st_mode


def test_a_dump_that_cannot_be_written(tinyaot: Command, model: Path) -> None:
    done = tinyaot("compile", model, "--dump-ir", "/dev/null/dump")
    assert_error(done, "cannot write /dev/null/dump", hint="another folder")


@needs_cc
@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 12, 11), np.int8), ("int8 [1, 12, 11]", "input_0")),
        (np.zeros((1, 12, 11, 3), np.uint8), ("uint8",)),
        (np.zeros((1, 12, 11, 3), complex), ("complex128",)),
        (np.full((1, 12, 11, 3), np.nan), ("not finite",)),
        (np.array([None, "text"]), ("damaged, or not a NumPy file",)),
    ],
    ids=["shape", "dtype", "complex", "nan", "object"],
)
def test_an_input_that_does_not_fit(
    array: np.ndarray, words: tuple[str, ...], tinyaot: Command, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, array)
    assert_error(tinyaot("run", model, "--on", "host", "--input", path), *words)


@needs_cc
def test_input_files_that_are_none(tinyaot: Command, model: Path, tmp_path: Path) -> None:
    def run(path: Path) -> Done:
        return tinyaot("run", model, "--on", "host", "--input", path)

    path = tmp_path / "x.npz"
    assert_error(run(path), f"cannot read the input {path}: No such file", hint=".npy file")
    for content in (b"", b"text", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00\x10"):
        path.write_bytes(content)
        assert_error(run(path), "damaged, or not a NumPy file", hint=".npy file")
    np.savez(path, other=np.zeros((1, 12, 11, 3), np.int8))
    assert_error(run(path), "unknown ['other'], missing ['input_0']", hint="input_0")
    x = np.zeros((1, 12, 11, 3), np.int8)
    np.savez(path, x, x)
    assert_error(run(path), "2 inputs given for 1")
    path.write_bytes(path.read_bytes()[:-40])
    assert_error(run(path), "damaged, or not a NumPy file")


def test_a_file_and_random_inputs_exclude_each_other(tinyaot: Command, model: Path) -> None:
    done = tinyaot("run", model, "--input", "x.npy", "--count", "3")
    assert_error(done, "--count", "--input", hint="leave out")


@pytest.mark.parametrize(
    "arguments", [("run",), ("rum",), ("run", "x", "--count", "0"), ("targets", "--jason")]
)
def test_wrong_usage(arguments: tuple[str, ...], tinyaot: Command) -> None:
    done = tinyaot(*arguments)
    assert (done.status, done.stdout) == (2, "")
    assert done.errors[-1].startswith("Error: ")


def test_a_bug_is_called_one(
    tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("tinyaot.compiler.compile_model", broken)
    done = tinyaot("compile", model)
    assert done.status == 3
    assert done.errors == [
        "error: this is a bug in tinyaot: ZeroDivisionError: one two",
        "  try: run it again with --debug and report the traceback",
    ]
    for arguments in (("--debug", "compile", model), ("compile", model, "--debug")):
        done = tinyaot(*arguments)
        assert done.status == 3
        assert "in broken" in done.stderr
    assert "Traceback" not in tinyaot("compile", model).stderr


def test_debug_shows_where_an_error_arose(tinyaot: Command) -> None:
    done = tinyaot("compile", "none.tflite", "--debug")
    assert done.status == 2
    assert "Traceback" in done.stderr
    assert "FileNotFoundError" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_an_interrupt_ends_with_130(model: Path, tmp_path: Path) -> None:
    """While a compiler that never ends is at work, as typed Ctrl-C does: to the whole group."""
    slow = tmp_path / "cc"
    slow.write_text("#!/bin/sh\ntouch started\nexec sleep 60\n")
    slow.chmod(0o755)
    command = [sys.executable, "-m", "tinyaot.tools.main", "run", str(model), "--on", "host"]
    command += ["--build-dir", str(tmp_path / "build")]
    child = subprocess.Popen(
        command,
        env=os.environ | {"CC": str(slow)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "build" / "model" / "started").exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGINT)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
