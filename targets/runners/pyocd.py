"""pyOCD: CMSIS-DAP, ST-Link and J-Link probes, with flash algorithms from CMSIS-Packs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tinyaot.targets.command import run_command
from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.runners.base import Attached, Capabilities, Runner

_NO_PROBE = ("no debug probe is connected: pyocd finds none", "connect the board by USB")


class PyOCD(Runner):
    """Starts `pyocd gdbserver`."""

    name = "pyocd"
    capabilities = Capabilities(server=True, lists=True)
    program = "pyocd"
    install = "pip install pyocd, or pip install 'tinyaot[boards]'"
    resets = ("reset halt",)

    def refusal(self, board: Board) -> str | None:
        return None if board.pyocd else "its board file names no pyocd target"

    def server_command(self, board: Board, port: int) -> list[str]:
        assert board.pyocd is not None
        return [
            *("pyocd", "gdbserver", "--no-wait", "--target", board.pyocd),
            *("--port", str(port), "--telnet-port", "0"),
        ]

    def attached(self) -> list[Attached]:
        result = run_command([self.find(), "json", "--probes"], Path.cwd(), timeout=30)
        try:
            probes = json.loads(result.stdout)["boards"]
        except (ValueError, KeyError):
            last = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise TinyaotError(f"pyocd cannot list probes: {last}") from None
        return [Attached(self.name, str(one["info"]), str(one["unique_id"])) for one in probes]

    def explain(self, said: str) -> TinyaotError | None:
        if re.search(r"No (available )?(debug )?probes? ", said, re.IGNORECASE):
            return TinyaotError(*_NO_PROBE)
        if found := re.search(r"Target type '?([\w-]+)'? not recognized", said, re.IGNORECASE):
            return TinyaotError(
                f"pyocd does not know the target {found[1]} without its CMSIS-Pack",
                f"pyocd pack install {found[1]}",
            )
        return None
