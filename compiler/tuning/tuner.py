"""The tuning loop: which task next, what to measure of it, and keeping what was found.

Rounds are planned from what earlier rounds have brought, but for those in flight, and their results
are taken in the order of planning: how many workers there are, and how fast, changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinyaot.compiler.tuning.measure import Outcome, Setting, make_record, toolchain
from tinyaot.compiler.tuning.model import CostModel
from tinyaot.compiler.tuning.records import Record, append_records, read_log
from tinyaot.compiler.tuning.search import MODEL, TaskState
from tinyaot.compiler.tuning.signature import Signature
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.compiler.tuning.tasks import Task
from tinyaot.compiler.tuning.workers import LocalWorkers, Pending, Workers

_CHUNK = 8
"""Candidates that share an image."""
_IN_FLIGHT = 2
"""Rounds that are measured while the next is planned."""
_DEFAULT_TRIALS = 64
_NEWS = 0.03
"""The share of new measurements, beside half a round, that the cost model is trained anew for."""
_FIRST_GAIN = 0.1
"""The share that a task is expected to gain as long as nothing else is known."""


@dataclass(frozen=True)
class Options:
    """How to tune.

    Attributes:
        trials: measurements of all tasks together, those in the log included; None for up to 64 a
            task.
        search: one of `SEARCHES`.
        seed: of everything random.
        batch: candidates in a round.
        setting: how each is measured.
        default_first: whether a task's first trial is what the compiler takes without records.
        only: the candidates to measure by signature, beside the default; None to search for them.
    """

    trials: int | None = None
    search: str = MODEL
    seed: int = 0
    batch: int = 16
    setting: Setting = field(default_factory=Setting)
    default_first: bool = True
    only: Mapping[Signature, Sequence[Candidate]] | None = None


@dataclass(frozen=True)
class Progress:
    """Where tuning stands.

    Attributes:
        state: the task whose round ended.
        states: all tasks.
        trials: measured so far, those from the log included.
        total: to be measured.
        rate: trials a second.
        overhead: share of the time that the tuner itself took: planning, learning, writing.
        notes: lines for the user, such as what the log has that cannot be used.
    """

    state: TaskState | None
    states: Sequence[TaskState]
    trials: int
    total: int
    rate: float
    overhead: float
    notes: Sequence[str] = ()

    @property
    def seconds_left(self) -> float | None:
        """Estimated time to the end."""
        return (self.total - self.trials) / self.rate if self.rate else None


class Tuner:
    """Tunes tasks; all that is measured goes to the log at once."""

    def __init__(
        self,
        tasks: Sequence[Task],
        options: Options,
        log: Path | None = None,
        workers: Workers | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self.states = [
            TaskState(
                task,
                options.seed,
                options.default_first,
                None if options.only is None else options.only.get(task.signature, ()),
            )
            for task in tasks
        ]
        self._options = options
        self._log = log
        self._workers = workers
        self._report = report
        self._model: CostModel | None = None
        self._samples = 0
        self._measured = 0
        self._begin = self._waited = 0.0
        left = sum(state.left for state in self.states)
        most = sum(min(state.left, _DEFAULT_TRIALS) for state in self.states)
        self.total = min(most if options.trials is None else options.trials, left)

    @property
    def trials(self) -> int:
        """Measured so far, those from the log included."""
        return sum(len(state.outcomes) for state in self.states)

    def run(self) -> list[TaskState]:
        """Tunes until the trials are used up or nothing is left to try.

        What was measured before an interrupt is in the log; the same call goes on from there.

        Raises:
            TinyaotError: nothing can be measured, or the log cannot be written.
        """
        notes = self._resume()
        for state in self.states:
            # Fails here, and once, if there is no compiler.
            toolchain(state.task.target.core)
        own = self._workers is None
        workers: Workers = self._workers or LocalWorkers()
        self._begin = time.perf_counter()
        self.total = max(self.total, self.trials)
        self._tell(None, notes)
        flying: deque[tuple[TaskState, list[Pending]]] = deque()
        try:
            while True:
                while len(flying) < _IN_FLIGHT and (planned := self._plan()) is not None:
                    state, candidates = planned
                    chunks = [
                        workers.submit(state.task, chunk, self._options.setting)
                        for at in range(0, len(candidates), _CHUNK)
                        if (chunk := candidates[at : at + _CHUNK])
                    ]
                    flying.append((state, chunks))
                if not flying:
                    return self.states
                state, waiting = flying[0]
                outcomes: list[Outcome] = []
                while waiting:
                    waits = time.perf_counter()
                    found = workers.collect(waiting[0])
                    self._waited += time.perf_counter() - waits
                    outcomes += self._keep(state, found)
                    del waiting[0]
                flying.popleft()
                state.add(outcomes)
                self._tell(state, [])
        finally:
            for state, pending in flying:
                for one in pending:
                    if (done := workers.finished(one)) is not None:
                        self._keep(state, done)
            if own:
                workers.close()

    def _resume(self) -> list[str]:
        """Takes what the log has of these tasks; notes what it has that cannot be used."""
        if self._log is None or not self._log.exists():
            return []
        log = read_log(self._log)
        setting = self._options.setting
        known: dict[tuple[str, object], list[Record]] = {}
        for record in log.records:
            same = (record.metric, record.optimize) == (setting.metric, setting.optimize)
            if same and record.toolchain == toolchain(record.core):
                known.setdefault((record.core, record.signature), []).append(record)
        notes = list(log.notes)
        for state in self.states:
            outcomes: dict[Candidate, Outcome] = {}
            stale = 0
            for one in known.get((state.task.target.core, state.task.signature), []):
                candidate = Candidate(*one.candidate)
                if candidate in state.space:
                    outcomes[candidate] = Outcome(
                        candidate, one.status, one.cost, one.workspace, one.in_place, one.error
                    )
                else:
                    stale += 1
            if stale:
                notes.append(f"{self._log}: {stale} records of {state.task.name} no longer apply")
            if outcomes:
                state.add(outcomes.values())
        return notes

    def _plan(self) -> tuple[TaskState, list[Candidate]] | None:
        """The next round: the task that has the most to gain, and what to measure of it."""
        asked = sum(len(state.outcomes) + len(state.pending) for state in self.states)
        count = min(self._options.batch, self.total - asked)
        open_states = [state for state in self.states if state.left > 0]
        if count <= 0 or not open_states:
            return None
        state = max(open_states, key=self._promise)
        model = None
        if self._options.search == MODEL and state.left > count:
            model = self._trained_model()
        return state, state.propose(count, self._options.search, model)

    def _promise(self, state: TaskState) -> float:
        """How much a round on this task may save, over all its occurrences."""
        best = state.best
        if best is None or best.cost is None:
            # Once each, in order, before any has its second turn; then what fails comes last.
            return float("inf") if not state.pending and not state.outcomes else 0.0
        rounds = state.idle + len(state.pending) / self._options.batch
        gain = max(state.gain, _FIRST_GAIN) / (1 + rounds) ** 2
        return state.task.count * best.cost * gain

    def _trained_model(self) -> CostModel | None:
        """The model with all that is known by now."""
        if self._model is None:
            self._model = CostModel()
        samples = [sample for state in self.states for sample in state.samples()]
        enough = self._options.batch // 2 + self._samples * (1 + _NEWS)
        if len(samples) >= max(enough, 1):
            self._model.fit(samples)
            self._samples = len(samples)
        return self._model

    def _keep(self, state: TaskState, outcomes: list[Outcome]) -> list[Outcome]:
        if self._log is not None:
            append_records(
                self._log,
                [
                    make_record(state.task, one, self._options.setting, state.space.default)
                    for one in outcomes
                ],
            )
        self._measured += len(outcomes)
        return outcomes

    def _tell(self, state: TaskState | None, notes: Sequence[str]) -> None:
        elapsed = time.perf_counter() - self._begin
        rate = self._measured / elapsed if self._measured else 0.0
        overhead = 1 - self._waited / elapsed if self._measured else 0.0
        self._report(Progress(state, self.states, self.trials, self.total, rate, overhead, notes))
