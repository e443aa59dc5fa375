"""Any GDB server that runs already: OpenOCD, pyOCD, J-Link, ST-Link, QEMU."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.runners.base import Capabilities, Runner, Server, listens


class Gdb(Runner):
    """Connects to `HOST:PORT`."""

    name = "gdb"
    capabilities = Capabilities(server=False)
    resets = ("reset halt", "system_reset", "reset")

    def __init__(self, address: str) -> None:
        found = re.fullmatch(r"(?:(.*):)?(\d+)", address)
        if found is None or not 0 < int(found[2]) < 1 << 16:
            raise TinyaotError(
                f"'{address}' is not the address of a GDB server", "write it as gdb:HOST:PORT"
            )
        self.host, self.port = found[1] or "127.0.0.1", int(found[2])

    def refusal(self, board: Board) -> str | None:
        return None

    def server_command(self, board: Board, port: int) -> list[str]:
        return []

    @contextlib.contextmanager
    def serve(self, board: Board) -> Iterator[tuple[str, int, Server | None]]:
        try:
            addresses = {one[4][0] for one in socket.getaddrinfo(self.host, self.port)}
        except OSError as error:
            raise TinyaotError(f"no machine is called {self.host}: {error.strerror}") from None
        if addresses & {"127.0.0.1", "::1"} and not listens(self.port):
            raise TinyaotError(
                f"no GDB server listens at {self.host}:{self.port}",
                "start it first, or check the port",
            )
        yield self.host, self.port, None
