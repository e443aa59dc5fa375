"""GDB as a library: commands with their answers, memory, breakpoints, stops."""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from collections.abc import Callable
from typing import Any

from tinyaot.targets.errors import TinyaotError

_log = logging.getLogger(__name__)

PROGRAMS = ("gdb-multiarch", "arm-none-eabi-gdb")
_CHUNK = 4096
_STREAM = 0.001


class GdbError(Exception):
    """GDB refused a command, or lost the target."""


class DisconnectedError(GdbError):
    """The server is gone."""


class Client:
    """One GDB process, spoken to by its machine interface.

    Raises:
        TinyaotError: GDB or pygdbmi is not installed.
    """

    def __init__(self) -> None:
        try:
            from pygdbmi.gdbcontroller import GdbController
        except ImportError:
            raise TinyaotError(
                "pygdbmi is not installed", "pip install 'tinyaot[boards]'"
            ) from None
        program = next((name for name in PROGRAMS if shutil.which(name)), None)
        if program is None:
            raise TinyaotError(
                "gdb-multiarch is not installed, or not on the PATH",
                "on Debian and Ubuntu: sudo apt-get install gdb-multiarch",
            )
        command = [program, "--nx", "--quiet", "--interpreter=mi3"]
        _log.info("%s", " ".join(command))
        self._gdb = GdbController(command, time_to_check_for_additional_output_sec=_STREAM)
        self._tokens = itertools.count(1)
        self._stops: list[dict[str, Any]] = []
        self._console: list[str] = []
        for setting in (
            "confirm off", "pagination off", "remotetimeout 2", "tcp connect-timeout 5",
            "mem inaccessible-by-default off", "mi-async on", "architecture armv7",
        ):  # fmt: skip
            self.command(f"-gdb-set {setting}")

    def command(self, text: str, timeout: float = 15.0) -> dict[str, Any]:
        """Send one command of the machine interface and return its result's fields.

        Raises:
            GdbError: it failed, or there is no answer in time.
        """
        token = next(self._tokens)
        _log.debug("(gdb) %s", text[:200])
        self._console.clear()
        try:
            self._gdb.write(f"{token}{text}", read_response=False)
        except OSError:
            raise DisconnectedError("GDB ended") from None

        def answer(one: dict[str, Any]) -> bool:
            return bool(one["type"] == "result" and one.get("token") == token)

        found = self._until(answer, timeout, f"no answer to {text.split()[0]}")
        payload = dict(found["payload"] or {})
        if found["message"] == "error":
            message = str(payload.get("msg", "unknown error")).strip()
            if _lost(message):
                raise DisconnectedError(message)
            raise GdbError(message)
        return payload

    def console(self, text: str, timeout: float = 15.0) -> str:
        """Send one command as a user types it, and return what GDB prints."""
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        self.command(f'-interpreter-exec console "{quoted}"', timeout)
        return "".join(self._console)

    def stopped(self, timeout: float) -> dict[str, Any] | None:
        """Wait until the core stops; None if it does not in time.

        Raises:
            DisconnectedError: the server is gone.
        """
        try:
            if not self._stops:
                self._until(lambda one: bool(self._stops), timeout, "")
        except DisconnectedError:
            raise
        except GdbError:
            return None
        return self._stops.pop(0)

    def forget_stops(self) -> None:
        """Drop what has been told of earlier stops."""
        self._stops.clear()

    def read(self, address: int, nbytes: int) -> bytes:
        """Bytes of the target's memory."""
        data = b""
        while len(data) < nbytes:
            count = min(_CHUNK, nbytes - len(data))
            payload = self.command(f"-data-read-memory-bytes {address + len(data):#x} {count}")
            data += b"".join(bytes.fromhex(part["contents"]) for part in payload["memory"])
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write bytes to the target's memory."""
        for start in range(0, len(data), _CHUNK):
            part = data[start : start + _CHUNK]
            self.command(f"-data-write-memory-bytes {address + start:#x} {part.hex()}")

    def word(self, address: int) -> int:
        """A little-endian word of the target's memory."""
        return int.from_bytes(self.read(address, 4), "little")

    def close(self) -> None:
        """End GDB; the target is left as it is, halted."""
        process = self._gdb.gdb_process
        if process is not None:
            # Asked politely it would detach, and so let a core go on that may hold no program.
            process.kill()
            process.communicate()

    def _until(
        self, wanted: Callable[[dict[str, Any]], bool], timeout: float, message: str
    ) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            process = self._gdb.gdb_process
            responses = self._gdb.get_gdb_response(
                min(0.5, max(0.01, end - time.monotonic())), raise_error_on_timeout=False
            )
            found = None
            for one in responses:
                self._note(one)
                if found is None and wanted(one):
                    found = dict(one)
            if found is not None:
                return found
            for one in responses:
                text = str(one.get("payload") or "")
                gone = one["type"] == "notify" and one["message"] == "thread-group-exited"
                if gone or (one["type"] in ("log", "console") and _lost(text)):
                    raise DisconnectedError(text.strip() or "Remote connection closed")
            if process is None or process.poll() is not None:
                raise DisconnectedError("GDB ended")
        raise GdbError(message)

    def _note(self, one: dict[str, Any]) -> None:
        if one["type"] == "notify" and one["message"] == "stopped":
            payload = dict(one["payload"] or {})
            if not str(payload.get("reason", "")).startswith("exited"):
                self._stops.append(payload)
        elif one["type"] in ("console", "target", "log"):
            self._console.append(str(one["payload"] or ""))


def _lost(message: str) -> bool:
    words = ("Remote connection closed", "Remote communication error", "Connection reset",
             "Connection timed out", "Broken pipe", "The target is not connected")  # fmt: skip
    return any(word in message for word in words)
