"""Estimated processor cycles of one inference: issue costs applied to a trace of basic blocks.

QEMU logs every block it executes; the disassembly of the image says which instructions a block
holds. Each pair of a block and its successor gets a price once, and the estimate is the sum over
all pairs. The prices are a model, not silicon: caches, bus contention and branch prediction beyond
what `CycleModel` names are not in it.

Sources: Cortex-M4 Technical Reference Manual r0p1, table 3-1 (instruction timings and the notes on
pipelined loads); Cortex-M7 TRM r1p2 with its dual-issue rules as published by Arm; Cortex-M55
Software Optimization Guide (beats of vector instructions, low-overhead loops).
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tinyaot.targets.command import find_tool, run_command
from tinyaot.targets.cortex_m.qemu import EMULATOR, PACKAGES, emulator_command
from tinyaot.targets.errors import TimeLimitError, TinyaotError
from tinyaot.targets.image import Image

_OBJDUMP = "arm-none-eabi-objdump"
_LINE = re.compile(r"^\s*([0-9a-f]+):\t([a-z][\w.]*)\s*([^@\n]*)")
_TRACE = re.compile(r"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/\S+\] (\S*)")
_REGISTER = re.compile(r"\b(?:r\d+|sp|lr|ip|fp|sl|sb|q\d)\b")

# QEMU's smallest page on M-profile cores.
_PAGE_BITS = 10

_LOADS = ("ldr", "ldrb", "ldrsb", "ldrh", "ldrsh")
_STORES = ("str", "strb", "strh")
_MULTIPLE = ("ldm", "ldmia", "ldmdb", "stm", "stmia", "stmdb", "push", "pop")
_BRANCHES = ("b", "bl", "bx", "blx", "cbz", "cbnz", "le", "letp", "tbb", "tbh", "wls", "wlstp")
_CONDITIONS = ("eq", "ne", "cs", "hs", "cc", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt",
               "gt", "le", "al")  # fmt: skip


@dataclass(frozen=True)
class CycleModel:
    """Prices in cycles.

    Attributes:
        first_load: a load or store that follows neither.
        next_load: one that follows another and is pipelined with it.
        load_use: added when the next instruction reads what was loaded.
        branch_taken: added to a branch that is taken.
        divide: a division.
        dual_issue: two neighbouring instructions without a dependency and with at most one memory
            access and one multiplication between them take one cycle.
        vector: an MVE instruction; half where loads or stores and arithmetic alternate.
        loop_end: a low-overhead loop's end instruction.
    """

    first_load: int
    next_load: int
    load_use: int
    branch_taken: int
    divide: int
    dual_issue: bool = False
    vector: int = 0
    loop_end: int = 1


MODELS = {
    "cortex-m4": CycleModel(2, 1, 0, 2, 7),
    "cortex-m7": CycleModel(1, 1, 1, 1, 7, dual_issue=True),
    "cortex-m55": CycleModel(1, 1, 1, 2, 6, vector=2, loop_end=0),
}
"""The cores for which an estimate is made."""


@dataclass(frozen=True)
class Instruction:
    """One instruction of the disassembly."""

    address: int
    name: str
    operands: str

    @property
    def is_branch(self) -> bool:
        """Whether it can end a block: a branch, or a load of the program counter."""
        return _stem(self.name) in _BRANCHES or (
            "pc" in self.operands.rsplit("[", 1)[0] and _stem(self.name) in ("pop", "ldm", "ldr")
        )

    @property
    def is_memory(self) -> bool:
        """A load or store of any kind."""
        return self.name.startswith(("ld", "st", "push", "pop", "vld", "vst"))

    @property
    def is_vector(self) -> bool:
        """An MVE instruction."""
        return self.name.startswith("v")

    @property
    def registers(self) -> list[str]:
        """Registers in the order of the operands; the first is the destination as a rule."""
        return _REGISTER.findall(self.operands)


@dataclass(frozen=True)
class Disassembly:
    """The code of an image.

    Attributes:
        instructions: by address.
        next: the address of the instruction after the one at an address.
    """

    instructions: dict[int, Instruction]
    next: dict[int, int]


def estimate_cycles(
    image: Image, inputs: Sequence[bytes], *, flash_wait_states: int = 0, timeout: float = 600.0
) -> int | None:
    """Estimated cycles of one inference.

    Args:
        image: built for a Cortex-M board, without profiling.
        inputs: the bytes of every input tensor.
        flash_wait_states: cycles added to every taken branch and every load of a literal, as a
            flash without prefetch of the branch target has.
        timeout: seconds for the emulation.

    Returns:
        None for a core that `MODELS` does not know.

    Raises:
        TinyaotError: a program is missing or the emulation failed.
    """
    model = MODELS.get(image.target.core)
    if model is None:
        return None
    code = _disassemble(image.elf)
    total = 0
    for (block, successor), count in _trace(image, inputs, timeout).items():
        executed, taken = _executed(code, block, successor)
        price = _price(executed, model, flash_wait_states)
        if taken:
            price += model.branch_taken + flash_wait_states
        total += count * price
    return total


def _stem(name: str) -> str:
    """The mnemonic without width suffix, data type and condition."""
    stem = name.split(".")[0]
    if stem in ("bl", "blx", "bx", "le", "cbz", "cbnz", "tbb", "tbh"):
        return stem
    for condition in _CONDITIONS:
        base = stem.removesuffix(condition)
        if base in ("b", "bx", "bl", *_LOADS, *_STORES, "pop", "ldm", "ldmia"):
            return base
    return stem


def _disassemble(elf: Path) -> Disassembly:
    find_tool(_OBJDUMP, "binutils-arm-none-eabi")
    listing = run_command(
        [_OBJDUMP, "-d", "--no-show-raw-insn", str(elf.resolve())], elf.resolve().parent
    ).stdout
    found: dict[int, Instruction] = {}
    for line in listing.splitlines():
        match = _LINE.match(line)
        if match:
            address = int(match[1], 16)
            found[address] = Instruction(address, match[2], match[3].strip())
    addresses = sorted(found)
    return Disassembly(found, dict(pairwise(addresses)))


def _trace(image: Image, inputs: Sequence[bytes], timeout: float) -> Counter[tuple[int, int]]:
    """How often each block was followed by each other while the model's entry ran."""
    find_tool(EMULATOR, PACKAGES)
    assert image.board is not None
    entry = f"tinyaot_{image.program.name}_run"
    with tempfile.TemporaryDirectory(prefix="tinyaot-trace-") as folder:
        directory = Path(folder)
        (directory / "inputs.bin").write_bytes(struct.pack("<I", 1) + b"".join(inputs))
        command = [*emulator_command(image.elf, image.board), "-d", "exec,nochain", "-D", "trace"]
        try:
            result = run_command(command, directory, timeout)
        except subprocess.TimeoutExpired:
            raise TimeLimitError(f"the trace did not end within {timeout:g} s") from None
        if result.returncode != 0:
            raise TinyaotError(f"{EMULATOR} ended with status {result.returncode} while tracing")
        with (directory / "trace").open(encoding="ascii", errors="replace") as lines:
            return _count_pairs(lines, entry)


def _count_pairs(lines: Iterable[str], entry: str) -> Counter[tuple[int, int]]:
    pairs: Counter[tuple[int, int]] = Counter()
    caller, previous = "", None
    for line in lines:
        match = _TRACE.match(line)
        if match is None:
            continue
        address, symbol = int(match[1], 16), match[2]
        if previous is None:
            if symbol == entry and caller != entry:
                previous = address
            else:
                caller = symbol
            continue
        pairs[previous, address] += 1
        if symbol == caller:
            break
        previous = address
    return pairs


def _executed(code: Disassembly, block: int, successor: int) -> tuple[list[Instruction], bool]:
    """The instructions of a block up to its successor, and whether a branch led there."""
    executed: list[Instruction] = []
    address = block
    while address in code.instructions:
        instruction = code.instructions[address]
        executed.append(instruction)
        following = code.next.get(address, -1)
        if instruction.is_branch:
            return executed, following != successor
        # Blocks also end before the instruction that reaches into the next page; a loop that
        # begins inside a block does not end it.
        last_byte = code.next.get(following, following + 2) - 1
        if following == successor and last_byte >> _PAGE_BITS != block >> _PAGE_BITS:
            return executed, False
        address = following
    return executed, True


def _price(executed: Sequence[Instruction], model: CycleModel, wait_states: int) -> int:
    cycles = 0
    index = 0
    before: Instruction | None = None
    while index < len(executed):
        one = executed[index]
        cycles += _cost(one, before, model, wait_states)
        two = executed[index + 1] if index + 1 < len(executed) else None
        if model.dual_issue and two is not None and _pairs(one, two):
            index += 1
            before = two
        else:
            before = one
        index += 1
    return cycles


def _cost(one: Instruction, before: Instruction | None, model: CycleModel, wait_states: int) -> int:
    stem = _stem(one.name)
    cost = 1
    if one.is_vector and model.vector:
        cost = model.vector
        if before is not None and before.is_vector and before.is_memory != one.is_memory:
            cost = model.vector // 2
    elif stem in _MULTIPLE:
        cost = 1 + _list_length(one.operands)
    elif stem in ("ldrd", "strd"):
        cost = 3
    elif stem in _LOADS or stem in _STORES:
        pipelined = before is not None and before.is_memory and not before.is_vector
        cost = model.next_load if pipelined else model.first_load
        if "[pc" in one.operands:
            cost += wait_states
    elif stem in ("sdiv", "udiv"):
        cost = model.divide
    elif stem in ("le", "letp"):
        cost = model.loop_end
    if before is not None and model.load_use and _stem(before.name) in _LOADS:
        loaded = before.registers[:1]
        if loaded and loaded[0] in one.registers:
            cost += model.load_use
    return cost


def _list_length(operands: str) -> int:
    """Registers in a list such as `{r4-r7, lr}`."""
    inside = operands[operands.find("{") + 1 : operands.find("}")]
    count = 0
    numbers = {"sb": 9, "sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}
    for part in inside.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if last:
            low, high = (
                numbers[name] if name in numbers else int(name[1:]) for name in (first, last)
            )
            count += high - low + 1
        else:
            count += 1
    return count


def _pairs(one: Instruction, two: Instruction) -> bool:
    """Whether an in-order dual-issue core starts both in one cycle."""
    if one.is_branch or (one.is_memory and two.is_memory):
        return False
    if _multiplies(one) and _multiplies(two):
        return False
    if _stem(one.name) in _MULTIPLE or _stem(two.name) in (*_MULTIPLE, "ldrd", "strd"):
        return False
    written = one.registers[:1]
    return not (written and written[0] in two.registers)


def _multiplies(instruction: Instruction) -> bool:
    return bool(re.match(r"(s|u)?m(u|l|m)|sml|umla", instruction.name))
