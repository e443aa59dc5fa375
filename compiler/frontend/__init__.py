"""Model files in, Relax in the form dequantize -> op -> quantize out."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tinyaot.compiler.frontend.imported import Imported
from tinyaot.targets import TinyaotError


def import_model(data: bytes) -> Imported:
    """Reads a model by its content: TFLite by its identifier, else ONNX.

    Raises:
        TinyaotError: it is neither, damaged, or cannot be compiled.
    """
    from tinyaot.compiler.frontend.onnx import import_onnx
    from tinyaot.compiler.frontend.tflite import import_tflite, is_tflite

    problem: TinyaotError | None = None
    with _silent_tvm():
        try:
            return import_tflite(data) if is_tflite(data) else import_onnx(data)
        except TinyaotError as error:
            # A copy without its traceback, which keeps the half-built module alive.
            problem = TinyaotError(error.message, *error.hints)
        gc.collect()
    raise problem


@contextmanager
def _silent_tvm() -> Iterator[None]:
    """Keeps TVM's C++ warnings about half-built modules off the terminal."""
    saved = os.dup(2)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 (a device, not a path)
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
