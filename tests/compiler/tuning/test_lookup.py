"""What the compiler takes from tuning records: the exact, the nearest, or its default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.tuning.records import Record, write_records
from tinyaot.compiler.tuning.signature import signature
from tinyaot.schedules.workload import Conv2D, Workload

RULE = "cortex_m.dsp_convolution.conv2d"
SCALAR = "cortex_m.scalar_convolution.conv2d"


def model(channels: int = 8, size: int = 12, layers: int = 2, *, idle: bool = True) -> bytes:
    """3x3 convolutions with padding, which the DSP rule computes in strips of rows.

    With `idle` wide layers come first, next to which the others leave much of the arena idle.
    """
    rng = np.random.default_rng(0)
    builder = TFLiteBuilder()
    x = builder.input((1, size, size, channels), 0.05, -128)
    wide = [(1, channels, 96), (1, 96, channels)] if idle else []
    for kernel, inputs, outputs in [*wide, *[(3, channels, channels)] * layers]:
        x = builder.conv2d(
            x,
            rng.integers(-100, 101, (outputs, kernel, kernel, inputs)).astype(np.int8),
            rng.integers(-2000, 2001, outputs).astype(np.int32),
            weight_scale=rng.uniform(0.001, 0.002, outputs),
            scale=0.05,
            zero_point=-128,
            padding="SAME",
            activation="RELU",
        )
    builder.output(x)
    return builder.build()


def is_3x3(workload: Workload) -> bool:
    return isinstance(workload, Conv2D) and workload.kernel == (3, 3)


def record(compiled: CompiledModel, rule: str, cost: float, **knobs: int) -> Record:
    node = next(node for node in compiled.graph.nodes if is_3x3(node.workload))
    return Record(
        core="cortex-m4",
        workload=node.workload,
        rule=rule,
        knobs=knobs,
        metric="instructions",
        status="ok",
        cost=cost,
        workspace=0,
        in_place=False,
        default=False,
        optimize="-O2",
        toolchain="gcc 1",
        tinyaot="0",
        date="2026-01-01T00:00:00Z",
    )


def compile_with(
    data: bytes, records: Sequence[Record], path: Path, optimize: str = "balanced"
) -> CompiledModel:
    write_records(path, records)
    return compile_model(data, "cortex-m4", optimize=optimize, tuning_logs=[path])


@pytest.fixture(autouse=True)
def nothing_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinyaot.compiler.tuning.lookup.shipped_log", lambda core: None)


@pytest.fixture(scope="module")
def plain() -> CompiledModel:
    return compile_model(model(), "cortex-m4", tuned=False)


def convolutions(compiled: CompiledModel) -> list[tuple[str, int | None, str]]:
    """Rule, strips and source of the 3x3 convolutions."""
    operators = compiled.report().operators
    return [
        (operator.rule, operator.decisions.get("strip_rows"), operator.source)
        for operator, node in zip(operators, compiled.graph.nodes, strict=True)
        if is_3x3(node.workload)
    ]


def test_the_best_record_decides(plain: CompiledModel, tmp_path: Path) -> None:
    default = convolutions(plain)[0][1]
    assert default != 2
    records = [record(plain, RULE, 100, strip_rows=2), record(plain, RULE, 200, strip_rows=1)]
    log = tmp_path / "log.jsonl"
    assert convolutions(compile_with(model(), records, log)) == [(RULE, 2, "tuned")] * 2
    slow = replace(records[0], status="wrong", cost=None)
    assert convolutions(compile_with(model(), [slow, records[1]], log))[0] == (RULE, 1, "tuned")
    own = replace(record(plain, RULE, 150, strip_rows=default or 0), default=True)
    assert convolutions(compile_with(model(), [own, records[0]], log))[0] == (RULE, 2, "tuned")
    barely = replace(records[0], cost=149.9)
    expected = (RULE, default, "tuned")
    assert convolutions(compile_with(model(), [own, barely], log))[0] == expected


def test_another_rule_can_be_the_best(plain: CompiledModel, tmp_path: Path) -> None:
    records = [record(plain, SCALAR, 5, row_blocks=2)]
    compiled = compile_with(model(), records, tmp_path / "log.jsonl")
    assert convolutions(compiled) == [(SCALAR, None, "tuned")] * 2


def test_equal_logs_give_equal_programs(plain: CompiledModel, tmp_path: Path) -> None:
    records = [record(plain, RULE, 100, strip_rows=2)]
    one, other = (compile_with(model(), records, tmp_path / name) for name in ("a", "b"))
    assert one.program == other.program
    assert one.program != plain.program


def test_a_workload_without_a_record_takes_the_nearest(
    plain: CompiledModel, tmp_path: Path
) -> None:
    records = [record(plain, RULE, 100, strip_rows=3)]
    log = tmp_path / "log.jsonl"
    assert convolutions(compile_with(model(size=15), records, log))[0] == (RULE, 3, "nearest")
    far = convolutions(compile_with(model(size=32, channels=16), records, log))[0]
    assert far[2] == "default"
    # Strips of this height are not valid there.
    shallow = [replace(records[0], knobs={"strip_rows": 12})]
    assert convolutions(compile_with(model(size=10), shallow, log))[0][2] == "default"


def test_a_nearest_default_stands_for_the_own_default(plain: CompiledModel, tmp_path: Path) -> None:
    default = convolutions(plain)[0][1]
    records = [replace(record(plain, RULE, 100, strip_rows=default or 0), default=True)]
    data = model(size=15)
    own = convolutions(compile_model(data, "cortex-m4", tuned=False))[0][1]
    compiled = compile_with(data, records, tmp_path / "log.jsonl")
    assert convolutions(compiled)[0] == (RULE, own, "nearest")


@pytest.mark.parametrize("size", [12, 15])
def test_records_beside_another_default_say_nothing(
    plain: CompiledModel, tmp_path: Path, size: int
) -> None:
    """Where constants rule out the fastest rule, the best of the others is no news to the rest."""
    fast = record(plain, RULE, 100, strip_rows=2)
    log = tmp_path / "log.jsonl"
    for rule, source in ((RULE, "tuned" if size == 12 else "nearest"), (SCALAR, "default")):
        own = replace(fast, rule=rule, knobs={"row_blocks": 2}, cost=200, default=True)
        compiled = compile_with(model(size=size), [own, fast], log)
        assert convolutions(compiled)[0][2] == source


@pytest.mark.parametrize("knobs", [{"strip_rows": 99}, {"strips": 2}, {}])
def test_knobs_that_no_longer_exist_are_skipped_with_a_note(
    plain: CompiledModel, knobs: dict[str, int], tmp_path: Path
) -> None:
    records = [replace(record(plain, RULE, 100), knobs=knobs)]
    compiled = compile_with(model(), records, tmp_path / "log.jsonl")
    assert {source for _, _, source in convolutions(compiled)} == {"default"}
    (note,) = (note for note in compiled.report().notes if "tuning records" in note)
    assert "tinyaot log prune" in note


def test_no_pick_makes_the_arena_larger(tmp_path: Path) -> None:
    """One strip of all rows takes the most memory; between small layers there is none to spare."""
    data = model(channels=16, size=24, layers=3, idle=False)
    plain = compile_model(data, "cortex-m4", tuned=False)
    log = tmp_path / "log.jsonl"
    # What counts is what the kernel really takes, and not what the record says.
    compiled = compile_with(data, [record(plain, RULE, 100, strip_rows=24)], log)
    assert compiled.report().arena_bytes == plain.report().arena_bytes
    assert convolutions(compiled)[0][2] == "default"
    given = {
        node.workload: {"strip_rows": 24} for node in plain.graph.nodes if is_3x3(node.workload)
    }
    larger = compile_model(data, "cortex-m4", decisions=given, tuning_logs=[log])
    assert larger.report().arena_bytes > plain.report().arena_bytes
    assert convolutions(larger)[0] == (RULE, 24, "given")


def test_records_of_the_same_flags_and_the_most_real_metric_win(
    plain: CompiledModel, tmp_path: Path
) -> None:
    two, three, one = (record(plain, RULE, 100, strip_rows=rows) for rows in (2, 3, 1))
    log = tmp_path / "log.jsonl"
    records = [two, replace(three, optimize="-Os", cost=1), replace(one, core="cortex-m7", cost=1)]
    assert convolutions(compile_with(model(), records, log))[0][1] == 2
    assert convolutions(compile_with(model(), records, log, "size"))[0][1] == 3
    records = [two, replace(three, metric="cycles", cost=900)]
    assert convolutions(compile_with(model(), records, log))[0][1] == 3


def test_signatures_leave_out_what_decides_nothing(plain: CompiledModel) -> None:
    workload = record(plain, RULE, 1).workload
    assert isinstance(workload, Conv2D)
    same = replace(workload, input_zero_point=5)
    assert signature(same) == signature(workload)
    assert signature(same).distance(signature(workload)) == 0
    strided = signature(replace(workload, strides=(2, 2)))
    assert strided.distance(signature(workload)) == float("inf")
    clamped = signature(replace(workload, clamp=(-128, 90)))
    assert 0 < clamped.distance(signature(workload)) < 1
