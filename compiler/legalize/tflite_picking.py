"""TFLite operators that pick elements or rows by index, or blend neighbours.

Source of the semantics: TFLite's `kernels/internal/reference/{gather,resize_*}.h` and TFLite
Micro's `gather_nd.cc`.
"""

from __future__ import annotations

import math

import numpy as np

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import Value, element_type
from tinyaot.compiler.legalize.rearrange import strides_of
from tinyaot.compiler.legalize.tflite_call import Rule, TFLiteCall, by_type
from tinyaot.compiler.legalize.tflite_movement import (
    axis_of,
    image_shape,
    inside,
    moved,
    picked,
    whole,
)
from tinyaot.schedules.workload import Gather, GatherNd, ResizeBilinear

DAMAGED = "the file may be damaged"

_MOST_INDEXED_AXES = 6


def resize_nearest_neighbor(call: TFLiteCall) -> Value:
    """RESIZE_NEAREST_NEIGHBOR; source: `GetNearestNeighbor`, in float32 as there."""
    source, output = call.tensor(0), call.output()
    indices = whole(image_shape(call, source))
    corners, centers = bool(call.options["AlignCorners"]), bool(call.options["HalfPixelCenters"])
    for axis in (1, 2):
        size, target = source.shape[axis], output.shape[axis]
        spread = corners and target > 1
        factor = np.float32(size - spread) / np.float32(target - spread)
        offset = np.float32(0.5 if centers else 0.0)
        scaled = (np.arange(target, dtype=np.float32) + offset) * factor
        nearest = np.floor(scaled)
        if corners:
            # Rounds halves up; adding a half first would round twice.
            nearest += scaled - nearest >= np.float32(0.5)
        indices[axis] = np.clip(nearest, 0, size - 1).astype(np.int64)
    return picked(call, source, indices)


def gather(call: TFLiteCall) -> Value:
    """GATHER of entries of an axis."""
    source, known = call.tensor(0), call.constant(1)
    axis = axis_of(call, int(call.options["Axis"]), len(source.shape))
    if known is None or int(call.options["BatchDims"]) != 0:
        return _gather_computed(call, source, axis)
    indices = whole(source.shape)
    indices[axis] = inside(call, known.reshape(-1).astype(np.int64), source.shape[axis])
    return picked(call, source, indices)


def _gather_computed(call: TFLiteCall, source: Tensor, axis: int) -> Value:
    """Indices out of range, of which TFLite says nothing, are taken as the nearest ones."""
    places, batch = call.tensor(1), int(call.options["BatchDims"])
    batch += len(places.shape) if batch < 0 else 0
    if not 0 <= batch <= min(axis, len(places.shape)):
        raise call.unsupported(f"gathers with {batch} batch axes", DAMAGED)
    if places.dtype not in ("int8", "int16", "int32"):
        raise call.unsupported(f"gathers by indices of type {places.dtype}", "use int32")
    outer = math.prod(source.shape[:axis])
    if batch and math.prod(source.shape[:batch]) != outer:
        raise call.unsupported("gathers behind the batch axes", "gather the first axis after them")
    workload = Gather(
        dtype=element_type(source.dtype),
        index_dtype=places.dtype,
        outer=outer,
        size=source.shape[axis],
        inner=math.prod(source.shape[axis + 1 :]),
        count=math.prod(places.shape[batch:]),
        batched=batch > 0,
    )
    return call.emit(workload, (source, places))


def resize_bilinear(call: TFLiteCall) -> Value:
    """RESIZE_BILINEAR of int8 or int16; source: `ResizeBilinearInteger`."""
    source, output = call.tensor(0), call.output()
    shape = image_shape(call, source)
    corners, centers = bool(call.options["AlignCorners"]), bool(call.options["HalfPixelCenters"])
    constants = {}
    for axis, name in ((1, "row"), (2, "column")):
        size, target = shape[axis], output.shape[axis]
        step = (1024 * size + target // 2) // target
        if corners and target > 1:
            step = (1024 * (size - 1) + (target - 1) // 2) // (target - 1)
        place = np.arange(target) * step + (step // 2 - 512 if centers else 0)
        low = np.maximum(np.trunc(place / 1024).astype(np.int64), 0)
        high = np.minimum(np.trunc((place + 1023) / 1024).astype(np.int64), size - 1)
        low = np.minimum(low, size - 1)
        constants[f"{name}_low"] = low.astype(np.int32)
        constants[f"{name}_high"] = high.astype(np.int32)
        constants[f"{name}_part"] = (place - 1024 * low).astype(np.int32)
    workload = ResizeBilinear(shape, output.shape, source.dtype)  # type: ignore[arg-type]
    return call.emit(workload, (source,), constants)


def gather_nd(call: TFLiteCall) -> Value:
    """GATHER_ND by indices each of which names one entry of the first axes."""
    source, known, shape = call.tensor(0), call.constant(1), call.input_shapes[1]
    depth = shape[-1] if shape else 0
    if not 0 < depth <= len(source.shape):
        raise call.unsupported("names more axes than its input has", DAMAGED)
    if known is None:
        return _gather_nd_computed(call, source, depth)
    strides = strides_of(source.shape)
    rows = known.reshape(-1, depth).astype(np.int64)
    for axis in range(depth):
        inside(call, rows[:, axis], source.shape[axis])
    block = math.prod(source.shape[depth:])
    places = [rows @ np.array(strides[:depth], np.int64), np.arange(block)]
    return moved(call, source, places)


def _gather_nd_computed(call: TFLiteCall, source: Tensor, depth: int) -> Value:
    """Indices out of range, at which TFLite Micro stops, are taken as the nearest ones."""
    places = call.tensor(1)
    count, block = math.prod(places.shape[:-1]), math.prod(source.shape[depth:])
    if places.dtype != "int32" or depth > _MOST_INDEXED_AXES:
        raise call.unsupported(
            f"gathers by {depth} indices of type {places.dtype}",
            f"use int32, and at most {_MOST_INDEXED_AXES}",
        )
    if count * block != math.prod(call.output().shape):
        raise call.unsupported("declares an output that its indices contradict", DAMAGED)
    workload = GatherNd(element_type(source.dtype), source.shape[:depth], block, count)
    return call.emit(workload, (source, places))


RULES: dict[str, Rule] = {
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "RESIZE_BILINEAR": by_type(int8=resize_bilinear, int16=resize_bilinear),
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest_neighbor,
}
