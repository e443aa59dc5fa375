"""`tinyaot run`: compile a model, run it on its core, compare and measure."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinyaot.targets import TinyaotError, get_board
from tinyaot.tools.console import print_json, progress
from tinyaot.tools.model import compile_file
from tinyaot.tools.options import (
    BoardName,
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
    from collections.abc import Sequence

    from tinyaot.compiler.compiled import Inputs

_DEFAULT_COUNT = 5


class Runner(str, Enum):
    """Where to run."""

    qemu = "qemu"
    host = "host"


def run_command(
    model: Model,
    target: TargetName = "cortex-m4",
    on: Annotated[
        Runner, typer.Option(help="The emulated core, or this machine, with portable kernels.")
    ] = Runner.qemu,
    board: BoardName = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare with TFLite Micro or ONNX Runtime, element for element; "
            "exit with status 1 if any differs.",
        ),
    ] = False,
    count: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many random inputs; they hold waves, noise and extreme values.",
            show_default=str(_DEFAULT_COUNT),
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the random inputs.", show_default="0")
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Run on this input: a .npy file, or an .npz file with an array per model input; "
            "quantized, or float to be quantized.",
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Count the instructions of each operator (adds hooks to the code)."
        ),
    ] = False,
    build_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the C sources, objects and the linked image in this folder.",
            show_default=False,
        ),
    ] = None,
    optimize: Optimize = Optimization.balanced,
    tuning_log: TuningLog = None,
    tuned: Tuned = True,
    dump_ir: DumpIR = None,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Compile a model, run it, and show what it computes and costs."""
    if input_file is not None and (count, seed) != (None, None):
        raise TinyaotError(
            "--count and --seed are of random inputs, and --input gives one",
            "leave out one or the other",
        )
    if board is not None:
        get_board(board)
    with progress() as step:
        # Here, and not above: what these import is too heavy for --help.
        from tinyaot.tools.inputs import load_input
        from tinyaot.tools.result import Result

        compiled = compile_file(
            model, target, None, dump_ir, optimize.value, step, tuning_log, tuned
        )
        if input_file is None:
            from tinyaot.compiler.oracle import random_inputs

            inputs: Sequence[Inputs] = random_inputs(
                compiled.inputs, count or _DEFAULT_COUNT, seed or 0
            )
        else:
            inputs = [load_input(input_file)]
        expected = None
        if check:
            step(f"compute {len(inputs)} reference outputs")
            expected = compiled.reference(model, inputs)
        step(f"build, and run {len(inputs)} inferences")
        measured = compiled.measure(
            inputs, on=on.value, board=board, profile=profile, directory=build_dir
        )
    result = Result(compiled, measured, expected)
    if json:
        print_json(result.document(None if input_file else seed or 0))
    else:
        result.show(profile)
    if result.differing:
        raise typer.Exit(1)
