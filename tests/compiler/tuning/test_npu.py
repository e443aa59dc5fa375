"""Tuning of operations on an NPU: the search, its records, and what compile makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.frontend import import_model
from tinyaot.compiler.graph import Graph
from tinyaot.compiler.legalize import legalize
from tinyaot.compiler.npu.partition import group_compilers, partition
from tinyaot.compiler.npu.region import RegionCompiler
from tinyaot.compiler.npu.report import NpuReport
from tinyaot.compiler.npu.tuned import RULE, NpuRecords
from tinyaot.compiler.transform import simplify
from tinyaot.compiler.tuning.npu import (
    GroupState,
    Knobs,
    NpuTuner,
    Trial,
    npu_groups,
    verify_npu_records,
)
from tinyaot.compiler.tuning.records import (
    Record,
    best_npu_record,
    read_log,
    useful_records,
    write_records,
)
from tinyaot.schedules.ethos_u.blocks import pack, ranked_blocks
from tinyaot.targets.ethos_u.accelerator import Npu, configure, get_npu
from tinyaot.targets.ethos_u.operation import Shape

pytest.importorskip("ethosu.vela", reason="needs the extra ethos-u")

NAME, TARGET = "ethos-u55-64", "cortex-m55+ethos-u55-64"


def model(size: int = 12, layers: int = 2) -> bytes:
    """A wide convolution on a small image, whose weights take long to copy, after narrow ones."""
    builder, rng = TFLiteBuilder(), np.random.default_rng(0)
    x = builder.input((1, size, size, 8), 0.05, -3)
    for inputs, outputs in [*[(8, 8)] * layers, (8, 64)]:
        weight = rng.integers(-90, 90, (outputs, 3, 3, inputs)).astype(np.int8)
        x = builder.conv2d(
            x, weight=weight, weight_scale=0.002, scale=0.06, padding="SAME", strides=(1, 1)
        )
    builder.output(x)
    return builder.build()


def graph_of(data: bytes) -> Graph:
    return simplify(legalize(import_model(data), "m"))


def own(npu: Npu) -> Npu:
    return configure(npu, codegen="own")


def report_of(data: bytes, log: Path | None = None) -> tuple[NpuReport, CompiledModel]:
    logs = [] if log is None else [log]
    compiled = compile_model(data, TARGET, tuning_logs=logs, npu={"codegen": "own"})
    report = compiled.npu_report()
    assert report is not None
    return report, compiled


def tuned(data: bytes, log: Path, trials: int) -> GroupState:
    (state,) = npu_groups([("m", graph_of(data))], own(get_npu(NAME)))
    NpuTuner([state], trials, log).run()
    return state


def blocks_of(compiler: RegionCompiler, place: int) -> list[Shape]:
    """The blocks of an operation, the cheapest first."""
    planner = compiler.planner
    one = planner.operations[place]
    return ranked_blocks(one, get_npu(NAME), False, planner.sizes(one))


def by_hand(data: bytes, place: int, **knobs: int) -> Record:
    """A record of an operation wherever it stands."""
    (compiler,) = group_compilers(graph_of(data), own(get_npu(NAME)))
    workload = replace(compiler.workloads[place], group="", place=-1)
    return Record(
        *(NAME, workload, RULE, knobs, "cycles", "ok", 1.0, 0, False, False),
        *("", "vela", "0", "2026-01-01T00:00:00Z"),
    )


def test_what_was_found_is_what_compile_makes(tmp_path: Path) -> None:
    data, log = model(), tmp_path / "log.jsonl"
    before, _ = report_of(data)
    state = tuned(data, log, 40)
    records = read_log(log).records
    assert before.cycles == state.default.cycles
    assert state.best.cycles is not None
    assert state.best.cycles <= before.cycles
    assert {record.core for record in records} == {NAME}
    after, _ = report_of(data, log)
    assert (after.cycles, after.sram_bytes) == (state.best.cycles, state.best.workspace)
    assert after.sram_bytes <= before.sram_bytes
    assert {one.source for one in after.operations} == {"tuned"}
    # What needs more SRAM is cheaper, and is not to be taken.
    greedy = replace(records[-1], cost=1.0, workspace=1 << 20, knobs={"copied": 1}, default=False)
    records = (*records, greedy)
    pruned = tmp_path / "pruned.jsonl"
    write_records(pruned, useful_records(records))
    assert len(read_log(pruned).records) < len(records)
    assert report_of(data, pruned)[0] == after
    checked = verify_npu_records(records, [("m", graph_of(data))])
    assert {problem for _, problem in checked} == {"", None}

    lines = log.read_text(encoding="utf-8")
    again = tuned(data, log, 40)
    assert again.best == state.best
    assert log.read_text(encoding="utf-8") == lines


def test_records_say_what_the_group_costs_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where several operations gain, the first is measured beside the others' defaults."""
    evaluate = GroupState.evaluate

    def gaining(state: GroupState, knobs: Knobs) -> Trial:
        trial = evaluate(state, knobs)
        assert trial.cycles is not None
        gains = sum(values.get("slices") == 1 for values in knobs.values())
        return replace(trial, cycles=trial.cycles - 1000 * gains)

    monkeypatch.setattr(GroupState, "evaluate", gaining)
    log = tmp_path / "log.jsonl"
    state = tuned(model(8), log, 40)
    assert len(state.knobs) > 1
    records = read_log(log).records
    for workload in state.compiler.workloads:
        best = best_npu_record([one for one in records if one.workload == workload])
        assert best is not None
        assert best.cost == state.best.cycles


def test_a_search_leaves_a_bad_start(tmp_path: Path) -> None:
    """A search that begins with the worst block finds a better one."""
    data, log = model(6, 0), tmp_path / "log.jsonl"
    (state,) = npu_groups([("m", graph_of(data))], own(get_npu(NAME)))
    worst = blocks_of(state.compiler, 0)[-1]
    slow = state.evaluate({0: {"block": pack(worst)}})
    assert slow.cycles is not None
    assert state.evaluate({}).better(slow)
    state.knobs = {0: {"block": pack(worst)}}
    state.default = state.best = slow
    state.limit = 60
    tuner = NpuTuner([state], 60, log)
    tuner._descend(state, set())
    assert state.best.cycles is not None
    assert state.best.cycles < slow.cycles


@pytest.mark.parametrize(
    ("knobs", "problem"),
    [
        ({"block": pack((64, 64, 128))}, "blocks of 64x64x128"),
        ({"cascade": 7, "stripe": 2}, "cascade=7"),
        ({"cascade": 1 << 40, "stripe": 2}, "cascade="),
        ({"tile": 3}, "no knob tile"),
    ],
)
def test_a_record_that_does_not_apply_is_noted(
    tmp_path: Path, knobs: dict[str, int], problem: str
) -> None:
    log = tmp_path / "log.jsonl"
    write_records(log, [by_hand(model(), 1, **knobs)])
    report, compiled = report_of(model(), log)
    assert report == report_of(model())[0]
    notes = [note for note in compiled.report().notes if "tuning record" in note]
    assert notes
    assert all(problem in note for note in notes)


def test_records_of_another_rule_are_not_taken(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    write_records(log, [replace(by_hand(model(), 2, copied=1, slices=1), rule="ethos_u.other")])
    report, compiled = report_of(model(), log)
    assert {one.source for one in report.operations} == {"default"}
    assert any("no rule ethos_u.other" in note for note in compiled.report().notes)


def test_a_block_and_a_stripe_are_taken_from_records(tmp_path: Path) -> None:
    data, log = model(), tmp_path / "log.jsonl"
    (compiler,) = group_compilers(graph_of(data), own(get_npu(NAME)))
    block = blocks_of(compiler, 2)[3]
    write_records(log, [by_hand(data, 2, block=pack(block))])
    report, _ = report_of(data, log)
    assert {one.block for one in report.operations if one.source == "tuned"} == {block}
    assert [one.source for one in report.operations][:2] == ["default", "default"]

    write_records(log, [by_hand(data, 2, cascade=2, stripe=4)])
    report, _ = report_of(data, log)
    kinds = [one.source for one in report.operations]
    assert kinds[0] == "default"
    assert kinds.count("tuned") == 3
    other = replace(by_hand(data, 2, cascade=2, stripe=4), core="ethos-u55-32")
    workload = replace(other.workload, accelerator="ethos-u55-32")  # type: ignore[type-var]
    write_records(log, [replace(other, workload=workload)])
    assert report_of(data, log)[0] == report_of(data)[0]


def test_stripes_and_bricks_of_records_compute_the_same() -> None:
    graph, npu = graph_of(model()), own(get_npu(NAME))
    (state,) = npu_groups([("m", graph)], npu)
    default = state.evaluate({})
    trials: list[dict[int, dict[str, int]]] = [
        {2: {"cascade": 3, "stripe": 2}},
        {2: {"cascade": 2, "stripe": 5, "block": pack((2, 4, 64))}},
        {0: {"bricks": 1}, 1: {"bricks": 0}},
        {0: {"bricks": 0}, 1: {"bricks": 1}, 2: {"cascade": 2, "stripe": 3}},
    ]
    results = [state.evaluate(knobs) for knobs in trials]
    assert {one.status for one in results} == {"ok"}
    assert len({(one.cycles, one.workspace) for one in [default, *results]}) == 5
    overlapping = {2: {"cascade": 2, "stripe": 4}, 1: {"cascade": 2, "stripe": 4}}
    assert "not valid" in state.evaluate(overlapping).error


def test_records_of_other_groups_are_taken_where_they_gain(tmp_path: Path) -> None:
    """The same convolution at the end of another model."""
    here, there = model(12, 2), model(12, 1)
    graph, npu = graph_of(here), own(get_npu(NAME))
    (elsewhere,) = group_compilers(graph_of(there), npu)
    (compiler,) = group_compilers(graph, npu)
    ranked = blocks_of(compiler, 2)

    def sources(block: Sequence[int], **others: int) -> list[str]:
        first = by_hand(there, 1, block=pack((block[0], block[1], block[2])), **others)
        record = replace(first, workload=elsewhere.workloads[1])
        (region,) = partition(graph, npu, records=NpuRecords((record,))).regions.values()
        return [region.sources.get(one.number, "default") for one, _ in region.operations]

    (default,) = partition(graph, npu).regions.values()
    assert "nearest" in sources(default.operations[-1][1].block)
    assert "nearest" not in sources(ranked[-1])
    # Of these only the block is taken, so that the others need not be valid here.
    assert "nearest" in sources(default.operations[-1][1].block, cascade=9, stripe=2)


def test_nothing_makes_the_arena_larger(tmp_path: Path) -> None:
    data, log = model(), tmp_path / "log.jsonl"
    write_records(log, [by_hand(data, place, copied=1, slices=1) for place in range(3)])
    before, _ = report_of(data)
    after, compiled = report_of(data, log)
    assert after == before
    assert any("more SRAM" in note for note in compiled.report().notes)
