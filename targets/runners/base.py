"""What all ways to reach a board have in common: capabilities, commands, a GDB server."""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError

_log = logging.getLogger(__name__)

SERVER_SECONDS = 20.0
"""How long a GDB server may take until it listens: probes are slow to open."""


@dataclass(frozen=True)
class Capabilities:
    """What a runner can do.

    Attributes:
        server: it starts the GDB server itself; otherwise one must run already.
        emulated: nothing needs to be plugged in, and counts are instructions.
        lists: it can list what is attached.
    """

    server: bool
    emulated: bool = False
    lists: bool = False


@dataclass(frozen=True)
class Attached:
    """Something that a runner could run on now.

    Attributes:
        runner: its name.
        name: the board, or the probe's description.
        identifier: the probe's unique number; empty for an emulated board.
    """

    runner: str
    name: str
    identifier: str = ""


class Runner:
    """One way to reach a board. Subclasses say what they can and which commands do it."""

    name: str
    capabilities: Capabilities
    program: str | None = None
    install: str = ""
    """How to install `program`: what follows `try:`."""
    resets: tuple[str, ...] = ("reset halt",)
    """`monitor` commands that reset and halt the core, in the order to try."""

    def refusal(self, board: Board) -> str | None:
        """Why this runner cannot reach the board, or None."""
        raise NotImplementedError

    def server_command(self, board: Board, port: int) -> list[str]:
        """The command that serves the GDB protocol at a port of this machine."""
        raise NotImplementedError

    def attached(self) -> list[Attached]:
        """What can be run on now.

        Raises:
            TinyaotError: it cannot be found out.
        """
        return []

    def explain(self, said: str) -> TinyaotError | None:
        """The error behind what the program said, in one line, if it is a known one."""
        return None

    def find(self) -> str:
        """The path of the program: on the PATH, or beside this interpreter, where pip puts it.

        Raises:
            TinyaotError: it is not; the hint says how to install it.
        """
        assert self.program is not None
        found = find_program(self.program)
        if found is None:
            raise TinyaotError(f"{self.program} is not installed, or not on the PATH", self.install)
        return found

    @contextlib.contextmanager
    def serve(self, board: Board) -> Iterator[tuple[str, int, Server | None]]:
        """Have a GDB server for the board while the context lasts.

        Yields:
            host, port, and the server if it is ours.

        Raises:
            TinyaotError: the program is missing, or it ended or did not listen in time.
        """
        reason = self.refusal(board)
        if reason is not None:
            raise TinyaotError(f"{self.name} cannot reach board {board.name}: {reason}")
        program = self.find()
        port = free_port()
        server = Server(self, [program, *self.server_command(board, port)[1:]], port)
        try:
            server.wait()
            yield "127.0.0.1", port, server
        finally:
            server.stop()


class Server:
    """A GDB server that we started."""

    def __init__(self, runner: Runner, command: Sequence[str], port: int) -> None:
        self._runner = runner
        self._port = port
        self._command = list(command)
        # Lives as long as the server, and goes with it.
        self._log = tempfile.TemporaryFile(  # noqa: SIM115
            mode="w+", encoding="utf-8", errors="replace"
        )
        _log.info("%s", shlex.join(command))
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )

    def wait(self) -> None:
        """Return when it listens.

        Raises:
            TinyaotError: it ended, or does not listen in time.
        """
        end = time.monotonic() + SERVER_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise self.failure()
            if listens(self._port):
                return
            time.sleep(0.02)
        self.stop()
        raise TinyaotError(
            f"{self._command[0]} does not serve GDB within {SERVER_SECONDS:g} s",
            f"see what it says: {shlex.join(self._command)}",
        )

    def said(self) -> str:
        """What the program has written so far."""
        self._log.seek(0)
        return self._log.read()

    def failure(self) -> TinyaotError:
        """Why the program ended."""
        said = self.said()
        known = self._runner.explain(said)
        if known is not None:
            return known
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        errors = [line for line in lines if re.search(r"error|fail|critical|lockup", line, re.I)]
        last = (errors or lines or ["it said nothing"])[-1 if not errors else 0]
        return TinyaotError(
            f"{self._command[0]} ended with status {self.process.poll()}: {last}",
            f"run it to see more: {shlex.join(self._command)}",
        )

    def stop(self) -> None:
        """End the program."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


def find_program(name: str) -> str | None:
    """The name of a program on the PATH, the path of one beside this interpreter, or None."""
    if shutil.which(name):
        return name
    return shutil.which(name, path=str(Path(sys.executable).parent))


def free_port() -> int:
    """A TCP port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens at a TCP port of this machine, without connecting to it: a GDB
    server would take that for its client."""
    wanted = f"{port:04X}"
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.is_file():
            rows = (line.split() for line in table.read_text().splitlines()[1:])
            if any(row[1].endswith(f":{wanted}") and row[3] == "0A" for row in rows):
                return True
    if Path("/proc/net/tcp").is_file():
        return False
    # Elsewhere binding tells: it fails where somebody listens.
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
