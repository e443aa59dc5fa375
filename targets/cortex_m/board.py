"""Boards as data: memories, clock, QEMU machine and probe, one TOML file each in `boards/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from tinyaot.targets.data import load_toml, unknown_name
from tinyaot.targets.errors import TinyaotError

BOARDS = Path(__file__).parent / "boards"

CPUID_PARTS = {
    "cortex-m0": 0xC20,
    "cortex-m0plus": 0xC60,
    "cortex-m3": 0xC23,
    "cortex-m4": 0xC24,
    "cortex-m7": 0xC27,
    "cortex-m23": 0xD20,
    "cortex-m33": 0xD21,
    "cortex-m55": 0xD22,
    "cortex-m85": 0xD23,
}
"""PARTNO of each processor's CPUID register: its Technical Reference Manual."""

PLACES = {
    "code": "flash",
    "weights": "flash",
    "data": "ram",
    "arena": "ram",
    "stack": "ram",
}
"""What can be placed in a memory, and where it goes unless the board or the user says otherwise."""


@dataclass(frozen=True)
class Region:
    """A memory.

    Attributes:
        origin: first address.
        size: bytes.
        source: where the numbers come from.
        name: what the user calls it in `--place`.
        writable: whether programs write it as they run: RAM, and not flash.
    """

    origin: int
    size: int
    source: str
    name: str = ""
    writable: bool = True

    @property
    def end(self) -> int:
        return self.origin + self.size


@dataclass(frozen=True)
class Board:
    """A board that an image can be linked for.

    Attributes:
        name: what the user types; the name of the data file.
        title: the name in running text.
        machine: QEMU's name for it; None if QEMU has no model of it.
        cores: names of the targets whose code it runs.
        processor: the core that is on it, one of `CPUID_PARTS`.
        clock_hz: the processor's clock after reset, in Hz, which the images leave as it is.
        systick_hz: clock of SysTick in QEMU when it counts processor cycles, in Hz.
        stack_bytes: how much memory the stack gets.
        flash: where code, constants and initial values of data go.
        ram: where data, arena and stack go.
        vectors: where the core looks for the vector table, when that is not the start of `flash`.
        memories: further memories by name.
        place: name of the memory of each of `PLACES`.
        pyocd: pyOCD's name of the target; None if it has none.
        openocd: OpenOCD's configuration files; empty if it has none.
        zephyr: Zephyr's name of the board; None if it has none.
        systick_reload: largest count of SysTick; the counter wraps after this plus one ticks.
    """

    name: str
    title: str
    machine: str | None
    cores: tuple[str, ...]
    processor: str
    clock_hz: int
    systick_hz: int
    stack_bytes: int
    flash: Region
    ram: Region
    vectors: Region | None = None
    memories: Mapping[str, Region] = field(default_factory=dict)
    place: Mapping[str, str] = field(default_factory=lambda: dict(PLACES))
    pyocd: str | None = None
    openocd: tuple[str, ...] = ()
    zephyr: str | None = None
    systick_reload: int = 0xFFFFFF

    @property
    def tick_ns(self) -> Fraction:
        """Length of a SysTick tick in nanoseconds."""
        return Fraction(10**9, self.systick_hz)

    @property
    def regions(self) -> dict[str, Region]:
        """All memories by their keys in the board file."""
        named = {"flash": self.flash, "ram": self.ram, **self.memories}
        return named if self.vectors is None else {**named, "vectors": self.vectors}

    def region_key(self, name: str) -> str:
        """The key of the memory that the user calls `name`.

        Raises:
            TinyaotError: the board has none of that name.
        """
        for key, region in self.regions.items():
            if name in (key, region.name):
                return key
        names = [region.name or key for key, region in self.regions.items()]
        raise unknown_name(f"memory of board {self.name}:", name, names)

    def placed(self, choices: Mapping[str, str]) -> Board:
        """The same board with some of `PLACES` in other memories.

        Args:
            choices: the name of a memory for each part that moves.

        Raises:
            TinyaotError: a part or a memory is unknown, or a part that is written would lie in
                flash.
        """
        place = dict(self.place)
        for part, name in choices.items():
            if part not in PLACES:
                raise unknown_name("part to place", part, PLACES)
            key = self.region_key(name)
            if PLACES[part] == "ram" and not self.regions[key].writable:
                raise TinyaotError(
                    f"{part} cannot be placed in {name} of board {self.name}: it is not RAM",
                    f"RAM: {', '.join(r.name or k for k, r in self.regions.items() if r.writable)}",
                )
            place[part] = key
        return replace(self, place=place)


def parse_place(text: str) -> dict[str, str]:
    """Take `weights=dtcm,arena=axi_sram` apart.

    Raises:
        TinyaotError: it has another form.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(key.strip() and value.strip() for key, _, value in pairs):
        raise TinyaotError(
            f"cannot read the placement '{text}'", "write it as weights=dtcm,arena=axi_sram"
        )
    return {key.strip(): value.strip() for key, _, value in pairs}


def list_boards() -> tuple[str, ...]:
    """Names of the boards that come with tinyaot."""
    return tuple(sorted(path.stem for path in BOARDS.glob("*.toml")))


def get_board(name: str) -> Board:
    """The board of that name, or of that file.

    Args:
        name: a name out of `list_boards()`, with `-` and `_` taken as one, or the path of a board
            file, which ends in `.toml`.

    Raises:
        TinyaotError: there is none, or its data file is wrong.
    """
    if name.endswith(".toml"):
        return load_board(Path(name))
    plain = {known.replace("-", "_").lower(): known for known in list_boards()}
    known = plain.get(name.replace("-", "_").lower())
    if known is None:
        error = unknown_name("board", name, list_boards())
        raise TinyaotError(error.message, *error.hints, "or the path of a board file: ./mine.toml")
    return load_board(BOARDS / f"{known}.toml")


def load_board(path: Path) -> Board:
    """Read and check one board file.

    Raises:
        TinyaotError: the file cannot be read, or a key is missing, unknown or has a wrong value.
    """
    table = _Table(load_toml(path), str(path))
    probe = table.inner("probe")
    memories = table.inner("memories")
    place = table.inner("place")
    cores = table.names("cores")
    machine = table.take("machine", str, None)
    board = Board(
        name=path.stem,
        title=table.take("title", str),
        machine=machine,
        cores=cores,
        processor=table.take("processor", str, cores[0]),
        clock_hz=table.take("clock_hz", int, 0 if machine else ...),
        systick_hz=table.take("systick_hz", int, ... if machine else 0),
        stack_bytes=table.take("stack_bytes", int),
        flash=_region(table, "flash", writable=False),
        ram=_region(table, "ram"),
        vectors=_region(table, "vectors", writable=False) if "vectors" in table.values else None,
        memories={key: _region(memories, key) for key in list(memories.values)},
        pyocd=probe.take("pyocd", str, None),
        openocd=probe.names("openocd") if "openocd" in probe.values else (),
        zephyr=table.take("zephyr", str, None),
    )
    try:
        board = board.placed({key: place.take(key, str) for key in list(place.values)})
    except TinyaotError as error:
        raise TinyaotError(f"{place.where}: {error.message}", *error.hints) from None
    probe.finish()
    table.finish()
    _check(board, path)
    return board


class _Table:
    """One TOML table, taken apart key by key so that whatever is left over is a mistake."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    def take(self, key: str, kind: type, default: Any = ...) -> Any:
        """The value of a key, which must be there unless there is a default."""
        if key not in self.values:
            if default is not ...:
                return default
            raise TinyaotError(f"{self.where}: '{key}' is missing")
        value = self.values.pop(key)
        if type(value) is not kind:
            raise TinyaotError(f"{self.where}: '{key}' must be of type {kind.__name__}: {value!r}")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """A list of one or more words."""
        value = tuple(self.take(key, list))
        if not value or not all(type(word) is str for word in value):
            what = "the names of targets" if key == "cores" else "one or more words"
            raise TinyaotError(f"{self.where}: '{key}' must list {what}")
        return value

    def inner(self, key: str) -> _Table:
        """A table in this one; empty if it is not there."""
        return _Table(self.take(key, dict, {}), f"{self.where}: [{key}]")

    def finish(self) -> None:
        if self.values:
            raise TinyaotError(f"{self.where}: unknown key '{next(iter(self.values))}'")


def _region(table: _Table, key: str, writable: bool = True) -> Region:
    inner = _Table(table.take(key, dict), f"{table.where.removesuffix(']')}.{key}]")
    if not table.where.endswith("]"):
        inner.where = f"{table.where}: [{key}]"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
        raise TinyaotError(f"{inner.where}: the name must be of a-z, 0-9 and _")
    region = Region(
        origin=inner.take("origin", int),
        size=inner.take("size", int),
        source=inner.take("source", str),
        name=inner.take("name", str, key),
        writable=inner.take("writable", bool, writable),
    )
    inner.finish()
    if region.origin < 0 or region.size <= 0 or region.end > 1 << 32:
        raise TinyaotError(
            f"{inner.where}: origin {region.origin:#x} and size {region.size:#x} "
            "are not a range of 32-bit addresses"
        )
    return region


def _check(board: Board, path: Path) -> None:
    if board.machine is not None and board.systick_hz <= 0:
        raise TinyaotError(f"{path}: 'systick_hz' must be positive")
    if board.machine is None and board.clock_hz <= 0:
        raise TinyaotError(f"{path}: 'clock_hz' must be positive")
    if board.processor not in CPUID_PARTS:
        error = unknown_name("processor", board.processor, CPUID_PARTS)
        raise TinyaotError(f"{path}: {error.message}", *error.hints)
    if (
        not 0 < board.stack_bytes < board.regions[board.place["stack"]].size
        or board.stack_bytes % 8
    ):
        raise TinyaotError(f"{path}: 'stack_bytes' must be a multiple of 8 and less than the RAM")
    regions = list(board.regions.items())
    for index, (key, region) in enumerate(regions):
        for other, second in regions[index + 1 :]:
            if region.origin < second.end and second.origin < region.end:
                raise TinyaotError(f"{path}: [{key}] and [{other}] overlap")
            if region.name == second.name:
                raise TinyaotError(f"{path}: [{key}] and [{other}] have the same name")
