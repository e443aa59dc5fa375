"""`tinyaot run`: compile a model, run it on its core, compare and measure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinyaot.targets import TinyaotError
from tinyaot.tools.console import print_json, progress, stdout
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
from tinyaot.tools.options import (
    BoardName,
    BoardTarget,
    Debug,
    DumpIR,
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
    from collections.abc import Sequence

    from tinyaot.compiler.compiled import Inputs

_DEFAULT_COUNT = 5


def run_command(
    model: Model,
    target: BoardTarget = None,
    on: On = "qemu",
    board: BoardName = None,
    runner: RunnerName = None,
    place: Place = None,
    timeout: Timeout = 60.0,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare with TFLite Micro or ONNX Runtime, element for element; "
            "exit with status 1 if any differs.",
        ),
    ] = False,
    per_layer: Annotated[
        bool,
        typer.Option(
            "--per-layer",
            help="With --check: compare every tensor of the model that the compiled model has too, "
            "and name the first that differs.",
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
    """Compile a model, run it, and show what it computes and costs."""
    if input_file is not None and (count, seed) != (None, None):
        raise TinyaotError(
            "--count and --seed are of random inputs, and --input gives one",
            "leave out one or the other",
        )
    if per_layer and not check:
        raise TinyaotError("--per-layer compares with the reference", "add --check")
    if on == "reference" and (board, build_dir) != (None, None):
        raise TinyaotError(
            "--board and --build-dir are of the C, which --on reference does without",
            "leave them out, or run on qemu",
        )
    place_on = Placement(on, board, runner, place, target)
    with progress() as step:
        # Here, and not above: what these import is too heavy for --help.
        from tinyaot.tools.inputs import load_input
        from tinyaot.tools.layers import LayerResult
        from tinyaot.tools.result import Result

        compiled = compile_file(
            model,
            place_on.target,
            None,
            dump_ir,
            optimize.value,
            step,
            tuning_log,
            tuned,
            npu_options(
                npu_system, npu_memory, npu_config, optimise, arena_size, npu_codegen, npu_only
            ),
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
        interpret = on == "reference"
        step(f"{'interpret' if interpret else 'build, and run'} {len(inputs)} inferences")
        if place_on.device:
            with place_on.open(timeout) as device:
                device.flash(compiled, profile=profile)
                measured = device.measure(inputs, profile=profile)
        else:
            measured = compiled.measure(
                inputs, on=on, board=place_on.board, profile=profile, directory=build_dir
            )
        layers = None
        if per_layer:
            step("compare every layer")
            layers = LayerResult(compiled.layers(model, inputs, on, board=board))
    result = Result(compiled, measured, expected)
    if json:
        document = result.document(None if input_file else seed or 0)
        print_json(document if layers is None else {**document, **layers.document()})
    else:
        result.show(profile)
        if layers is not None:
            stdout().print()
            layers.show(result.differing > 0)
    if result.differing or (layers is not None and layers.differing):
        raise typer.Exit(1)
