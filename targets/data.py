"""Reading the TOML files that describe cores and boards."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tinyaot.targets.errors import TinyaotError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_toml(path: Path) -> dict[str, Any]:
    """Read one TOML file.

    Raises:
        TinyaotError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TinyaotError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TinyaotError(f"{path} is not valid TOML: {error}") from error


def unknown_name(kind: str, name: str, supported: Iterable[str]) -> TinyaotError:
    """The error for a name that is not in a list: names the closest one and lists them all."""
    names = sorted(supported)
    hints = [f"supported: {', '.join(names)}"]
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        hints.insert(0, f"did you mean {close[0]}?")
    return TinyaotError(f"unknown {kind} '{name}'", *hints)
