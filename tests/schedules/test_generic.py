"""Every portable kernel computes what its workload says, whatever its knobs are set to.

Each case lies between two element-wise operators, so that its input and output are in the arena
and the kernels that can work in place do.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyaot.compiler.codegen.module import emit_program
from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.memory.layout import plan_memory
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.scheduling import schedule_graph
from tinyaot.schedules.registry import find_rules
from tinyaot.schedules.workload import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Pad,
    Pool2D,
    Requantize,
    ScaledSoftmax,
    Softmax,
    Transpose,
    Workload,
)
from tinyaot.targets import build_image, get_target, run_image

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")

FULL = (-128, 127)
HALF = 1 << 30
INFERENCES = 4

Array = NDArray[Any]


@dataclass
class Case:
    """A workload, its constants, and the sizes of what it reads and writes."""

    workload: Workload
    inputs: tuple[int, ...]
    output: int
    constants: Mapping[str, Array] = field(default_factory=dict)


def scaling(rng: np.random.Generator, channels: int, fan_in: int) -> dict[str, Array]:
    """Bias and factors that bring sums of `fan_in` products to the range of int8."""
    shift = -math.ceil(math.log2(74 * math.sqrt(fan_in)))
    return {
        "bias": rng.integers(-3000, 3000, channels).astype(np.int32),
        "multiplier": rng.integers(HALF, 2 * HALF, channels).astype(np.int32),
        "shift": rng.integers(shift, shift + 2, channels).astype(np.int32),
    }


def weight(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-127, 128, shape).astype(np.int8)


def spatial(rng: np.random.Generator, channels: int) -> dict[str, Any]:
    """Shapes of a window over an image, for a convolution or a pool; one in four is a batch."""
    kernel = tuple(int(size) for size in rng.integers(1, 4, 2))
    strides = tuple(int(size) for size in rng.integers(1, 3, 2))
    padding = tuple(int(rng.integers(0, size)) for size in (*kernel, *kernel))
    batch, height, width = int(rng.choice([1, 1, 1, 2])), *rng.integers(4, 9, 2).tolist()
    rows = (height + padding[0] + padding[2] - kernel[0]) // strides[0] + 1
    columns = (width + padding[1] + padding[3] - kernel[1]) // strides[1] + 1
    return {
        "input_shape": (batch, height, width, channels),
        "output_shape": (batch, rows, columns),
        "kernel": kernel,
        "strides": strides,
        "padding": padding,
    }


def rounding(rng: np.random.Generator) -> str:
    return str(rng.choice(["double", "single"]))


def quantization(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "input_zero_point": int(rng.integers(-128, 128)),
        "output_zero_point": int(rng.integers(-40, 41)),
        "clamp": FULL if rng.random() < 0.6 else (-17, 90),
        "rounding": rounding(rng),
    }


def conv2d(rng: np.random.Generator) -> Case:
    groups = int(rng.choice([1, 1, 2]))
    channels, outputs = groups * int(rng.integers(1, 6)), groups * int(rng.choice([1, 2, 3, 4, 8]))
    shapes = spatial(rng, channels)
    shapes["output_shape"] += (outputs,)
    workload = Conv2D(**shapes, dilation=(1, 1), groups=groups, **quantization(rng))
    window = (*workload.kernel, channels // groups)
    constants = {"weight": weight(rng, outputs, *window)}
    constants |= scaling(rng, outputs, math.prod(window))
    return of_shapes(workload, constants)


def dilated_conv2d(rng: np.random.Generator) -> Case:
    """With a window that reaches beyond the padded image on both sides."""
    workload = Conv2D(
        (1, 7, 6, 3), (1, 7, 8, 4), (3, 2), (1, 1), (2, 2, 2, 3), (2, 3), 1, **quantization(rng)
    )
    constants = {"weight": weight(rng, 4, 3, 2, 3), **scaling(rng, 4, 18)}
    return of_shapes(workload, constants)


def depthwise_conv2d(rng: np.random.Generator) -> Case:
    channels, multiplier = int(rng.integers(1, 7)), int(rng.choice([1, 1, 2, 3, 4]))
    shapes = spatial(rng, channels)
    shapes["output_shape"] += (channels * multiplier,)
    workload = DepthwiseConv2D(**shapes, dilation=(1, 1), **quantization(rng))
    constants = {"weight": weight(rng, *workload.kernel, channels * multiplier)}
    constants |= scaling(rng, channels * multiplier, math.prod(workload.kernel))
    return of_shapes(workload, constants)


def fully_connected(rng: np.random.Generator) -> Case:
    batch, inputs = int(rng.choice([1, 1, 3])), int(rng.integers(1, 70))
    outputs = int(rng.choice([1, 2, 6, 8]))
    workload = FullyConnected(batch, inputs, outputs, **quantization(rng))
    constants = {"weight": weight(rng, outputs, inputs), **scaling(rng, outputs, inputs)}
    return Case(workload, (batch * inputs,), batch * outputs, constants)


def pool2d(rng: np.random.Generator) -> Case:
    channels = int(rng.integers(1, 7))
    shapes = spatial(rng, channels)
    shapes["output_shape"] += (channels,)
    clamp = FULL if rng.random() < 0.5 else (-30, 100)
    return of_shapes(Pool2D(str(rng.choice(["average", "max"])), **shapes, clamp=clamp), {})


def mean(rng: np.random.Generator) -> Case:
    outer, reduced, inner = (int(size) for size in rng.integers(1, [3, 50, 9]))
    factor = {"multiplier": int(rng.integers(HALF, 2 * HALF)), "shift": -int(math.log2(reduced))}
    workload = Mean(outer, reduced, inner, **factor, **quantization(rng))
    return Case(workload, (outer * reduced * inner,), outer * inner)


def add(rng: np.random.Generator) -> Case:
    size = int(rng.integers(1, 60))
    multipliers = tuple(int(one) for one in rng.integers(HALF, 2 * HALF, 3))
    points = tuple(int(one) for one in rng.integers(-128, 128, 2))
    workload = Add(
        size, points, multipliers[:2], (-1, 0), 20, multipliers[2], -18, 5, FULL, rounding(rng)
    )
    return Case(workload, (size, size), size)


def requantize(rng: np.random.Generator) -> Case:
    size = int(rng.integers(1, 60))
    factor = (int(rng.integers(HALF, 2 * HALF)), int(rng.integers(-1, 2)))
    workload = Requantize(size, "int8", "int8", 20, -9, *factor, (-100, 90), rounding(rng))
    return Case(workload, (size,), size)


def softmax(rng: np.random.Generator) -> Case:
    rows, depth = int(rng.integers(1, 4)), int(rng.integers(1, 30))
    exact = np.exp(-np.arange(256) * rng.uniform(0.01, 0.2)) * 2**31
    constants = {"table": np.minimum(exact.round(), 2**31 - 1).astype(np.int32)}
    kinds = [Softmax(rows, depth), ScaledSoftmax(rows, depth, 255 << 16, -128, FULL)]
    return Case(kinds[rng.integers(2)], (rows * depth,), rows * depth, constants)


def pad(rng: np.random.Generator) -> Case:
    shape = tuple(int(size) for size in rng.integers(1, 5, rng.integers(1, 5)))
    pairs = tuple((int(rng.integers(3)), int(rng.integers(3))) for _ in shape)
    output = tuple(sum((size, *pair)) for size, pair in zip(shape, pairs, strict=True))
    return of_shapes(Pad(shape, output, pairs, -77), {})


def transpose(rng: np.random.Generator) -> Case:
    shape = tuple(int(size) for size in rng.integers(1, 5, rng.integers(2, 7)))
    axes = tuple(int(axis) for axis in rng.permutation(len(shape)))
    return of_shapes(Transpose(shape, tuple(shape[axis] for axis in axes), axes), {})


def of_shapes(workload: Any, constants: Mapping[str, Array]) -> Case:
    sizes = math.prod(workload.input_shape), math.prod(workload.output_shape)
    return Case(workload, sizes[:1], sizes[1], constants)


MAKERS = (
    *(conv2d, conv2d, dilated_conv2d, depthwise_conv2d, depthwise_conv2d, fully_connected),
    *(pool2d, pool2d, mean, add, requantize, softmax, pad, transpose),
)


def copy(size: int) -> Requantize:
    """The same values."""
    return Requantize(size, "int8", "int8", 0, 0, HALF, 1, FULL)


def graph_of(cases: list[Case]) -> Graph:
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []
    inputs: list[str] = []
    outputs: list[str] = []

    def tensor(name: str, size: int) -> str:
        tensors[name] = Tensor(name, (size,), "int8")
        return name

    def emit(workload: Workload, sources: list[str], name: str, size: int, **rest: Any) -> str:
        nodes.append(Node(workload, tuple(sources), tensor(name, size), origin=name, **rest))
        return name

    for index, case in enumerate(cases):
        sources = []
        for place, size in enumerate(case.inputs):
            inputs.append(tensor(f"in{index}_{place}", size))
            sources.append(emit(copy(size), inputs[-1:], f"copy{index}_{place}", size))
        result = emit(case.workload, sources, f"y{index}", case.output, constants=case.constants)
        outputs.append(emit(copy(case.output), [result], f"out{index}", case.output))
    return Graph("cases", tensors, tuple(inputs), tuple(outputs), tuple(nodes))


def settings(graph: Graph) -> list[dict[Workload, dict[str, int]]]:
    """Decisions that between them give every knob of every rule each of its values."""
    spaces = {
        node.workload: find_rules(node.workload, frozenset())[0].space(node.workload)
        for node in graph.nodes
    }
    longest = max(len(values) for space in spaces.values() for values in space.values())
    return [
        {
            workload: {knob: values[turn % len(values)] for knob, values in space.items()}
            for workload, space in spaces.items()
        }
        for turn in range(longest)
    ]


def run(
    graph: Graph, inputs: list[list[Array]], decisions: Any, directory: Path
) -> list[list[Any]]:
    host = get_target("host")
    operators = schedule_graph(graph, host, decisions)
    layout = plan_memory(graph, operators)
    # The kernels that offer to work in place do so here; the copies cannot.
    offers = [op.kernel.in_place_inputs and op.node.output[0] == "y" for op in operators]
    assert layout.aliased == {index for index, offer in enumerate(offers) if offer}
    program = emit_program(graph, operators, layout, host)
    image = build_image(program, host, directory=directory)
    result = run_image(image, [[array.tobytes() for array in one] for one in inputs])
    return [[np.frombuffer(data, np.int8) for data in one] for one in result.outputs]


@pytest.mark.parametrize("seed", range(2))
def test_every_setting_of_every_kernel(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    graph = graph_of([make(rng) for make in MAKERS])
    inputs = [
        [
            rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8)
            for name in graph.inputs
        ]
        for _ in range(INFERENCES)
    ]
    expected = [evaluate(graph, one) for one in inputs]
    spread = [np.ptp([values[name].astype(int) for values in expected]) for name in graph.outputs]
    assert min(spread) > 20, "a case whose output hardly changes shows nothing"
    for turn, decisions in enumerate(settings(graph)):
        got = run(graph, inputs, decisions, tmp_path / str(turn))
        for outputs, values in zip(got, expected, strict=True):
            for name, array in zip(graph.outputs, outputs, strict=True):
                node = next(node for node in graph.nodes if node.output == name.replace("out", "y"))
                np.testing.assert_array_equal(array, values[name], str(node.workload))
