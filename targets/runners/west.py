"""Zephyr's west: whichever probe Zephyr uses for the board."""

from __future__ import annotations

import os
import re

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.runners.base import Capabilities, Runner

BUILD_DIR = "TINYAOT_ZEPHYR_BUILD"
"""Environment variable with the folder of a Zephyr build for the board; `build` by default."""


class West(Runner):
    """Starts `west debugserver` with the runner that a Zephyr build is configured for.

    Any application that was built for the board will do: it is only asked which probe to use.
    """

    name = "west"
    capabilities = Capabilities(server=True)
    program = "west"
    install = "pip install west, and make a workspace: docs.zephyrproject.org, Getting Started"
    resets = ("reset halt", "reset")

    def refusal(self, board: Board) -> str | None:
        return None if board.zephyr else "its board file names no Zephyr board"

    def server_command(self, board: Board, port: int) -> list[str]:
        build = os.environ.get(BUILD_DIR, "build")
        return [
            *("west", "debugserver", "--skip-rebuild", "--build-dir", build),
            *("--gdb-port", str(port)),
        ]

    def explain(self, said: str) -> TinyaotError | None:
        if re.search(r"unknown command|no west workspace|not in a west workspace", said, re.I):
            return TinyaotError(
                "west finds no Zephyr workspace here",
                "run in a workspace, with a build for the board: west build -b BOARD",
            )
        if re.search(r"is not a Zephyr build directory|does not exist|no build", said, re.I):
            return TinyaotError(
                f"west finds no Zephyr build in '{os.environ.get(BUILD_DIR, 'build')}'",
                f"west build -b BOARD, and name its folder in {BUILD_DIR}",
            )
        return None
