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
BoardTarget = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help="The core to compile for; `tinyaot targets` lists them.",
        show_default="cortex-m4, or the device's",
        autocompletion=lambda: list(list_targets()),
    ),
]
On = Annotated[
    str,
    typer.Option(
        metavar="WHERE",
        help="qemu: the emulated core; host: this machine, with portable kernels; reference: the "
        "integer graph without any C, interpreted in numpy; ethosu-model: this machine with the "
        "NPU's part in a functional model; or a device: a board, or gdb:HOST:PORT with --board.",
        autocompletion=lambda: ["qemu", "host", "reference", "ethosu-model", *list_boards()],
    ),
]
Timeout = Annotated[
    float, typer.Option(metavar="SECONDS", help="How long an inference on a device may take.")
]
RunnerName = Annotated[
    str | None,
    typer.Option(
        "--runner",
        metavar="RUNNER",
        help="How to reach the board: qemu, pyocd, openocd, west, or gdb:HOST:PORT.",
        show_default="the first that can",
    ),
]
Place = Annotated[
    str | None,
    typer.Option(
        metavar="PART=MEMORY,...",
        help="Where code, weights, data, arena and stack lie, such as weights=dtcm,arena=axi_sram; "
        "`tinyaot boards BOARD` names the memories.",
        show_default=False,
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
