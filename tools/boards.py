"""`tinyaot boards`: the boards that images can be linked for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tinyaot.targets import Board, get_board, list_boards
from tinyaot.tools.console import columns, facts, print_json, stdout
from tinyaot.tools.options import Debug, Json, Verbose


def boards_command(
    board: Annotated[
        str | None,
        typer.Argument(
            metavar="[BOARD]",
            help="Show this one alone, with its memories: a name, or the path of a board file.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """List the boards with their cores, memories and ways to reach them."""
    boards = [get_board(name) for name in ([board] if board else list_boards())]
    if json:
        print_json({"boards": [describe(one) for one in boards]})
        return
    if board:
        stdout().print(_one(boards[0]))
        return
    table = columns("board", "processor", "target", "flash>", "RAM>", "reached by")
    for one in boards:
        table.add_row(
            one.name, one.processor, " ".join(one.cores), _size(one.flash.size),
            _size(_ram(one)), ", ".join(_ways(one)),
        )  # fmt: skip
    stdout().print(table)


def describe(board: Board) -> dict[str, Any]:
    """A board for machines."""
    return {
        "name": board.name,
        "title": board.title,
        "processor": board.processor,
        "targets": list(board.cores),
        "clock_hz": board.clock_hz or None,
        "qemu": board.machine,
        "pyocd": board.pyocd,
        "openocd": list(board.openocd),
        "zephyr": board.zephyr,
        "stack_bytes": board.stack_bytes,
        "place": {part: board.regions[key].name or key for part, key in board.place.items()},
        "memories": [
            {
                "name": region.name or key,
                "origin": region.origin,
                "bytes": region.size,
                "writable": region.writable,
                "source": region.source,
            }
            for key, region in board.regions.items()
        ],
    }


def _one(board: Board) -> Any:
    table = facts(board.title)
    table.add_row("processor", board.processor)
    table.add_row("target", " ".join(board.cores))
    for key, region in board.regions.items():
        table.add_row(
            f"memory {region.name or key}",
            f"{region.origin:#010x}, {_size(region.size)}: {region.source}",
        )
    place = {part: board.regions[key].name or key for part, key in board.place.items()}
    table.add_row("placement", ", ".join(f"{part}={name}" for part, name in place.items()))
    table.add_row("reached by", ", ".join(_ways(board)))
    if board.pyocd:
        table.add_row("pyOCD target", board.pyocd)
    if board.openocd:
        table.add_row("OpenOCD", " ".join(f"-f {name}" for name in board.openocd))
    if board.zephyr:
        table.add_row("Zephyr board", board.zephyr)
    return table


def _ways(board: Board) -> list[str]:
    ways = {"qemu": board.machine, "pyocd": board.pyocd, "openocd": board.openocd}
    return [name for name, there in ways.items() if there] + ["gdb"]


def _ram(board: Board) -> int:
    return sum(region.size for region in board.regions.values() if region.writable)


def _size(count: int) -> str:
    return f"{count / (1 << 20):g} MiB" if count % (1 << 18) == 0 else f"{count / 1024:g} KiB"
