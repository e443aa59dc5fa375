"""`tinyaot flash`: a model onto a board."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinyaot.targets import get_board, parse_place
from tinyaot.tools.console import facts, print_json, progress, stdout
from tinyaot.tools.model import compile_file
from tinyaot.tools.options import (
    Debug,
    Json,
    Optimization,
    Optimize,
    Place,
    RunnerName,
    Verbose,
)

if TYPE_CHECKING:
    from tinyaot.compiler.compiled import CompiledModel


def flash_command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|BUNDLE",
            help="A quantized .tflite or .onnx file, or the .tar that `tinyaot compile` wrote.",
            show_default=False,
        ),
    ],
    board: Annotated[
        str,
        typer.Option(
            metavar="BOARD", help="The board: a name, or a board file.", show_default=False
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", metavar="TARGET", show_default="the board's first"),
    ] = None,
    runner: RunnerName = None,
    place: Place = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Link the image, and print what would be run.")
    ] = False,
    optimize: Optimize = Optimization.balanced,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Link a model for a board, write it there, and see it start."""
    chosen = get_board(board)
    choices = parse_place(place) if place else {}
    chosen.placed(choices)
    with progress() as step:
        # Here, and not above: what these import is too heavy for --help.
        from tinyaot.compiler.bundle import bundle_of
        from tinyaot.compiler.device import Device, find_device
        from tinyaot.targets.cortex_m.fit import memory_usage
        from tinyaot.targets.cortex_m.mailbox import board_counter
        from tinyaot.targets.cortex_m.toolchain import build_for_debugger

        way = find_device(board, None, runner)[1]
        compiled: CompiledModel | Path = model
        if model.suffix != ".tar":
            compiled = compile_file(
                model, target or chosen.cores[0], None, None, optimize.value, step
            )
        bundle = bundle_of(compiled)
        step(f"link for {chosen.name}")
        with tempfile.TemporaryDirectory(prefix="tinyaot-") as folder:
            counter = "instructions" if way.capabilities.emulated else board_counter(chosen)
            image = build_for_debugger(
                bundle.program, bundle.target, chosen.placed(choices), Path(folder),
                profile=False, optimize=(bundle.optimize,), counter=counter,
            )  # fmt: skip
            usage = memory_usage(image.elf, chosen)
        command = shlex.join(way.server_command(chosen, 3333)) or f"# {runner}"
        if not dry_run:
            step(f"write to {chosen.name} by {way.name}")
            with Device.open(board, runner=runner) as device:
                device.flash(compiled, place=choices)
    if json:
        print_json(
            {
                "model": bundle.program.name,
                "board": chosen.name,
                "runner": way.name,
                "flashed": not dry_run,
                "server": command,
                "memories": [
                    {"name": one.name, "bytes": one.size, "used": one.used, "parts": one.parts}
                    for one in usage
                ],
            }
        )
        return
    if dry_run:
        stdout().print(command, soft_wrap=True)
        stdout().print(
            "gdb-multiarch image.elf -ex 'target extended-remote localhost:3333' -ex load",
            soft_wrap=True,
        )
    table = facts(f"{bundle.program.name} for {chosen.title}, by {way.name}")
    for one in usage:
        parts = ", ".join(f"{part} {nbytes:,}" for part, nbytes in one.parts.items())
        table.add_row(one.name, f"{one.used:,} of {one.size:,} bytes: {parts}")
    table.add_row("state", "not written (--dry-run)" if dry_run else "written, and it starts")
    stdout().print(table)
