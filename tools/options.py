"""Arguments and options that several commands share."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from tinyaot.targets import list_boards, list_targets
from tinyaot.tools.console import LogHandler

LOGGER = logging.getLogger("tinyaot")
"""What every module of ours logs under; `--debug` shows in its level, which `main` reads."""


def set_level(level: int) -> None:
    """Shows log records from this level on, on stderr."""
    if not any(isinstance(handler, LogHandler) for handler in LOGGER.handlers):
        LOGGER.addHandler(LogHandler())
    LOGGER.setLevel(level)


def _verbose(value: bool) -> None:
    if value and not LOGGER.isEnabledFor(logging.INFO):
        set_level(logging.INFO)


def _debug(value: bool) -> None:
    if value:
        set_level(logging.DEBUG)


Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A quantized .tflite or .onnx file.", show_default=False),
]
TargetName = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="The core to compile for; `tinyaot targets` lists them.",
        autocompletion=lambda: list(list_targets()),
    ),
]
BoardName = Annotated[
    str | None,
    typer.Option(
        metavar="BOARD",
        help="The emulated board, if not the target's own.",
        show_default=False,
        autocompletion=lambda: list(list_boards()),
    ),
]
DumpIR = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write the form after each step of the compiler into this folder.",
        show_default=False,
    ),
]


TuningLog = Annotated[
    list[Path] | None,
    typer.Option(
        "--tuning-log",
        metavar="FILE",
        help="Take sizes from this log of `tinyaot tune`, before those that ship; "
        "may be given several times.",
        show_default=False,
    ),
]
Tuned = Annotated[
    bool,
    typer.Option("--tuned/--no-tuned", help="Take sizes from tuning records at all."),
]


class Optimization(str, Enum):
    """What the C is compiled for."""

    speed = "speed"
    balanced = "balanced"
    size = "size"


Optimize = Annotated[
    Optimization,
    typer.Option(
        "--optimize", "-O", help="Compile the C for speed (-O3), size (-Os), or both (-O2)."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Show every external command.", callback=_verbose),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="As -v, and errors with their traceback.", callback=_debug)
]
