"""The runners by name, and which one reaches a board."""

from __future__ import annotations

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.data import unknown_name
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.runners.base import Runner, find_program
from tinyaot.targets.runners.gdb import Gdb
from tinyaot.targets.runners.openocd import OpenOCD
from tinyaot.targets.runners.pyocd import PyOCD
from tinyaot.targets.runners.qemu import Qemu
from tinyaot.targets.runners.west import West

_RUNNERS: dict[str, type[Runner]] = {one.name: one for one in (Qemu, PyOCD, OpenOCD, West)}


def list_runners() -> tuple[str, ...]:
    """Names of all runners, in the order in which they are tried."""
    return (*_RUNNERS, Gdb.name)


def get_runner(name: str) -> Runner:
    """The runner of that name; a GDB server that runs already is `gdb:HOST:PORT`.

    Raises:
        TinyaotError: there is none.
    """
    if name == Gdb.name or name.startswith("gdb:"):
        return Gdb(name.partition(":")[2] or "127.0.0.1:3333")
    if name not in _RUNNERS:
        raise unknown_name("runner", name, list_runners())
    return _RUNNERS[name]()


def runner_for(board: Board) -> Runner:
    """The first runner that can reach the board, one whose program is installed if possible.

    Raises:
        TinyaotError: only a GDB server that is already running could.
    """
    able = [one() for one in _RUNNERS.values()]
    able = [runner for runner in able if runner.refusal(board) is None]
    if not able:
        raise TinyaotError(
            f"no runner is named in the file of board {board.name}",
            "start a GDB server for it, and say where: --on gdb:HOST:PORT --board BOARD",
        )
    for runner in able:
        if runner.program and find_program(runner.program):
            return runner
    return able[0]
