"""RESHAPE, PAD and TRANSPOSE: bytes move, values stay.

The same rules serve quantized tensors and float ones between dequantize and quantize.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyaot.compiler.legalize.builder import GraphBuilder, Value
from tinyaot.compiler.legalize.relax_reader import axes_of, dtype_of, ints, shape_of
from tinyaot.schedules.workload import Pad
from tinyaot.targets import TinyaotError


def reshape(builder: GraphBuilder, source: Value, call: Any, origin: str) -> Value:
    """relax.reshape and its kin: a view where the stored order allows it."""
    return builder.flatten(source, shape_of(call), origin)


def transpose(builder: GraphBuilder, source: Value, call: Any, origin: str) -> Value:
    """relax.permute_dims: bytes move when an operator asks for another order, not here."""
    return builder.rename_axes(source, axes_of(call), origin)


def pad(builder: GraphBuilder, source: Value, call: Any, origin: str) -> Value:
    """relax.nn.pad with a constant; a real one is rounded to the source's scale."""
    tensor = builder.store_as(source, source.stored, origin)
    if str(call.attrs.pad_mode) != "constant" or len(tensor.shape) > 4:
        raise TinyaotError(
            f"{origin} pads {len(tensor.shape)} axes in mode {call.attrs.pad_mode}",
            "supported is constant padding of at most four axes",
        )
    widths = ints(call.attrs.pad_width)
    if min(widths) < 0:
        raise TinyaotError(f"{origin} pads by a negative amount", "use a slice to crop")
    pairs = tuple((widths[2 * axis], widths[2 * axis + 1]) for axis in source.stored)
    shape = tuple(
        size + before + after for size, (before, after) in zip(tensor.shape, pairs, strict=True)
    )
    output = builder.emit(
        Pad(tensor.shape, shape, pairs, _padding_value(source, call)),
        (tensor,),
        replace(source.tensor, name=f"{tensor.name}_padded", shape=shape),
        origin,
    )
    return Value(output, source.stored)


def _padding_value(source: Value, call: Any) -> int:
    value, dtype = float(call.attrs.pad_value), dtype_of(call)
    if dtype.startswith("float"):
        steps = np.float32(value) / np.float32(source.scale)
        return int(np.clip(np.rint(steps) + source.zero_point, -128, 127))
    return int(value) - (128 if dtype == "uint8" else 0)


MOVEMENTS: dict[str, Callable[[GraphBuilder, Value, Any, str], Value]] = {
    "relax.expand_dims": reshape,
    "relax.flatten": reshape,
    "relax.nn.pad": pad,
    "relax.permute_dims": transpose,
    "relax.reshape": reshape,
    "relax.squeeze": reshape,
}
