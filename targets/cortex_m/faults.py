"""Faults of a core in words: what happened, where, in which operator, and what to look at."""

from __future__ import annotations

import re
import subprocess
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.program import Program

WORDS = 8 + 8 + 1 + 8 + 160
"""Size of fault.h's struct fault."""

_EXCEPTIONS = {
    2: "NMI",
    3: "HardFault",
    4: "MemManage",
    5: "BusFault",
    6: "UsageFault",
    7: "SecureFault",
    12: "DebugMonitor",
}
# Bits of the Configurable Fault Status Register: Armv7-M and Armv8-M ARM, CFSR.
_CAUSES = {
    0: "instruction fetch from a forbidden address",
    1: "data access to a forbidden address",
    3: "MemManage fault on exception return",
    4: "MemManage fault on exception entry",
    8: "instruction fetch from an address with no memory",
    9: "data access to an address with no memory",
    10: "late data access to an address with no memory",
    11: "BusFault on exception return",
    12: "BusFault on exception entry",
    16: "undefined instruction",
    17: "branch to an address without the Thumb bit",
    18: "invalid exception return",
    19: "instruction of a coprocessor that is switched off or absent",
    20: "stack overflow",
    24: "unaligned access",
    25: "division by zero",
}
_STACK_OVERFLOW, _NO_THUMB_BIT, _BAD_FETCH = 1 << 20, 1 << 17, (1 << 0) | (1 << 8)
_MMFAR_VALID, _BFAR_VALID = 1 << 7, 1 << 15


@dataclass(frozen=True)
class Fault:
    """What startup.c keeps of a fault; see fault.h.

    Attributes:
        exception: number of the exception.
        exc_return: what says how the core would return from it.
        cfsr, hfsr, mmfar, bfar: fault status and address registers; zero on ARMv6-M.
        sp: where the exception's frame was pushed.
        overflow: whether that is below the stack.
        registers: by name, as far as the frame could be read.
        stack: the words above the frame.
    """

    exception: int
    exc_return: int
    cfsr: int
    hfsr: int
    mmfar: int
    bfar: int
    sp: int
    overflow: bool
    registers: dict[str, int]
    stack: tuple[int, ...]


def read_fault(words: Sequence[int]) -> Fault:
    """Take the `WORDS` words of a struct fault apart."""
    valid = words[16]
    registers = {f"r{4 + index}": word for index, word in enumerate(words[8:16])}
    if valid >= 8:
        names = ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr")
        registers = dict(zip(names, words[17:25], strict=True)) | registers
    return Fault(
        exception=words[0],
        exc_return=words[1],
        cfsr=words[2],
        hfsr=words[3],
        mmfar=words[4],
        bfar=words[5],
        sp=words[6],
        overflow=bool(words[7]) or bool(words[2] & _STACK_OVERFLOW),
        registers=registers,
        stack=tuple(words[25 : 17 + valid]),
    )


def fault_error(fault: Fault, elf: Path, program: Program, where: str) -> TinyaotError:
    """The report of a fault: the line says what and where, the hints show the core's state.

    Args:
        elf: the image that ran, with debug information.
        program: what is in it.
        where: the board or core, for the line.
    """
    functions = _Functions(elf)
    registers = fault.registers
    pc, lr = registers.get("pc"), registers.get("lr")
    what = " and ".join(text for bit, text in _CAUSES.items() if fault.cfsr >> bit & 1)
    name = _EXCEPTIONS.get(fault.exception, f"exception {fault.exception}")
    hints = []
    if fault.overflow:
        what = f"the stack overflowed, and the core faulted ({name})"
        hints.append("give it more: 'stack_bytes' of a board file of your own")
    else:
        what = f"{name}: {what}" if what else name
        if fault.cfsr & _BFAR_VALID:
            what += f" {fault.bfar:#010x}"
        elif fault.cfsr & _MMFAR_VALID:
            what += f" {fault.mmfar:#010x}"
    at = None
    if pc is not None:
        at = functions.describe(pc)
        # A call through a null or wild pointer leaves the code; the caller is what tells.
        if lr is not None and functions.at(pc) is None:
            what += f", after a call of address {pc:#x} from {functions.describe((lr & ~1) - 2)}"
            hints.append("a function pointer is null or was overwritten")
            at = None
    operator = _operator(fault, functions, elf, program)
    place = f" in {operator}" if operator else ""
    hints += _state(fault, functions)
    hints.append(
        "look closer with a debugger: tinyaot run --build-dir DIR keeps image.elf; "
        "arm-none-eabi-addr2line -fie image.elf ADDRESS names the line"
    )
    return TinyaotError(f"{where}: fault{f' at {at}' if at else ''}{place}: {what}", *hints)


def _state(fault: Fault, functions: _Functions) -> list[str]:
    """Registers, and the return addresses on the stack."""
    lines = [
        f"CFSR {fault.cfsr:#010x}, HFSR {fault.hfsr:#010x}, SP {fault.sp:#010x}, "
        f"EXC_RETURN {fault.exc_return:#010x}"
    ]
    shown = [f"{name} {value:#010x}" for name, value in fault.registers.items()]
    lines += [", ".join(shown[index : index + 4]) for index in range(0, len(shown), 4)]
    calls = [word for word in fault.stack if word & 1 and functions.at(word & ~1)][:4]
    if calls:
        called = ", ".join(functions.describe((word & ~1) - 2) for word in calls)
        lines.append(f"return addresses on the stack: {called}")
    return lines


def _operator(fault: Fault, functions: _Functions, elf: Path, program: Program) -> str | None:
    """The operator that was running: the call in the entry function that it belongs to, or the
    operators that share the kernel."""
    entry = f"tinyaot_{program.name}_run"
    source = f"tinyaot_{program.name}.c"
    pc, lr = fault.registers.get("pc", 0), fault.registers.get("lr", 0)
    # The innermost address of the entry function: where it was, or where it will be returned to.
    inside = [pc] if functions.at(pc) == entry else []
    inside += [
        (word & ~1) - 2
        for word in (lr, *fault.stack)
        if word & 1 and functions.at((word & ~1) - 2) == entry
    ]
    for address in inside:
        line = _line_in(entry, address, elf)
        if line is None:
            continue
        text = program.files[source].splitlines()[:line]
        calls = [one for one in text if re.match(r"\s+TINYAOT_OPERATOR\(\d", one)]
        if calls:
            index = len(calls) - 1
            return f"operator {index} ({program.operators[index]})"
    kernel = functions.at(pc) or functions.at((lr & ~1) - 2)
    sharing = [
        f"{index} ({program.operators[index]})"
        for index, function in enumerate(program.functions)
        if function == kernel
    ]
    return f"operator {' or '.join(sharing)}" if sharing else None


def _line_in(function: str, address: int, elf: Path) -> int | None:
    """The line of a function's body that an address belongs to, through what is inlined there."""
    try:
        said = subprocess.run(
            ["arm-none-eabi-addr2line", "-f", "-i", "-e", str(elf), f"{address:#x}"],
            capture_output=True, text=True, check=True, timeout=30,
        ).stdout.splitlines()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    for name, place in zip(said[::2], said[1::2], strict=False):
        found = re.search(r":(\d+)", place)
        if name == function and found:
            return int(found[1])
    return None


class _Functions:
    """The functions of an image by address."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            self._functions = sorted(
                (symbol["st_value"] & ~1, symbol["st_size"], symbol.name)
                for symbol in table.iter_symbols()
                if symbol["st_info"]["type"] == "STT_FUNC"
            )

    def _find(self, address: int) -> tuple[int, str] | None:
        index = bisect_right(self._functions, (address, 1 << 32, "")) - 1
        if index >= 0:
            start, nbytes, name = self._functions[index]
            if address < start + max(nbytes, 1):
                return start, name
        return None

    def at(self, address: int) -> str | None:
        """The name of the function at an address, or None."""
        found = self._find(address)
        return None if found is None else found[1]

    def describe(self, address: int) -> str:
        """The address with its function, for people."""
        found = self._find(address)
        if found is None:
            return f"{address:#010x}"
        return f"{found[1]}+{address - found[0]:#x} ({address:#010x})"
