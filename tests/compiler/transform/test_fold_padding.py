"""Padding moves into every operator that can take it over, and into no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.transform.fold_padding import fold_padding
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, Pad, Pool2D, Workload

ZERO_POINT = -5
PADDING = ((0, 0), (1, 0), (2, 1), (0, 0))
SIDES = (1, 2, 0, 1)

SHAPES = {"input_shape": (1, 6, 8, 2), "kernel": (3, 3), "strides": (1, 1)}


def conv2d(padding: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Conv2D:
    height, width = (6 - 2 + padding[0] + padding[2], 8 - 2 + padding[1] + padding[3])
    output = (1, height, width, 3)
    rest = ((1, 1), 1, ZERO_POINT, 4, (-128, 127))
    return Conv2D((1, 6, 8, 2), output, (3, 3), (1, 1), padding, *rest)


def depthwise() -> DepthwiseConv2D:
    rest = ((1, 1), ZERO_POINT, 4, (-128, 127))
    return DepthwiseConv2D((1, 6, 8, 2), (1, 4, 6, 2), (3, 3), (1, 1), (0, 0, 0, 0), *rest)


def pool(mode: str) -> Pool2D:
    sizes = (1, 6, 8, 2), (1, 4, 6, 2), (3, 3), (1, 1), (0, 0, 0, 0)
    return Pool2D(mode, *sizes, (-128, 127))


def pad(value: int = ZERO_POINT, padding: tuple[tuple[int, int], ...] = PADDING) -> Pad:
    shape = tuple(
        6 - sum(pair) if axis == 1 else 8 - sum(pair) if axis == 2 else (1, 0, 0, 2)[axis]
        for axis, pair in enumerate(padding)
    )
    return Pad(shape, (1, 6, 8, 2), padding, value)


def constants(workload: Workload, rng: np.random.Generator) -> dict[str, np.ndarray]:
    if isinstance(workload, Pool2D):
        return {}
    channels = 3 if isinstance(workload, Conv2D) else 2
    shape = (3, 3, 3, 2) if isinstance(workload, Conv2D) else (3, 3, 2)
    return {
        "weight": rng.integers(-128, 128, shape).astype(np.int8),
        "bias": rng.integers(-1000, 1000, channels).astype(np.int32),
        "multiplier": np.full(channels, 2**30 + 12345, np.int32),
        "shift": np.full(channels, -6, np.int32),
    }


def graph(padding: Pad, *readers: Workload, outputs: tuple[str, ...] = ()) -> Graph:
    rng = np.random.default_rng(0)
    nodes = [Node(padding, ("x",), "padded", {}, "PAD")]
    tensors = {
        "x": Tensor("x", padding.input_shape, "int8"),
        "padded": Tensor("padded", padding.output_shape, "int8"),
    }
    for index, workload in enumerate(readers):
        name = f"y{index}"
        tensors[name] = Tensor(name, workload.output_shape, "int8")  # type: ignore[attr-defined]
        nodes.append(Node(workload, ("padded",), name, constants(workload, rng), "READER"))
    names = tuple(f"y{index}" for index in range(len(readers)))
    return Graph("test", tensors, ("x",), (*names, *outputs), tuple(nodes))


def computes_the_same(before: Graph, after: Graph) -> bool:
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, before.tensors["x"].shape).astype(np.int8)
    expected, got = evaluate(before, [x]), evaluate(after, [x])
    return all(np.array_equal(expected[name], got[name]) for name in before.outputs)


@pytest.mark.parametrize(
    ("value", "reader"),
    [(ZERO_POINT, conv2d()), (ZERO_POINT, depthwise()), (-128, pool("max"))],
)
def test_padding_is_taken_over(value: int, reader: Workload) -> None:
    before = graph(pad(value), reader)
    after = fold_padding(before)
    (node,) = after.nodes
    assert node.workload.padding == SIDES  # type: ignore[attr-defined]
    assert node.origin == "PAD, READER"
    assert "padded" not in after.tensors
    assert computes_the_same(before, after)


def test_padding_is_added_to_the_operators_own() -> None:
    before = graph(pad(), conv2d((0, 0, 1, 1)))
    after = fold_padding(before)
    assert after.nodes[0].workload.padding == (1, 2, 1, 2)  # type: ignore[attr-defined]
    assert computes_the_same(before, after)


def test_all_readers_take_it_or_none() -> None:
    both = graph(pad(), conv2d(), depthwise())
    assert [type(node.workload) for node in fold_padding(both).nodes] == [Conv2D, DepthwiseConv2D]
    assert computes_the_same(both, fold_padding(both))
    mixed = graph(pad(), conv2d(), pool("average"))
    assert fold_padding(mixed) == mixed


@pytest.mark.parametrize(
    "unfit",
    [
        graph(pad(value=0), conv2d()),
        graph(pad(value=ZERO_POINT), pool("max")),
        graph(pad(-128), pool("average")),
        graph(pad(padding=((0, 0), (3, 0), (0, 0), (0, 0))), conv2d()),
        graph(replace(pad(), dtype="int16"), conv2d()),
        graph(pad(), conv2d(), outputs=("padded",)),
    ],
    ids=["value", "value of max", "average", "empty window", "type", "output"],
)
def test_what_differs_stays(unfit: Graph) -> None:
    assert fold_padding(unfit) == unfit
