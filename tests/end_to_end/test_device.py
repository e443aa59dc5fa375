"""A whole model on boards behind GDB: flashed once, run many times, profiled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinyaot.compiler import compile_model
from tinyaot.compiler.device import Device
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import TinyaotError

pytest.importorskip("pygdbmi", reason="the extra boards is not installed")
pytestmark = pytest.mark.skipif(
    None in map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm", "gdb-multiarch")),
    reason="no arm-none-eabi-gcc, qemu-system-arm and gdb-multiarch on the PATH",
)


@pytest.mark.parametrize("board", ["mps2-an386", "mps2-an505", "mps3-an547"])
def test_keyword_spotting(board: str, mlperf_tiny: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    path = mlperf_tiny("kws_int8.tflite")
    with Device.open(board) as device:
        model = compile_model(path, device.board.cores[0])
        inputs = random_inputs(model.inputs, 20, 0)
        device.flash(model)
        measured = device.measure(inputs)
        profile = device.profile(inputs[0], runs=2)
        # The tar holds all that is needed, too.
        device.flash(model.save(tmp_path / "kws.tar"))
        scores = device.run(inputs[3])
    expected = model.reference(path, inputs)
    for got, wanted in zip(measured.outputs, expected, strict=True):
        assert np.array_equal(got[0], wanted[0])
    assert np.array_equal(scores[0], expected[3][0])
    assert measured.counter == "instructions"
    total = profile.runs[0]
    assert 0.99 * total <= sum(one.count for one in profile.operators) <= 1.01 * total


def test_what_is_not_flashed_cannot_run() -> None:
    with (
        Device.open("mps2-an386") as device,
        pytest.raises(TinyaotError, match="no model has been"),
    ):
        device.run(np.zeros(1, np.int8))


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"no tar")
    with Device.open("mps2-an386") as device:
        with pytest.raises(TinyaotError, match=r"x\.tar is not a model library"):
            device.flash(path)
        with pytest.raises(TinyaotError, match=r"cannot read .*y\.tar"):
            device.flash(tmp_path / "y.tar")
