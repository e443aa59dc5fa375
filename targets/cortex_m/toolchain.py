"""Building a bare-metal image with the GNU Arm toolchain."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tinyaot.targets.command import find_tool, run_command
from tinyaot.targets.compile import C_FLAGS, compile_objects, image_size, write_sources
from tinyaot.targets.cortex_m.board import Board, get_board
from tinyaot.targets.cortex_m.fit import fit_error
from tinyaot.targets.cortex_m.instructions import sample_count
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.ethos_u.driver import DRIVER_HEADER, driver_sources
from tinyaot.targets.image import Image
from tinyaot.targets.program import ImageSize, Program
from tinyaot.targets.target import Target
from tinyaot.targets.templates import render

COMPILER = "arm-none-eabi-gcc"
PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi"

STACK_GUARD_BYTES = 4096
"""RAM below the stack that shows an overflow."""

_HERE = Path(__file__).parent
_SUPPORT = ("startup.c", "fault.h", "counter.h")
_SEMIHOSTING = ("semihosting.c", "semihosting.h")
_COUNTERS = {"instructions": "counter.c", "systick": "counter.c", "dwt": "cycles_dwt.c"}
_SECTIONS = ("-ffunction-sections", "-fdata-sections")
# The harness must not call the C library: the library's part of an image belongs to the model.
_SUPPORT_FLAGS = ("-O2", "-fno-tree-loop-distribute-patterns", "-masm-syntax-unified")

_MOST_SUPPORTS = 16
_support_cache: dict[bytes, dict[str, bytes]] = {}


def compiler() -> tuple[str, str]:
    """The C compiler, and the Debian packages that bring it."""
    return COMPILER, PACKAGES


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
    if sanitize:
        raise TinyaotError(f"{target.name} has no sanitizers", "use the target host")
    if board is None:
        assert target.board is not None, "cores.toml names a board for every Cortex-M"
        board = get_board(target.board)
    return _build(program, target, board, directory, profile, optimize, None)


def build_for_debugger(
    program: Program,
    target: Target,
    board: Board,
    directory: Path,
    *,
    profile: bool,
    optimize: tuple[str, ...],
    counter: str,
) -> Image:
    """As `build`, but the image waits for the commands of a debugger; see mailbox.c.j2.

    Args:
        counter: what it counts with, a key of `mailbox.COUNTERS`.
    """
    if program.npu:
        raise TinyaotError(
            f"{program.name} uses {program.npu}, which cannot be run through a debugger yet",
            "run it on qemu",
        )
    return _build(program, target, board, directory, profile, optimize, counter)


def _build(
    program: Program,
    target: Target,
    board: Board,
    directory: Path,
    profile: bool,
    optimize: tuple[str, ...],
    counter: str | None,
) -> Image:
    """Compile and link; without a counter, with the harness that works by semihosting."""
    if target.core not in board.cores:
        raise TinyaotError(
            f"board {board.name} does not run code for {target.name}",
            f"it runs: {', '.join(board.cores)}",
        )
    find_tool(COMPILER, PACKAGES)
    defines = ("-DTINYAOT_PROFILE",) if profile else ()

    model, support = directory / "model", directory / "support"
    include: tuple[str, ...] = ()
    if program.npu:
        write_sources({DRIVER_HEADER: driver_sources(target.family)[DRIVER_HEADER]}, support)
        include = ("-I../support",)
    objects = compile_objects(
        COMPILER,
        (
            *(*target.flags, *C_FLAGS, *_SECTIONS, *optimize, *defines, *include),
            # Faults are told by line. Without the folder's name equal sources give equal images.
            *("-g", f"-fdebug-prefix-map={model.resolve()}=."),
        ),
        write_sources(program.files, model),
        model,
    )
    emulated = board.machine is not None and counter in (None, "instructions")
    samples = sample_count(board) if emulated else 1
    objects += _support_objects(
        (
            *(*target.flags, *C_FLAGS, *_SECTIONS, *_SUPPORT_FLAGS, "-I../model"),
            f"-DTINYAOT_STAMP_SAMPLES={samples}",
            f"-DTINYAOT_SYSTICK_RELOAD={board.systick_reload}u",
        ),
        _support_files(program, target, profile, counter),
        support,
    )
    elf = _link(objects, target, board, directory)
    return Image(elf, _image_size(elf), target, board, program, profile)


def _support_objects(flags: tuple[str, ...], files: dict[str, str], directory: Path) -> list[Path]:
    """Compile the harness, or take the objects of an equal one: tuning links it hundreds of times.

    All that it takes from the model's header are the ports, which its own text names too.
    """
    sources = write_sources(files, directory)
    key = hashlib.sha256(repr((flags, files)).encode()).digest()
    if key not in _support_cache:
        paths = compile_objects(COMPILER, flags, sources, directory)
        if len(_support_cache) >= _MOST_SUPPORTS:
            _support_cache.clear()
        _support_cache[key] = {path.name: path.read_bytes() for path in paths}
        return paths
    for name, data in _support_cache[key].items():
        (directory / name).write_bytes(data)
    return [directory / name for name in _support_cache[key]]


def _support_files(
    program: Program, target: Target, profile: bool, counter: str | None
) -> dict[str, str]:
    names = [*_SUPPORT, _COUNTERS[counter or "instructions"]]
    names += () if counter else _SEMIHOSTING
    files = {name: (_HERE / name).read_text(encoding="utf-8") for name in names}
    harness = "mailbox.c" if counter else "harness.c"
    files[harness] = render(_HERE / f"{harness}.j2", program=program, profile=profile)
    if program.npu:
        files.update(driver_sources(target.family))
    return files


def _link(objects: list[Path], target: Target, board: Board, directory: Path) -> Path:
    script = render(_HERE / "link.ld.j2", board=board, guard_bytes=STACK_GUARD_BYTES)
    (directory / "link.ld").write_text(script, encoding="utf-8")
    elf = directory / "image.elf"
    elf.unlink(missing_ok=True)
    # The linker script tells the objects apart by the folder in the name they are given here.
    names = [str(path.relative_to(directory)) for path in objects]
    command = [
        *(COMPILER, *target.flags, "-nostartfiles", "-Tlink.ld", "-Wl,--build-id=sha1"),
        *("-Wl,--gc-sections", "-Wl,-Map=image.map", "-o", elf.name, *names),
    ]
    result = run_command(command, directory)
    if result.returncode != 0:
        raise _link_error(result.stderr, command, elf, board, directory)
    return elf


def _link_error(
    message: str, command: list[str], elf: Path, board: Board, directory: Path
) -> TinyaotError:
    if re.search(r"region `\w+' overflowed by \d+ bytes", message):
        # Linked all the same, the image tells what is how large.
        run_command([*command, "-Wl,--noinhibit-exec"], directory)
        if elf.is_file():
            error = fit_error(elf, board)
            elf.unlink()
            return error
    lines = message.splitlines() or ["no message"]
    first = next((line for line in lines if "undefined reference" in line), lines[0])
    return TinyaotError(
        f"the linker rejects the generated C: {first}",
        "this is a bug in tinyaot: please report it with the files in the folder below",
        f"sources: {directory}",
    )


def _image_size(path: Path) -> ImageSize:
    with path.open("rb") as file:
        return image_size(
            (
                section.name,
                section["sh_size"],
                section["sh_flags"],
                section["sh_type"] != "SHT_NOBITS",
            )
            for section in ELFFile(file).iter_sections()
            if section.name != ".vectors" and not section.name.startswith(".support")
        )
