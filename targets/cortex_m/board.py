"""Boards as data: memories, clock and QEMU machine, one TOML file each in `boards/`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tinyaot.targets.data import load_toml, unknown_name
from tinyaot.targets.errors import TinyaotError

BOARDS = Path(__file__).parent / "boards"


@dataclass(frozen=True)
class Region:
    """A memory: first address, bytes, and where the numbers come from."""

    origin: int
    size: int
    source: str

    @property
    def end(self) -> int:
        return self.origin + self.size


@dataclass(frozen=True)
class Board:
    """A board that an image can be linked for.

    Attributes:
        name: what the user types; the name of the data file.
        title: the name in running text.
        machine: QEMU's name for it.
        cores: names of the targets whose code it runs.
        systick_hz: clock of SysTick when it counts processor cycles, in Hz.
        stack_bytes: how much of `ram` the stack gets.
        flash: where code, constants and initial values of data go.
        ram: where data, arena and stack go.
        vectors: where the core looks for the vector table, when that is not the start of `flash`.
        systick_reload: largest count of SysTick; the counter wraps after this plus one ticks.
    """

    name: str
    title: str
    machine: str
    cores: tuple[str, ...]
    systick_hz: int
    stack_bytes: int
    flash: Region
    ram: Region
    vectors: Region | None = None
    systick_reload: int = 0xFFFFFF

    @property
    def tick_ns(self) -> Fraction:
        """Length of a SysTick tick in nanoseconds."""
        return Fraction(10**9, self.systick_hz)


def list_boards() -> tuple[str, ...]:
    """Names of the boards that come with tinyaot."""
    return tuple(sorted(path.stem for path in BOARDS.glob("*.toml")))


def get_board(name: str) -> Board:
    """The board of that name.

    Raises:
        TinyaotError: there is none, or its data file is wrong.
    """
    if name not in list_boards():
        raise unknown_name("board", name, list_boards())
    return load_board(BOARDS / f"{name}.toml")


def load_board(path: Path) -> Board:
    """Read and check one board file.

    Raises:
        TinyaotError: the file cannot be read, or a key is missing, unknown or has a wrong value.
    """
    table = _Table(load_toml(path), str(path))
    board = Board(
        name=path.stem,
        title=table.take("title", str),
        machine=table.take("machine", str),
        cores=tuple(table.take("cores", list)),
        systick_hz=table.take("systick_hz", int),
        stack_bytes=table.take("stack_bytes", int),
        flash=_region(table, "flash"),
        ram=_region(table, "ram"),
        vectors=_region(table, "vectors") if "vectors" in table.values else None,
    )
    table.finish()
    _check(board, path)
    return board


class _Table:
    """One TOML table, taken apart key by key so that whatever is left over is a mistake."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def take(self, key: str, kind: type) -> Any:
        if key not in self.values:
            raise TinyaotError(f"{self.where}: '{key}' is missing")
        value = self.values.pop(key)
        if type(value) is not kind:
            raise TinyaotError(f"{self.where}: '{key}' must be of type {kind.__name__}: {value!r}")
        return value

    def finish(self) -> None:
        if self.values:
            raise TinyaotError(f"{self.where}: unknown key '{next(iter(self.values))}'")


def _region(table: _Table, key: str) -> Region:
    inner = _Table(table.take(key, dict), f"{table.where}: [{key}]")
    region = Region(inner.take("origin", int), inner.take("size", int), inner.take("source", str))
    inner.finish()
    if region.origin < 0 or region.size <= 0 or region.end > 1 << 32:
        raise TinyaotError(
            f"{inner.where}: origin {region.origin:#x} and size {region.size:#x} "
            "are not a range of 32-bit addresses"
        )
    return region


def _check(board: Board, path: Path) -> None:
    if not board.cores or not all(type(core) is str for core in board.cores):
        raise TinyaotError(f"{path}: 'cores' must list the names of targets")
    if board.systick_hz <= 0:
        raise TinyaotError(f"{path}: 'systick_hz' must be positive")
    if not 0 < board.stack_bytes < board.ram.size or board.stack_bytes % 8:
        raise TinyaotError(f"{path}: 'stack_bytes' must be a multiple of 8 and less than the RAM")
    if board.flash.origin < board.ram.end and board.ram.origin < board.flash.end:
        raise TinyaotError(f"{path}: [flash] and [ram] overlap")
