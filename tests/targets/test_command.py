"""External commands: what fails for want of space says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyaot.targets.command import find_tool, run_command
from tinyaot.targets.errors import MissingError


def test_a_full_disk_is_not_taken_for_a_failure_of_the_command(tmp_path: Path) -> None:
    script = "echo 'cannot write x.o: No space left on device' >&2; exit 1"
    with pytest.raises(MissingError, match=r"sh cannot write in .*: No space left on device"):
        run_command(["sh", "-c", script], tmp_path)
    assert run_command(["sh", "-c", "exit 1"], tmp_path).returncode == 1
    assert run_command(["sh", "-c", f"({script}) || true"], tmp_path).returncode == 0


def test_a_program_that_is_not_there_is_missing() -> None:
    with pytest.raises(MissingError, match="no-such-program is not installed"):
        find_tool("no-such-program", "none")
