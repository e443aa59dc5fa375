"""Compiling the file that the user named."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyaot.targets import TinyaotError, get_target

if TYPE_CHECKING:
    from tinyaot.compiler import CompiledModel


def compile_file(
    model: Path,
    target: str,
    name: str | None,
    dump_ir: Path | None,
    optimize: str,
    progress: Callable[[str], None],
    tuning_logs: Sequence[Path] | None = None,
    tuned: bool = True,
    npu: Mapping[str, Any] | None = None,
) -> CompiledModel:
    """`compile_model` with errors that name the file.

    Raises:
        TinyaotError: as `compile_model`.
    """
    get_target(target)
    progress("load the compiler")
    from tinyaot.compiler import compile_model

    try:
        return compile_model(
            model,
            target,
            name=name,
            optimize=optimize,
            tuning_logs=tuning_logs or (),
            tuned=tuned,
            npu=npu,
            dump_ir=dump_ir,
            progress=progress,
        )
    except TinyaotError as error:
        if any(str(path) in error.message for path in (model, *(tuning_logs or ()))):
            raise
        raise TinyaotError(f"{model}: {error.message}", *error.hints) from error
