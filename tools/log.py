"""`tinyaot log`: look into tuning logs, merge, prune and verify them, and draw what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinyaot.targets import TinyaotError, get_target
from tinyaot.tools.console import columns, print_json, progress, stderr, stdout
from tinyaot.tools.options import Debug, Json, Verbose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinyaot.compiler.tuning.records import Record

log_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_WHY_SKIPPED = "of no --model, or of an NPU and not the best or with options of its own"

Logs = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="Logs of `tinyaot tune`.", show_default=False),
]
Core = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="TARGET", help="Only this core.", show_default=False),
]
Kind = Annotated[
    str | None,
    typer.Option(metavar="WORD", help="Only workloads whose name holds this.", show_default=False),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The log to write.")]


@log_app.command("show")
def show_command(
    logs: Logs,
    target: Core = None,
    workload: Kind = None,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """List the records."""
    records = _read(logs, target, workload)
    if json:
        print_json({"records": [_fields(record) for record in records]})
        return
    table = columns("core", "workload", "candidate", "metric", "cost>", "workspace>", "status")
    for record in records:
        status = f"{record.status}: {record.error}" if record.error else record.status
        table.add_row(
            record.core,
            _name(record),
            _candidate(record),
            record.metric,
            _cost(record.cost),
            f"{record.workspace:,}",
            "default" if record.default and not record.error else status,
        )
    stdout().print(table)
    stdout().print(f"\n{len(records)} records")


@log_app.command("best")
def best_command(
    logs: Logs,
    target: Core = None,
    workload: Kind = None,
    json: Json = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Show the best record of each workload beside the default."""
    rows = _best(_read(logs, target, workload))
    if json:
        print_json(
            {
                "workloads": [
                    {**_fields(best), "tried": tried, "default_cost": default}
                    for best, default, tried in rows
                ]
            }
        )
        return
    table = columns(
        "core", "workload", "metric", "tried>", "default>", "best>", "saved>", "workspace>", "by"
    )
    for best, default, tried in rows:
        saved = f"{1 - best.cost / default:.1%}" if best.cost is not None and default else "-"
        table.add_row(
            best.core,
            _name(best),
            best.metric,
            str(tried),
            _cost(default),
            _cost(best.cost),
            saved,
            f"{best.workspace:,}",
            "default" if best.default else _candidate(best),
        )
    stdout().print(table)


@log_app.command("merge")
def merge_command(
    logs: Logs, output: Output, verbose: Verbose = False, debug: Debug = False
) -> None:
    """Write the records of several logs to one, each line once."""
    from tinyaot.compiler.tuning.records import write_records

    records = list({record.line(): record for record in _read(logs)}.values())
    write_records(output, records)
    stdout().print(f"{len(records)} records written: {output}")


@log_app.command("prune")
def prune_command(
    logs: Logs,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The log to write.", show_default="FILE itself"
        ),
    ] = None,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Keep what the compiler can want: of each workload the default and the best for each amount of
    memory; drop what names rules or knobs that no longer exist."""
    if output is None and len(logs) > 1:
        raise TinyaotError("of several logs one is made", "name it with --output")
    records = _read(logs)
    with progress() as step:
        step("load the compiler")
        from tinyaot.compiler.tuning.lookup import applies
        from tinyaot.compiler.tuning.records import useful_records, write_records

        current = [record for record in records if applies(record)]
        kept = useful_records(current)
        write_records(output or logs[0], kept)
    stdout().print(
        f"{len(kept)} of {len(records)} records kept, {len(records) - len(current)} no longer "
        f"apply: {output or logs[0]}"
    )


@log_app.command("verify")
def verify_command(
    logs: Logs,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Take the constants of workloads from this model; random ones otherwise. "
            "May be given several times.",
            show_default=False,
        ),
    ] = None,
    target: Core = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that build and run.", show_default="one for each processor"
        ),
    ] = None,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Build and run every good record again: exit with status 1 if one is not exact, or its cost is
    off by more than 2%."""
    from tinyaot.compiler.tuning.records import OK

    records = [record for record in _read(logs, target) if record.status == OK]
    with progress() as step:
        step("load the compiler")
        from tinyaot.compiler.tuning.verify import verify_records

        verdicts = verify_records(records, models or [], workers, step)
    bad = [verdict for verdict in verdicts if verdict.problem]
    for verdict in bad:
        record = verdict.record
        stdout().print(
            f"{record.core} {_name(record)} {_candidate(record)}: {verdict.problem}",
            soft_wrap=True,
        )
    skipped = sum(verdict.skipped for verdict in verdicts)
    checked = len(verdicts) - skipped
    stdout().print(
        f"{checked - len(bad)} of {checked} records are exact and cost what they say"
        + (f"; {skipped} not checked: {_WHY_SKIPPED}" if skipped else "")
    )
    if bad:
        raise typer.Exit(1)


@log_app.command("plot")
def plot_command(
    logs: Logs,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="A .png, .svg or .html file.", show_default=False
        ),
    ],
    target: Core = None,
    workload: Kind = None,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Draw the best cost over trials of each workload, a line for each log (such as one of a search
    by the model and one of a random search), and predicted against measured costs."""
    if output.suffix not in (".png", ".svg", ".html"):
        raise TinyaotError(f"cannot draw {output}", "name a .png, .svg or .html file")
    runs = {log.stem: _read([log], target, workload) for log in logs}
    with progress() as step:
        step("draw")
        from tinyaot.compiler.tuning.plot import plot_logs

        plot_logs(runs, output)
    stdout().print(f"written: {output}")


def _read(
    logs: Sequence[Path], target: str | None = None, workload: str | None = None
) -> list[Record]:
    """The records of logs in their order; notes on what they have else go to stderr."""
    from tinyaot.compiler.tuning.records import read_log

    if target is not None:
        get_target(target)
    records: list[Record] = []
    for path in logs:
        log = read_log(path)
        for note in log.notes:
            stderr().print(f"note: {note}", soft_wrap=True)
        records += log.records
    return [
        record
        for record in records
        if target in (None, record.core) and (workload is None or workload in _name(record))
    ]


def _best(records: Sequence[Record]) -> list[tuple[Record, float | None, int]]:
    """The best record of each core, workload and metric, the default's cost, and how many."""
    from tinyaot.compiler.tuning.records import pareto_front

    groups: dict[Any, dict[Any, Record]] = {}
    for record in records:
        key = (record.core, record.signature, record.metric, record.optimize)
        groups.setdefault(key, {})[record.measured] = record
    rows = []
    for group in groups.values():
        if front := pareto_front(group.values()):
            default = next((one.cost for one in group.values() if one.default), None)
            rows.append((front[0], default, len(group)))
    return rows


def _fields(record: Record) -> dict[str, Any]:
    import json

    fields: dict[str, Any] = json.loads(record.line())
    return fields


def _name(record: Record) -> str:
    from tinyaot.compiler.tuning.signature import describe

    return describe(record.workload)


def _candidate(record: Record) -> str:
    knobs = (f"{name}={value}" for name, value in record.knobs.items())
    return " ".join([record.rule, *knobs])


def _cost(cost: float | None) -> str:
    if cost is None:
        return "-"
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.3g}"
