"""Building and running on the developer's own machine, with its C compiler."""

from __future__ import annotations

import os
import re
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tinyaot.targets.command import find_tool, run_command
from tinyaot.targets.compile import C_FLAGS, compile_objects, image_size, write_sources
from tinyaot.targets.cortex_m.board import Board
from tinyaot.targets.errors import TimeLimitError, TinyaotError
from tinyaot.targets.ethos_u.driver import DRIVER_HEADER, driver_sources, serve_npu
from tinyaot.targets.image import Image
from tinyaot.targets.program import ImageSize, Program, RunResult
from tinyaot.targets.target import Target
from tinyaot.targets.templates import render

_HARNESS = Path(__file__).parent / "harness.c.j2"
# Accesses beyond a variable are seen only if it is not placed in a section of its own.
_SANITIZE = (
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-DTINYAOT_SECTION(name)=",
)


def compiler() -> tuple[str, str]:
    """The C compiler, and the Debian packages that bring it."""
    return shlex.split(os.environ.get("CC") or "cc")[0], "gcc libc6-dev"


def build(
    program: Program,
    target: Target,
    board: Board | None,
    directory: Path,
    profile: bool,
    optimize: tuple[str, ...],
    sanitize: bool,
) -> Image:
    """Compile and link; see `tinyaot.targets.build_image`."""
    if board is not None:
        raise TinyaotError(f"the target {target.name} has no boards, so not {board.name} either")
    compiler, *compiler_flags = shlex.split(os.environ.get("CC") or "cc")
    find_tool(compiler, "gcc libc6-dev")
    flags = (*compiler_flags, *C_FLAGS, *(_SANITIZE if sanitize else ()))

    model, support = directory / "model", directory / "support"
    include: tuple[str, ...] = ()
    if program.npu:
        write_sources({DRIVER_HEADER: driver_sources("host")[DRIVER_HEADER]}, support)
        include = ("-I../support",)
    objects = compile_objects(
        compiler, (*flags, *optimize, *include), write_sources(program.files, model), model
    )
    size = _object_size(objects)
    harness = {"harness.c": render(_HARNESS, program=program)}
    if program.npu:
        harness.update(driver_sources("host"))
    objects += compile_objects(
        compiler, (*flags, "-O1", "-I../model"), write_sources(harness, support), support
    )
    executable = directory / "image.elf"
    result = run_command(
        [compiler, *flags, "-o", executable.name, *(str(path.absolute()) for path in objects)],
        directory,
    )
    if result.returncode != 0:
        first = next((line for line in result.stderr.splitlines() if line), "no message")
        raise TinyaotError(
            f"{compiler} cannot link: {first}",
            *(["the sanitizers may not be installed: try CC=gcc"] if sanitize else []),
            f"objects: {directory}",
        )
    return Image(executable, size, target, None, program, profile)


def _object_size(objects: list[Path]) -> ImageSize:
    """Sizes of the model's objects: the executable is full of the system's own start-up code."""
    sections = []
    for path in objects:
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                raise TinyaotError(
                    f"the target host needs a system with ELF objects, not {sys.platform}",
                    "choose a Cortex-M target",
                )
            file.seek(0)
            sections += [
                (
                    section.name,
                    section["sh_size"],
                    section["sh_flags"],
                    section["sh_type"] != "SHT_NOBITS",
                )
                for section in ELFFile(file).iter_sections()
            ]
    return image_size(sections)


def run(image: Image, inputs: Sequence[Sequence[bytes]], timeout: float) -> RunResult:
    """Run once for all sets of inputs; see `tinyaot.targets.run_image`."""
    program = image.program
    with tempfile.TemporaryDirectory(prefix="tinyaot-run-") as folder:
        directory = Path(folder)
        stream = b"".join(tensor for tensors in inputs for tensor in tensors)
        (directory / "inputs.bin").write_bytes(struct.pack("=I", len(inputs)) + stream)
        try:
            with serve_npu(directory, program.npu):
                result = run_command([str(image.elf.resolve())], directory, timeout)
        except subprocess.TimeoutExpired:
            raise TimeLimitError(
                f"{program.name} did not end within {timeout:g} s",
                "give it more time, or fewer inputs",
            ) from None
        if result.returncode != 0:
            raise TinyaotError(f"{program.name}: {_failure(result)}")
        data = (directory / "outputs.bin").read_bytes()

    outputs = []
    at = 0
    for inference in range(len(inputs)):
        (status,) = struct.unpack_from("=i", data, at)
        if status != 0:
            raise TinyaotError(f"{program.name} returned {status} on inference {inference}")
        at += 4
        tensors = []
        for port in program.outputs:
            tensors.append(data[at : at + port.nbytes])
            at += port.nbytes
        outputs.append(tuple(tensors))
    return RunResult(tuple(outputs), None, None, None)


def _failure(result: subprocess.CompletedProcess[str]) -> str:
    """What a sanitizer, the harness or a signal says about a run that failed."""
    if found := re.search(r"ERROR: (AddressSanitizer: .*)|(\S+: runtime error: .*)", result.stderr):
        return found[1] or found[2]
    if result.returncode < 0:
        return f"ended by {signal.Signals(-result.returncode).name}"
    return result.stderr.strip() or f"ended with status {result.returncode}"
