"""Options for the accelerator of a target such as `cortex-m55+ethos-u55-128`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

_PANEL = "NPU, for targets such as cortex-m55+ethos-u55-128"

NpuSystem = Annotated[
    str | None,
    typer.Option(
        "--npu-system",
        metavar="NAME",
        help="System configuration: System_Config.NAME of the configuration file.",
        show_default="that of the accelerator",
        rich_help_panel=_PANEL,
    ),
]
NpuMemory = Annotated[
    str | None,
    typer.Option(
        "--npu-memory",
        metavar="NAME",
        help="Memory mode, such as Sram_Only, Shared_Sram or Dedicated_Sram.",
        show_default="Shared_Sram",
        rich_help_panel=_PANEL,
    ),
]
NpuConfig = Annotated[
    Path | None,
    typer.Option(
        "--npu-config",
        metavar="FILE",
        help="Configuration file in the form of Vela's.",
        show_default="Vela's own",
        rich_help_panel=_PANEL,
    ),
]


class NpuGoal(str, Enum):
    """What the NPU's schedule is for."""

    performance = "performance"
    size = "size"


Optimise = Annotated[
    NpuGoal,
    typer.Option(
        "--optimise",
        "--npu-optimise",
        help="Fewest cycles, or least SRAM within reason.",
        rich_help_panel=_PANEL,
    ),
]
ArenaSize = Annotated[
    int | None,
    typer.Option(
        "--arena-size",
        metavar="BYTES",
        min=1,
        help="SRAM that the arena may take: a hard limit.",
        show_default="no limit",
        rich_help_panel=_PANEL,
    ),
]


class NpuGenerator(str, Enum):
    """Who makes the command stream."""

    own = "own"
    vela = "vela"
    best = "best"


NpuCodegen = Annotated[
    NpuGenerator,
    typer.Option(
        "--npu-codegen",
        help="Who makes the commands: tinyaot, Vela, or the one with fewer estimated cycles.",
        rich_help_panel=_PANEL,
    ),
]
NpuOnly = Annotated[
    bool,
    typer.Option(
        "--npu-only",
        help="Fail if an operator has to stay on the CPU.",
        rich_help_panel=_PANEL,
    ),
]


def npu_options(
    system: str | None,
    memory: str | None,
    config: Path | None,
    optimise: NpuGoal,
    arena_size: int | None,
    codegen: NpuGenerator,
    only: bool,
) -> dict[str, Any]:
    """The options that differ from the defaults, as `configure` takes them."""
    values = {
        "system": system,
        "memory": memory,
        "config": config,
        "optimise": None if optimise is NpuGoal.performance else optimise.value,
        "arena_size": arena_size,
        "codegen": None if codegen is NpuGenerator.best else codegen.value,
        "only": only or None,
    }
    return {name: value for name, value in values.items() if value is not None}
