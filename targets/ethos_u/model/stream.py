"""Register command streams of the Ethos-U55 and U65 as lists of commands, and as text.

A command is one word, or two with a payload: bits 0-9 of the first are its code, bits 14-15 are 1
if a payload follows, bits 16-31 are a parameter. The driver's payload around a stream starts with
`COP1`; see Arm's ethos-u-core-driver, `ethosu_driver.c`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.ethos_u.model.hardware import get_hardware

_COP1 = 0x31504F43
_TAG_NAMES = {
    1: "OPTIMIZER_CONFIG",
    2: "COMMAND_STREAM",
    3: "READ_APB_REG",
    4: "DUMP_SHRAM",
    5: "NOP",
}
_TAG_WORDS = {1: 3, 5: 1}
_COMMAND_STREAM = 2

_SIGNED = ("ZERO_POINT", "ACTIVATION_MIN", "ACTIVATION_MAX", "SCALAR")


class StreamError(TinyaotError):
    """A command stream that the hardware would not run, or not as meant.

    Args:
        index: position of the command at fault, counted in commands; None if it is none of them.
        text: the command as the disassembler shows it.
        problem: what is wrong.
        kind: one word for its kind, such as `hazard`.
    """

    def __init__(self, index: int | None, text: str, problem: str, kind: str = "stream") -> None:
        where = "" if index is None else f"command {index} ({text}): "
        super().__init__(f"{where}{problem}")
        self.index = index
        self.text = text
        self.problem = problem
        self.kind = kind


@dataclass(frozen=True)
class Command:
    """One command of a stream.

    Attributes:
        index: its position, counted in commands.
        offset: its position in bytes from the start of the stream.
        name: without its prefix, such as `OP_CONV` or `SET_IFM_BASE0`.
        parameter: bits 16-31 of its first word.
        payload: its second word; None if it has none.
    """

    index: int
    offset: int
    name: str
    parameter: int
    payload: int | None

    @property
    def text(self) -> str:
        """Name and value as a line of the disassembly shows them."""
        return f"{self.name} {self._value()}".rstrip()

    def _value(self) -> str:
        short = self.name.removeprefix("SET_")
        if self.payload is None:
            if short.startswith("OP_"):
                return _operand(short, self.parameter)
            if short.endswith("_M1"):
                return f"{self.parameter} (+1 = {self.parameter + 1})"
            if short.endswith(_SIGNED) and self.parameter & 0x8000:
                return f"{self.parameter:#x} ({self.parameter - 0x10000} if signed)"
            if short.endswith(("PRECISION", "STRIDE", "BROADCAST", "ACTIVATION", "REGION")):
                return f"{self.parameter:#x}"
            return str(self.parameter)
        if short.endswith("_SCALE"):
            return f"{self.payload} >> {self.parameter}"
        value = self.payload | self.parameter << 32
        return f"{value:#x}" if "BASE" in short or short.endswith(("SRC", "DST")) else str(value)


def _operand(name: str, parameter: int) -> str:
    if name == "OP_POOL":
        return {0: "MAX", 1: "AVERAGE", 2: "REDUCE_SUM"}.get(parameter, f"{parameter:#x}")
    if name == "OP_ELEMENTWISE":
        names = ("MUL", "ADD", "SUB", "MIN", "MAX", "LRELU", "ABS", "CLZ", "SHR", "SHL")
        return names[parameter] if parameter < len(names) else f"{parameter:#x}"
    if name in ("OP_DMA_WAIT", "OP_KERNEL_WAIT"):
        return str(parameter)
    return f"{parameter:#x}" if parameter else ""


@functools.cache
def command_names() -> dict[tuple[bool, int], str]:
    """Names of commands without prefix, by whether a payload follows and by code.

    Raises:
        TinyaotError: Vela, whose names they are, is not installed.
    """
    try:
        from ethosu.vela.ethos_u55_regs import ethos_u55_regs as registers
    except ImportError as error:
        raise TinyaotError(
            f"the names of the registers are Vela's: {error}",
            "install it: pip install 'tinyaot[ethos-u]'",
        ) from error
    tables = ((False, registers.cmd0), (True, registers.cmd1))
    return {
        (payload, command.value): command.name.removeprefix("NPU_")
        for payload, table in tables
        for command in table
    }


def decode_stream(stream: NDArray[np.uint32]) -> list[Command]:
    """The commands of a stream.

    Raises:
        StreamError: a code is unknown, reserved bits are set, or a payload is missing.
    """
    names = command_names()
    words = np.asarray(stream, np.uint32).tolist()
    commands: list[Command] = []
    at = 0
    while at < len(words):
        word = words[at]
        index = len(commands)
        has_payload = (word >> 14) & 3
        name = names.get((has_payload == 1, word & 0x3FF))
        if has_payload > 1 or word & 0x3C00 or name is None:
            raise StreamError(
                index, f"word {word:#010x} at byte {4 * at}", "is no command of Ethos-U55 or U65"
            )
        payload = None
        if has_payload:
            if at + 1 == len(words):
                raise StreamError(
                    index, f"{name} at byte {4 * at}", "the stream ends before its payload"
                )
            payload = words[at + 1]
        commands.append(Command(index, 4 * at, name, word >> 16, payload))
        at += 1 if payload is None else 2
    return commands


def parse_driver_payload(payload: bytes) -> NDArray[np.uint32]:
    """The command stream inside what Arm's driver is given.

    Args:
        payload: starts with `COP1`; driver actions follow, the stream is the last of them.

    Returns:
        The stream's words.

    Raises:
        StreamError: it is none, is cut short, or has no stream.
    """
    if len(payload) % 4 or len(payload) < 8:
        raise StreamError(
            None, "", f"a driver payload of {len(payload)} bytes: not a whole number of words"
        )
    words = np.frombuffer(payload, "<u4")
    if words[0] != _COP1:
        raise StreamError(None, "", "the driver payload does not start with COP1")
    at = 1
    while at < len(words):
        word = int(words[at])
        tag = word & 0xFF
        if tag == _COMMAND_STREAM:
            length = word >> 16 | (word >> 8 & 0xFF) << 16
            stream = words[at + 1 : at + 1 + length]
            if len(stream) < length:
                raise StreamError(
                    None,
                    "",
                    f"the driver payload ends after {len(stream)} of {length} words of its stream",
                )
            return stream.astype(np.uint32)
        if tag not in _TAG_WORDS:
            name = _TAG_NAMES.get(tag, f"{tag:#x}")
            raise StreamError(None, "", f"driver action {name} at byte {4 * at} is not supported")
        at += _TAG_WORDS[tag]
    raise StreamError(None, "", "the driver payload holds no command stream")


def payload_config(payload: bytes) -> tuple[str, int, int] | None:
    """What a driver payload says it was compiled for: product, MACs a cycle, KiB of shared RAM.

    None if it does not say, or is damaged. MACs and shared RAM are those of all cores.
    """
    words = np.frombuffer(payload[: len(payload) // 4 * 4], "<u4")
    if len(words) < 3 or words[0] != _COP1 or words[1] & 0xFF != 1:
        return None
    config = int(words[2])
    product = {0: "u55", 1: "u65", 2: "u85"}.get(config >> 28, "unknown")
    return product, 1 << (config & 0xF), config >> 8 & 0xFF


def disassemble(stream: NDArray[np.uint32], accelerator: str) -> list[str]:
    """One line per command: its index, its byte offset, its name and value.

    Raises:
        StreamError: the stream cannot be decoded.
        TinyaotError: there is no such accelerator.
    """
    get_hardware(accelerator)
    commands = decode_stream(stream)
    width = len(str(len(commands)))
    return [f"{one.index:>{width}}  {one.offset:06x}  {one.text}" for one in commands]
