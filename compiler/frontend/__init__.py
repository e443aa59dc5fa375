"""Model files in, Relax in the form dequantize -> op -> quantize out."""

from __future__ import annotations

from tinyaot.compiler.frontend.imported import Imported
from tinyaot.targets import TinyaotError


def import_model(data: bytes) -> Imported:
    """Reads a model by its content: TFLite by its identifier, else ONNX.

    Raises:
        TinyaotError: it is neither, damaged, or cannot be compiled.
    """
    from tinyaot.compiler.frontend.tflite import import_tflite, is_tflite

    if is_tflite(data):
        return import_tflite(data)
    raise TinyaotError("neither a TFLite nor an ONNX file", "give a .tflite or .onnx file")
