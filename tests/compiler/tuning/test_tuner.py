"""The loop: it finds, keeps, resumes and repeats, and survives what candidates and workers do."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinyaot.compiler.tuning import boards
from tinyaot.compiler.tuning import measure as measure_module
from tinyaot.compiler.tuning.measure import Outcome, Setting, measure
from tinyaot.compiler.tuning.records import Record, read_log
from tinyaot.compiler.tuning.search import SEARCHES, TaskState
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.compiler.tuning.tasks import Task, workload_task
from tinyaot.compiler.tuning.tuner import Options, Progress, Tuner
from tinyaot.compiler.tuning.workers import DaskWorkers, LocalWorkers, Pending
from tinyaot.schedules.registry import find_rules
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, FullyConnected
from tinyaot.targets import Program, RunResult, TinyaotError, get_board, get_target
from tinyaot.targets.errors import MissingError

CONV = Conv2D(
    (1, 12, 12, 8), (1, 12, 12, 16), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, 3, -128, (-128, 127)
)
TASK = workload_task(CONV, get_target("cortex-m55"))
DENSE = workload_task(FullyConnected(1, 32, 8, 3, -128, (-128, 127)), get_target("cortex-m4"))

needs_emulator = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)


def cost(candidate: Candidate) -> float:
    """Something smooth with one best place, far from the default."""
    knobs = dict(candidate.knobs)
    distance = abs(knobs.get("tile_rows", 40) - 5) + abs(knobs.get("channel_block", 40) - 8) / 4
    return 1000.0 + 50 * distance + 3 * knobs.get("tile_columns", 99)


class Pretended:
    """Workers that compute a cost from the knobs."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.measured: list[Candidate] = []
        self.fail_after = fail_after

    def submit(self, task: Task, candidates: Sequence[Candidate], setting: Setting) -> Pending:
        return Pending(task, candidates, setting)

    def collect(self, pending: Pending) -> list[Outcome]:
        if self.fail_after is not None and len(self.measured) >= self.fail_after:
            raise KeyboardInterrupt
        self.measured += pending.candidates
        return [Outcome(one, "ok", cost(one), 0) for one in pending.candidates]

    def finished(self, pending: Pending) -> list[Outcome] | None:
        return None

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Tests that only pretend to measure need no toolchain."""
    if "emulated" not in request.node.name:
        for module in ("measure", "tuner"):
            monkeypatch.setattr(f"tinyaot.compiler.tuning.{module}.toolchain", lambda name: "cc 1")


def tune(options: Options, log: Path | None = None, workers: Any = None) -> TaskState:
    (state,) = Tuner([TASK], options, log, workers or Pretended()).run()
    return state


@pytest.mark.parametrize("search", SEARCHES)
def test_every_candidate_is_tried_once(search: str) -> None:
    if search == "model":
        pytest.importorskip("xgboost")
    workers = Pretended()
    state = tune(Options(10**6, search, batch=32), workers=workers)
    assert len(workers.measured) == len(set(workers.measured)) == state.space.size > 50
    assert set(workers.measured) == set(state.space)
    assert workers.measured[0] == state.space.default
    assert state.best is not None
    assert state.best.cost == min(map(cost, state.space))


def test_rounds_of_one_candidate_begin_without_a_model() -> None:
    pytest.importorskip("xgboost")
    workers = Pretended()
    tune(Options(5, batch=1), workers=workers)
    assert len(set(workers.measured)) == 5


@pytest.mark.parametrize("search", ["model", "random"])
def test_the_same_seed_tries_the_same(search: str) -> None:
    if search == "model":
        pytest.importorskip("xgboost")
    runs = []
    for seed in (0, 0, 1):
        workers = Pretended()
        tune(Options(48, search, seed), workers=workers)
        runs.append(workers.measured)
    assert runs[0] == runs[1] != runs[2]
    assert len(runs[0]) == 48


def test_the_model_finds_more_than_chance() -> None:
    """In a space of some hundred candidates, after as many trials: how far from the best."""
    pytest.importorskip("xgboost")
    conv = replace(CONV, input_shape=(1, 32, 32, 8), output_shape=(1, 32, 32, 16))
    task = workload_task(conv, TASK.target)
    best = min(map(cost, TaskState(task, 0).space))
    excess: dict[str, float] = {}
    for search in ("model", "random"):
        excess[search] = 0.0
        for seed in range(3):
            options = Options(48, search, seed, batch=8)
            (state,) = Tuner([task], options, None, Pretended()).run()
            excess[search] += state.trace[-1] - best
    assert excess["model"] <= 0.5 * excess["random"]


def test_large_spaces_are_evolved(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xgboost")
    monkeypatch.setattr("tinyaot.compiler.tuning.search._RANKED_WHOLE", 20)
    state = tune(Options(64, "model"))
    assert len(state.outcomes) == 64
    assert state.best is not None
    assert state.best.cost is not None
    assert state.best.cost <= sorted(map(cost, state.space))[3]


def test_an_interrupted_run_goes_on_where_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    options = Options(40, "random")
    with pytest.raises(KeyboardInterrupt):
        tune(options, log, Pretended(fail_after=16))
    kept = read_log(log).records
    assert len(kept) == 16
    workers = Pretended()
    state = tune(options, log, workers)
    assert len(workers.measured) == 24
    assert len(state.outcomes) == 40
    records = read_log(log).records
    assert records[:16] == kept
    assert len({record.candidate for record in records}) == len(records) == 40
    assert [record.default for record in records].count(True) == 1


def test_records_that_no_longer_apply_are_measured_anew(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    tune(Options(8, "grid"), log)
    text = log.read_text(encoding="utf-8").replace('"tile_rows"', '"rows_of_a_tile"')
    log.write_text(text, encoding="utf-8")
    reports: list[Progress] = []
    Tuner([TASK], Options(8, "grid"), log, Pretended(), reports.append).run()
    (note,) = reports[0].notes
    assert "8 records of conv2d" in note
    assert "no longer apply" in note
    assert len(read_log(log).records) == 16


def test_trials_go_where_most_can_be_saved() -> None:
    """A dense layer of 8 outputs is not worth what a convolution is."""
    often = replace(TASK, count=3)
    small = replace(workload_task(FullyConnected(1, 8, 4, 3, -128, (-128, 127)), TASK.target))
    states = Tuner([small, often], Options(60, "random"), None, Pretended()).run()
    assert 0 < len(states[0].outcomes) <= states[0].space.size < 10
    assert len(states[1].outcomes) == 60 - len(states[0].outcomes)


def test_random_constants_are_such_that_the_fastest_rule_is_exact() -> None:
    """Uniform weights and the first multipliers drawn are not, for these."""
    depthwise = DepthwiseConv2D(
        (1, 25, 5, 276), (1, 25, 5, 276), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), -128, -128,
        (-128, 127),
    )  # fmt: skip
    dense = FullyConnected(1, 640, 128, -128, -128, (-128, 127))
    for workload, core in ((depthwise, "cortex-m4"), (dense, "cortex-m55")):
        task = workload_task(workload, get_target(core))
        best = find_rules(workload, task.target.features)[0]
        assert TaskState(task, 0).space.default.rule == best.name


@needs_emulator
def test_what_fails_emulated_is_recorded_and_never_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four candidates share an image: one computes nonsense, one faults, one hangs."""
    task = workload_task(replace(CONV, input_shape=(1, 6, 6, 8), output_shape=(1, 6, 6, 4)),
                         get_target("cortex-m4"))  # fmt: skip
    candidates = list(TaskState(task, 0).space)[:5]
    real = measure_module.print_function
    bodies = {
        1: "    y[0] = (int8_t)(y[0] + 1);",
        2: '    *(volatile int32_t *)0xE0000FF1u = 1;\n    __asm volatile("udf #0");',
        3: '    for (;;) { __asm volatile(""); }',
        4: "    nonsense;",
    }
    made = []

    def spoiled(*arguments: Any) -> Any:
        function = real(*arguments)
        made.append(function)
        return replace(function, body=function.body + "\n" + bodies.get(len(made) - 1, ""))

    monkeypatch.setattr(measure_module, "print_function", spoiled)
    setting = Setting(timeout=0.5)
    outcomes = measure(task, candidates, setting)
    assert [one.status for one in outcomes] == ["ok", "wrong", "crash", "hang", "build"]
    assert [one.cost is None for one in outcomes] == [False, True, True, True, True]
    assert "differs from the reference" in outcomes[1].error
    assert "fault" in outcomes[2].error
    assert "did not end" in outcomes[3].error
    state = TaskState(task, 0)
    state.add(outcomes)
    assert state.best == outcomes[0]


def test_what_is_missing_here_is_no_candidates_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> Any:
        raise MissingError("no space left")

    monkeypatch.setattr(measure_module, "build_image", full)
    with pytest.raises(MissingError, match="no space left"):
        measure(DENSE, [TaskState(DENSE, 0).space.default], Setting())


@needs_emulator
def test_costs_are_those_that_the_emulated_model_has() -> None:
    (alone,) = measure(DENSE, [TaskState(DENSE, 0).space.default], Setting())
    together = measure(DENSE, list(TaskState(DENSE, 0).space), Setting())
    assert alone.status == "ok"
    assert alone.cost == pytest.approx(together[0].cost, rel=0.02)


@needs_emulator
def test_a_board_behind_a_debugger_counts_what_the_emulator_does_emulated() -> None:
    pytest.importorskip("pygdbmi", reason="the extra boards is not installed")
    if not any(map(shutil.which, ("gdb-multiarch", "arm-none-eabi-gdb"))):
        pytest.skip("no gdb-multiarch on the PATH")
    candidates = list(TaskState(DENSE, 0).space)
    there = measure(DENSE, candidates, Setting(on="mps2-an386"))
    assert {one.status for one in there} == {"ok"}
    here = measure(DENSE, candidates, Setting())
    assert [one.cost for one in there] == pytest.approx([one.cost for one in here], rel=0.02)


@pytest.mark.parametrize("counter", ["dwt", "instructions", None])
def test_cycles_of_a_board_are_seconds(monkeypatch: pytest.MonkeyPatch, counter: Any) -> None:
    """A fake of a board at 4 MHz; one that counts as emulators do is not the board it says."""
    board = get_board("nucleo_l4r5zi")

    class Fake:
        where = board.name

        def __init__(self, *arguments: Any) -> None:
            self.board, self.counter = board, counter

        def load(self, image: Any) -> None:
            pass

        def run(self, inputs: Any, **options: Any) -> tuple[RunResult, Any]:
            return RunResult(((b"y",),), None, None if counter is None else (4000, 8), 0), counter

        def close(self) -> None:
            pass

    monkeypatch.setattr(boards, "Session", Fake)
    monkeypatch.setattr(boards, "build_for_debugger", lambda *arguments, **options: None)

    def run() -> Any:
        return boards.run_on_board(
            Program("p", {}, (), (), ()), DENSE.target, "nucleo_l4r5zi", None,
            directory=Path(), optimize="-O2", inputs=[[b"x"]], timeout=1,
        )  # fmt: skip

    if counter == "dwt":
        assert run() == (((b"y",),), [4000 / board.clock_hz, 8 / board.clock_hz])
    else:
        with pytest.raises(MissingError, match="nothing counts what operators take"):
            run()


@needs_emulator
def test_a_local_worker_that_dies_is_replaced_emulated() -> None:
    workers = LocalWorkers(1)
    try:
        candidates = list(TaskState(DENSE, 0).space)
        pending = [workers.submit(DENSE, [one], Setting()) for one in candidates]
        while not (processes := list((workers._pool._processes or {}).values())):
            time.sleep(0.01)
        os.kill(processes[0].pid or 0, signal.SIGKILL)
        outcomes = [outcome for one in pending for outcome in workers.collect(one)]
    finally:
        workers.close()
    assert [one.candidate for one in outcomes] == candidates
    assert {one.status for one in outcomes} == {"ok"}


@needs_emulator
def test_a_dask_cluster_that_loses_a_worker_loses_nothing_emulated(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    log = tmp_path / "log.jsonl"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        workers = DaskWorkers(cluster.scheduler_address)
        victim = next(iter(cluster.workers.values()))
        killed = threading.Event()

        def report(progress: Progress) -> None:
            if progress.trials >= 4 and not killed.is_set():
                os.kill(victim.process.pid, signal.SIGKILL)
                killed.set()

        (state,) = Tuner([TASK], Options(12, "random", batch=4), log, workers, report).run()
        workers.close()
    assert killed.is_set()
    records: Sequence[Record] = read_log(log).records
    assert len({record.candidate for record in records}) == len(records) == 12
    assert {record.status for record in records} == {"ok"}
    assert set(state.outcomes) == {Candidate(*record.candidate) for record in records}


def test_a_cluster_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("tinyaot.compiler.tuning.workers._CONNECT_SECONDS", 1)
    with pytest.raises(TinyaotError, match="no Dask scheduler answers at"):
        DaskWorkers("tcp://127.0.0.1:1")
