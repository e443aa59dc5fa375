"""TFLite operators that move elements and change none.

Source of the semantics: TFLite's `kernels/internal/reference/<operator>.h` and the schema. Every
rule is exact for any element type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import Value, element_type
from tinyaot.compiler.legalize.rearrange import concatenate, rearrange, strides_of
from tinyaot.compiler.legalize.tflite_call import TFLiteCall, by_type
from tinyaot.schedules.workload import Gather, Pad, ResizeBilinear

Indices = NDArray[np.int64]


def _picked(call: TFLiteCall, source: Tensor, indices: Sequence[Indices]) -> Value:
    """Output element (i0, i1, ...) is element (indices[0][i0], indices[1][i1], ...)."""
    strides = strides_of(source.shape)
    return _moved(
        call, source, [axis * stride for axis, stride in zip(indices, strides, strict=True)]
    )


def _moved(call: TFLiteCall, source: Tensor, places: Sequence[Indices]) -> Value:
    output = call.output()
    if math.prod(len(axis) for axis in places) != math.prod(output.shape):
        raise call.unsupported(
            f"declares an output of shape {list(output.shape)} that its operands contradict",
            "the file may be damaged",
        )
    return call.done(rearrange(call.context.builder, source, output, places, call.origin))


def _all(shape: Iterable[int]) -> list[Indices]:
    return [np.arange(size) for size in shape]


def _axis(call: TFLiteCall, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise call.unsupported(f"names axis {axis} of {rank}", "the file may be damaged")
    return axis % rank


def _inside(call: TFLiteCall, indices: Indices, size: int) -> Indices:
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        raise call.unsupported("reads beyond its input", "the file may be damaged")
    return indices


def slice_(call: TFLiteCall) -> Value:
    """SLICE: `size` elements from `begin` on; size -1 is all that is left."""
    source = call.tensor(0)
    begins, sizes = call.numbers(1), call.numbers(2)
    if not len(begins) == len(sizes) == len(source.shape):
        raise call.unsupported("does not slice every axis of its input", "the file may be damaged")
    indices = [
        _inside(call, begin + np.arange(extent - begin if size == -1 else size), extent)
        for begin, size, extent in zip(begins, sizes, source.shape, strict=True)
    ]
    return _picked(call, source, indices)


def strided_slice(call: TFLiteCall) -> Value:
    """STRIDED_SLICE with all masks; source: `strided_slice_logic.h`."""
    source = call.tensor(0)
    begins, ends, steps = (call.numbers(index) for index in (1, 2, 3))
    masks = {
        name: int(call.options[f"{name}Mask"])
        for name in ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
    }
    if not len(begins) == len(ends) == len(steps):
        raise call.unsupported("has operands of different sizes", "the file may be damaged")

    def marked(name: str, place: int) -> bool:
        return bool(masks[name] >> place & 1)

    ellipsis = next((p for p in range(len(begins)) if marked("Ellipsis", p)), len(begins))
    named = sum(not marked("NewAxis", place) for place in range(len(begins)) if place != ellipsis)
    skipped = len(source.shape) - named
    indices: list[Indices] = []
    for place in range(len(begins) + 1):
        axis = len(indices)
        if place == ellipsis:
            indices += _all(source.shape[axis : axis + skipped])
        if place == len(begins) or place == ellipsis or marked("NewAxis", place):
            continue
        if axis >= len(source.shape) or steps[place] == 0:
            raise call.unsupported("slices an axis that is not there", "the file may be damaged")
        extent = source.shape[axis]
        begin: int | None = begins[place]
        end: int | None = ends[place]
        if call.options.get("Offset"):
            end = begins[place] + ends[place]
        if marked("ShrinkAxis", place):
            first = begins[place] + (extent if begins[place] < 0 else 0)
            first = 0 if marked("Begin", place) and steps[place] > 0 else first
            indices.append(_inside(call, np.array([first]), extent))
            continue
        bounds = slice(
            None if marked("Begin", place) else begin,
            None if marked("End", place) else end,
            steps[place],
        )
        indices.append(np.arange(extent)[bounds])
    return _picked(call, source, indices)


def _part(call: TFLiteCall, source: Tensor, axis: int, begin: int, size: int) -> Value:
    indices = _all(source.shape)
    indices[axis] = _inside(call, begin + np.arange(size), source.shape[axis])
    return _picked(call, source, indices)


def split(call: TFLiteCall) -> Value:
    """SPLIT into equal parts along an axis."""
    source = call.tensor(1)
    axis = _axis(call, call.numbers(0)[0], len(source.shape))
    size = source.shape[axis] // int(call.options["NumSplits"])
    return _part(call, source, axis, call.place * size, size)


def split_v(call: TFLiteCall) -> Value:
    """SPLIT_V into parts of given sizes along an axis; one of them may be -1, the rest."""
    source, sizes = call.tensor(0), call.numbers(1)
    axis = _axis(call, call.numbers(2)[0], len(source.shape))
    rest = source.shape[axis] - sum(size for size in sizes if size >= 0)
    sizes = [rest if size == -1 else size for size in sizes]
    return _part(call, source, axis, sum(sizes[: call.place]), sizes[call.place])


def transpose(call: TFLiteCall) -> Value:
    """TRANSPOSE: bytes move when an operator asks for another order, not here."""
    source = call.value(0)
    axes = tuple(_axis(call, axis, len(source.stored)) for axis in call.numbers(1))
    if sorted(axes) != list(range(len(source.stored))):
        raise call.unsupported(f"has axes {axes}", "the file may be damaged")
    return call.context.builder.rename_axes(source, axes, call.origin)


def unpack(call: TFLiteCall) -> Value:
    """UNPACK: the entries of an axis, each without it."""
    source = call.tensor(0)
    axis = _axis(call, int(call.options["Axis"]), len(source.shape))
    return _part(call, source, axis, call.place, 1)


def pack(call: TFLiteCall) -> Value:
    """PACK: tensors of one shape along a new axis."""
    sources = [call.tensor(index) for index in range(call.input_count)]
    axis = _axis(call, int(call.options["Axis"]), len(sources[0].shape) + 1)
    return _joined(call, sources, axis)


def concatenation(call: TFLiteCall) -> Value:
    """CONCATENATION along an axis; as in TFLite Micro, of tensors quantized alike."""
    sources = [call.tensor(index) for index in range(call.input_count)]
    axis = _axis(call, int(call.options["Axis"]), len(sources[0].shape))
    output = call.output()
    if int(call.options["FusedActivationFunction"]) != 0:
        raise call.unsupported("has a fused activation", "TFLite Micro does not support it either")
    for index in range(call.input_count if output.scale is not None else 0):
        scale, zero_point = call.input_quantization(index)
        if (scale, zero_point) != (output.scale, output.zero_point):
            raise call.unsupported(
                "joins tensors of different scales",
                "quantize its inputs and output alike, as TFLite's converter does",
            )
    return _joined(call, sources, axis)


def _joined(call: TFLiteCall, sources: Sequence[Tensor], axis: int) -> Value:
    output = call.output()
    others = {(*source.shape[:axis], *source.shape[axis + 1 :]) for source in sources}
    total = sum(math.prod(source.shape) for source in sources)
    same_rank = len({len(source.shape) for source in sources}) == 1
    is_pack = len(output.shape) > len(sources[0].shape)
    if not same_rank or (len(others) > 1 and not is_pack) or total != math.prod(output.shape):
        raise call.unsupported("joins tensors that do not fit each other")
    return call.done(concatenate(call.context.builder, sources, output, axis, call.origin))


def pad(call: TFLiteCall) -> Value:
    """PAD with the real number 0, PADV2 with a quantized value."""
    source, output = call.tensor(0), call.output()
    value = output.zero_point
    if call.input_count > 2:
        known = call.constant(2)
        if known is None:
            raise call.unsupported("pads with a value computed at run time", "make it a constant")
        value = int(call.context.builder.known[call.tensor(2).name].reshape(-1)[0])
    pairs = _pairs(call, 1, len(source.shape))
    return call.done(_padded(call, source, pairs, value, output))


def _pairs(call: TFLiteCall, index: int, rank: int) -> list[tuple[int, int]]:
    numbers = call.numbers(index)
    pairs = [(first, second) for first, second in zip(numbers[::2], numbers[1::2], strict=True)]
    if len(pairs) != rank or min(numbers) < 0:
        raise call.unsupported("has amounts that do not fit its input", "the file may be damaged")
    return pairs


def _padded(
    call: TFLiteCall,
    source: Tensor,
    pairs: Sequence[tuple[int, int]],
    value: int,
    output: Tensor,
) -> Tensor:
    """Constant padding; axes that are not padded are joined with the one before them."""
    builder = call.context.builder
    if not any(map(any, pairs)):
        return builder.reshape(source, output.shape, call.origin, output)
    axes: list[tuple[int, tuple[int, int]]] = []
    for size, pair in zip(source.shape, pairs, strict=True):
        if axes and not any(pair):
            before, (first, last) = axes[-1]
            axes[-1] = (before * size, (first * size, last * size))
        else:
            axes.append((size, pair))
    if len(axes) > 6:
        raise call.unsupported("pads more than six axes")
    workload = Pad(
        tuple(size for size, _ in axes),
        tuple(size + sum(pair) for size, pair in axes),
        tuple(pair for _, pair in axes),
        value,
        element_type(source.dtype),
    )
    return builder.emit(workload, (source,), output, call.origin)


def mirror_pad(call: TFLiteCall) -> Value:
    """MIRROR_PAD; REFLECT leaves out the edge itself, SYMMETRIC repeats it."""
    source = call.tensor(0)
    symmetric = int(call.options["Mode"]) == 1
    indices = []
    for size, (before, after) in zip(source.shape, _pairs(call, 1, len(source.shape)), strict=True):
        if max(before, after) > size - (not symmetric):
            raise call.unsupported("mirrors more than there is", "pad less")
        there = np.arange(size)
        left = there[:before][::-1] if symmetric else there[1 : before + 1][::-1]
        right = there[::-1][:after] if symmetric else there[::-1][1 : after + 1]
        indices.append(np.concatenate([left, there, right]))
    return _picked(call, source, indices)


def space_to_batch_nd(call: TFLiteCall) -> Value:
    """SPACE_TO_BATCH_ND: pads, then moves places within each block to the batch.

    The padding is the quantized value 0 and not the zero point: TFLite Micro's
    `SpaceToBatchNDPrepare` leaves the value unset, in memory that is zero.
    """
    source, block = call.tensor(0), call.numbers(1)
    rank, spatial = len(source.shape), len(block)
    if min(block) < 1 or spatial + 1 > rank:
        raise call.unsupported(f"has blocks of {block}", "the file may be damaged")
    pairs = [(0, 0), *_pairs(call, 2, spatial), *[(0, 0)] * (rank - spatial - 1)]
    shape = tuple(size + sum(pair) for size, pair in zip(source.shape, pairs, strict=True))
    name = f"{call.name}_padded"
    padded = Tensor(name, shape, source.dtype, source.scale, source.zero_point)
    if any(map(any, pairs)):
        source = _padded(call, source, pairs, 0, padded)
    if any(size % step for size, step in zip(shape[1:], block, strict=False)):
        raise call.unsupported("has blocks that do not divide its input", "pad to whole blocks")
    strides = strides_of(shape)
    within = [np.arange(step) * stride for step, stride in zip(block, strides[1:], strict=False)]
    blocks = [
        np.arange(size // step) * step * stride
        for size, step, stride in zip(shape[1:], block, strides[1:], strict=False)
    ]
    rest = _all(shape)[spatial + 1 :]
    places = [*within, np.arange(shape[0]) * strides[0], *blocks]
    places += [axis * stride for axis, stride in zip(rest, strides[spatial + 1 :], strict=True)]
    return _moved(call, source, places)


def batch_to_space_nd(call: TFLiteCall) -> Value:
    """BATCH_TO_SPACE_ND: the batch holds the places within blocks; crops the result."""
    source, block = call.tensor(0), call.numbers(1)
    spatial, shape = len(block), source.shape
    if min(block) < 1 or spatial + 1 > len(shape) or shape[0] % math.prod(block):
        raise call.unsupported(f"has blocks of {block}", "the file may be damaged")
    batch = shape[0] // math.prod(block)
    crops = _pairs(call, 2, spatial)
    strides = strides_of(shape)
    place_strides = [stride * batch * strides[0] for stride in strides_of(block)]
    places = [np.arange(batch) * strides[0]]
    for axis, (first, last) in enumerate(crops):
        target = np.arange(first, shape[axis + 1] * block[axis] - last)
        inside = target % block[axis] * place_strides[axis]
        places.append(inside + target // block[axis] * strides[axis + 1])
    rest = _all(shape)[spatial + 1 :]
    places += [axis * stride for axis, stride in zip(rest, strides[spatial + 1 :], strict=True)]
    if not all(len(axis) for axis in places):
        raise call.unsupported("crops all of its input", "crop less")
    return _moved(call, source, places)


def space_to_depth(call: TFLiteCall) -> Value:
    """SPACE_TO_DEPTH: every block of places becomes channels."""
    source, block = call.tensor(0), int(call.options["BlockSize"])
    batch, height, width, channels = _image(call, source)
    if block < 1 or height % block or width % block:
        raise call.unsupported(f"has blocks of {block} that do not divide its input")
    n, y, x, c = strides_of(source.shape)
    sizes = (batch, height // block, width // block, block, block, channels)
    return _moved(call, source, _regular(sizes, (n, block * y, block * x, y, x, c)))


def depth_to_space(call: TFLiteCall) -> Value:
    """DEPTH_TO_SPACE: channels become every block of places."""
    source, block = call.tensor(0), int(call.options["BlockSize"])
    batch, height, width, channels = _image(call, source)
    if block < 1 or channels % (block * block):
        raise call.unsupported(f"has blocks of {block} that do not divide its channels")
    n, y, x, c = strides_of(source.shape)
    depth = channels // (block * block)
    sizes = (batch, height, block, width, block, depth)
    return _moved(call, source, _regular(sizes, (n, y, block * depth, x, depth, c)))


def _regular(sizes: Sequence[int], strides: Sequence[int]) -> list[Indices]:
    return [np.arange(size) * stride for size, stride in zip(sizes, strides, strict=True)]


def _image(call: TFLiteCall, source: Tensor) -> tuple[int, ...]:
    if len(source.shape) != 4:
        raise call.unsupported(f"has an input of shape {list(source.shape)}", "use NHWC images")
    return source.shape


def resize_nearest_neighbor(call: TFLiteCall) -> Value:
    """RESIZE_NEAREST_NEIGHBOR; source: `GetNearestNeighbor`, in float32 as there."""
    source, output = call.tensor(0), call.output()
    indices = _all(_image(call, source))
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
    return _picked(call, source, indices)


def gather(call: TFLiteCall) -> Value:
    """GATHER of entries of an axis."""
    source, known = call.tensor(0), call.constant(1)
    axis = _axis(call, int(call.options["Axis"]), len(source.shape))
    if known is None or int(call.options["BatchDims"]) != 0:
        return _gather_computed(call, source, axis)
    indices = _all(source.shape)
    indices[axis] = _inside(call, known.reshape(-1).astype(np.int64), source.shape[axis])
    return _picked(call, source, indices)


def _gather_computed(call: TFLiteCall, source: Tensor, axis: int) -> Value:
    """Indices out of range, of which TFLite says nothing, are taken as the nearest ones."""
    places, batch = call.tensor(1), int(call.options["BatchDims"])
    batch += len(places.shape) if batch < 0 else 0
    if not 0 <= batch <= min(axis, len(places.shape)):
        raise call.unsupported(f"gathers with {batch} batch axes", "the file may be damaged")
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
    """RESIZE_BILINEAR of int8; source: `ResizeBilinearInteger`."""
    source, output = call.tensor(0), call.output()
    shape = _image(call, source)
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
    workload = ResizeBilinear(shape, output.shape)  # type: ignore[arg-type]
    return call.emit(workload, (source,), constants)


def gather_nd(call: TFLiteCall) -> Value:
    """GATHER_ND by constant indices, each of which names one entry of the first axes."""
    source, known = call.tensor(0), call.constant(1)
    if known is None:
        raise call.unsupported("gathers by indices that are computed", "make them constants")
    depth = known.shape[-1]
    if depth > len(source.shape):
        raise call.unsupported("names more axes than its input has", "the file may be damaged")
    strides = strides_of(source.shape)
    rows = known.reshape(-1, depth).astype(np.int64)
    for axis in range(depth):
        _inside(call, rows[:, axis], source.shape[axis])
    block = math.prod(source.shape[depth:])
    places = [rows @ np.array(strides[:depth], np.int64), np.arange(block)]
    return _moved(call, source, places)


def broadcast_to(call: TFLiteCall) -> Value:
    """BROADCAST_TO a larger shape, as numpy does."""
    source, output = call.tensor(0), call.output()
    missing = len(output.shape) - len(source.shape)
    shape = (1,) * missing + source.shape
    strides = strides_of(shape)
    places = []
    for size, target, stride in zip(shape, output.shape, strides, strict=True):
        if size not in (1, target):
            raise call.unsupported(f"cannot broadcast {source.shape} to {output.shape}")
        places.append(np.arange(target) * (stride if size > 1 else 0))
    return _moved(call, source, places)


def tile(call: TFLiteCall) -> Value:
    """TILE: repeats along every axis."""
    source = call.tensor(0)
    indices = [
        np.tile(np.arange(size), count)
        for size, count in zip(source.shape, call.numbers(1), strict=True)
    ]
    return _picked(call, source, indices)


def reverse_v2(call: TFLiteCall) -> Value:
    """REVERSE_V2 along some axes."""
    source = call.tensor(0)
    indices = _all(source.shape)
    for axis in call.numbers(1):
        indices[_axis(call, axis, len(source.shape))] = indices[
            _axis(call, axis, len(source.shape))
        ][::-1]
    return _picked(call, source, indices)


def read_variable(call: TFLiteCall) -> Value:
    """READ_VARIABLE: a copy, as the variable may be written while its old value is still used."""
    state, output = call.state(0), call.output()
    if math.prod(state.shape) != math.prod(output.shape):
        raise call.unsupported("reads a variable of another shape", "the file may be damaged")
    return call.done(call.context.builder.copy(state, output, call.origin))


def assign_variable(call: TFLiteCall) -> Value:
    """ASSIGN_VARIABLE."""
    state, source = call.state(0), call.tensor(1)
    if (math.prod(state.shape), state.dtype) != (math.prod(source.shape), source.dtype):
        raise call.unsupported("assigns a value of another shape", "the file may be damaged")
    call.context.builder.assign(state, source, call.origin)
    return call.done(source)


def fill(call: TFLiteCall) -> Value:
    """FILL: one value everywhere."""
    source = call.tensor(1)
    return _moved(call, source, [np.zeros(math.prod(call.output().shape), np.int64)])


def _known(call: TFLiteCall, values: NDArray[np.generic]) -> Value:
    output = call.output()
    array = np.broadcast_to(values, output.shape).astype(output.dtype)
    return call.done(call.context.builder.constant(array, output, call.origin))


def zeros_like(call: TFLiteCall) -> Value:
    """ZEROS_LIKE: elements 0, whatever the zero point is."""
    return _known(call, np.array(0))


def shape(call: TFLiteCall) -> Value:
    """SHAPE of a tensor, which is static."""
    return _known(call, np.array(call.input_shapes[0], np.int64))


def rank(call: TFLiteCall) -> Value:
    """RANK of a tensor."""
    return _known(call, np.array(len(call.input_shapes[0])))


RULES: dict[str, Callable[[TFLiteCall], Value]] = {
    "ASSIGN_VARIABLE": assign_variable,
    "BATCH_TO_SPACE_ND": batch_to_space_nd,
    "BROADCAST_TO": broadcast_to,
    "CONCATENATION": concatenation,
    "DEPTH_TO_SPACE": depth_to_space,
    "FILL": fill,
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "MIRROR_PAD": mirror_pad,
    "PACK": pack,
    "PAD": pad,
    "PADV2": pad,
    "RANK": rank,
    "READ_VARIABLE": read_variable,
    "RESIZE_BILINEAR": by_type(int8=resize_bilinear),
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest_neighbor,
    "REVERSE_V2": reverse_v2,
    "SHAPE": shape,
    "SLICE": slice_,
    "SPACE_TO_BATCH_ND": space_to_batch_nd,
    "SPACE_TO_DEPTH": space_to_depth,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "STRIDED_SLICE": strided_slice,
    "TILE": tile,
    "TRANSPOSE": transpose,
    "UNPACK": unpack,
    "ZEROS_LIKE": zeros_like,
}
