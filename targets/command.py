"""Running external commands, each logged as the user could type it."""

from __future__ import annotations

import errno
import logging
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from tinyaot.targets.errors import MissingError

_log = logging.getLogger(__name__)

_DISK_FULL = os.strerror(errno.ENOSPC)

_limit: ContextVar[float | None] = ContextVar("limit", default=None)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Commands in this context that name no timeout of their own are killed after so long."""
    token = _limit.set(seconds)
    try:
        yield
    finally:
        _limit.reset(token)


def find_tool(name: str, packages: str) -> str:
    """Check that a program is on the PATH and return its name.

    Args:
        name: the program.
        packages: the Debian packages that bring it, for the hint.

    Raises:
        MissingError: it is not there.
    """
    if shutil.which(name) is None:
        raise MissingError(
            f"{name} is not installed, or not on the PATH",
            f"on Debian and Ubuntu: sudo apt-get install {packages}",
        )
    return name


def run_command(
    arguments: Sequence[str], cwd: Path, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in `cwd` without a shell and capture its output.

    Args:
        timeout: seconds after which it is killed; by default those of `time_limit`, if any.

    Raises:
        subprocess.TimeoutExpired: it took longer.
        MissingError: the disk is full.
    """
    _log.info("(cd %s && %s)", shlex.quote(str(cwd)), shlex.join(arguments))
    result = subprocess.run(
        arguments,
        cwd=cwd,
        timeout=_limit.get() if timeout is None else timeout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode != 0 and _DISK_FULL in result.stderr:
        raise MissingError(
            f"{arguments[0]} cannot write in {cwd}: {_DISK_FULL}",
            "free some space, or set TMPDIR to a folder on another disk",
        )
    return result
