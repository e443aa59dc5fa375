"""QEMU's own GDB server: a board without a board."""

from __future__ import annotations

from tinyaot.targets.cortex_m.board import Board, get_board, list_boards
from tinyaot.targets.runners.base import Attached, Capabilities, Runner


class Qemu(Runner):
    """Starts the board's machine with virtual time that counts instructions."""

    name = "qemu"
    capabilities = Capabilities(server=True, emulated=True, lists=True)
    program = "qemu-system-arm"
    install = "on Debian and Ubuntu: sudo apt-get install qemu-system-arm"
    resets = ("system_reset",)

    def refusal(self, board: Board) -> str | None:
        return None if board.machine else "QEMU has no model of it"

    def server_command(self, board: Board, port: int) -> list[str]:
        assert board.machine is not None
        return [
            *("qemu-system-arm", "-M", board.machine, "-S", "-gdb", f"tcp:127.0.0.1:{port}"),
            *("-icount", "shift=0", "-nographic", "-monitor", "none", "-serial", "none"),
        ]

    def attached(self) -> list[Attached]:
        self.find()
        return [Attached(self.name, name) for name in list_boards() if get_board(name).machine]
