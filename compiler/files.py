"""Writing files that the user asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tinyaot.targets import TinyaotError


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its place under its name at the end; if something fails, what
    was there stays as it was.

    Raises:
        TinyaotError: the file cannot be written, or what is there is a device or a pipe.
    """
    # What a link leads to is written, and not the link.
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f"{place.name}.{os.getpid()}.tmp")
    try:
        if place.exists() and not place.is_file() and not place.is_dir():
            raise TinyaotError(f"cannot write {path}: not a regular file", "choose another path")
        try:
            with temporary.open("wb") as file:
                yield file
            temporary.replace(place)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TinyaotError(
            f"cannot write {path}: {error.strerror}", "choose another path, or free some space"
        ) from error


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
