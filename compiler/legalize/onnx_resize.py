"""ONNX's Resize by linear interpolation, with weights that are exact fractions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.builder import Value, identity
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier
from tinyaot.compiler.legalize.group import Group
from tinyaot.compiler.legalize.onnx_call import OnnxCall
from tinyaot.compiler.legalize.onnx_copy import resize_coordinates
from tinyaot.compiler.legalize.onnx_place import Place
from tinyaot.schedules.workload import LinearResize

# The product of two denominators and a centred int8 must stay inside 31 bits.
_LARGEST_DENOMINATOR = 2800


def resize_linear(group: Group, own: OnnxCall) -> Value:
    """Resize in mode linear along at most two axes."""
    mode = str(own.attribute("mode", "nearest"))
    if mode != "linear" or own.attribute("antialias", 0):
        raise group.unsupported(
            f"resizes in mode {mode}{' with antialias' if mode == 'linear' else ''}",
            "use nearest or linear",
        )
    source = group.operand(own.operands[0])
    place = Place(group.builder, group.reader, group.origin)
    changed = [axis for axis, size in enumerate(source.shape) if size != own.shape[axis]]
    changed += [axis for axis in reversed(range(len(source.shape))) if axis not in changed]
    axes = sorted(changed[:2])
    if len(axes) < 2 or any(source.shape[one] != own.shape[one] for one in changed[2:]):
        raise group.unsupported("interpolates along more than two axes", "resize two of them")
    stored = source.stored
    first = stored.index(axes[0])
    if stored[first : first + 2] != tuple(axes):
        stored = identity(len(source.shape))
        if axes[1] != axes[0] + 1:
            stored = (*(one for one in stored if one not in axes), *axes)
        first = stored.index(axes[0])
    tensor = group.builder.store_as(source, stored, group.origin)
    shape = tensor.shape
    tables = [_table(group, place, own, source.shape, axis) for axis in axes]
    denominators = (tables[0][0], tables[1][0])
    factor = source.scale / group.scale / math.prod(denominators)
    multiplier, shift = quantize_multiplier(factor)
    workload = LinearResize(
        outer=math.prod(shape[:first]),
        input_size=(shape[first], shape[first + 1]),
        output_size=(own.shape[axes[0]], own.shape[axes[1]]),
        inner=math.prod(shape[first + 2 :]),
        denominators=denominators,
        input_zero_point=source.zero_point,
        output_zero_point=group.zero_point,
        multiplier=multiplier,
        shift=shift,
        clamp=group.clamp,
        rounding=group.rounding,
    )
    constants = {
        f"{name}_{index}": table.astype(np.int32)
        for index, (_, *found) in enumerate(tables)
        for name, table in zip(("first", "second", "weight"), found, strict=True)
    }
    output = group.output(tuple(own.shape[axis] for axis in stored))
    emitted = group.builder.emit(workload, (tensor,), output, group.origin, constants)
    return group.done(emitted, stored)


def _table(
    group: Group, place: Place, own: OnnxCall, shape: tuple[int, ...], axis: int
) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Denominator, both neighbours of each output element, and the weight of the second."""
    size = shape[axis]
    real = np.clip(resize_coordinates(place, own, shape, axis), 0, size - 1).astype(np.float64)
    first = np.minimum(np.floor(real), size - 1).astype(np.int64)
    second = np.minimum(first + 1, size - 1)
    fraction = real - first
    for denominator in range(1, _LARGEST_DENOMINATOR):
        weight = np.rint(fraction * denominator)
        # What float32 coordinates are off by.
        if np.abs(fraction - weight / denominator).max() < 1e-6 * size:
            return denominator, first, second, weight
    raise group.unsupported(
        "has interpolation weights that are no small fractions", "resize by a simple ratio"
    )
