"""RESHAPE, PAD and TRANSPOSE on quantized tensors: bytes move, values stay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tinyaot.compiler.legalize.builder import Value
from tinyaot.compiler.legalize.group import Context
from tinyaot.compiler.legalize.relax_reader import axes_of, ints, shape_of
from tinyaot.schedules.workload import Pad
from tinyaot.targets import TinyaotError


def reshape(context: Context, call: Any, origin: str) -> Value:
    """relax.reshape and its kin: a view where the stored order allows it."""
    return context.builder.flatten(context.activation(call.args[0]), shape_of(call), origin)


def transpose(context: Context, call: Any, origin: str) -> Value:
    """relax.permute_dims: bytes move when an operator asks for another order, not here."""
    source = context.activation(call.args[0])
    return context.builder.rename_axes(source, axes_of(call), origin)


def pad(context: Context, call: Any, origin: str) -> Value:
    """relax.nn.pad with a constant."""
    source = context.activation(call.args[0])
    tensor = context.builder.store_as(source, source.stored, origin)
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
    output = context.builder.emit(
        Pad(tensor.shape, shape, pairs, int(call.attrs.pad_value)),
        (tensor,),
        replace(tensor, name=f"{tensor.name}_padded", shape=shape),
        origin,
    )
    return Value(output, source.stored)
