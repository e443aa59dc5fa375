"""Transposed convolutions are plain ones and a copy, with the same results."""

from __future__ import annotations

import numpy as np
import pytest

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.transform.transposed_convolution import split_transposed_convolutions
from tinyaot.schedules.workload import Conv2D, Rearrange
from tinyaot.schedules.workload_sequence import TransposeConv2D

Random = np.random.Generator


def any_workload(rng: Random) -> TransposeConv2D:
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
    return TransposeConv2D(
        "int8",
        (batch, height, width, channels),
        (batch, *shape, outputs),
        *(kernel, strides, tuple(padding)),
        *(int(rng.integers(-128, 128)), int(rng.integers(-128, 128)), (-128, 127)),
    )


def graph_of(workload: TransposeConv2D, rng: Random) -> Graph:
    outputs, inputs = workload.output_shape[3], workload.input_shape[3]
    constants = {
        "weight": rng.integers(-128, 128, (outputs, *workload.kernel, inputs)).astype(np.int8),
        "bias": rng.integers(-1000, 1000, outputs).astype(np.int32),
        "multiplier": rng.integers(2**30, 2**31, outputs).astype(np.int32),
        "shift": rng.integers(-9, -6, outputs).astype(np.int32),
    }
    tensors = {
        "x": Tensor("x", workload.input_shape, "int8"),
        "y": Tensor("y", workload.output_shape, "int8"),
    }
    return Graph("test", tensors, ("x",), ("y",), (Node(workload, ("x",), "y", constants, "T"),))


@pytest.mark.parametrize("seed", range(40))
def test_results_are_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = graph_of(any_workload(rng), rng)
    after = split_transposed_convolutions(before)
    strided = before.nodes[0].workload.strides != (1, 1)  # type: ignore[attr-defined]
    kinds = [type(node.workload) for node in after.nodes]
    assert kinds == ([Conv2D, Rearrange] if strided else [Conv2D])
    x = rng.integers(-128, 128, before.tensors["x"].shape).astype(np.int8)
    np.testing.assert_array_equal(evaluate(after, [x])["y"], evaluate(before, [x])["y"])


def test_more_padding_than_the_kernel_reaches_stays() -> None:
    rng = np.random.default_rng(0)
    sizes = (1, 4, 4, 2), (1, 2, 2, 3), (2, 2), (1, 1), (2, 2)
    before = graph_of(TransposeConv2D("int8", *sizes, 0, 0, (-128, 127)), rng)
    assert split_transposed_convolutions(before) == before
