"""How many bytes of machine code each C function became, inlined copies included.

Compilers inline a static function that is called once, so that no symbol tells its size. Debug
information does: the addresses that came from the function, wherever they lie. It is in sections of
its own and changes no instruction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elftools.dwarf.ranges import BaseAddressEntry, RangeEntry
from elftools.elf.elffile import ELFFile


@dataclass(frozen=True)
class Code:
    """The code of one C file in an image.

    Attributes:
        sizes: bytes by function, without those of other functions of the file that were inlined
            into it. What was inlined from headers belongs to the function around it.
        calls: for each function those that it calls.
    """

    sizes: Counter[str] = field(default_factory=Counter)
    calls: dict[str, set[str]] = field(default_factory=dict)

    def owned(self, functions: Iterable[str]) -> list[int]:
        """For each function, in order, the bytes of it and of what it calls, as far as no function
        before it has them already."""
        claimed: set[str] = set()
        sizes = []
        entries = list(functions)
        for entry in entries:
            size, waiting = 0, [entry]
            while waiting:
                name = waiting.pop()
                if name in claimed or (name in entries and name != entry):
                    continue
                claimed.add(name)
                size += self.sizes[name]
                waiting.extend(sorted(self.calls.get(name, ())))
            sizes.append(size)
        return sizes


def code_of(elf: Path, source: str) -> Code:
    """The code of one C file, and of the headers' functions that it has copies of.

    Args:
        elf: an image that was built with `-g`.
        source: name of the C file, without folders.
    """
    code = Code()
    with elf.open("rb") as file:
        image = ELFFile(file)
        if not image.has_dwarf_info():
            return code
        dwarf = image.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            top = unit.get_top_DIE()
            if Path(_text(top, "DW_AT_name")).name == source:
                own_files = _files(dwarf, unit).get(source, frozenset())
                for die in top.iter_children():
                    if die.tag == "DW_TAG_subprogram":
                        _add(die, "", code, dwarf, own_files)
    return code


def _add(die: Any, owner: str, code: Code, dwarf: Any, own_files: frozenset[int]) -> None:
    """Counts a function, or a piece of one, and what lies in it."""
    if die.tag in ("DW_TAG_subprogram", "DW_TAG_inlined_subroutine"):
        nbytes = sum(_lengths(die, dwarf))
        name, declared_in = _declaration(die)
        if nbytes and (not owner or declared_in in own_files):
            code.sizes[name] += nbytes
            if owner:
                code.sizes[owner] -= nbytes
            owner = name
    elif die.tag in ("DW_TAG_call_site", "DW_TAG_GNU_call_site") and owner:
        for attribute in ("DW_AT_call_origin", "DW_AT_abstract_origin"):
            if attribute in die.attributes:
                callee, _ = _declaration(die.get_DIE_from_attribute(attribute))
                code.calls.setdefault(owner, set()).add(callee)
    for child in die.iter_children():
        _add(child, owner, code, dwarf, own_files)


def _text(die: Any, attribute: str) -> str:
    value = die.attributes.get(attribute)
    return "" if value is None else value.value.decode()


def _declaration(die: Any) -> tuple[str, int]:
    """Name of a function and the index of the file that declares it, clones resolved."""
    while "DW_AT_abstract_origin" in die.attributes:
        die = die.get_DIE_from_attribute("DW_AT_abstract_origin")
    file = die.attributes.get("DW_AT_decl_file")
    return _text(die, "DW_AT_name"), -1 if file is None else file.value


def _files(dwarf: Any, unit: Any) -> dict[str, frozenset[int]]:
    """The indices by which a unit refers to each source file."""
    program = dwarf.line_program_for_CU(unit)
    first = 0 if program.header["version"] >= 5 else 1
    found: dict[str, set[int]] = {}
    for index, entry in enumerate(program["file_entry"], first):
        found.setdefault(Path(entry.name.decode()).name, set()).add(index)
    return {name: frozenset(indices) for name, indices in found.items()}


def _lengths(die: Any, dwarf: Any) -> Iterator[int]:
    """Lengths of the ranges of addresses that an entry covers."""
    attributes = die.attributes
    if "DW_AT_ranges" in attributes:
        ranges = dwarf.range_lists().get_range_list_at_offset(
            attributes["DW_AT_ranges"].value, cu=die.cu
        )
        for entry in ranges:
            assert isinstance(entry, (RangeEntry, BaseAddressEntry))
            if isinstance(entry, RangeEntry):
                yield entry.end_offset - entry.begin_offset
    elif "DW_AT_high_pc" in attributes and "DW_AT_low_pc" in attributes:
        high = attributes["DW_AT_high_pc"]
        if high.form == "DW_FORM_addr":
            yield high.value - attributes["DW_AT_low_pc"].value
        else:
            yield high.value
