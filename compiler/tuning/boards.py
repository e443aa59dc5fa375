"""Measuring on a board, by its debugger: each operator of an image is counted where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinyaot.compiler.device import find_device
from tinyaot.targets import Board, Program, Target, TinyaotError
from tinyaot.targets.cortex_m.toolchain import build_for_debugger
from tinyaot.targets.errors import MissingError
from tinyaot.targets.runners import Session

_RUNS = 3
"""Inferences of which the fastest counts: flash and caches make cycles differ."""


def find_board(where: str, board: str | None, target: Target) -> Board:
    """The board that is meant, which must run code for the target.

    Args:
        where: name or file of a board, or `gdb:HOST:PORT`.
        board: the board behind a GDB server.

    Raises:
        TinyaotError: a name is unknown, or the board has another core.
    """
    chosen, _ = find_device(where, board)
    if target.core not in chosen.cores:
        raise TinyaotError(
            f"board {chosen.name} does not run code for {target.name}",
            f"it runs: {', '.join(chosen.cores)}",
        )
    return chosen


def board_metric(board: Board) -> str:
    """What is counted there: seconds, but on an emulated board instructions."""
    return "instructions" if board.machine else "seconds"


def run_on_board(
    program: Program,
    target: Target,
    where: str,
    board: str | None,
    *,
    directory: Path,
    optimize: str,
    inputs: Sequence[Sequence[bytes]],
    timeout: float,
) -> tuple[Sequence[Sequence[bytes]], list[float]]:
    """The outputs for each input, and what each operator of the program takes, see `board_metric`.

    Args:
        where, board: as for `find_board`.
        directory: for sources and the image.
        optimize: the C compiler's flag.
        timeout: seconds that an inference may take.

    Raises:
        MissingError: there is no such board, nothing answers, or nothing counts there.
        TinyaotError: the program does not fit, or faults, fails or hangs.
    """
    try:
        session = Session(find_device(where, board)[1], find_board(where, board, target), timeout)
    except TinyaotError as error:
        raise MissingError(error.message, *error.hints) from error
    try:
        image = build_for_debugger(
            program,
            target,
            session.board,
            directory,
            profile=True,
            optimize=(optimize,),
            counter=session.counter,
        )
        session.load(image)
        result, counter = session.run(inputs, profile=True, runs=_RUNS)
    finally:
        session.close()
    counts = result.operator_instructions
    emulated = board_metric(session.board) == "instructions"
    if counts is None or (counter == "instructions") != emulated:
        raise MissingError(f"nothing counts what operators take on {session.where}", "--on qemu")
    scale = 1.0 if emulated else session.board.clock_hz
    return result.outputs, [count / scale for count in counts]
