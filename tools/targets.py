"""`tinyaot targets`: the cores that can be compiled for, and the boards that run them."""

from __future__ import annotations

from typing import Any

from tinyaot.targets import get_board, get_target, list_targets
from tinyaot.targets.ethos_u.accelerator import get_npu, list_npus
from tinyaot.tools.console import columns, print_json, stdout
from tinyaot.tools.options import Debug, Json, Verbose


def targets_command(json: Json = False, verbose: Verbose = False, debug: Debug = False) -> None:
    """List the targets with their features and emulated boards."""
    targets = [_describe(name) for name in list_targets()]
    npus = [get_npu(name) for name in list_npus()]
    if json:
        accelerators = [
            {"name": npu.name, "title": npu.title, "system": npu.system, "memory": npu.memory}
            for npu in npus
        ]
        print_json({"targets": targets, "accelerators": accelerators})
        return
    table = columns("target", "architecture", "features", "board", "flash>", "RAM>")
    for target in targets:
        board = target["board"]
        memories = (
            ("", "", "")
            if board is None
            else (board["name"], _size(board["flash_bytes"]), _size(board["ram_bytes"]))
        )
        table.add_row(
            target["name"], target["architecture"], " ".join(target["features"]), *memories
        )
    stdout().print(table)
    stdout().print()
    table = columns("accelerator, as in cortex-m55+ethos-u55-128", "system", "memory")
    for npu in npus:
        table.add_row(npu.name, npu.system, npu.memory)
    stdout().print(table)


def _describe(name: str) -> dict[str, Any]:
    target = get_target(name)
    board = None if target.board is None else get_board(target.board)
    return {
        "name": target.name,
        "title": target.title,
        "architecture": target.architecture,
        "features": sorted(target.features),
        "board": None
        if board is None
        else {
            "name": board.name,
            "title": board.title,
            "flash_bytes": board.flash.size,
            "ram_bytes": board.ram.size,
        },
    }


def _size(count: int) -> str:
    """Whole KiB or MiB: memories come in powers of two."""
    return f"{count >> 20} MiB" if count % (1 << 20) == 0 else f"{count / 1024:g} KiB"
