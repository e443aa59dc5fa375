"""`tinyaot export`: a model as a folder for another build system."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tinyaot.tools.console import bytes_text, facts, print_json, progress, stdout
from tinyaot.tools.model import compile_file
from tinyaot.tools.options import (
    Debug,
    Json,
    Model,
    Optimization,
    Optimize,
    TargetName,
    Tuned,
    TuningLog,
    Verbose,
)


class ExportFormat(str, Enum):
    """What kind of folder."""

    cmake = "cmake"
    zephyr = "zephyr"
    arduino = "arduino"
    cmsis_pack = "cmsis-pack"


def export_command(
    model: Model,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="The folder to write.", show_default=False
        ),
    ],
    export_format: Annotated[
        ExportFormat,
        typer.Option("--format", "-f", help="The build system.", show_default=False),
    ],
    target: TargetName = "cortex-m4",
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the model in the C code.", show_default="that of the file", metavar="NAME"
        ),
    ] = None,
    version: Annotated[
        str, typer.Option(metavar="VERSION", help="Version of the package.")
    ] = "1.0.0",
    tuning_log: TuningLog = None,
    tuned: Tuned = True,
    optimize: Optimize = Optimization.balanced,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Write a model as a CMake package, Zephyr module, Arduino library or CMSIS-Pack."""
    with progress() as step:
        compiled = compile_file(model, target, name, None, optimize.value, step, tuning_log, tuned)
        step("compute what the example should print, and write the folder")
        # Here, and not above: it imports the compiler.
        from tinyaot.compiler.export.export import FORMATS, export_model

        files = export_model(compiled, export_format.value, output, version=version)
    report = compiled.report()
    if json:
        print_json(
            {
                "model": report.model,
                "target": report.target,
                "format": export_format.value,
                "directory": str(output),
                "files": files,
                "notes": list(report.notes),
            }
        )
        return
    table = facts(f"{report.model} for {report.target}")
    table.add_row("written", f"{output}, a {FORMATS[export_format.value].title}")
    table.add_row("files", str(len(files)))
    table.add_row("arena", bytes_text(report.arena_bytes))
    table.add_row("flash, weights", bytes_text(report.flash_weight_bytes))
    table.add_row("how to use it", str(output / "README.md"))
    for note in report.notes:
        table.add_row("note", note)
    stdout().print(table)
