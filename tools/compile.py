"""`tinyaot compile`: a model file in, a Model Library Format tar out."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinyaot.targets import TinyaotError, build_image
from tinyaot.tools.console import (
    bytes_text,
    columns,
    facts,
    macs_text,
    print_json,
    progress,
    stdout,
)
from tinyaot.tools.model import compile_file
from tinyaot.tools.npu_options import (
    ArenaSize,
    NpuCodegen,
    NpuConfig,
    NpuGenerator,
    NpuGoal,
    NpuMemory,
    NpuOnly,
    NpuSystem,
    Optimise,
    npu_options,
)
from tinyaot.tools.npu_table import npu_document, npu_facts, npu_operations
from tinyaot.tools.options import (
    Debug,
    DumpIR,
    Json,
    Model,
    Optimization,
    Optimize,
    TargetName,
    Tuned,
    TuningLog,
    Verbose,
)

if TYPE_CHECKING:
    from rich.table import Table

    from tinyaot.compiler import CompiledModel, Report


def compile_command(
    model: Model,
    target: TargetName = "cortex-m4",
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="The tar file to write, or a folder (one that ends in / is made).",
            show_default="NAME.tar here",
        ),
    ] = ".",
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the model in the C code.", show_default="that of the file", metavar="NAME"
        ),
    ] = None,
    optimize: Optimize = Optimization.balanced,
    per_operator: Annotated[
        bool,
        typer.Option(
            "--per-operator",
            help="List the rule and the sizes of each operator, and where they come from.",
        ),
    ] = False,
    tuning_log: TuningLog = None,
    tuned: Tuned = True,
    npu_system: NpuSystem = None,
    npu_memory: NpuMemory = None,
    npu_config: NpuConfig = None,
    optimise: Optimise = NpuGoal.performance,
    arena_size: ArenaSize = None,
    npu_codegen: NpuCodegen = NpuGenerator.best,
    npu_only: NpuOnly = False,
    dump_ir: DumpIR = None,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Compile a model to C and write it as a Model Library Format tar."""
    with progress() as step:
        compiled = compile_file(
            model,
            target,
            name,
            dump_ir,
            optimize.value,
            step,
            tuning_log,
            tuned,
            npu_options(
                npu_system, npu_memory, npu_config, optimise, arena_size, npu_codegen, npu_only
            ),
        )
        step("write the library")
        path = _save(compiled, output)
        step("build, to measure the code")
        code, reason = _flash_code(compiled)
    report = compiled.report()
    document: dict[str, Any] = {
        "model": report.model,
        "target": report.target,
        "file": str(path),
        "arena_bytes": report.arena_bytes,
        "arena_lower_bound_bytes": report.arena_lower_bound_bytes,
        "io_bytes": report.io_bytes,
        "flash_weight_bytes": report.flash_weight_bytes,
        "flash_code_bytes": code,
        "macs": report.macs,
        "executed_macs": report.executed_macs,
        "operators": dict(Counter(operator.kind for operator in report.operators)),
        "sizes": dict(Counter(operator.source for operator in report.operators)),
        "schedule": [
            {
                "node": operator.node,
                "rule": operator.rule,
                "decisions": dict(operator.decisions),
                "sizes": operator.source,
            }
            for operator in report.operators
        ],
        "notes": list(report.notes),
    }
    on_npu = compiled.npu_report()
    if on_npu is not None:
        document["npu"] = npu_document(on_npu)
    if json:
        document["notes"] += [reason] if reason else []
        print_json(document)
        return
    table = facts(f"{report.model} for {report.target}")
    table.add_row("arena", bytes_text(report.arena_bytes))
    table.add_row("  lower bound", bytes_text(report.arena_lower_bound_bytes))
    table.add_row("inputs and outputs", bytes_text(report.io_bytes))
    table.add_row("flash, weights", bytes_text(report.flash_weight_bytes))
    table.add_row("flash, code", bytes_text(code, reason))
    table.add_row("multiply-accumulates", macs_text(report))
    kinds = (f"{count} {kind}" for kind, count in document["operators"].items())
    table.add_row("operators", ", ".join(kinds))
    sources = (f"{count} {source}" for source, count in document["sizes"].items())
    table.add_row("sizes", ", ".join(sources))
    if on_npu is not None:
        npu_facts(table, on_npu)
    for note in report.notes:
        table.add_row("note", note)
    table.add_row("written", str(path))
    stdout().print(table)
    if per_operator:
        stdout().print()
        stdout().print(_operators(report))
        if on_npu is not None:
            stdout().print()
            stdout().print(npu_operations(on_npu))


def _operators(report: Report) -> Table:
    table = columns("operator", "rule", "decisions", "sizes")
    for operator in report.operators:
        values = ", ".join(f"{name}={value}" for name, value in operator.decisions.items())
        table.add_row(operator.node, operator.rule, values, operator.source)
    return table


def _save(compiled: CompiledModel, output: str) -> Path:
    path = Path(output)
    if output.endswith(("/", os.sep)):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TinyaotError(
                f"cannot make the folder {output}: {error.strerror}", "choose another path"
            ) from error
    return compiled.save(path)


def _flash_code(compiled: CompiledModel) -> tuple[int | None, str]:
    """The bytes of code once linked, or None and why they are not known."""
    try:
        with tempfile.TemporaryDirectory(prefix="tinyaot-") as folder:
            image = build_image(
                compiled.program,
                compiled.target,
                directory=Path(folder),
                optimize=(compiled.optimize,),
            )
            return image.size.flash_code, ""
    except TinyaotError as error:
        return None, f"code size not measured: {error.message}"
