"""The command `tinyaot`: what its subcommands are, and how errors end it."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from tinyaot.targets.errors import TinyaotError
from tinyaot.tools.bench import bench_command
from tinyaot.tools.boards import boards_command
from tinyaot.tools.check import check_command
from tinyaot.tools.compile import compile_command
from tinyaot.tools.devices import devices_command
from tinyaot.tools.export import export_command
from tinyaot.tools.flash import flash_command
from tinyaot.tools.log import log_app
from tinyaot.tools.npu import npu_app
from tinyaot.tools.options import LOGGER, Debug, Verbose
from tinyaot.tools.profile import profile_command
from tinyaot.tools.run import run_command
from tinyaot.tools.targets import targets_command
from tinyaot.tools.tune import tune_command
from tinyaot.tools.version import version_command

ERROR, BUG = 2, 3
"""Exit statuses: an error that the user can act on, and one that we must."""

app = typer.Typer(
    name="tinyaot",
    help="Compiles quantized neural networks to small static C for microcontrollers.",
    epilog="Exit status: 0 done; 1 the outputs differ from the reference (run --check), "
    "or an operator is not supported (check); "
    "2 an error that you can act on; 3 a bug in tinyaot; 130 interrupted.",
    no_args_is_help=True,
    # Plain help: rich would take half of the time.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.command("bench")(bench_command)
app.command("boards")(boards_command)
app.command("check")(check_command)
app.command("compile")(compile_command)
app.command("devices")(devices_command)
app.command("export")(export_command)
app.command("flash")(flash_command)
app.command("profile")(profile_command)
app.add_typer(log_app, name="log", help="Look into, merge, prune, verify and draw tuning logs.")
app.command("run")(run_command)
app.command("targets")(targets_command)
app.command("tune")(tune_command)
app.command("version")(version_command)

app.add_typer(npu_app, name="npu")


def _print_version(value: bool) -> None:
    if value:
        from importlib import metadata

        print(f"tinyaot {metadata.version('tinyaot')}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Verbose = False,
    debug: Debug = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Nothing: the options act by themselves."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: without the program's name; those of the process if None.

    Returns:
        The exit status, see the help of the command.
    """
    LOGGER.setLevel(logging.WARNING)
    try:
        app(args=arguments, prog_name="tinyaot")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except TinyaotError as error:
        _complain(error.message, error.hints)
        return ERROR
    except OSError as error:
        # Ours are caught where they arise; what is left is a full disk or the like.
        _complain(f"the system refused: {error}", ("--debug shows what was being done",))
        return ERROR
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        _complain(
            f"this is a bug in tinyaot: {what}",
            ("run it again with --debug and report the traceback",),
        )
        return BUG
    return 0


def _complain(message: str, hints: Sequence[str]) -> None:
    if LOGGER.isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    typer.secho("error: ", fg=typer.colors.RED, err=True, nl=False)
    typer.echo(message, err=True)
    for index, hint in enumerate(hints):
        typer.echo(f"{'       ' if index else '  try: '}{hint}", err=True)


if __name__ == "__main__":
    sys.exit(main())
