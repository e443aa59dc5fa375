"""`tinyaot npu` on files that Vela wrote, whole and damaged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vela_streams import compile_by_vela, vela_file

from tinyaot.targets.ethos_u.model import parse_driver_payload
from tinyaot.tools.main import ERROR, main

Find = Callable[[str], Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def kws(mlperf_tiny: Find) -> Path:
    return mlperf_tiny("kws_int8.tflite")


@pytest.fixture
def compiled(kws: Path, tmp_path: Path) -> Path:
    path = tmp_path / "kws_vela.tflite"
    path.write_bytes(vela_file(kws.read_bytes(), "ethos-u55-128"))
    return path


def complaint(capsys: Capture) -> str:
    """The one line of an error."""
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, said
    assert "Traceback" not in said
    return lines[0]


def test_run_is_exact(compiled: Path, kws: Path, capsys: Capture) -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    arguments = ["npu", "run", str(compiled), "--check", str(kws), "--count", "3", "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["accelerator"] == "ethos-u55-128"
    assert document["differing"] == [0, 0, 0]
    assert document["macs"] > 2_000_000


def test_run_on_a_file_of_inputs(compiled: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "one.npy", np.full((1, 49, 10, 1), 7, np.int8))
    assert main(["npu", "run", str(compiled), "--input", str(tmp_path / "one.npy")]) == 0
    assert "hazards" in capsys.readouterr().out
    np.save(tmp_path / "one.npy", np.zeros((49, 10), np.int8))
    assert main(["npu", "run", str(compiled), "--input", str(tmp_path / "one.npy")]) == ERROR
    assert "shape (49, 10)" in complaint(capsys)


def test_disasm(compiled: Path, kws: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["npu", "disasm", str(compiled)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("; ethos-u55-128, ")
    assert lines[-1].split()[2:] == ["OP_STOP", "0xffff"]
    payload = compile_by_vela(kws.read_bytes(), "ethos-u55-128").payload
    (tmp_path / "payload").write_bytes(payload)
    assert main(["npu", "disasm", str(tmp_path / "payload")]) == 0
    shown = capsys.readouterr().out.splitlines()[1:]
    # The byte offset of the last command is that of the last word.
    assert int(shown[-1].split()[1], 16) == 4 * len(parse_driver_payload(payload)) - 4


def test_files_that_vela_did_not_write(kws: Path, tmp_path: Path, capsys: Capture) -> None:
    for command in ("run", "disasm"):
        assert main(["npu", command, str(kws)]) == ERROR
        assert "Vela did not compile it" in complaint(capsys)
        assert main(["npu", command, str(tmp_path / "none.tflite")]) == ERROR
        assert "cannot read" in complaint(capsys)
        (tmp_path / "text").write_text("no model at all")
        assert main(["npu", command, str(tmp_path / "text")]) == ERROR
        assert "is not a TFLite file" in complaint(capsys)


def test_an_accelerator_without_model(kws: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "u85_vela.tflite"
    path.write_bytes(vela_file(kws.read_bytes(), "ethos-u85-256"))
    for command in ("run", "disasm"):
        assert main(["npu", command, str(path)]) == ERROR
        assert "ethos-u85-256" in complaint(capsys)


def damaged(data: bytes, seed: int) -> bytes:
    """A file cut short, or with a few bytes changed."""
    rng = random.Random(seed)
    if seed % 3 == 0:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    start = rng.choice([0, len(data) - 3000, rng.randrange(len(data))])
    for _ in range(rng.choice([1, 4])):
        changed[min(start + rng.randrange(3000), len(data) - 1)] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_for_disasm(compiled: Path, seed: int, capsys: Capture) -> None:
    compiled.write_bytes(damaged(compiled.read_bytes(), seed))
    if main(["npu", "disasm", str(compiled)]) != 0:
        assert str(compiled) in complaint(capsys)


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(i, marks=pytest.mark.campaign) for i in range(6, 200))]
)
def test_damaged_files_for_run(compiled: Path, seed: int, capsys: Capture) -> None:
    compiled.write_bytes(damaged(compiled.read_bytes(), seed))
    status = main(["npu", "run", str(compiled), "--count", "1"])
    assert status in (0, ERROR)
    if status:
        assert str(compiled) in complaint(capsys)


def test_weights_that_end_the_decoder(compiled: Path, kws: Path, capsys: Capture) -> None:
    network = compile_by_vela(kws.read_bytes(), "ethos-u55-128")
    data = compiled.read_bytes()
    # Where the constants are in the file; their second half is weights of the later layers.
    at = data.index(network.read_only[:256]) + len(network.read_only) // 2
    compiled.write_bytes(
        data[:at] + bytes(b ^ 0x55 for b in data[at : at + 2000]) + data[at + 2000 :]
    )
    assert main(["npu", "run", str(compiled), "--count", "1"]) == ERROR
    assert "weights" in complaint(capsys)
