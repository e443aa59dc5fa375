"""Operators that move elements compute what TFLite Micro computes, for every element type.

Each test is one model of many independent cases, as in `test_operators.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from operator_cases import differing_cases, scale, zero_point
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.compiler.reference import evaluate
from tinyaot.targets import TinyaotError

Rng = np.random.Generator
Case = Callable[[TFLiteBuilder, Rng, str], list[Tensor]]

CASES = 6
DTYPES = ("int8", "int16", "int32", "bool")


def tensor(b: TFLiteBuilder, rng: Rng, dtype: str, *shape: int) -> Tensor:
    if dtype == "int8":
        return b.input(shape, scale(rng), zero_point(rng))
    return b.input(shape, scale(rng) if dtype == "int16" else None, 0, dtype)


def sizes(rng: Rng, rank: int, largest: int = 6) -> list[int]:
    return [int(size) for size in rng.integers(1, largest + 1, rank)]


def random_tensor(
    b: TFLiteBuilder, rng: Rng, dtype: str, ranks: tuple[int, ...] = (1, 2, 3, 4, 5)
) -> Tensor:
    return tensor(b, rng, dtype, *sizes(rng, int(rng.choice(ranks))))


def integers(b: TFLiteBuilder, values: Any) -> Tensor:
    return b.constant(np.array(values, np.int32))


def like(x: Tensor) -> dict[str, Any]:
    """Arguments that give an output the type and quantization of x."""
    return {"dtype": x.dtype, **(x.quantization if x.scales else {})}


def slice_(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype)
    begins = [int(rng.integers(0, size)) for size in x.shape]
    extents = [int(rng.integers(1, s - f + 1)) for s, f in zip(x.shape, begins, strict=True)]
    declared = [
        -1 if size == first + extent and rng.random() < 0.5 else extent
        for size, first, extent in zip(x.shape, begins, extents, strict=True)
    ]
    operands = [x, integers(b, begins), integers(b, declared)]
    return [b.operator("SLICE", operands, extents, **like(x), options="SliceOptions")]


def strided_slice(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    """Negative strides, ends beyond the axis, begin, end and shrink masks."""
    x = random_tensor(b, rng, dtype, (1, 2, 3, 4))
    masks = [int(rng.integers(0, 2 ** len(x.shape))) for _ in range(3)]
    begin_mask, end_mask, shrink_mask = masks
    shape, operands = [], []
    for axis, size in enumerate(x.shape):
        step = int(rng.choice([1, 1, 2, 3, -1, -2]))
        picked: list[int] = []
        if shrink_mask >> axis & 1:
            begin_mask &= ~(1 << axis)
            first = int(rng.integers(-size, size))
            operands.append((first, first + 1, 1))
            continue
        while not picked:
            first, last = (int(place) for place in rng.integers(-size - 2, size + 3, 2))
            bounds = slice(
                None if begin_mask >> axis & 1 else first,
                None if end_mask >> axis & 1 else last,
                step,
            )
            picked = list(range(size))[bounds]
        shape.append(len(picked))
        operands.append((first, last, step))
    columns = [integers(b, column) for column in zip(*operands, strict=True)]
    return [
        b.operator(
            "STRIDED_SLICE",
            [x, *columns],
            shape,
            **like(x),
            options="StridedSliceOptions",
            BeginMask=begin_mask,
            EndMask=end_mask,
            ShrinkAxisMask=shrink_mask,
        )
    ]


def split(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    shape = sizes(rng, int(rng.integers(1, 5)))
    axis, count = int(rng.integers(len(shape))), int(rng.integers(1, 4))
    part = list(shape)
    shape[axis] *= count
    x = tensor(b, rng, dtype, *shape)
    place = integers(b, axis - len(shape) if rng.random() < 0.5 else axis)
    return b.operators(
        "SPLIT", [place, x], [part] * count, **like(x), options="SplitOptions", NumSplits=count
    )


def split_v(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    shape = sizes(rng, int(rng.integers(1, 5)))
    axis, parts = int(rng.integers(len(shape))), sizes(rng, int(rng.integers(1, 4)))
    shapes = [[*shape[:axis], part, *shape[axis + 1 :]] for part in parts]
    shape[axis] = sum(parts)
    x = tensor(b, rng, dtype, *shape)
    operands = [x, integers(b, parts), integers(b, axis)]
    return b.operators(
        "SPLIT_V", operands, shapes, **like(x), options="SplitVOptions", NumSplits=len(parts)
    )


def concatenation(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    shape = sizes(rng, int(rng.integers(1, 5)))
    axis, count = int(rng.integers(len(shape))), int(rng.integers(1, 5))
    inputs: list[Tensor] = []
    for _ in range(count):
        shape[axis] = int(rng.integers(1, 12))
        quantization = inputs[0].quantization if inputs and inputs[0].scales else None
        if quantization is None:
            inputs.append(tensor(b, rng, dtype, *shape))
        else:
            inputs.append(b.input(tuple(shape), dtype=dtype, **quantization))
    shape[axis] = sum(x.shape[axis] for x in inputs)
    return [
        b.operator(
            "CONCATENATION",
            inputs,
            shape,
            **like(inputs[0]),
            options="ConcatenationOptions",
            Axis=axis - len(shape) if rng.random() < 0.5 else axis,
        )
    ]


def pack(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (1, 2, 3))
    count, axis = int(rng.integers(1, 4)), int(rng.integers(len(x.shape) + 1))
    inputs = [x]
    for _ in range(count - 1):
        inputs.append(b.input(x.shape, **like(x)))
    shape = [*x.shape[:axis], count, *x.shape[axis:]]
    return [
        b.operator(
            *("PACK", inputs, shape),
            **like(x),
            options="PackOptions",
            ValuesCount=count,
            Axis=axis,
        )
    ]


def unpack(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (2, 3, 4))
    axis = int(rng.integers(len(x.shape)))
    shapes = [[*x.shape[:axis], *x.shape[axis + 1 :]]] * x.shape[axis]
    return b.operators(
        "UNPACK", [x], shapes, **like(x), options="UnpackOptions", Num=x.shape[axis], Axis=axis
    )


def gather(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (1, 2, 3, 4))
    axis = int(rng.integers(len(x.shape)))
    indices = rng.integers(0, x.shape[axis], sizes(rng, int(rng.integers(1, 3))), np.int32)
    shape = [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]
    return [
        b.operator(
            *("GATHER", [x, b.constant(indices)], shape),
            **like(x),
            options="GatherOptions",
            Axis=axis,
        )
    ]


def gather_nd(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (2, 3, 4))
    depth, rows = int(rng.integers(1, len(x.shape) + 1)), int(rng.integers(1, 6))
    columns = [rng.integers(0, size, rows) for size in x.shape[:depth]]
    indices = b.constant(np.stack(columns, axis=1).astype(np.int32))
    shape = [rows, *x.shape[depth:]]
    return [b.operator("GATHER_ND", [x, indices], shape, **like(x), options="GatherNdOptions")]


def mirror_pad(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = tensor(b, rng, dtype, *(size + 1 for size in sizes(rng, int(rng.integers(1, 5)))))
    symmetric = bool(rng.random() < 0.5)
    pairs = [[int(n) for n in rng.integers(0, size + symmetric, 2)] for size in x.shape]
    shape = [size + sum(pair) for size, pair in zip(x.shape, pairs, strict=True)]
    return [
        b.operator(
            *("MIRROR_PAD", [x, integers(b, pairs)], shape),
            **like(x),
            options="MirrorPadOptions",
            Mode=int(symmetric),
        )
    ]


def pad(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (1, 2, 3, 4))
    pairs = [[int(n) for n in rng.integers(0, 4, 2)] for _ in x.shape]
    shape = [size + sum(pair) for size, pair in zip(x.shape, pairs, strict=True)]
    operands = [x, integers(b, pairs)]
    if rng.random() < 0.5:
        return [b.operator("PAD", operands, shape, **like(x), options="PadOptions")]
    info = np.iinfo(dtype)
    value = rng.integers(info.min, info.max, 1, dtype, endpoint=True)
    operands.append(b.constant(value, x.scales, x.zero_point))
    return [b.operator("PADV2", operands, shape, **like(x), options="PadV2Options")]


def transpose(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype)
    axes = [int(axis) for axis in rng.permutation(len(x.shape))]
    shape = [x.shape[axis] for axis in axes]
    operands = [x, integers(b, axes)]
    return [b.operator("TRANSPOSE", operands, shape, **like(x), options="TransposeOptions")]


def space_to_batch_nd(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    spatial = 2
    block = [int(size) for size in rng.integers(1, 4, spatial)]
    x = random_tensor(b, rng, dtype, (spatial + 2,))
    pairs = []
    for size, step in zip(x.shape[1:], block, strict=False):
        first = int(rng.integers(0, 3))
        pairs.append([first, -(size + first) % step])
    inner = [
        (size + sum(pair)) // step
        for size, pair, step in zip(x.shape[1:], pairs, block, strict=False)
    ]
    shape = [x.shape[0] * int(np.prod(block)), *inner, *x.shape[spatial + 1 :]]
    operands = [x, integers(b, block), integers(b, pairs)]
    return [
        b.operator("SPACE_TO_BATCH_ND", operands, shape, **like(x), options="SpaceToBatchNDOptions")
    ]


def batch_to_space_nd(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    spatial = 2
    block = [int(size) for size in rng.integers(1, 4, spatial)]
    batch, *rest = sizes(rng, spatial + 2, 4)
    x = tensor(b, rng, dtype, batch * int(np.prod(block)), *rest)
    crops = []
    for size, step in zip(rest, block, strict=False):
        first = int(rng.integers(0, size * step))
        crops.append([first, int(rng.integers(0, size * step - first))])
    inner = [size * step - sum(pair) for size, step, pair in zip(rest, block, crops, strict=False)]
    shape = [batch, *inner, *rest[spatial:]]
    operands = [x, integers(b, block), integers(b, crops)]
    return [
        b.operator("BATCH_TO_SPACE_ND", operands, shape, **like(x), options="BatchToSpaceNDOptions")
    ]


def space_to_depth(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    block = int(rng.integers(1, 4))
    batch, height, width, depth = sizes(rng, 4, 4)
    x = tensor(b, rng, dtype, batch, height * block, width * block, depth)
    shape = (batch, height, width, depth * block * block)
    fields = {"options": "SpaceToDepthOptions", "BlockSize": block}
    return [b.operator("SPACE_TO_DEPTH", [x], shape, **like(x), **fields)]


def depth_to_space(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    block = int(rng.integers(1, 4))
    batch, height, width, depth = sizes(rng, 4, 4)
    x = tensor(b, rng, dtype, batch, height, width, depth * block * block)
    shape = (batch, height * block, width * block, depth)
    fields = {"options": "DepthToSpaceOptions", "BlockSize": block}
    return [b.operator("DEPTH_TO_SPACE", [x], shape, **like(x), **fields)]


def resize_nearest_neighbor(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (4,))
    target = sizes(rng, 2, 15)
    corners = bool(rng.random() < 0.4)
    return [
        b.operator(
            *("RESIZE_NEAREST_NEIGHBOR", [x, integers(b, target)]),
            (x.shape[0], *target, x.shape[3]),
            **like(x),
            options="ResizeNearestNeighborOptions",
            AlignCorners=corners,
            HalfPixelCenters=not corners and bool(rng.random() < 0.5),
        )
    ]


def resize_bilinear(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (4,))
    target = sizes(rng, 2, 15)
    corners = bool(rng.random() < 0.4)
    return [
        b.operator(
            *("RESIZE_BILINEAR", [x, integers(b, target)]),
            (x.shape[0], *target, x.shape[3]),
            **like(x),
            options="ResizeBilinearOptions",
            AlignCorners=corners,
            HalfPixelCenters=not corners and bool(rng.random() < 0.5),
        )
    ]


def broadcast_to(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    shape = sizes(rng, int(rng.integers(1, 6)), 4)
    kept = shape[int(rng.integers(len(shape))) :]
    source = [1 if rng.random() < 0.4 else size for size in kept]
    x = tensor(b, rng, dtype, *source)
    return [
        b.operator(
            *("BROADCAST_TO", [x, integers(b, shape)], shape),
            **like(x),
            options="BroadcastToOptions",
        )
    ]


def reverse_v2(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (1, 2, 3, 4))
    first = int(rng.integers(len(x.shape)))
    axes = list(range(first, int(rng.integers(first + 1, len(x.shape) + 1))))
    operands = [x, integers(b, axes)]
    return [b.operator("REVERSE_V2", operands, x.shape, **like(x), options="ReverseV2Options")]


def expand_dims(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    x = random_tensor(b, rng, dtype, (1, 2, 3))
    axis = int(rng.integers(len(x.shape) + 1))
    shape = [*x.shape[:axis], 1, *x.shape[axis:]]
    operands = [x, integers(b, [axis])]
    return [b.operator("EXPAND_DIMS", operands, shape, **like(x), options="ExpandDimsOptions")]


def squeeze(b: TFLiteBuilder, rng: Rng, dtype: str) -> list[Tensor]:
    height, width = sizes(rng, 2)
    x = tensor(b, rng, dtype, 1, height, 1, width)
    fields = {"options": "SqueezeOptions", "SqueezeDims": (0, 2)}
    return [b.operator("SQUEEZE", [x], (height, width), **like(x), **fields)]


OPERATORS: tuple[Case, ...] = (
    slice_,
    strided_slice,
    split,
    split_v,
    concatenation,
    pack,
    unpack,
    gather,
    gather_nd,
    mirror_pad,
    pad,
    transpose,
    space_to_batch_nd,
    batch_to_space_nd,
    space_to_depth,
    depth_to_space,
    resize_nearest_neighbor,
    resize_bilinear,
    broadcast_to,
    reverse_v2,
    expand_dims,
    squeeze,
)


def write(path: Path, rng: Rng, cases: list[tuple[Case, str]]) -> Path:
    b = TFLiteBuilder()
    for case, dtype in cases:
        for one in case(b, rng, dtype):
            b.output(one)
    path.write_bytes(b.build())
    return path


# What TFLite Micro has no kernel for is compiled all the same.
def has_reference(case: Case, dtype: str) -> bool:
    others = {
        "int16": {gather, gather_nd, mirror_pad, resize_bilinear},
        "int32": {gather, gather_nd, mirror_pad, transpose, resize_nearest_neighbor, expand_dims},
    }
    others["int32"] |= {resize_bilinear}
    others["bool"] = others["int32"] | {split, split_v, pack, unpack, pad}
    blocks = {space_to_batch_nd, batch_to_space_nd, space_to_depth, depth_to_space}
    return dtype == "int8" or case not in others[dtype] | blocks


@pytest.fixture(scope="module", autouse=True)
def tflite_micro() -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case.__name__)
def test_operator_on_the_host(case: Case, tmp_path: Path) -> None:
    cases = [(case, dtype) for dtype in DTYPES if has_reference(case, dtype)] * CASES
    path = write(tmp_path / "model.tflite", np.random.default_rng(0), cases)
    assert differing_cases(path, "host") == {}


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_operators_on_emulated_cores(target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    cases = [(case, d) for case in OPERATORS for d in DTYPES if has_reference(case, d)]
    path = write(tmp_path / "model.tflite", np.random.default_rng(1), cases)
    assert differing_cases(path, target) == {}


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_a_kernel_in_tflite_micro_the_interpreter_agrees(
    dtype: str, tmp_path: Path
) -> None:
    refused = {pad: {"bool"}, resize_bilinear: {"int16", "int32", "bool"}}
    cases = [(case, dtype) for case in OPERATORS if dtype not in refused.get(case, ())]
    path = write(tmp_path / "model.tflite", np.random.default_rng(2), cases)
    compiled = compile_model(path, "host")
    (inputs,) = random_inputs(compiled.inputs, 2)[1:]
    values = evaluate(compiled.graph, inputs)
    for tensor_, got in zip(compiled.outputs, compiled.run(inputs), strict=True):
        np.testing.assert_array_equal(got, values[tensor_.name], tensor_.name)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
def test_shape_arithmetic_is_folded(tmp_path: Path) -> None:
    """SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE and FILL, as exporters write a flatten."""
    b = TFLiteBuilder()
    x = b.input((2, 3, 4), 0.5)
    shape = b.operator("SHAPE", [x], (3,), dtype="int32", options="ShapeOptions", OutType=2)
    batch = b.operator(
        "STRIDED_SLICE",
        [shape, integers(b, [0]), integers(b, [1]), integers(b, [1])],
        (),
        dtype="int32",
        options="StridedSliceOptions",
        ShrinkAxisMask=1,
    )
    target = b.operator(
        *("PACK", [batch, integers(b, 12)], (2,)),
        dtype="int32",
        options="PackOptions",
        ValuesCount=2,
    )
    y = b.operator("RESHAPE", [x, target], (2, 12), **like(x), options="ReshapeOptions")
    one = b.constant(np.int8(7), 0.5)
    filled = b.operator("FILL", [target, one], (2, 12), **like(x), options="FillOptions")
    zeros = b.operator("ZEROS_LIKE", [x], x.shape, **like(x), options="ZerosLikeOptions")
    joined = b.operator(
        *("CONCATENATION", [y, filled], (2, 24)),
        **like(x),
        options="ConcatenationOptions",
        Axis=1,
    )
    for result in (joined, target, zeros):
        b.output(result)
    path = tmp_path / "model.tflite"
    path.write_bytes(b.build())
    compiled = compile_model(path, "host")
    kinds = [one.kind for one in compiled.report().operators]
    assert kinds == ["concatenate", "rearrange", "rearrange"]
    inputs = random_inputs(compiled.inputs, 3)
    for one_input, outputs in zip(inputs, compiled.measure(inputs).outputs, strict=True):
        flat = one_input[0].reshape(2, 12)
        np.testing.assert_array_equal(outputs[0], np.concatenate([flat, flat * 0 + 7], axis=1))
        np.testing.assert_array_equal(outputs[1], [2, 12])
        assert not outputs[2].any()


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("batch_dims", [0, 1])
def test_gather_by_indices_that_are_computed(batch_dims: int, tmp_path: Path) -> None:
    b = TFLiteBuilder()
    x = b.input((2, 5, 3), 0.5, 3)
    indices = b.input((2, 3) if batch_dims else (3,), dtype="int32")
    fields = {"options": "GatherOptions", "Axis": 1, "BatchDims": batch_dims}
    b.output(b.operator("GATHER", [x, indices], (2, 3, 3), **like(x), **fields))
    path = tmp_path / "model.tflite"
    path.write_bytes(b.build())
    compiled = compile_model(path, "host")
    rng = np.random.default_rng(0)
    inputs = [
        [rng.integers(-128, 128, x.shape, np.int8), rng.integers(0, 5, indices.shape, np.int32)]
        for _ in range(4)
    ]
    expected = compiled.reference(path, inputs)
    for (want,), (got,) in zip(expected, compiled.measure(inputs).outputs, strict=True):
        np.testing.assert_array_equal(got, want)
    # What is out of range reads the nearest row and nothing beyond the tensor.
    data, outside = inputs[0][0], np.full(indices.shape, 1 << 30, np.int32)
    last = np.broadcast_to(data[:, -1:], (2, 3, 3))
    np.testing.assert_array_equal(compiled.run([data, outside])[0], last)


@pytest.mark.parametrize("other", [(0.25, 3), (0.5, 4)])
def test_joining_different_scales_is_refused(other: tuple[float, int], tmp_path: Path) -> None:
    """As TFLite Micro does, whose kernel only copies."""
    b = TFLiteBuilder()
    inputs = [b.input((1, 4), 0.5, 3), b.input((1, 4), *other)]
    fields = {"options": "ConcatenationOptions", "Axis": 1}
    b.output(b.operator("CONCATENATION", inputs, (1, 8), **like(inputs[0]), **fields))
    path = tmp_path / "model.tflite"
    path.write_bytes(b.build())
    with pytest.raises(TinyaotError, match="joins tensors of different scales"):
        compile_model(path, "host")
