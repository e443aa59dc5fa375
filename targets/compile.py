"""What building for the host and for a core have in common: sources on disk, C compiler calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tinyaot.targets.command import run_command
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.program import ImageSize

C_FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")
"""The C that is generated and the C of the harnesses compile without a warning."""

WEIGHTS_SECTION = ".rodata.tinyaot_weights"
"""Input section that generated C puts weights, biases and tables in."""

NPU_SECTION = ".rodata.tinyaot_npu"
"""What the names of the sections with an NPU's commands and weights begin with."""

_SHF_WRITE, _SHF_ALLOC = 1, 2


def write_sources(files: Mapping[str, str], directory: Path) -> list[str]:
    """Write C sources into a folder of their own.

    Files that are already there with another name ending in .c, .h or .o are removed, so that an
    earlier build in the same place leaves no trace.

    Returns:
        the names of the `.c` files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        if old.suffix in (".c", ".h", ".o"):
            old.unlink()
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return [name for name in files if name.endswith(".c")]


def compile_objects(
    compiler: str, flags: Sequence[str], sources: Sequence[str], directory: Path
) -> list[Path]:
    """Compile every source in `directory` to an object file beside it.

    Returns:
        the object files.

    Raises:
        TinyaotError: the compiler rejects a source. That is a bug of ours, and the message says so.
    """
    result = run_command([compiler, *flags, "-c", *sources], directory)
    if result.returncode != 0:
        lines = result.stderr.splitlines()
        first = next(
            (line for line in lines if re.search(r"\berror:", line, re.IGNORECASE)),
            "no error message",
        )
        raise TinyaotError(
            f"{compiler} rejects the generated C: {first}",
            "this is a bug in tinyaot: please report it with the files in the folder below",
            f"sources: {directory}",
        )
    return [directory / Path(source).with_suffix(".o") for source in sources]


def image_size(sections: Iterable[tuple[str, int, int, bool]]) -> ImageSize:
    """Add up sections by what they cost.

    Args:
        sections: of each section, its name, size in bytes, ELF flags, and whether the file holds
            its contents (and so flash does).
    """
    code = weights = ram = 0
    for name, nbytes, flags, stored in sections:
        if not flags & _SHF_ALLOC:
            continue
        if flags & _SHF_WRITE:
            ram += nbytes
            code += nbytes if stored else 0
        elif name.startswith((WEIGHTS_SECTION, NPU_SECTION)):
            weights += nbytes
        else:
            code += nbytes
    return ImageSize(flash_code=code, flash_weights=weights, ram=ram)
