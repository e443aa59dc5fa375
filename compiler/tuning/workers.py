"""Who measures: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

from tinyaot.compiler.tuning.measure import Outcome, Setting, measure
from tinyaot.compiler.tuning.records import CRASH
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.compiler.tuning.tasks import Task
from tinyaot.targets.errors import TinyaotError

_ATTEMPTS = 2
"""How often candidates are given to a worker before they are to blame for its end."""

_CONNECT_SECONDS = 10


@dataclass
class Pending:
    """Candidates that are being measured.

    Attributes:
        task, candidates, setting: what is measured, and how.
        future: of the outcomes.
        pool: where the future is from.
    """

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
        """Waits for the outcomes; a worker that dies is replaced and its work given to another."""

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
        for attempt in range(_ATTEMPTS):
            try:
                outcomes: list[Outcome] = pending.future.result()
                return outcomes
            except (BrokenProcessPool, CancelledError):
                if attempt + 1 < _ATTEMPTS:
                    self._send(pending)
        return _blame(self, pending)

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


class DaskWorkers:
    """The workers of a Dask cluster, which have tinyaot and the toolchain installed.

    Dask gives the work of a worker that is lost to another; each result is taken once.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise TinyaotError(
                "a Dask cluster needs the package distributed, which is not installed",
                "pip install 'tinyaot[dask]'",
            ) from None
        try:
            self._client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise TinyaotError(
                f"no Dask scheduler answers at {address}: {' '.join(str(error).split())}",
                "start one: dask scheduler; and workers: dask worker ADDRESS --nthreads 1",
            ) from None
        self.count = max(sum(self._client.nthreads().values()), 1)

    def submit(self, task: Task, candidates: Sequence[Candidate], setting: Setting) -> Pending:
        pending = Pending(task, candidates, setting)
        pending.future = self._client.submit(measure, task, candidates, setting, pure=False)
        return pending

    def collect(self, pending: Pending) -> list[Outcome]:
        from distributed import KilledWorker

        try:
            outcomes: list[Outcome] = pending.future.result()
            return outcomes
        except KilledWorker:
            # It has outlived none of the workers that Dask tried.
            return _blame(self, pending)

    def finished(self, pending: Pending) -> list[Outcome] | None:
        if pending.future.status != "finished":
            return None
        outcomes: list[Outcome] = pending.future.result()
        return outcomes

    def close(self) -> None:
        self._client.close()


def _blame(workers: Workers, pending: Pending) -> list[Outcome]:
    """Outcomes of candidates that ended their worker: each is tried alone."""
    if len(pending.candidates) == 1:
        return [Outcome(pending.candidates[0], CRASH, error="ended the process that measured it")]
    return [
        outcome
        for candidate in pending.candidates
        for outcome in workers.collect(workers.submit(pending.task, [candidate], pending.setting))
    ]


def _begin_worker() -> None:
    """An interrupt from the terminal is the tuner's; its request to end removes temporary files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
