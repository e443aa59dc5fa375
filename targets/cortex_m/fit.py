"""How much of each memory of a board an image takes, and what of it is too large."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError

_LARGEST_LISTED = 8
_SHF_WRITE, _SHF_ALLOC = 1, 2
# What a section of link.ld.j2 holds, in the user's words; all others are start-up and harness.
_PARTS = {
    ".text": "code",
    ".rodata": "code",
    ".rodata.tinyaot_weights": "weights",
    ".rodata.tinyaot_npu": "weights",
    ".data": "data",
    ".bss": "arena and data",
    ".bss.tinyaot_arena": "arena",
    ".support_stack": "stack",
}
_SUPPORT = "start-up, harness, inputs and outputs"


@dataclass(frozen=True)
class Usage:
    """What lies in one memory.

    Attributes:
        name: the memory, as the user calls it.
        size: bytes that it has.
        parts: bytes by what they hold.
    """

    name: str
    size: int
    parts: dict[str, int]

    @property
    def used(self) -> int:
        return sum(self.parts.values())

    def line(self) -> str:
        """For a table: what is used and by what."""
        parts = ", ".join(f"{part} {nbytes:,}" for part, nbytes in self.parts.items())
        excess = f", {self.used - self.size:,} too many" if self.used > self.size else ""
        return f"{self.name:<8} {self.used:>12,} of {self.size:,} bytes{excess} ({parts})"


def memory_usage(elf: Path, board: Board) -> list[Usage]:
    """What an image takes of each memory in which it lies; initial values of RAM count for flash
    too. The image may be one that does not fit."""
    parts: dict[str, dict[str, int]] = {key: defaultdict(int) for key in board.regions}
    with elf.open("rb") as file:
        image = ELFFile(file)
        loads = [part.header for part in image.iter_segments("PT_LOAD")]
        for section in image.iter_sections():
            if not section["sh_flags"] & _SHF_ALLOC or not section["sh_size"]:
                continue
            part = _PARTS.get(section.name, _SUPPORT)
            address, nbytes = section["sh_addr"], section["sh_size"]
            key = _region_of(board, address)
            parts[key][part] += nbytes
            if section["sh_type"] == "SHT_NOBITS":
                continue
            for load in loads:
                offset = address - load.p_vaddr
                if 0 <= offset < load.p_filesz:
                    stored = _region_of(board, load.p_paddr + offset)
                    if stored != key:
                        parts[stored][part] += nbytes
                    break
    return [
        Usage(region.name or key, region.size, dict(parts[key]))
        for key, region in board.regions.items()
        if parts[key]
    ]


def _region_of(board: Board, address: int) -> str:
    """The memory of an address; of one that overflows its memory, the last that begins below."""
    below = [(region.origin, key) for key, region in board.regions.items()]
    return max((origin, key) for origin, key in below if origin <= address)[1]


def fit_error(elf: Path, board: Board) -> TinyaotError:
    """The error for an image that was linked though it does not fit."""
    usages = memory_usage(elf, board)
    over = next((usage for usage in usages if usage.used > usage.size), usages[0])
    key = board.region_key(over.name)
    region = board.regions[key]
    largest = sorted(_symbols(elf, region.origin, over.used), key=lambda one: (-one[1], one[0]))
    return TinyaotError(
        f"the model does not fit the {'RAM' if over.name == 'ram' else over.name} of board "
        f"{board.name}: {over.used:,} bytes are needed, {over.size:,} are there",
        *(usage.line() for usage in usages),
        f"the largest in {over.name}:",
        *(f"{nbytes:>12,} bytes  {symbol}" for symbol, nbytes in largest[:_LARGEST_LISTED]),
        "choose a board with more memory, or a smaller model"
        + (", or place parts elsewhere with --place" if board.memories else ""),
    )


def _symbols(path: Path, origin: int, nbytes: int) -> Iterator[tuple[str, int]]:
    """Names and sizes of what lies in a range of addresses."""
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        for symbol in table.iter_symbols():
            if symbol["st_size"] and origin <= symbol["st_value"] < origin + nbytes:
                yield symbol.name, symbol["st_size"]
