"""`tinyaot version`: what is installed, for bug reports."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from tinyaot.targets.command import run_command
from tinyaot.tools.console import facts, print_json, stdout
from tinyaot.tools.options import Debug, Json, Verbose

_PACKAGES = ("tinyaot", "apache-tvm", "apache-tvm-ffi", "tflite-micro", "onnxruntime")
_PROGRAMS = ("arm-none-eabi-gcc", "qemu-system-arm", "cc")


def version_command(json: Json = False, verbose: Verbose = False, debug: Debug = False) -> None:
    """Print the versions of tinyaot and of what it works with."""
    versions: dict[str, str | None] = {name: _package(name) for name in _PACKAGES}
    versions["python"] = platform.python_version()
    versions |= {name: _program(name) for name in _PROGRAMS}
    if json:
        print_json(versions)
        return
    table = facts("")
    for name, version in versions.items():
        table.add_row(name, version or "not installed")
    stdout().print(table)


def _package(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _program(name: str) -> str | None:
    """The first line of `--version`, which also says whose build it is; None if there is none."""
    if shutil.which(name) is None:
        return None
    result = run_command([name, "--version"], Path.cwd())
    return next(iter(result.stdout.splitlines()), None)
