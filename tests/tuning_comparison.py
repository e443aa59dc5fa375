"""How searches compare on workloads that were measured exhaustively.

`python tests/tuning_comparison.py TABLE MODEL...` measures every candidate of eight workloads of
the models on the Cortex-M55 into the log TABLE (which is continued if it is there: minutes), then
lets each search ask the table in place of the emulator, with three seeds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.tuning.measure import Outcome, Setting
from tinyaot.compiler.tuning.search import GRID, MODEL, RANDOM, TaskState
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.compiler.tuning.tasks import Task, model_tasks
from tinyaot.compiler.tuning.tuner import Options, Tuner
from tinyaot.compiler.tuning.workers import Pending

TARGET = "cortex-m55"
WORKLOADS = 8
SEEDS = (0, 1, 2)
SMALLEST, LARGEST = 60, 400


class Table:
    """Workers that look costs up."""

    def __init__(self, states: Sequence[TaskState]) -> None:
        self.costs = {state.task.signature: state.outcomes for state in states}

    def submit(self, task: Task, candidates: Sequence[Candidate], setting: Setting) -> Pending:
        return Pending(task, candidates, setting)

    def collect(self, pending: Pending) -> list[Outcome]:
        known = self.costs[pending.task.signature]
        return [known[candidate] for candidate in pending.candidates]

    def finished(self, pending: Pending) -> list[Outcome]:
        return self.collect(pending)

    def close(self) -> None:
        pass


def choose_tasks(models: Sequence[Path]) -> list[Task]:
    """Workloads with spaces that are worth a search, spread over kinds and models."""
    tasks = [task for model in models for task in model_tasks([model], TARGET)]
    sized = [task for task in tasks if SMALLEST <= TaskState(task, 0).space.size <= LARGEST]
    kinds: dict[tuple[str, bool], list[Task]] = {}
    for task in sized:
        pointwise = getattr(task.workload, "kernel", None) == (1, 1)
        kinds.setdefault((task.workload.kind, pointwise), []).append(task)
    chosen: list[Task] = []
    while len(chosen) < WORKLOADS and any(kinds.values()):
        for group in kinds.values():
            if group and len(chosen) < WORKLOADS:
                chosen.append(group.pop(0))
    return chosen


def simulate(states: Sequence[TaskState], search: str, seed: int) -> list[int]:
    """Trials to the best cost of each task; the default, which is often the best, has no lead."""
    options = Options(trials=10**6, search=search, seed=seed, batch=8, default_first=False)
    tasks = [state.task for state in states]
    tuned = Tuner(tasks, options, None, Table(states)).run()
    return [
        next(count for count, cost in enumerate(one.trace, 1) if cost == min(known.trace))
        for one, known in zip(tuned, states, strict=True)
    ]


def compare(states: Sequence[TaskState]) -> NDArray[np.float64]:
    """For each task: trials by random search, by a model that sees this task alone, and by one that
    sees all tasks, as `tinyaot tune` has it; means over the seeds."""
    columns = [
        [simulate(states, RANDOM, seed) for seed in SEEDS],
        [[simulate([state], MODEL, seed)[0] for state in states] for seed in SEEDS],
        [simulate(states, MODEL, seed) for seed in SEEDS],
    ]
    means: NDArray[np.float64] = np.mean(columns, axis=1).T
    return means


def main() -> None:
    """Measures what the table lacks, then compares."""
    log, *models = map(Path, sys.argv[1:])
    tasks = choose_tasks(models)
    options = Options(trials=10**6, search=GRID)
    report = lambda progress: print(f"{progress.trials} of {progress.total}", file=sys.stderr)  # noqa: E731
    states = Tuner(tasks, options, log, None, report).run()
    print(f"{'':84}  trials to the best")
    print(f"{'workload':50} {'space':>5} {'default':>9} {'best':>9} {'gap':>6}", end="")
    print(f"{'random':>9}{'alone':>8}{'ratio':>7}{'together':>10}{'ratio':>7}")
    needed = compare(states)
    for state, (random, alone, together) in zip(states, needed, strict=True):
        best, default = min(state.trace), state.default_cost
        assert default is not None
        print(f"{state.task.name:50} {state.space.size:5} {default:9,.0f} {best:9,.0f} ", end="")
        print(f"{default / best - 1:6.1%}{random:9.1f}", end="")
        print(f"{alone:8.1f}{alone / random:7.2f}{together:10.1f}{together / random:7.2f}")
    gaps = [(state.default_cost or math.inf) / min(state.trace) - 1 for state in states]
    print(f"default within 2% of the best: {sum(gap <= 0.02 for gap in gaps)} of {len(states)}")
    for column, words in ((1, "one workload alone"), (2, "all workloads together")):
        halves = int(np.count_nonzero(needed[:, column] <= 0.5 * needed[:, 0]))
        print(f"at most half the trials, {words}: {halves} of {len(states)}")


if __name__ == "__main__":
    main()
