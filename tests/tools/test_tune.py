"""`tinyaot tune` and `tinyaot log` from the outside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler.tuning.records import Record, append_records
from tinyaot.compiler.tuning.workers import LocalWorkers

if TYPE_CHECKING:
    from conftest import Command

needs_emulator = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A 3x3 convolution with padding and a dense layer."""
    rng = np.random.default_rng(0)
    builder = TFLiteBuilder()
    x = builder.input((1, 9, 9, 4), 0.05, -128)
    x = builder.conv2d(
        x,
        rng.integers(-100, 101, (8, 3, 3, 4)).astype(np.int8),
        rng.integers(-2000, 2001, 8).astype(np.int32),
        weight_scale=rng.uniform(0.001, 0.002, 8),
        scale=0.05,
        zero_point=-128,
        padding="SAME",
        activation="RELU",
    )
    builder.output(x)
    path = tmp_path / "model.tflite"
    path.write_bytes(builder.build())
    return path


@needs_emulator
def test_tuning_writes_a_log_that_compile_uses(
    tinyaot: Command, model: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    arguments = ["tune", model, "--target", "cortex-m4", "--log", log, "--workers", 1]
    done = tinyaot(*arguments, "--search", "random", "--trials", 4)
    assert done.status == 0, done.stderr
    assert "conv2d 1x9x9x4->1x9x9x8 3x3" in done.stdout
    assert "4 of 4 trials" in done.stderr
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert {json.loads(line)["status"] for line in lines} == {"ok"}

    again = tinyaot(*arguments, "--search", "random", "--trials", 4)
    assert again.status == 0
    assert len(log.read_text(encoding="utf-8").splitlines()) == 4

    best = tinyaot("log", "best", log, "--json").document["workloads"]
    assert len(best) == 1
    assert best[0]["tried"] == 4
    assert best[0]["cost"] <= best[0]["default_cost"]
    verified = tinyaot("log", "verify", log, "--model", model, "--workers", 1)
    assert verified.status == 0, verified.stdout
    assert "4 of 4 records are exact" in verified.stdout

    compiled = tinyaot("compile", model, "--tuning-log", log, "--json").document
    assert compiled["sizes"] == {"tuned": 1}
    untuned = tinyaot("compile", model, "--no-tuned", "--per-operator")
    assert "default" in untuned.stdout


def test_an_npu_is_tuned_by_estimate(tinyaot: Command, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("ethosu.vela", reason="needs the extra ethos-u")
    log = tmp_path / "log.jsonl"
    target = ["--target", "cortex-m55+ethos-u55-32"]
    done = tinyaot("tune", model, *target, "--log", log, "--trials", 6)
    assert done.status == 0, done.stderr
    assert "6 of 6 trials" in done.stderr
    assert "estimates of Vela's cycle model" in done.stdout
    assert {json.loads(line)["core"] for line in log.read_text().splitlines()} == {"ethos-u55-32"}
    compiled = tinyaot("compile", model, *target, "--tuning-log", log, "--json").document
    assert [one["source"] for one in compiled["npu"]["operations"]] == ["tuned"]
    arguments = ["bench", "--npu", model, *target, "--tuning-log", log, "--against-default"]
    compared = json.loads(tinyaot(*arguments, "--json", "-").stdout)
    assert [one["optimise"] for one in compared] == ["performance", "size"]
    assert all(0 < one["cycles"] <= one["default_cycles"] for one in compared)
    verified = tinyaot("log", "verify", log, "--model", model)
    assert verified.status == 0, verified.stdout
    refused = tinyaot("tune", model, "--target", "cortex-m55", "--optimise", "size")
    assert "no NPU to set optimise for" in refused.stderr


def records(log: Path) -> list[Record]:
    from tinyaot.compiler.tuning.measure import Outcome, Setting, make_record
    from tinyaot.compiler.tuning.search import TaskState
    from tinyaot.compiler.tuning.tasks import workload_task
    from tinyaot.schedules.workload import FullyConnected
    from tinyaot.targets import get_target

    task = workload_task(FullyConnected(1, 64, 12, 3, -128, (-128, 127)), get_target("cortex-m4"))
    state = TaskState(task, 0)
    made = [
        make_record(task, Outcome(one, "ok", 100.0 + k), Setting(), state.space.default)
        for k, one in enumerate(state.space)
    ]
    append_records(log, made)
    return made


@needs_emulator
def test_logs_are_shown_merged_and_pruned(tinyaot: Command, tmp_path: Path) -> None:
    one, other, out = (tmp_path / name for name in ("one.jsonl", "other.jsonl", "out.jsonl"))
    made = records(one)
    text = one.read_text(encoding="utf-8").replace('"knobs":{}', '"knobs":{"gone":1}', 1)
    other.write_text(text + "broken\n" + text, encoding="utf-8")

    shown = tinyaot("log", "show", one, "--json").document["records"]
    assert shown == [json.loads(record.line()) for record in made]
    merged = tinyaot("log", "merge", one, other, "-o", out)
    assert merged.status == 0
    assert f"{other}:{len(made) + 1}: skipped, not JSON" in merged.stderr
    assert len(out.read_text(encoding="utf-8").splitlines()) == len(made) + 1
    pruned = tinyaot("log", "prune", out)
    assert pruned.status == 0
    assert "1 no longer apply" in pruned.stdout
    assert out.read_text(encoding="utf-8") == made[0].line() + "\n"
    assert tinyaot("log", "show", out).stdout.count("dsp_dense") == 1


@pytest.mark.parametrize("suffix", ["png", "html"])
@needs_emulator
def test_logs_are_drawn(tinyaot: Command, tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    records(tmp_path / "log.jsonl")
    done = tinyaot("log", "plot", tmp_path / "log.jsonl", "-o", tmp_path / f"a.{suffix}")
    assert done.status == 0, done.stderr
    begin = {"png": b"\x89PNG", "html": b"<!DOCTYPE html>"}[suffix]
    assert (tmp_path / f"a.{suffix}").read_bytes().startswith(begin)


@pytest.mark.parametrize("target", ["cortex-m55", "cortex-m55+ethos-u55-32"])
def test_an_interrupt_says_what_is_kept(
    tinyaot: Command, model: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    if "+" in target:
        pytest.importorskip("ethosu.vela", reason="needs the extra ethos-u")
    from tinyaot.compiler.tuning.npu import NpuTuner
    from tinyaot.compiler.tuning.tuner import Tuner

    def interrupted(tuner: Tuner | NpuTuner) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NpuTuner if "+" in target else Tuner, "run", interrupted)
    done = tinyaot("tune", model, "--target", target, "--log", "log.jsonl")
    assert done.status == 130
    assert done.errors[-1].startswith("interrupted: log.jsonl keeps what was measured")
    assert "Traceback" not in done.stderr


def test_a_missing_toolchain_is_one_clear_line(
    tinyaot: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinyaot.compiler.tuning.measure import toolchain

    toolchain.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(LocalWorkers, "submit", None)
    done = tinyaot("tune", model, "--log", "log.jsonl")
    assert done.status == 2
    (line, hint) = done.errors[-2:]
    assert line == "error: arm-none-eabi-gcc is not installed, or not on the PATH"
    assert "apt-get install" in hint
    assert not Path("log.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune"], "there is nothing to tune"),
        (["tune", "MODEL", "--on", "moon"], "unknown board 'moon'"),
        (["tune", "MODEL", "--on", "nucleo_h743zi2"], "does not run code for cortex-m4"),
        (["tune", "MODEL", "--board", "nucleo_l4r5zi"], "--board is what is behind a GDB server"),
        (
            ["tune", "MODEL", "--on", "nucleo_l4r5zi", "--metric", "cycles"],
            "cycles are not counted on nucleo_l4r5zi",
        ),
        (["tune", "MODEL", "--on", "host"], "is not tuned on host"),
        (["tune", "MODEL", "--metric", "seconds"], "seconds on an emulator mean nothing"),
        (
            ["tune", "MODEL", "--workers", "2", "--dask", "tcp://x:1"],
            "--workers are of this machine",
        ),
        (["tune", "MODEL", "--workload", "pool"], "no workload's name holds 'pool'"),
        (["tune", "nowhere.tflite"], "cannot read the model nowhere.tflite"),
        (["log", "show", "nowhere.jsonl"], "cannot read the tuning log nowhere.jsonl"),
        (["log", "prune", "a", "b"], "of several logs one is made"),
        (["log", "plot", "a", "-o", "a.pdf"], "cannot draw a.pdf"),
        (["compile", "MODEL", "--tuning-log", "nowhere"], "cannot read the tuning log nowhere"),
    ],
)
def test_errors_are_one_clear_line(
    tinyaot: Command, model: Path, arguments: list[str], message: str
) -> None:
    done = tinyaot(*(model if one == "MODEL" else one for one in arguments))
    assert done.status == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
