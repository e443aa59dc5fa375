"""Writing text files that the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tinyaot.targets import TinyaotError


def write_text(path: Path, text: str) -> None:
    """Writes a text file, with the ends of lines of Unix on any system.

    Raises:
        TinyaotError: the file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise TinyaotError(message, "choose another path") from error


def write_tree(directory: Path, files: Mapping[str, str]) -> None:
    """Writes text files under a folder, which is made if it is not there.

    Args:
        directory: the folder.
        files: by path relative to it, with `/`.

    Raises:
        TinyaotError: a folder or file cannot be written.
    """
    for name, text in files.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot make the folder {path.parent}: {error.strerror}"
            raise TinyaotError(message, "choose another path") from error
        write_text(path, text)
