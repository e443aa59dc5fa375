"""The logs that ship: whole, of the present knobs, and used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tinyaot.compiler import compile_model
from tinyaot.compiler.tuning.lookup import applies
from tinyaot.compiler.tuning.records import OK, Record, read_log, shipped_log, useful_records

CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")


def shipped(core: str) -> tuple[Record, ...]:
    path = shipped_log(core)
    assert path is not None
    log = read_log(path)
    assert not log.notes
    return log.records


@pytest.mark.parametrize("core", CORES)
def test_every_record_is_good_and_of_the_present_knobs(core: str) -> None:
    records = shipped(core)
    assert {record.core for record in records} == {core}
    assert {record.status for record in records} == {OK}
    stale = [record.line() for record in records if not applies(record)]
    assert not stale, "tune anew, see docs/tuning.md; `tinyaot log prune` drops what is out of date"
    assert useful_records(records) == list(records), "`tinyaot log prune` orders and thins them"


@pytest.mark.parametrize("core", CORES)
def test_the_models_find_their_records(core: str, mlperf_tiny: Callable[[str], Path]) -> None:
    report = compile_model(mlperf_tiny("kws_int8.tflite"), core).report()
    sources = {operator.source for operator in report.operators if operator.kind != "softmax"}
    assert sources <= {"tuned", "default"}
    assert "tuned" in sources
    plain = compile_model(mlperf_tiny("kws_int8.tflite"), core, tuned=False).report()
    assert report.arena_bytes <= plain.arena_bytes
    assert {operator.source for operator in plain.operators} == {"default"}
