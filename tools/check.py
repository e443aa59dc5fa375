"""`tinyaot check`: what becomes of every operator of a model, without compiling it."""

from __future__ import annotations

import typer

from tinyaot.targets import TinyaotError, get_target
from tinyaot.tools.console import columns, print_json, progress, stdout
from tinyaot.tools.options import Debug, Json, Model, TargetName, Verbose


def check_command(
    model: Model,
    target: TargetName = "cortex-m4",
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """List every operator of a model: what it runs as, or why not and what to do."""
    core = get_target(target)
    try:
        data = model.read_bytes()
    except OSError as error:
        raise TinyaotError(f"cannot read {model}: {error.strerror}", "check the path") from error
    with progress() as step:
        step("look at the operators")
        # Here, and not above: it imports the compiler.
        from tinyaot.compiler.check import check_model

        try:
            verdicts = check_model(data, core)
        except TinyaotError as error:
            raise TinyaotError(f"{model}: {error.message}", *error.hints) from error
    refused = [verdict for verdict in verdicts if not verdict.supported]
    if json:
        print_json(
            {
                "model": str(model),
                "target": core.name,
                "supported": not refused,
                "operators": [
                    {
                        "node": verdict.node,
                        "supported": verdict.supported,
                        "runs_as": list(verdict.runs_as),
                        "reason": verdict.reason,
                        "hints": list(verdict.hints),
                    }
                    for verdict in verdicts
                ],
            }
        )
    else:
        table = columns("operator", "runs as")
        for verdict in verdicts:
            table.add_row(verdict.node, ", ".join(verdict.runs_as) or "NOT SUPPORTED")
        stdout().print(table)
        for verdict in refused:
            stdout().print(f"\n{verdict.node}: {verdict.reason}")
            for hint in verdict.hints:
                stdout().print(f"  try: {hint}")
        count = f"{len(verdicts) - len(refused)} of {len(verdicts)} operators are supported"
        stdout().print(f"\n{count} on {core.name}")
    if refused:
        raise typer.Exit(1)
