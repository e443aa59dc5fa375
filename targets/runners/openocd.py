"""OpenOCD: the probes that boards carry, by its configuration files."""

from __future__ import annotations

import re

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.runners.base import Capabilities, Runner

_NO_PROBE = re.compile(
    r"open failed|unable to find a matching CMSIS-DAP device|No J-Link device found"
    r"|unable to open .*device|No device found",
    re.IGNORECASE,
)


class OpenOCD(Runner):
    """Starts `openocd` with the board's configuration."""

    name = "openocd"
    capabilities = Capabilities(server=True)
    program = "openocd"
    install = "on Debian and Ubuntu: sudo apt-get install openocd"
    resets = ("reset halt",)

    def refusal(self, board: Board) -> str | None:
        return None if board.openocd else "its board file names no OpenOCD configuration"

    def server_command(self, board: Board, port: int) -> list[str]:
        files = [word for name in board.openocd for word in ("-f", name)]
        ports = [
            word
            for setting in (f"gdb_port {port}", "tcl_port disabled", "telnet_port disabled")
            for word in ("-c", setting)
        ]
        return ["openocd", *files, *ports, "-c", "init", "-c", "reset halt"]

    def explain(self, said: str) -> TinyaotError | None:
        if _NO_PROBE.search(said):
            return TinyaotError(
                "no debug probe is connected: openocd finds none",
                "connect the board by USB",
                "if it is connected, its device file may be yours to open: "
                "install OpenOCD's udev rules",
            )
        if found := re.search(r"Can't find (\S+)", said):
            return TinyaotError(
                f"openocd has no configuration {found[1]}", "a newer OpenOCD may have it"
            )
        return None
