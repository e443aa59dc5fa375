"""Tuning records: one JSON object a line, so that logs are merged by concatenation.

Format 1. The fields of a line:

format      1
core        name of the target
workload    kind and fields of the workload, as `Workload.key` writes them
rule        name of the schedule rule
knobs       values of the rule's knobs
metric      what the cost is: "instructions", "cycles" (estimated) or "seconds" (of a board, or of
            the machine that tuned for the host)
status      "ok"; "wrong" (differs from the reference), "crash", "hang" or "build": these have no
            cost and are never chosen
cost        of one inference; null unless the status is "ok"
workspace   bytes of scratch memory in the arena
in_place    whether the output can overlay an input
default     whether this is what the compiler takes without records
optimize    the C compiler's optimization flag
toolchain   the C compiler and its version
tinyaot     the version that measured
date        of the measurement, UTC, ISO 8601
error       what went wrong; only where the status is not "ok"

For an operation on an NPU core is the accelerator, the workload `npu_operation` with its group and
its place there, the rule `ethos_u.operation`, knobs some of those of `compiler.npu.plan`, and cost
and workspace those of the whole group.

Readers pass over lines that they cannot use and say so, a note a line; unknown fields are ignored
with a note.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tinyaot.compiler.files import written_whole
from tinyaot.compiler.tuning.signature import (
    Signature,
    output_size,
    parse_workload,
    signature,
    workload_fields,
)
from tinyaot.schedules.workload import Workload
from tinyaot.schedules.workload_npu import NpuOperation
from tinyaot.targets.errors import TinyaotError

FORMAT = 1
METRICS = ("instructions", "cycles", "seconds")
OK, WRONG, CRASH, HANG, BUILD = "ok", "wrong", "crash", "hang", "build"
STATUSES = (OK, WRONG, CRASH, HANG, BUILD)

_SHIPPED = Path(__file__).parents[2] / "schedules" / "logs"


@dataclass(frozen=True)
class Record:
    """One measurement; the fields are those of the format."""

    core: str
    workload: Workload
    rule: str
    knobs: Mapping[str, int]
    metric: str
    status: str
    cost: float | None
    workspace: int
    in_place: bool
    default: bool
    optimize: str
    toolchain: str
    tinyaot: str
    date: str
    error: str = ""

    @cached_property
    def signature(self) -> Signature:
        """What is tuned as one."""
        return signature(self.workload)

    @property
    def candidate(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """What was measured; hashable."""
        return self.rule, tuple(sorted(self.knobs.items()))

    @property
    def measured(self) -> object:
        """What a later record of it takes the place of. On an NPU the default is more than its
        knobs: the other operations of the group have theirs."""
        if isinstance(self.workload, NpuOperation):
            return self.candidate, self.default
        return self.candidate

    def line(self) -> str:
        """The line of JSON, without its end."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["workload"] = workload_fields(self.workload)
        fields["knobs"] = dict(self.knobs)
        if not self.error:
            del fields["error"]
        if isinstance(self.cost, float) and self.cost.is_integer():
            fields["cost"] = int(self.cost)
        return json.dumps({"format": FORMAT, **fields}, separators=(",", ":"))


@dataclass(frozen=True)
class Log:
    """The records of a file, and what could not be used of it, a note a line."""

    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()


def parse_record(line: str) -> tuple[Record, list[str]]:
    """The record of a line, and the names of fields that are not known.

    Raises:
        ValueError: it is no record; says why.
    """
    try:
        fields = json.loads(line)
    except ValueError:
        raise ValueError("not JSON") from None
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")
    if fields.pop("format", None) != FORMAT:
        raise ValueError(f"not of format {FORMAT}")
    known = {field.name: field for field in dataclasses.fields(Record)}
    unknown = [name for name in fields if name not in known]
    fields = {name: value for name, value in fields.items() if name in known}
    fields.setdefault("error", "")
    if missing := [name for name in known if name not in fields]:
        raise ValueError(f"without {', '.join(missing)}")
    for name in ("core", "rule", "metric", "status", "optimize", "toolchain", "tinyaot", "date",
                 "error"):  # fmt: skip
        _expect(isinstance(fields[name], str), name, fields[name])
    for name in ("in_place", "default"):
        _expect(isinstance(fields[name], bool), name, fields[name])
    _expect(fields["metric"] in METRICS, "metric", fields["metric"])
    _expect(fields["status"] in STATUSES, "status", fields["status"])
    _expect(_is_number(fields["workspace"]), "workspace", fields["workspace"])
    good = fields["status"] == OK
    _expect(_is_number(fields["cost"]) if good else fields["cost"] is None, "cost", fields["cost"])
    knobs = fields["knobs"]
    _expect(isinstance(knobs, dict) and all(map(_is_whole, knobs.values())), "knobs", knobs)
    _expect(isinstance(fields["workload"], dict), "workload", fields["workload"])
    fields["workload"] = parse_workload(fields["workload"])
    return Record(**fields), unknown


def read_log(path: Path) -> Log:
    """The records of a file; lines that are none are skipped with a note each.

    Raises:
        TinyaotError: the file cannot be read, or is of another kind: no line begins as records do.
    """
    if path.is_char_device():
        # Some have no end.
        raise TinyaotError(f"the tuning log {path} is a device", "name a file")
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except OSError as error:
        raise TinyaotError(
            f"cannot read the tuning log {path}: {error.strerror}", "check the path"
        ) from error
    records, notes = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record, unknown = parse_record(line)
        except ValueError as error:
            notes.append(f"{path}:{number}: skipped, {error}")
            continue
        if unknown:
            notes.append(f"{path}:{number}: ignored unknown field {', '.join(unknown)}")
        records.append(record)
    if text.strip() and not any(line.startswith("{") for line in text.split("\n")):
        raise TinyaotError(f"{path} is no tuning log", "`tinyaot tune` writes them")
    return Log(tuple(records), tuple(notes))


def shipped_log(core: str) -> Path | None:
    """The log that is part of the package for a core; None if there is none."""
    path = _SHIPPED / f"{core}.jsonl"
    return path if path.is_file() else None


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Adds records to a log, all or none, also while others add to it.

    Raises:
        TinyaotError: the file cannot be written; it is as it was.
    """
    data = "".join(f"{record.line()}\n" for record in records).encode()
    if not data:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        with open(descriptor, "r+b", buffering=0) as file, _locked(descriptor):  # noqa: PTH123
            size = os.fstat(descriptor).st_size
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    # Somebody's line was cut short: ours begin a new one.
                    data = b"\n" + data
            try:
                written = 0
                while written < len(data):
                    written += file.write(data[written:])
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
    except OSError as error:
        raise TinyaotError(
            f"cannot write the tuning log {path}: {error.strerror}",
            "free some space or choose another file with --log; "
            "what was written before is kept, and the same command goes on from there",
        ) from error


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Writes a log anew, whole or not at all.

    Raises:
        TinyaotError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TinyaotError(
            f"cannot write {path}: {error.strerror}", "choose another path"
        ) from error
    with written_whole(path) as file:
        file.writelines(f"{one.line()}\n".encode() for one in records)


def best_npu_record(records: Iterable[Record]) -> Record | None:
    """Of the records of one operation on an NPU the one to take: the cheapest that needs no more
    SRAM than the default, the last of equal ones. None if there is none."""
    good = [record for record in records if record.status == OK]
    room = min((record.workspace for record in good if record.default), default=None)
    fitting = [record for record in good if room is None or record.workspace <= room]
    return min(reversed(fitting), key=lambda one: (one.cost, one.workspace), default=None)


def useful_records(records: Iterable[Record]) -> list[Record]:
    """What a compiler can want of these: for each core, workload and metric the latest measurement
    of the default, and those that no other undercuts in both cost and memory; ordered by name."""
    groups: dict[Any, dict[Any, Record]] = {}
    for record in records:
        key = (record.core, record.signature, record.metric, record.optimize)
        # The latest comes last.
        groups.setdefault(key, {}).pop(record.measured, None)
        groups[key][record.measured] = record
    kept: list[Record] = []
    for group in groups.values():
        good = [record for record in group.values() if record.status == OK]
        best = best_npu_record(good)
        if best is not None and isinstance(best.workload, NpuOperation):
            kept += [record for record in good if record is best or record.default]
            continue
        front = pareto_front(good)
        kept += front
        kept += [record for record in good if record.default and record not in front]
    return sorted(
        kept, key=lambda one: (one.core, one.workload.key(), one.metric, one.cost, one.candidate)
    )


def pareto_front(records: Iterable[Record]) -> list[Record]:
    """The records with a cost that no other beats at as little memory, the cheapest first."""
    good = [record for record in records if record.status == OK]
    front: list[Record] = []
    for record in sorted(good, key=lambda one: (one.cost, _memory(one), one.candidate)):
        if all(_memory(record) < _memory(better) for better in front):
            front.append(record)
    return front


def _memory(record: Record) -> int:
    """What a kernel takes of the arena besides its input."""
    return record.workspace + (0 if record.in_place else output_size(record.workload))


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Keeps other tuners from appending; without a lock where the system has none."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _expect(valid: bool, name: str, value: Any) -> None:
    if not valid:
        raise ValueError(f"{name} is {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
