"""What a TFLite file says of its tensors, as far as all operators rely on it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite

from tinyaot.compiler.graph import MOST_ELEMENTS
from tinyaot.targets import TinyaotError

FLOAT_TYPES = ("FLOAT32", "FLOAT16", "FLOAT64")
TYPE_NAMES: dict[int, str] = {
    code: name for name, code in vars(tflite.TensorType).items() if type(code) is int
}

_ZERO_POINTS = {
    tflite.TensorType.INT8: "int8",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT32: "int32",
}


def tensor_name(tensor: Any) -> str:
    """The name that the file gives a tensor; empty if none."""
    name: bytes | None = tensor.Name()
    return name.decode(errors="replace") if name else ""


def unique_names(graph: Any) -> list[str]:
    """Names of a subgraph's tensors, made unique: those that a graph's layers call their source."""
    names = [tensor_name(graph.Tensors(index)) for index in range(graph.TensorsLength())]
    counts = Counter(names)
    return [
        name if name and counts[name] == 1 else f"{name or 'tensor'}_{index}"
        for index, name in enumerate(names)
    ]


def static_shape(tensor: Any) -> tuple[int, ...]:
    """The shape that the file declares; that of a scalar if none."""
    return tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()


def check_tensors(graph: Any, names: Sequence[str]) -> None:
    """Refuses what no tensor of a microcontroller's model can be.

    Args:
        graph: a subgraph of the file.
        names: of its tensors.

    Raises:
        TinyaotError: a tensor has more than `MOST_ELEMENTS`, or a zero point outside its type.
    """
    for index, name in enumerate(names):
        tensor = graph.Tensors(index)
        shape = list(static_shape(tensor))
        if math.prod(max(size, 1) for size in shape) > MOST_ELEMENTS:
            raise TinyaotError(
                f'tensor "{name}" has the shape {shape}',
                "no microcontroller holds that; the file may be damaged",
            )
        quantization = tensor.Quantization()
        if quantization is None or tensor.Type() not in _ZERO_POINTS:
            continue
        limits = np.iinfo(_ZERO_POINTS[tensor.Type()])
        for place in range(quantization.ZeroPointLength()):
            zero_point = int(quantization.ZeroPoint(place))
            if not limits.min <= zero_point <= limits.max:
                raise TinyaotError(
                    f'tensor "{name}" of {limits.dtype} has the zero point {zero_point}',
                    "the file may be damaged: convert the model again",
                )
