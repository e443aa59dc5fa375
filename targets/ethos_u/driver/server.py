"""The other end of the stub driver: runs the streams of a program on the functional model.

Program and model talk through two named pipes in the folder the program runs in, which the C
library and semihosting open alike. `stub.c` says what goes through them.
"""

from __future__ import annotations

import contextlib
import os
import select
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.errors import TinyaotError

DRIVER_HEADER = "ethosu_driver.h"
"""Of the driver, by the name that Arm gives it."""

_HERE = Path(__file__).parent
_MAGIC = 0x55504E54
_REQUEST, _REPLY = "npu_request", "npu_reply"
_CHUNK = 1 << 16


def driver_sources(family: str) -> dict[str, str]:
    """The stub driver's files for a family of targets, by name."""
    names = ("stub.c", "channel.h", f"channel_{family}.c", DRIVER_HEADER)
    return {name: (_HERE / name).read_text(encoding="utf-8") for name in names}


@contextlib.contextmanager
def serve_npu(directory: Path, accelerator: str | None) -> Iterator[None]:
    """Answers the stub driver of a program that runs in a folder.

    Args:
        directory: the program's working directory.
        accelerator: what its streams are for; None if it has none.

    Raises:
        TinyaotError: at the end, if the model refused a stream: with the reason.
    """
    if accelerator is None:
        yield
        return
    server = _Server(directory, accelerator)
    try:
        yield
    except TinyaotError as error:
        server.close()
        raise (server.error or error) from error
    finally:
        server.close()
    if server.error is not None:
        raise server.error


class _Stopped(Exception):  # noqa: N818 (no error)
    pass


class _Server:
    def __init__(self, directory: Path, accelerator: str) -> None:
        self.error: TinyaotError | None = None
        self._accelerator = accelerator
        for name in (_REQUEST, _REPLY):
            os.mkfifo(directory / name)
        # Open for both ends: opening does not wait for the program, and a program that ends is
        # no end of file.
        self._request = os.open(directory / _REQUEST, os.O_RDWR)
        self._reply = os.open(directory / _REPLY, os.O_RDWR | os.O_NONBLOCK)
        self._wake, self._stop = os.pipe()
        self._thread: threading.Thread | None = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread, whatever it waits for."""
        if self._thread is None:
            return
        os.close(self._stop)
        self._thread.join()
        self._thread = None
        for handle in (self._request, self._reply, self._wake):
            os.close(handle)

    def _loop(self) -> None:
        with contextlib.suppress(_Stopped):
            while True:
                self._serve()

    def _serve(self) -> None:
        magic, payload_size, count = struct.unpack("<3I", self._read(12))
        if magic != _MAGIC:
            raise RuntimeError(f"a request starts with {magic:#x}")
        spans = [struct.unpack("<2Q", self._read(16)) for _ in range(count)]
        payload = self._read(payload_size)
        regions = _share([(address, self._read(size)) for address, size in spans])
        try:
            self._run(payload, regions)
        except TinyaotError as error:
            self.error = self.error or error
            self._write(struct.pack("<i", -1))
            return
        self._write(struct.pack("<i", 0))
        for array in regions[1:]:
            self._write(array.tobytes())

    def _run(self, payload: bytes, regions: list[NDArray[np.uint8]]) -> None:
        from tinyaot.targets.ethos_u.model import ACCELERATORS, parse_driver_payload, run_stream

        if self._accelerator not in ACCELERATORS:
            raise TinyaotError(
                f"there is no functional model of {self._accelerator}",
                f"those that can be run here: {', '.join(ACCELERATORS)}",
            )
        present = {number: array for number, array in enumerate(regions) if len(array)}
        run_stream(parse_driver_payload(payload), present, self._accelerator)

    def _read(self, nbytes: int) -> bytes:
        parts = []
        while nbytes:
            ready, _, _ = select.select([self._request, self._wake], [], [])
            if self._wake in ready:
                raise _Stopped
            parts.append(os.read(self._request, min(nbytes, _CHUNK)))
            nbytes -= len(parts[-1])
        return b"".join(parts)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            ready, writable, _ = select.select([self._wake], [self._reply], [])
            if ready:
                raise _Stopped
            if writable:
                view = view[os.write(self._reply, view[:_CHUNK]) :]


def _share(regions: list[tuple[int, bytes]]) -> list[NDArray[np.uint8]]:
    """Regions as arrays that share memory where the program's do."""
    arrays: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(regions)
    order = sorted(range(len(regions)), key=lambda index: regions[index][0])
    at = 0
    while at < len(order):
        start = regions[order[at]][0]
        end = start + len(regions[order[at]][1])
        last = at + 1
        while last < len(order) and regions[order[last]][0] < end:
            end = max(end, regions[order[last]][0] + len(regions[order[last]][1]))
            last += 1
        memory = np.zeros(end - start, np.uint8)
        for index in order[at:last]:
            address, data = regions[index]
            arrays[index] = memory[address - start : address - start + len(data)]
            arrays[index][:] = np.frombuffer(data, np.uint8)
        at = last
    return arrays
