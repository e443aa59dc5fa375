"""The demo: a digit classifier from float to int8 to C, run on two emulated Cortex-M cores.

Quantizes digits_float.onnx, compiles it for each core, runs all test images there in one go, and
compares with ONNX Runtime. `make demo` runs it. Usage: demo.py [FOLDER], where FOLDER takes what
it makes: build/digits in the repository if there is none.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from data import Images, Labels, load
from quantize import quantize
from rich.console import Console
from rich.table import Table

from tinyaot.compiler import CompiledModel, Measurement, compile_model
from tinyaot.compiler.oracle import dequantize, reference_outputs
from tinyaot.targets import TinyaotError
from tinyaot.targets.command import find_tool
from tinyaot.targets.cortex_m import qemu, toolchain

CORES = ("cortex-m4", "cortex-m55")
SHADES = " .:-=+*#%@"
SHOWN_MISREAD = 3

Scores = npt.NDArray[Any]

FLOAT_MODEL = Path(__file__).with_name("digits_float.onnx")
DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / "build" / "digits"


@dataclass(frozen=True)
class Run:
    """One target's results on all test images.

    Attributes:
        archive: the Model Library Format tar.
        scores, reference: quantized, of shape (images, 10); on the target, and by ONNX Runtime.
    """

    model: CompiledModel
    archive: Path
    measured: Measurement
    scores: Scores
    reference: Scores


def main() -> int:
    console = Console(highlight=False, soft_wrap=True)
    try:
        demonstrate(console, Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER)
    except TinyaotError as error:
        console.print(f"error: {error.message}", markup=False)
        for hint in error.hints:
            console.print(f"  try: {hint}", markup=False)
        return 2
    return 0


def demonstrate(console: Console, folder: Path) -> None:
    *_, images, labels = load()
    targets = usable_targets(console)
    folder.mkdir(parents=True, exist_ok=True)
    int8_model = folder / "digits.onnx"
    with console.status("quantize the float network with ONNX Runtime"):
        quantize(FLOAT_MODEL, int8_model)
        float_scores = stack(reference_outputs(FLOAT_MODEL, batches_of_one(images)))
    runs = []
    for target in targets:
        with console.status(f"compile for {target}, run {len(images)} images"):
            runs.append(run(int8_model, target, images))

    console.print(accuracy(runs, float_scores, labels))
    console.print(costs(runs))
    console.print(gallery(runs[0], images, labels), markup=False)
    console.print("\nC source, header, weights, metadata and a memory map (tar xf FILE) are in:")
    for one in runs:
        console.print(f"  {relative(one.archive)}", markup=False)
    console.print(f"The int8 network: {relative(int8_model)}", markup=False)


def usable_targets(console: Console) -> tuple[str, ...]:
    """The cores if the cross compiler and the emulator are there, else this machine; says why."""
    try:
        find_tool(toolchain.COMPILER, toolchain.PACKAGES)
        find_tool(qemu.EMULATOR, qemu.PACKAGES)
    except TinyaotError as error:
        packages = f"{toolchain.PACKAGES} {qemu.PACKAGES}"
        console.print(f"{error.message}: compiling for this machine, not for a Cortex-M.")
        console.print(f"To emulate the cores: sudo apt-get install {packages}\n")
        return ("host",)
    return CORES


def run(int8_model: Path, target: str, images: Images) -> Run:
    model = compile_model(int8_model, target=target)
    folder = int8_model.parent / target
    folder.mkdir(exist_ok=True)
    inputs = batches_of_one(images)
    measured = model.measure(inputs, on="host" if target == "host" else "qemu")
    reference = model.reference(int8_model, inputs)
    return Run(model, model.save(folder), measured, stack(measured.outputs), stack(reference))


def batches_of_one(images: Images) -> list[list[Images]]:
    """One inference per image, each a list with the model's only input."""
    return [[image[np.newaxis]] for image in images]


def stack(outputs: list[list[Scores]]) -> Scores:
    return np.concatenate([scores for (scores,) in outputs])


def accuracy(runs: list[Run], float_scores: Scores, labels: Labels) -> Table:
    """How many digits are read, and how much of the result is exactly ONNX Runtime's."""
    table = Table(
        title=f"{len(labels)} handwritten digits",
        caption="same: as ONNX Runtime computes the int8 network",
    )
    table.add_column("network, where it runs")
    for heading in ("read correctly", "same label", "same score"):
        table.add_column(heading, justify="right")

    def row(name: str, scores: Scores, reference: Scores | None = None) -> None:
        read = scores.argmax(axis=1)
        correct = int((read == labels).sum())
        cells = [f"{correct} ({100 * correct / len(labels):.1f} %)"]
        if reference is not None:
            cells.append(f"{(read == reference.argmax(axis=1)).sum()} of {len(labels)}")
            cells.append(f"{(scores == reference).sum()} of {scores.size}")
        table.add_row(name, *cells)

    row("float, ONNX Runtime", float_scores)
    row("int8, ONNX Runtime", runs[0].reference)
    for one in runs:
        target = one.model.target
        place = target.title if target.board is None else f"emulated {target.title}"
        row(f"int8, {place}", one.scores, one.reference)
    return table


def costs(runs: list[Run]) -> Table:
    """What one inference takes, a column per core."""
    reports = [one.model.report() for one in runs]
    table = Table(title=f"One inference: {reports[0].macs:,} multiply-accumulates")
    table.add_column("")
    for one in runs:
        table.add_column(one.model.target.title, justify="right")

    def row(name: str, values: list[int | None]) -> None:
        table.add_row(name, *("not counted" if value is None else f"{value:,}" for value in values))

    measured = [one.measured for one in runs]
    counts = [None if m.instructions is None else m.instructions[0] for m in measured]
    row("instructions", counts)
    row("flash: code, bytes", [m.flash_code_bytes for m in measured])
    row("flash: weights, bytes", [m.flash_weight_bytes for m in measured])
    row("RAM: arena, bytes", [report.arena_bytes for report in reports])
    row("RAM: input and output, bytes", [report.io_bytes for report in reports])
    row("RAM: stack, bytes", [m.stack_bytes for m in measured])
    return table


def gallery(run: Run, images: Images, labels: Labels) -> str:
    """A digit that is read and some that are misread, side by side, with their best scores."""
    read = run.scores.argmax(axis=1)
    right, wrong = np.flatnonzero(read == labels), np.flatnonzero(read != labels)
    shown = wrong[:SHOWN_MISREAD]
    panels = []
    for index in (right[0], *shown):
        scores = dequantize(run.scores[index], run.model.outputs[0])
        second, best = scores.argsort()[-2:]
        panels.append(
            (
                f"written {labels[index]}, read {best}",
                *picture(images[index, 0]),
                f"{best}: {scores[best]:.1f}, {second}: {scores[second]:.1f}",
            )
        )
    title = f"A digit that it reads, {len(shown)} of the {len(wrong)} that it misreads"
    rows = ["  ".join(f"{text:18}" for text in row).rstrip() for row in zip(*panels, strict=True)]
    return "\n".join(["", f"{title}, and the two highest scores of each:", "", *rows])


def picture(image: Images) -> list[str]:
    """Ink from 0 to 1 as text, two characters a pixel because characters are tall."""
    levels = (image * (len(SHADES) - 1)).round().astype(int)
    return ["".join(SHADES[level] * 2 for level in row) for row in levels]


def relative(path: Path) -> Path:
    """The path as seen from the current folder, where it is inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
