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
from tinyaot.compiler.legalize.tflite_call import TFLiteCall
from tinyaot.schedules.workload import Pad

Indices = NDArray[np.int64]


def picked(call: TFLiteCall, source: Tensor, indices: Sequence[Indices]) -> Value:
    """Output element (i0, i1, ...) is element (indices[0][i0], indices[1][i1], ...)."""
    strides = strides_of(source.shape)
    return moved(
        call, source, [axis * stride for axis, stride in zip(indices, strides, strict=True)]
    )


def moved(call: TFLiteCall, source: Tensor, places: Sequence[Indices]) -> Value:
    """Output element (i0, i1, ...) is the one at the sum of places[k][ik] in flat order."""
    output = call.output()
    if math.prod(len(axis) for axis in places) != math.prod(output.shape):
        raise call.unsupported(
            f"declares an output of shape {list(output.shape)} that its operands contradict",
            "the file may be damaged",
        )
    return call.done(rearrange(call.context.builder, source, output, places, call.origin))


def whole(shape: Iterable[int]) -> list[Indices]:
    """All indices of every axis."""
    return [np.arange(size) for size in shape]


def axis_of(call: TFLiteCall, axis: int, rank: int) -> int:
    """An axis that may be counted from the end."""
    if not -rank <= axis < rank:
        raise call.unsupported(f"names axis {axis} of {rank}", "the file may be damaged")
    return axis % rank


def inside(call: TFLiteCall, indices: Indices, size: int) -> Indices:
    """The indices, which must be those of an axis of a size."""
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
        inside(call, begin + np.arange(extent - begin if size == -1 else size), extent)
        for begin, size, extent in zip(begins, sizes, source.shape, strict=True)
    ]
    return picked(call, source, indices)


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
            indices += whole(source.shape[axis : axis + skipped])
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
            indices.append(inside(call, np.array([first]), extent))
            continue
        bounds = slice(
            None if marked("Begin", place) else begin,
            None if marked("End", place) else end,
            steps[place],
        )
        indices.append(np.arange(extent)[bounds])
    return picked(call, source, indices)


def _part(call: TFLiteCall, source: Tensor, axis: int, begin: int, size: int) -> Value:
    indices = whole(source.shape)
    indices[axis] = inside(call, begin + np.arange(size), source.shape[axis])
    return picked(call, source, indices)


def split(call: TFLiteCall) -> Value:
    """SPLIT into equal parts along an axis."""
    source = call.tensor(1)
    axis = axis_of(call, call.numbers(0)[0], len(source.shape))
    size = source.shape[axis] // int(call.options["NumSplits"])
    return _part(call, source, axis, call.place * size, size)


def split_v(call: TFLiteCall) -> Value:
    """SPLIT_V into parts of given sizes along an axis; one of them may be -1, the rest."""
    source, sizes = call.tensor(0), call.numbers(1)
    axis = axis_of(call, call.numbers(2)[0], len(source.shape))
    rest = source.shape[axis] - sum(size for size in sizes if size >= 0)
    sizes = [rest if size == -1 else size for size in sizes]
    return _part(call, source, axis, sum(sizes[: call.place]), sizes[call.place])


def transpose(call: TFLiteCall) -> Value:
    """TRANSPOSE: bytes move when an operator asks for another order, not here."""
    source = call.value(0)
    axes = tuple(axis_of(call, axis, len(source.stored)) for axis in call.numbers(1))
    if sorted(axes) != list(range(len(source.stored))):
        raise call.unsupported(f"has axes {axes}", "the file may be damaged")
    return call.context.builder.rename_axes(source, axes, call.origin)


def unpack(call: TFLiteCall) -> Value:
    """UNPACK: the entries of an axis, each without it."""
    source = call.tensor(0)
    axis = axis_of(call, int(call.options["Axis"]), len(source.shape))
    return _part(call, source, axis, call.place, 1)


def pack(call: TFLiteCall) -> Value:
    """PACK: tensors of one shape along a new axis."""
    sources = [call.tensor(index) for index in range(call.input_count)]
    axis = axis_of(call, int(call.options["Axis"]), len(sources[0].shape) + 1)
    return _joined(call, sources, axis)


def concatenation(call: TFLiteCall) -> Value:
    """CONCATENATION along an axis; as in TFLite Micro, of tensors quantized alike."""
    sources = [call.tensor(index) for index in range(call.input_count)]
    axis = axis_of(call, int(call.options["Axis"]), len(sources[0].shape))
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
    return picked(call, source, indices)


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
    rest = whole(shape)[spatial + 1 :]
    places = [*within, np.arange(shape[0]) * strides[0], *blocks]
    places += [axis * stride for axis, stride in zip(rest, strides[spatial + 1 :], strict=True)]
    return moved(call, source, places)


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
    rest = whole(shape)[spatial + 1 :]
    places += [axis * stride for axis, stride in zip(rest, strides[spatial + 1 :], strict=True)]
    if not all(len(axis) for axis in places):
        raise call.unsupported("crops all of its input", "crop less")
    return moved(call, source, places)


def space_to_depth(call: TFLiteCall) -> Value:
    """SPACE_TO_DEPTH: every block of places becomes channels."""
    source, block = call.tensor(0), int(call.options["BlockSize"])
    batch, height, width, channels = image_shape(call, source)
    if block < 1 or height % block or width % block:
        raise call.unsupported(f"has blocks of {block} that do not divide its input")
    n, y, x, c = strides_of(source.shape)
    sizes = (batch, height // block, width // block, block, block, channels)
    return moved(call, source, _regular(sizes, (n, block * y, block * x, y, x, c)))


def depth_to_space(call: TFLiteCall) -> Value:
    """DEPTH_TO_SPACE: channels become every block of places."""
    source, block = call.tensor(0), int(call.options["BlockSize"])
    batch, height, width, channels = image_shape(call, source)
    if block < 1 or channels % (block * block):
        raise call.unsupported(f"has blocks of {block} that do not divide its channels")
    n, y, x, c = strides_of(source.shape)
    depth = channels // (block * block)
    sizes = (batch, height, block, width, block, depth)
    return moved(call, source, _regular(sizes, (n, y, block * depth, x, depth, c)))


def _regular(sizes: Sequence[int], strides: Sequence[int]) -> list[Indices]:
    return [np.arange(size) * stride for size, stride in zip(sizes, strides, strict=True)]


def image_shape(call: TFLiteCall, source: Tensor) -> tuple[int, ...]:
    """The shape of an input, which must be NHWC."""
    if len(source.shape) != 4:
        raise call.unsupported(f"has an input of shape {list(source.shape)}", "use NHWC images")
    return source.shape


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
    return moved(call, source, places)


def tile(call: TFLiteCall) -> Value:
    """TILE: repeats along every axis."""
    source = call.tensor(0)
    indices = [
        np.tile(np.arange(size), count)
        for size, count in zip(source.shape, call.numbers(1), strict=True)
    ]
    return picked(call, source, indices)


def reverse_v2(call: TFLiteCall) -> Value:
    """REVERSE_V2 along some axes."""
    source = call.tensor(0)
    indices = whole(source.shape)
    for axis in call.numbers(1):
        indices[axis_of(call, axis, len(source.shape))] = indices[
            axis_of(call, axis, len(source.shape))
        ][::-1]
    return picked(call, source, indices)


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
    return moved(call, source, [np.zeros(math.prod(call.output().shape), np.int64)])


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
    "MIRROR_PAD": mirror_pad,
    "PACK": pack,
    "PAD": pad,
    "PADV2": pad,
    "RANK": rank,
    "READ_VARIABLE": read_variable,
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
