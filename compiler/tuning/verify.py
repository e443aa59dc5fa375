"""Checking records: is each still exact, and does it cost what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyaot.compiler.tuning.measure import Setting
from tinyaot.compiler.tuning.npu import verify_npu_records
from tinyaot.compiler.tuning.records import OK, Record
from tinyaot.compiler.tuning.signature import Signature
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.compiler.tuning.tasks import Task, model_graphs, model_tasks, workload_task
from tinyaot.compiler.tuning.workers import LocalWorkers
from tinyaot.schedules.workload_npu import NpuOperation
from tinyaot.targets import get_target

TOLERANCE = 0.02
"""How far a cost may be off: the C compiler treats a kernel differently from image to image."""

_CHUNK = 8


@dataclass(frozen=True)
class Verdict:
    """What came of a record.

    Attributes:
        record: what was checked.
        problem: what is wrong; empty if nothing is.
        skipped: it was not checked: its constants are not known, or on an NPU another record of the
            operation is better.
    """

    record: Record
    problem: str = ""
    skipped: bool = False


def verify_records(
    records: Sequence[Record],
    models: Sequence[Path],
    workers: int | None,
    progress: Callable[[str], None] = lambda step: None,
) -> list[Verdict]:
    """Measures records again, with the constants of models or with random ones.

    Raises:
        TinyaotError: nothing can be measured here, or a model cannot be read.
    """
    on_npu = [record for record in records if isinstance(record.workload, NpuOperation)]
    records = [record for record in records if not isinstance(record.workload, NpuOperation)]
    groups: dict[tuple[str, Signature, str, str], list[Record]] = {}
    for record in records:
        key = (record.core, record.signature, record.metric, record.optimize)
        groups.setdefault(key, []).append(record)
    known: dict[tuple[str, Signature], Task] = {}
    for core in {record.core for record in records} if models else ():
        known |= {(core, task.signature): task for task in model_tasks(models, core)}
    pool = LocalWorkers(workers)
    verdicts: list[Verdict] = []
    if on_npu:
        progress("verify what is for the NPU")
        verdicts = [
            Verdict(record, problem or "", problem is None)
            for record, problem in verify_npu_records(on_npu, model_graphs(models))
        ]
    try:
        jobs = []
        for (core, wanted, metric, optimize), group in groups.items():
            try:
                task = known.get((core, wanted)) or workload_task(
                    group[0].workload, get_target(core)
                )
            except ValueError:
                verdicts += [Verdict(record, skipped=True) for record in group]
                continue
            for at in range(0, len(group), _CHUNK):
                chunk = group[at : at + _CHUNK]
                candidates = [Candidate(*record.candidate) for record in chunk]
                jobs.append((chunk, pool.submit(task, candidates, Setting(metric, optimize))))
        for number, (chunk, pending) in enumerate(jobs, 1):
            progress(f"verify {number} of {len(jobs)}")
            for record, outcome in zip(chunk, pool.collect(pending), strict=True):
                problem = ""
                if outcome.status != OK or outcome.cost is None or record.cost is None:
                    problem = f"{outcome.status}: {outcome.error}"
                elif abs(outcome.cost - record.cost) > TOLERANCE * record.cost:
                    problem = f"costs {outcome.cost:,.0f} and not {record.cost:,.0f}"
                    if (record.core, record.signature) not in known:
                        problem += " (with random constants: name its model)"
                verdicts.append(Verdict(record, problem))
    finally:
        pool.close()
    return verdicts
