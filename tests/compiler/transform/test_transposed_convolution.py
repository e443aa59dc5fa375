"""Transposed convolutions are plain ones and a copy, with the same results."""

from __future__ import annotations

import numpy as np
import pytest

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.legalize.fixed_point_wide import reduce_multipliers
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.transform.transposed_convolution import split_transposed_convolutions
from tinyaot.schedules.workload import Conv2D, Rearrange, Reshape
from tinyaot.schedules.workload_sequence import TransposeConv2D
from tinyaot.schedules.workload_wide import WideConv2D

Random = np.random.Generator


def any_workload(rng: Random, dtype: str) -> TransposeConv2D:
    """As TFLite derives it: VALID or SAME, any stride."""
    batch, height, width, channels, outputs = (int(n) for n in rng.integers(1, [3, 7, 7, 5, 5]))
    kernel = tuple(int(n) for n in rng.integers(1, 6, 2))
    strides = tuple(int(n) for n in rng.integers(1, 4, 2))
    shape, padding = [], []
    same = rng.random() < 0.5
    for size, taps, stride in zip((height, width), kernel, strides, strict=True):
        full = (size - 1) * stride + taps
        wanted = size * stride if same else full + max(stride - taps, 0)
        shape.append(wanted)
        padding.append(max(full - wanted, 0) // 2)
    shapes = (batch, height, width, channels), (batch, *shape, outputs)
    window = kernel, strides, tuple(padding)
    if dtype == "int16":
        return TransposeConv2D(dtype, *shapes, *window, 0, 0, (-(2**15), 2**15 - 1), "reduced")
    zero_points = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    return TransposeConv2D(dtype, *shapes, *window, *zero_points, (-128, 127))


def graph_of(workload: TransposeConv2D, rng: Random) -> Graph:
    outputs, inputs = workload.output_shape[3], workload.input_shape[3]
    constants = {
        "weight": rng.integers(-128, 128, (outputs, *workload.kernel, inputs)).astype(np.int8),
        "bias": rng.integers(-1000, 1000, outputs).astype(np.int32),
        "multiplier": rng.integers(2**30, 2**31, outputs).astype(np.int32),
        "shift": rng.integers(-9, -6, outputs).astype(np.int32),
    }
    if workload.rounding == "reduced":
        reduced = reduce_multipliers(constants["multiplier"], constants["shift"])
        constants |= {"bias": constants["bias"].astype(np.int64)}
        constants |= {"multiplier": reduced[0], "shift": reduced[1]}
    tensors = {
        "x": Tensor("x", workload.input_shape, workload.dtype),
        "y": Tensor("y", workload.output_shape, workload.dtype),
    }
    return Graph("test", tensors, ("x",), ("y",), (Node(workload, ("x",), "y", constants, "T"),))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("seed", range(30))
def test_results_are_the_same(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    before = graph_of(any_workload(rng, dtype), rng)
    after = split_transposed_convolutions(before)
    strided = before.nodes[0].workload.strides != (1, 1)  # type: ignore[attr-defined]
    convolution, *moves = [type(node.workload) for node in after.nodes]
    assert convolution == {"int8": Conv2D, "int16": WideConv2D}[dtype]
    assert moves in ([Rearrange], [Reshape]) if strided else not moves
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, before.tensors["x"].shape, dtype, endpoint=True)
    np.testing.assert_array_equal(evaluate(after, [x])["y"], evaluate(before, [x])["y"])


@pytest.mark.parametrize("vertical", [True, False])
def test_phases_of_one_axis_lie_in_their_places(vertical: bool) -> None:
    rng = np.random.default_rng(0)

    def shape(size: int, channels: int) -> tuple[int, int, int, int]:
        return (1, size, 1, channels) if vertical else (1, 1, size, channels)

    pairs = [(size, 1) if vertical else (1, size) for size in (4, 2)]
    sizes = shape(5, 3), shape(12, 2), *pairs, (0, 0)
    before = graph_of(TransposeConv2D("int8", *sizes, 0, 0, (-128, 127)), rng)
    after = split_transposed_convolutions(before)
    assert [type(node.workload) for node in after.nodes] == [Conv2D, Reshape]
    x = rng.integers(-128, 128, before.tensors["x"].shape).astype(np.int8)
    np.testing.assert_array_equal(evaluate(after, [x])["y"], evaluate(before, [x])["y"])


def test_more_padding_than_the_kernel_reaches_stays() -> None:
    rng = np.random.default_rng(0)
    sizes = (1, 4, 4, 2), (1, 2, 2, 3), (2, 2), (1, 1), (2, 2)
    before = graph_of(TransposeConv2D("int8", *sizes, 0, 0, (-128, 127)), rng)
    assert split_transposed_convolutions(before) == before
