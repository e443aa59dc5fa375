"""What the commands print: tables and results on stdout, progress, notes and logs on stderr."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tinyaot.compiler import Report


@functools.cache
def stdout() -> Console:
    """Where results go; rich is imported by those who print."""
    return _console()


@functools.cache
def stderr() -> Console:
    """Where everything else goes."""
    return _console(stderr=True)


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # A pipe has no width; rich's 80 columns would fold names that scripts look for.
        console.width = 200
    return console


def print_json(document: dict[str, Any]) -> None:
    """The one JSON object on stdout."""
    print(json.dumps(document, indent=2))


def facts(title: str) -> Table:
    """A table of names and values without headings."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def columns(*headings: str, title: str | None = None) -> Table:
    """A table with a heading per column; those that end in `>` are aligned to the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    for heading in headings:
        right = heading.endswith(">")
        table.add_column(heading.rstrip(">"), justify="right" if right else "left", overflow="fold")
    return table


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A function to call with the name of each step before it begins.

    On a terminal it is one line that moves, in a pipe one line a step.
    """
    console = stderr()
    if not console.is_terminal:
        yield lambda step: console.print(f"{step} ...", soft_wrap=True)
        return
    with console.status("") as status:
        yield lambda step: status.update(f"{step} ...")


class LogHandler(logging.Handler):
    """Prints log records whole, however long: commands can be copied and typed."""

    def emit(self, record: logging.LogRecord) -> None:
        stderr().print(self.format(record), soft_wrap=True)


def bytes_text(count: int | None, otherwise: str = "not measured") -> str:
    """A size for people."""
    return otherwise if count is None else f"{count:,} bytes"


def macs_text(report: Report) -> str:
    """The multiply-accumulates of the model, and how many are left if some were removed."""
    removed = report.executed_macs != report.macs
    return f"{report.macs:,}" + (f" ({report.executed_macs:,} executed)" if removed else "")
