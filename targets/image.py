"""Building a program for a target and running it: the same two calls for every family."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tinyaot.targets.command import find_tool, run_command
from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.program import ImageSize, Program, RunResult
from tinyaot.targets.target import Target

_BUILDERS = {
    "host": "tinyaot.targets.host.native",
    "cortex_m": "tinyaot.targets.cortex_m.toolchain",
}
_RUNNERS = {
    "host": "tinyaot.targets.host.native",
    "cortex_m": "tinyaot.targets.cortex_m.qemu",
}


@dataclass(frozen=True)
class Image:
    """A program linked with a harness that reads inputs and writes outputs.

    Attributes:
        elf: the executable file.
        size: what the model takes of it.
        target: the core it is compiled for.
        board: the board it is linked for; None on the host.
        program: what it was built from.
        profile: whether the operators are counted one by one.
    """

    elf: Path
    size: ImageSize
    target: Target
    board: Board | None
    program: Program
    profile: bool


def build_image(
    program: Program,
    target: Target,
    board: Board | None = None,
    *,
    directory: Path,
    profile: bool = False,
    optimize: Sequence[str] = ("-O2",),
    sanitize: bool = False,
) -> Image:
    """Compile a program and link it with the target's harness.

    Args:
        board: what to link for; by default the board of `target`.
        directory: where sources, objects and the image go; made if it is not there.
        profile: define `TINYAOT_PROFILE`, so that a run counts the operators one by one. The host
            does not count and ignores it.
        optimize: compiler flags for the program's files.
        sanitize: host only: check for undefined behaviour and accesses out of bounds when run.

    Raises:
        TinyaotError: the toolchain is missing, the board is not for this target, the program does
            not fit, or the C compiler rejects it.
    """
    builder = _module(_BUILDERS, target)
    image: Image = builder.build(
        program, target, board, directory, profile, tuple(optimize), sanitize
    )
    return image


def run_image(
    image: Image, inputs: Sequence[Sequence[bytes]], *, timeout: float = 600.0
) -> RunResult:
    """Run an image once and have it make one inference for each set of inputs.

    Args:
        inputs: for each inference, the bytes of every input tensor in the order of
            `image.program.inputs`.
        timeout: seconds that the run may take on this machine.

    Raises:
        TinyaotError: the emulator is missing, the inputs do not match the program, the program
            faults, returns an error, or does not end in time.
    """
    ports = image.program.inputs
    for number, tensors in enumerate(inputs):
        if len(tensors) != len(ports):
            raise TinyaotError(
                f"inference {number}: {len(tensors)} inputs given, {image.program.name} "
                f"has {len(ports)}"
            )
        for port, tensor in zip(ports, tensors, strict=True):
            if len(tensor) != port.nbytes:
                raise TinyaotError(
                    f"inference {number}: input {port.name} has {len(tensor)} bytes instead of "
                    f"{port.nbytes}"
                )
    result: RunResult = _module(_RUNNERS, image.target).run(image, inputs, timeout)
    return result


def compiler_version(target: Target) -> str:
    """The C compiler for a target with its version, such as `arm-none-eabi-gcc 12.2.1`.

    Raises:
        TinyaotError: it is missing.
    """
    compiler, packages = _module(_BUILDERS, target).compiler()
    find_tool(compiler, packages)
    said = run_command([compiler, "-dumpfullversion", "-dumpversion"], Path.cwd()).stdout.split()
    return f"{Path(compiler).name} {said[0] if said else 'of unknown version'}"


def estimate_cycles(
    image: Image, inputs: Sequence[bytes], *, flash_wait_states: int = 0
) -> int | None:
    """An estimate of the processor cycles of one inference, from a model of the core.

    Args:
        image: built without profiling.
        inputs: the bytes of every input tensor.
        flash_wait_states: what a taken branch and the load of a literal cost more.

    Returns:
        None for a target without a model; see `cortex_m/cycles.py`.

    Raises:
        TinyaotError: a program is missing or the emulation failed.
    """
    if image.board is None:
        return None
    from tinyaot.targets.cortex_m import cycles

    return cycles.estimate_cycles(image, inputs, flash_wait_states=flash_wait_states)


def _module(table: dict[str, str], target: Target) -> ModuleType:
    return importlib.import_module(table[target.family])
