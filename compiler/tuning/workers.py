"""Who measures: processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

from tinyaot.compiler.tuning.measure import Outcome, Setting, measure
from tinyaot.compiler.tuning.records import CRASH
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.compiler.tuning.tasks import Task

_ATTEMPTS = 2
"""How often candidates are given to a worker before they are to blame for its end."""


@dataclass
class Pending:
    """Candidates that are being measured."""

    task: Task
    candidates: Sequence[Candidate]
    setting: Setting
    future: Any = None
    pool: Any = None


class Workers(Protocol):
    """Measures candidates elsewhere, some at a time."""

    def submit(self, task: Task, candidates: Sequence[Candidate], setting: Setting) -> Pending:
        """Begins to measure."""

    def collect(self, pending: Pending) -> list[Outcome]:
        """Waits for the outcomes; a worker that dies is replaced and the work given to another."""

    def finished(self, pending: Pending) -> list[Outcome] | None:
        """The outcomes if they are there already."""

    def close(self) -> None:
        """Stops at once."""


class LocalWorkers:
    """Processes of this machine."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or os.cpu_count() or 1
        self._pool = self._start()

    def submit(self, task: Task, candidates: Sequence[Candidate], setting: Setting) -> Pending:
        pending = Pending(task, candidates, setting)
        self._send(pending)
        return pending

    def collect(self, pending: Pending) -> list[Outcome]:
        for _ in range(_ATTEMPTS):
            try:
                outcomes: list[Outcome] = pending.future.result()
                return outcomes
            except (BrokenProcessPool, CancelledError):
                self._send(pending)
        if len(pending.candidates) > 1:
            return [
                outcome
                for candidate in pending.candidates
                for outcome in self.collect(self.submit(pending.task, [candidate], pending.setting))
            ]
        return [Outcome(pending.candidates[0], CRASH, error="ended the process that measured it")]

    def finished(self, pending: Pending) -> list[Outcome] | None:
        future: Future[list[Outcome]] = pending.future
        if not future.done() or future.cancelled() or future.exception() is not None:
            return None
        return future.result()

    def close(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _send(self, pending: Pending) -> None:
        """Gives work to the pool; one that has lost a process takes no more and is replaced."""
        arguments = pending.task, pending.candidates, pending.setting
        if pending.pool is self._pool:
            self._pool = self._start()
        try:
            pending.future = self._pool.submit(measure, *arguments)
        except BrokenProcessPool:
            self._pool = self._start()
            pending.future = self._pool.submit(measure, *arguments)
        pending.pool = self._pool

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.count, multiprocessing.get_context("spawn"), initializer=_begin_worker
        )


def _begin_worker() -> None:
    """An interrupt from the terminal is the tuner's; what is being measured is not cut short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
