"""Model files in, Relax in the form dequantize -> op -> quantize out."""

from __future__ import annotations

from tinyaot.compiler.frontend.imported import Imported
from tinyaot.targets import TinyaotError


def import_model(data: bytes) -> Imported:
    """Reads a model by its content: TFLite by its identifier, else ONNX.

    Raises:
        TinyaotError: it is neither, damaged, or cannot be compiled.
    """
    from tinyaot.compiler.frontend.onnx import import_onnx
    from tinyaot.compiler.frontend.tflite import import_tflite, is_tflite

    if not data:
        raise TinyaotError("the file is empty", "export or download the model again")
    return import_tflite(data) if is_tflite(data) else import_onnx(data)
