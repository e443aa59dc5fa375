"""`tinyaot profile`: what each operator costs, and where memory goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinyaot.targets import TinyaotError
from tinyaot.tools.console import facts, print_json, progress, stdout
from tinyaot.tools.model import compile_file
from tinyaot.tools.options import (
    BoardName,
    BoardTarget,
    Debug,
    Json,
    Model,
    On,
    Optimization,
    Optimize,
    Place,
    RunnerName,
    Timeout,
    Tuned,
    TuningLog,
    Verbose,
)
from tinyaot.tools.placement import Placement

if TYPE_CHECKING:
    from tinyaot.compiler.compiled import Inputs


def profile_command(
    model: Model,
    target: BoardTarget = None,
    on: On = "qemu",
    board: BoardName = None,
    runner: RunnerName = None,
    place: Place = None,
    timeout: Timeout = 60.0,
    runs: Annotated[
        int, typer.Option(min=1, help="Inferences of the whole; the least count is the total.")
    ] = 1,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Run on this input, a .npy or .npz file; a random one if not given.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page: bars by layer, memory over time, flash, the C of each operator.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a Chrome trace, for ui.perfetto.dev or chrome://tracing.",
            show_default=False,
        ),
    ] = None,
    speedscope: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a file for speedscope.app.", show_default=False),
    ] = None,
    tuning_log: TuningLog = None,
    tuned: Tuned = True,
    optimize: Optimize = Optimization.balanced,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Count every operator of a model on its core, and show memory over time and flash by layer."""
    if on in ("host", "reference"):
        raise TinyaotError(f"nothing is counted on {on}", "profile on qemu, or on a device")
    place_on = Placement(on, board, runner, place, target)
    with progress() as step:
        # Here, and not above: what these import is too heavy for --help.
        from tinyaot.tools.inputs import load_input

        compiled = compile_file(
            model, place_on.target, None, None, optimize.value, step, tuning_log, tuned
        )
        if input_file is None:
            from tinyaot.compiler.oracle import random_inputs

            inputs: Inputs = random_inputs(compiled.inputs, 1, 0)[0]
        else:
            inputs = load_input(input_file)
        step("build twice, with and without instrumentation, and run")
        if place_on.device:
            with place_on.open(timeout) as device:
                device.flash(compiled)
                profile = device.profile(inputs, runs=runs)
        else:
            profile = compiled.profile(inputs, runs=runs, board=place_on.board)
    written = []
    for path, save in (
        (html, profile.save_html),
        (trace, profile.save_trace),
        (speedscope, profile.save_speedscope),
    ):
        if path is not None:
            save(path)
            written.append(str(path))
    if json:
        print_json(profile.document())
        return
    from tinyaot.compiler.profiling.table import facts_of

    console = stdout()
    console.print(profile.table())
    console.print()
    table = facts(f"{profile.model} for {profile.target}, run on {profile.board}")
    for name, value in facts_of(profile).items():
        table.add_row(name, value)
    for note in profile.notes:
        table.add_row("note", note)
    for name in written:
        table.add_row("written", name)
    console.print(table)
