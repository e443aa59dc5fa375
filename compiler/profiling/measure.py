"""Measuring a profile on an emulated core."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyaot.compiler.pipeline import Lowered
from tinyaot.compiler.profiling.profile import (
    INSTRUCTIONS,
    Counts,
    Flash,
    Profile,
    Quantity,
    make_profile,
)
from tinyaot.targets import Target, TinyaotError, build_image, run_image
from tinyaot.targets.code_size import Code, code_of
from tinyaot.targets.cortex_m.board import Board

if TYPE_CHECKING:
    from tinyaot.compiler.compiled import CompiledModel
    from tinyaot.compiler.report import Measurement


def measure_profile(
    lowered: Lowered,
    target: Target,
    optimize: str,
    inputs: Sequence[bytes],
    runs: int,
    board: Board | None,
) -> Profile:
    """Counts the whole in an image without instrumentation, the operators in another one.

    Args:
        lowered: the compiled model.
        target: the core it was compiled for.
        optimize: the C compiler's flag.
        inputs: the bytes of every input tensor.
        runs: inferences of the whole.
        board: the target's default if None.

    Raises:
        TinyaotError: the target counts nothing, or building or running failed.
    """
    if target.board is None:
        raise TinyaotError(f"nothing is counted on {target.name}", "compile for an emulated core")
    program = lowered.program
    with tempfile.TemporaryDirectory(prefix="tinyaot-") as scratch:
        folder = Path(scratch)
        # The entry as it ships; debug information adds no code and tells functions apart.
        whole = build_image(
            program, target, board, directory=folder / "whole", optimize=(optimize, "-g")
        )
        result = run_image(whole, [inputs] * runs)
        hooked = build_image(
            program, target, board, directory=folder / "hooked", profile=True, optimize=(optimize,)
        )
        operators = run_image(hooked, [inputs]).operator_instructions
        functions = code_of(whole.elf, f"tinyaot_{program.name}.c")
    assert whole.board is not None
    assert result.instructions is not None
    assert operators is not None
    counts = Counts(
        INSTRUCTIONS, whole.board.name, result.instructions, operators, result.stack_bytes
    )
    return make_profile(
        lowered, target, counts, Flash(whole.size.flash_code, whole.size.flash_weights, functions)
    )


def device_profile(
    model: CompiledModel,
    whole: Measurement,
    operators: tuple[int, ...] | None,
    functions: Code,
    source: str,
) -> Profile:
    """The profile of a model that ran on a device.

    Args:
        whole: of the image without hooks, one inference a run.
        operators: counts of each operator, of the image with them.
        functions: where the code went.
        source: what counted, in words.

    Raises:
        TinyaotError: the device counts nothing.
    """
    if whole.instructions is None or operators is None:
        raise TinyaotError(
            f"nothing is counted on {whole.board}", "start QEMU with -icount shift=0"
        )
    unit = "instructions" if whole.counter == "instructions" else "cycles"
    counts = Counts(
        Quantity(unit, source), whole.board, whole.instructions, operators, whole.stack_bytes
    )
    flash = Flash(whole.flash_code_bytes or 0, whole.flash_weight_bytes or 0, functions)
    return make_profile(model.lowered, model.target, counts, flash)
