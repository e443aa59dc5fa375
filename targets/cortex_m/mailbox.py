"""What the firmware of mailbox.c.j2 leaves in memory, and what it means."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.cortex_m.instructions import (
    EMPTY_FUNCTION_INSTRUCTIONS,
    EMPTY_OPERATOR_INSTRUCTIONS,
    Stamp,
    instructions_between,
)
from tinyaot.targets.program import Program

MAGIC = 0x54414F54
RUN, PROFILE = 1, 2
_MEASUREMENT = struct.Struct("<iI" + "4I" * 2)
_HEAD = struct.Struct("<4I")
NBYTES = _HEAD.size + 4 * _MEASUREMENT.size + 2 * Stamp.NBYTES

COUNTERS = {
    "instructions": "instructions under QEMU",
    "dwt": "processor cycles by DWT CYCCNT",
    "systick": "processor cycles by SysTick",
}
"""What an image can count with, in words."""


def board_counter(board: Board) -> str:
    """What counts cycles on silicon: ARMv6-M and the small ARMv8-M cores have no cycle counter."""
    small = ("cortex-m0", "cortex-m0plus", "cortex-m23")
    return "systick" if board.processor in small else "dwt"


@dataclass(frozen=True)
class Symbols:
    """Where the firmware keeps what the host reads and writes.

    Attributes:
        addresses: by name of the symbol.
        build_id: GNU build id of the image, which is also at `tinyaot_build_id`.
        entry: first instruction.
    """

    addresses: dict[str, int]
    build_id: bytes
    entry: int

    def __getitem__(self, name: str) -> int:
        return self.addresses[name] & ~1


def read_symbols(elf: Path) -> Symbols:
    """Look up the symbols of an image."""
    with elf.open("rb") as file:
        image = ELFFile(file)
        table = image.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        addresses = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
        build_id = image.get_section_by_name(".support_id").data()
        return Symbols(addresses, build_id, image.header.e_entry)


@dataclass(frozen=True)
class Mailbox:
    """struct mailbox of mailbox.c.j2; the measurements as status, stack bytes, begin and end."""

    magic: int
    command: int
    done: int
    failed: int
    status: int
    stack_bytes: int
    call: tuple[Stamp, Stamp]
    hooks_recording: tuple[Stamp, Stamp]
    hooks_idle: tuple[Stamp, Stamp]
    inference: tuple[Stamp, Stamp]
    inside: tuple[Stamp, Stamp]


def read_mailbox(data: bytes) -> Mailbox:
    """Take the `NBYTES` bytes of the mailbox apart."""
    magic, command, done, failed = _HEAD.unpack_from(data)
    measurements = [
        _MEASUREMENT.unpack_from(data, _HEAD.size + index * _MEASUREMENT.size) for index in range(4)
    ]
    pairs = [(Stamp(*one[2:6]), Stamp(*one[6:10])) for one in measurements]
    return Mailbox(
        magic=magic,
        command=command,
        done=done,
        failed=failed,
        status=measurements[3][0],
        stack_bytes=measurements[3][1],
        call=pairs[0],
        hooks_recording=pairs[1],
        hooks_idle=pairs[2],
        inference=pairs[3],
        inside=read_stamps(data[-2 * Stamp.NBYTES :])[0],
    )


def read_stamps(data: bytes) -> list[tuple[Stamp, Stamp]]:
    """Pairs of begin and end stamps."""
    stamps = [Stamp(*words) for words in struct.iter_unpack(Stamp.FORMAT, data)]
    return list(zip(stamps[::2], stamps[1::2], strict=True))


@dataclass(frozen=True)
class Counts:
    """What one inference took, in the unit of the counter.

    Attributes:
        total: the entry function.
        operators: each operator; None unless they were recorded.
    """

    total: int
    operators: tuple[int, ...] | None = field(default=None)


def count(
    mailbox: Mailbox,
    operators: list[tuple[Stamp, Stamp]] | None,
    program: Program,
    board: Board,
    counter: str,
    profile: bool,
) -> Counts | None:
    """What the last inference took, without what measuring adds.

    Args:
        operators: their stamps, if the last command recorded them.
        counter: a key of `COUNTERS`.
        profile: whether the image has hooks.

    Returns:
        None if the counter does not count here, such as under QEMU without `-icount shift=0`.
    """
    between = _between(board, counter)
    try:
        call = between(mailbox.call) - EMPTY_FUNCTION_INSTRUCTIONS
        hooks = inside = 0
        if profile:
            pair = mailbox.hooks_recording if operators is not None else mailbox.hooks_idle
            hooks = between(pair) - call - EMPTY_OPERATOR_INSTRUCTIONS
            inside = between(mailbox.inside)
        total = between(mailbox.inference) - call - hooks * len(program.operators)
        each = None
        if operators is not None:
            each = tuple(between(pair) - inside for pair in operators)
    except RuntimeError:
        return None
    if total <= 0 or (counter == "instructions" and min(call, *(each or (0,))) < 0):
        return None
    # Cycles are not repeatable to the last: an operator without work may come out below nothing.
    return Counts(total, None if each is None else tuple(max(0, one) for one in each))


def _between(board: Board, counter: str) -> Callable[[tuple[Stamp, Stamp]], int]:
    if counter == "dwt":
        return lambda pair: (pair[1].first - pair[0].first) & 0xFFFFFFFF
    if counter == "systick":
        period = board.systick_reload + 1
        return lambda pair: pair[1].ticks(1, period) - pair[0].ticks(1, period)
    return lambda pair: instructions_between(*pair, board)
