"""`tinyaot npu`: what Vela compiled, run on the functional model and shown as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinyaot.targets import TinyaotError
from tinyaot.tools.console import columns, facts, print_json, progress, stdout
from tinyaot.tools.options import Debug, Json, Verbose

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from tinyaot.compiler.npu.vela_file import FileRun, VelaFile

    Arrays = Sequence[Sequence[NDArray[Any]]]

_DEFAULT_COUNT = 5

npu_app = typer.Typer(
    help="Run and read what Arm's Vela compiled for an Ethos-U55 or U65.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

VelaPath = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A .tflite file that Vela wrote.", show_default=False),
]


@npu_app.command("run")
def npu_run_command(
    model: VelaPath,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="ORIGINAL",
            help="Compare with TFLite Micro on the model that Vela compiled, element for element; "
            "exit with status 1 if any differs.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="How many random inputs.", show_default=str(_DEFAULT_COUNT)),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the random inputs.", show_default="0")
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Run on this input: a .npy file, or an .npz file with an array per model input.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Run a compiled file on the functional model, bit-exact, and look for hazards."""
    if input_file is not None and (count, seed) != (None, None):
        raise TinyaotError(
            "--count and --seed are of random inputs, and --input gives one",
            "leave out one or the other",
        )
    with progress() as step:
        step("read the file")
        from tinyaot.compiler.npu.vela_file import check_runnable, run_vela_file

        file = _read(model)
        check_runnable(file, str(model))
        inputs = _inputs(file, input_file, count or _DEFAULT_COUNT, seed or 0)
        step("run it on the functional model")
        run = run_vela_file(model, inputs)
        expected: Arrays | None = None
        if check is not None:
            step("run the reference")
            from tinyaot.compiler.oracle import reference_outputs

            expected = reference_outputs(check, inputs)
    differing = None if expected is None else _differences(run.outputs, expected)
    if json:
        print_json(_document(model, file, run, differing))
    else:
        _print(model, file, run, differing)
    if differing is not None and any(differing):
        raise typer.Exit(1)


def _read(path: Path) -> VelaFile:
    from tinyaot.compiler.npu.vela_file import read_vela_file

    return read_vela_file(_bytes(path), str(path))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TinyaotError(f"cannot read {path}: {error.strerror}", "check the path") from error


def _inputs(file: VelaFile, path: Path | None, count: int, seed: int) -> Arrays:
    specs = [file.tensors[index] for index in file.inputs]
    if path is None:
        from tinyaot.compiler.oracle import random_inputs

        for spec in specs:
            if spec.dtype.startswith("float"):
                raise TinyaotError(f"the input {spec.name} is float", "give a quantized model")
        return random_inputs(specs, count, seed)
    from tinyaot.tools.inputs import load_input

    loaded = load_input(path)
    if isinstance(loaded, dict):
        missing = [spec.name for spec in specs if spec.name not in loaded]
        if missing:
            raise TinyaotError(f"{path} has no array for the input {missing[0]}")
        loaded = [loaded[spec.name] for spec in specs]
    arrays = list(loaded)
    if len(arrays) != len(specs):
        raise TinyaotError(f"{path} holds {len(arrays)} arrays, the model has {len(specs)} inputs")
    for array, spec in zip(arrays, specs, strict=True):
        if array.dtype != spec.dtype or array.shape != spec.shape:
            raise TinyaotError(
                f"{path} holds {array.dtype} of shape {array.shape}; the input {spec.name} is "
                f"{spec.dtype} of shape {spec.shape}"
            )
    return [arrays]


def _differences(outputs: Arrays, expected: Arrays) -> list[int]:
    return [
        sum(
            int((one != other.reshape(one.shape)).sum())
            for one, other in zip(got, wanted, strict=True)
        )
        for got, wanted in zip(outputs, expected, strict=True)
    ]


def _document(
    path: Path, file: VelaFile, run: FileRun, differing: list[int] | None
) -> dict[str, Any]:
    names = [file.tensors[index].name for index in file.outputs]
    return {
        "model": str(path),
        "accelerator": run.accelerator,
        "commands": run.commands,
        "kernels": run.kernels,
        "transfers": run.transfers,
        "macs": run.macs,
        "dma_bytes": run.dma_bytes,
        "constant_bytes": run.constant_bytes,
        "outputs": [
            {name: array.tolist() for name, array in zip(names, one, strict=True)}
            for one in run.outputs
        ],
        "differing": differing,
    }


def _print(path: Path, file: VelaFile, run: FileRun, differing: list[int] | None) -> None:
    headings = ["inference>", "output"] + (["differing elements>"] if differing else [])
    table = columns(*headings)
    for index, outputs in enumerate(run.outputs):
        for number, array in enumerate(outputs):
            name = file.tensors[file.outputs[number]].name
            values = array.reshape(-1)
            shown = " ".join(str(one) for one in values[:16]) + (" ..." if values.size > 16 else "")
            cells = [str(index) if number == 0 else "", f"{name}: {shown}"]
            if differing:
                cells.append(str(differing[index]) if number == 0 else "")
            table.add_row(*cells)
    stdout().print(table)
    stdout().print(f"\n{path}, run on the functional model of {run.accelerator}", soft_wrap=True)
    summary = facts("")
    summary.add_row("commands", f"{run.commands:,}")
    summary.add_row("kernels", f"{run.kernels:,}")
    summary.add_row("multiply-accumulates", f"{run.macs:,}")
    summary.add_row("weights and scales read", f"{run.constant_bytes:,} bytes")
    summary.add_row("transfers", f"{run.transfers:,} ({run.dma_bytes:,} bytes)")
    summary.add_row("hazards", "none")
    stdout().print(summary)


@npu_app.command("disasm")
def npu_disasm_command(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A .tflite file that Vela wrote, or a driver payload that starts with COP1.",
            show_default=False,
        ),
    ],
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Show the command streams of a compiled file: index, byte offset, command and value."""
    from tinyaot.compiler.npu.vela_file import accelerator_of
    from tinyaot.targets.ethos_u.model import disassemble, parse_driver_payload

    data = _bytes(model)
    payloads = [data] if data[:4] == b"COP1" else [call.payload for call in _read(model).calls]
    streams = []
    for payload in payloads:
        try:
            accelerator = accelerator_of(payload)
            lines = disassemble(parse_driver_payload(payload), accelerator)
        except TinyaotError as error:
            raise TinyaotError(f"{model}: {error.message}", *error.hints) from error
        streams.append((accelerator, lines))
    if json:
        print_json(
            {
                "model": str(model),
                "streams": [
                    {"accelerator": accelerator, "commands": lines}
                    for accelerator, lines in streams
                ],
            }
        )
        return
    for accelerator, lines in streams:
        print(f"; {accelerator}, {len(lines)} commands")
        print("\n".join(lines))
