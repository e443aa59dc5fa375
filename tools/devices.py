"""`tinyaot devices`: what is attached and could run a model now."""

from __future__ import annotations

from tinyaot.targets import TinyaotError
from tinyaot.tools.console import columns, print_json, stdout
from tinyaot.tools.options import Debug, Json, Verbose


def devices_command(json: Json = False, verbose: Verbose = False, debug: Debug = False) -> None:
    """List debug probes that are attached, and the boards that QEMU emulates."""
    from tinyaot.targets.runners import Attached, get_runner, list_runners

    found: list[Attached] = []
    notes: list[str] = []
    for name in list_runners():
        runner = get_runner(name)
        if not runner.capabilities.lists:
            continue
        try:
            attached = runner.attached()
        except TinyaotError as error:
            notes.append(f"{name}: {error.message} ({'; '.join(error.hints)})")
            continue
        found += attached
        if not attached:
            notes.append(f"{name}: no debug probe is connected")
    if json:
        devices = [
            {"runner": one.runner, "name": one.name, "identifier": one.identifier} for one in found
        ]
        print_json({"devices": devices, "notes": notes})
        return
    table = columns("runner", "device", "identifier")
    for one in found:
        table.add_row(one.runner, one.name, one.identifier)
    stdout().print(table)
    for note in notes:
        stdout().print(note, soft_wrap=True)
