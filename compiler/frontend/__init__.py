"""Model files in, Relax in the form dequantize -> op -> quantize out."""

from __future__ import annotations

from tinyaot.compiler.frontend.imported import Imported, Problem
from tinyaot.targets import TinyaotError


def import_model(data: bytes, problems: list[Problem] | None = None) -> Imported:
    """Reads a model by its content: TFLite by its identifier, else ONNX.

    Args:
        data: the file's bytes.
        problems: receives what is wrong with operators, which are then stood in for, so that the
            others can be looked at; if None the first error is raised. ONNX files are read so far
            as TFLite's only: an operator that the importer cannot read is raised.

    Raises:
        TinyaotError: it is neither, damaged, or cannot be compiled.
    """
    from tinyaot.compiler.frontend.onnx import import_onnx
    from tinyaot.compiler.frontend.tflite import import_tflite, is_tflite

    if not data:
        raise TinyaotError("the file is empty", "export or download the model again")
    return import_tflite(data, problems) if is_tflite(data) else import_onnx(data)
