"""Tuning logs survive what happens to files: damage, strangers, two writers, a full disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinyaot.compiler.tuning.records import (
    Record,
    append_records,
    pareto_front,
    parse_record,
    read_log,
    useful_records,
)
from tinyaot.schedules.workload import FullyConnected
from tinyaot.targets.errors import TinyaotError

WORKLOAD = FullyConnected(1, 64, 12, -128, 3, (-128, 127))
RECORD = Record(
    core="cortex-m4",
    workload=WORKLOAD,
    rule="cortex_m.dsp_dense.fully_connected",
    knobs={"block": 4},
    metric="instructions",
    status="ok",
    cost=963.0,
    workspace=128,
    in_place=False,
    default=False,
    optimize="-O2",
    toolchain="arm-none-eabi-gcc 12.2.1",
    tinyaot="0.1.0",
    date="2026-01-02T03:04:05Z",
)


def test_a_record_is_read_as_it_was_written() -> None:
    failed = replace(RECORD, status="crash", cost=None, error="fault at conv2d+0x10")
    for record in (RECORD, failed):
        assert parse_record(record.line()) == (record, [])


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(RECORD.line()), **fields})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("\x00\x00", "not JSON"),
        (changed(format=2), "not of format 1"),
        (changed(cost=None), "cost is None"),
        (changed(cost=-1), "cost is -1"),
        (changed(cost=True), "cost is True"),
        (changed(status="good"), "status is 'good'"),
        (changed(status="hang"), "cost is 963"),
        (changed(metric="joules"), "metric is 'joules'"),
        (changed(knobs={"block": "4"}), "knobs is {'block': '4'}"),
        (changed(workload={"kind": "conv9d"}), "unknown workload 'conv9d'"),
        (changed(workload={"kind": "softmax", "rows": 1}), "softmax has other fields"),
        (changed(workload={"kind": "softmax", "rows": 1, "depth": [2]}), "depth is"),
        (RECORD.line().replace('"rule"', '"role"'), "without rule"),
    ],
)
def test_a_line_that_is_no_record_is_skipped_with_its_reason(
    line: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"{RECORD.line()}\n{line}\n\n{RECORD.line()}\n", encoding="utf-8")
    log = read_log(path)
    assert log.records == (RECORD, RECORD)
    assert len(log.notes) == 1
    assert log.notes[0].startswith(f"{path}:2: skipped, ")
    assert reason in log.notes[0]


def test_unknown_fields_are_ignored_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(changed(energy=7) + "\n", encoding="utf-8")
    assert read_log(path).records == (RECORD,)
    assert read_log(path).notes == (f"{path}:1: ignored unknown field energy",)


def test_another_kind_of_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3\n\x01\n\n7\n")
    with pytest.raises(TinyaotError, match="is no tuning log"):
        read_log(path)
    path.write_text(RECORD.line()[:9], encoding="utf-8")
    assert read_log(path).records == ()
    with pytest.raises(TinyaotError, match="is a device"):
        read_log(Path("/dev/null"))


def test_what_follows_a_line_that_was_cut_short_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(RECORD.line()[:40], encoding="utf-8")
    append_records(path, [RECORD])
    assert read_log(path).records == (RECORD,)
    assert "skipped" in read_log(path).notes[0]


APPEND = """
import sys
from dataclasses import replace
from pathlib import Path
from tinyaot.compiler.tuning.records import append_records, parse_record
record, _ = parse_record(sys.argv[2])
for cost in range(60):
    append_records(Path(sys.argv[1]), [replace(record, cost=float(cost))] * 3)
"""


def test_two_tuners_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    records = [replace(RECORD, core=core) for core in ("one", "two")]
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND, str(path), record.line()])
        for record in records
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    log = read_log(path)
    assert not log.notes
    for core in ("one", "two"):
        costs = [record.cost for record in log.records if record.core == core]
        assert costs == [float(cost) for cost in range(60) for _ in range(3)]


def test_a_full_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.jsonl"
    append_records(path, [RECORD])
    real = os.open

    class Full:
        """A file on a disk with room for ten bytes."""

        def __init__(self, file: Any) -> None:
            self.file, self.room = file, 10

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: bytes) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            written = self.file.write(data[: self.room])
            self.room = 0
            return int(written)

    monkeypatch.setattr(
        "tinyaot.compiler.tuning.records.open",
        lambda descriptor, *args, **kwargs: Full(os.fdopen(descriptor, *args, **kwargs)),
        raising=False,
    )
    with pytest.raises(TinyaotError, match=r"cannot write the tuning log .*No space left"):
        append_records(path, [RECORD, RECORD])
    assert os.open is real
    assert path.read_text(encoding="utf-8") == RECORD.line() + "\n"


def test_pruning_keeps_the_default_and_what_is_best_for_some_memory() -> None:
    def of(cost: float, workspace: int, block: int, **rest: Any) -> Record:
        return replace(RECORD, cost=cost, workspace=workspace, knobs={"block": block}, **rest)

    fast, small, default = of(10, 900, 1), of(20, 100, 2), of(30, 500, 3, default=True)
    worse = of(25, 200, 4)
    failed = replace(of(0, 0, 5), status="wrong", cost=None)
    superseded, again = of(1, 0, 6), of(40, 0, 6)
    other = replace(RECORD, workload=replace(WORKLOAD, output_size=13))
    alike = replace(worse, workload=replace(WORKLOAD, output_zero_point=5))
    log = [fast, worse, default, failed, superseded, small, again, other, alike]
    assert pareto_front(log[:3]) == [fast, worse]
    assert set(map(Record.line, useful_records(log))) == set(
        map(Record.line, [fast, small, default, again, other])
    )
