"""Running an image under QEMU."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinyaot.targets.command import find_tool, run_command
from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.cortex_m.faults import fault_error, read_fault
from tinyaot.targets.cortex_m.instructions import (
    EMPTY_FUNCTION_INSTRUCTIONS,
    EMPTY_OPERATOR_INSTRUCTIONS,
    Stamp,
    instructions_between,
)
from tinyaot.targets.errors import TimeLimitError, TinyaotError
from tinyaot.targets.ethos_u.driver import serve_npu
from tinyaot.targets.image import Image
from tinyaot.targets.program import RunResult

EMULATOR = "qemu-system-arm"
PACKAGES = "qemu-system-arm"


def run(image: Image, inputs: Sequence[Sequence[bytes]], timeout: float) -> RunResult:
    """Run once for all sets of inputs; see `tinyaot.targets.run_image`.

    Stack bytes include what the counter's exception pushes if an inference is longer than 2**24
    ticks of SysTick (0.5 to 0.8 thousand million instructions): 32, or 104 with floating point.
    """
    assert image.board is not None
    if image.board.machine is None:
        raise TinyaotError(
            f"QEMU has no model of board {image.board.name}",
            f"run it on the board itself: --on {image.board.name}",
            "or on an emulated board of the same core: --on qemu without --board",
        )
    find_tool(EMULATOR, PACKAGES)
    with tempfile.TemporaryDirectory(prefix="tinyaot-run-") as folder:
        directory = Path(folder)
        stream = b"".join(tensor for tensors in inputs for tensor in tensors)
        (directory / "inputs.bin").write_bytes(struct.pack("<I", len(inputs)) + stream)
        with serve_npu(directory, image.program.npu):
            _emulate(image, image.board, directory, timeout)
        results = _Results((directory / "outputs.bin").read_bytes(), image.board)
    return _collect(image, len(inputs), results)


def emulator_command(elf: Path, board: Board) -> list[str]:
    """The command that runs an image, with virtual time that counts instructions."""
    assert board.machine is not None
    return [
        *(EMULATOR, "-M", board.machine, "-kernel", str(elf.resolve())),
        # One instruction takes one nanosecond of virtual time: what SysTick counts by.
        *("-icount", "shift=0"),
        *("-semihosting-config", "enable=on,target=native"),
        *("-nographic", "-monitor", "none", "-serial", "none"),
    ]


def _emulate(image: Image, board: Board, directory: Path, timeout: float) -> None:
    try:
        result = run_command(emulator_command(image.elf, board), directory, timeout)
    except subprocess.TimeoutExpired:
        raise TimeLimitError(
            f"{image.program.name} did not end within {timeout:g} s on the emulated {board.name}",
            "give it more time, or fewer inputs",
        ) from None
    if result.returncode == 0:
        return
    said = result.stdout + result.stderr
    where = f"{image.program.name} on the emulated {board.name}"
    if fault := re.search(r"tinyaot-fault (.*)", said):
        words = [int(word, 16) for word in fault[1].split()]
        raise fault_error(read_fault(words), image.elf, image.program, where)
    if failure := re.search(r"tinyaot-error (.*)", said):
        raise TinyaotError(f"{where}: {failure[1]}")
    if lockup := re.search(r"Lockup: .*", said):
        raise TinyaotError(f"{where}: the core locked up ({lockup[0]})")
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    raise TinyaotError(f"{EMULATOR} ended with status {result.returncode}: {last[0]}")


class _Results:
    """The bytes of outputs.bin, read in the order in which harness.c writes them."""

    def __init__(self, data: bytes, board: Board) -> None:
        self._data = data
        self._board = board
        self._at = 0

    def take(self, nbytes: int) -> bytes:
        self._at += nbytes
        if self._at > len(self._data):
            raise RuntimeError(f"outputs.bin ends after {len(self._data)} bytes")
        return self._data[self._at - nbytes : self._at]

    def word(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def instructions(self) -> int:
        """Take a begin and an end stamp."""
        begin, end = (Stamp(*struct.unpack(Stamp.FORMAT, self.take(Stamp.NBYTES))) for _ in "be")
        return instructions_between(begin, end, self._board)


def _collect(image: Image, count: int, results: _Results) -> RunResult:
    program = image.program
    call = results.instructions() - EMPTY_FUNCTION_INSTRUCTIONS
    hooks_recording = hooks_idle = inside_operator = 0
    if image.profile:
        hooks_recording = results.instructions() - call - EMPTY_OPERATOR_INSTRUCTIONS
        inside_operator = results.instructions()
        hooks_idle = results.instructions() - call - EMPTY_OPERATOR_INSTRUCTIONS

    outputs, instructions, stack = [], [], 0
    for inference in range(count):
        status = int.from_bytes(results.take(4), "little", signed=True)
        if status != 0:
            raise TinyaotError(f"{program.name} returned {status} on inference {inference}")
        stack = max(stack, results.word())
        hooks = hooks_idle if inference else hooks_recording
        instructions.append(results.instructions() - call - hooks * len(program.operators))
        outputs.append(tuple(results.take(port.nbytes) for port in program.outputs))
    operators = None
    if image.profile:
        operators = tuple(results.instructions() - inside_operator for _ in program.operators)
        if min(operators, default=0) < 0:
            raise RuntimeError(f"{program.name} does not call the hooks of all its operators")
    return RunResult(tuple(outputs), tuple(instructions), operators, stack)
