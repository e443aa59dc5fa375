"""Operators of random shapes as graphs, and their check on a core against the reference.

Many operators make one image. Each lies between two copies, so that its input and output are in
the arena and the kernels that can work in place do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.codegen.module import emit_program
from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.legalize.fixed_point import quantize_multiplier
from tinyaot.compiler.legalize.fixed_point_wide import reduce_multipliers
from tinyaot.compiler.memory.layout import plan_memory
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.scheduling import Operator, schedule_graph
from tinyaot.schedules.workload import (
    Add,
    BatchMatMul,
    Conv2D,
    DepthwiseConv2D,
    Multiply,
    Requantize,
    Workload,
)
from tinyaot.schedules.workload_elementwise import QuantizedBinary
from tinyaot.schedules.workload_reduction import StridedMatMul
from tinyaot.schedules.workload_wide import WideConv2D, WideRequantize
from tinyaot.targets import build_image, get_target, run_image

FULL = (-128, 127)
FULL_WIDE = (-(2**15), 2**15 - 1)
HALF = 1 << 30

Array = NDArray[Any]
Random = np.random.Generator


@dataclass
class Case:
    """A workload, its constants, and the sizes and type of what it reads and writes."""

    workload: Workload
    inputs: tuple[int, ...]
    output: int
    constants: Mapping[str, Array] = field(default_factory=dict)
    dtype: str = "int8"


def of_shapes(workload: Any, constants: Mapping[str, Array], dtype: str = "int8") -> Case:
    sizes = math.prod(workload.input_shape), math.prod(workload.output_shape)
    return Case(workload, sizes[:1], sizes[1], constants, dtype)


def weight(rng: Random, *shape: int) -> Array:
    return rng.integers(-127, 128, shape).astype(np.int8)


def scaling(rng: Random, channels: int, fan_in: int) -> dict[str, Array]:
    """Bias and factors that bring sums of `fan_in` products to the range of int8."""
    shift = -math.ceil(math.log2(74 * math.sqrt(fan_in)))
    return {
        "bias": rng.integers(-3000, 3000, channels).astype(np.int32),
        "multiplier": rng.integers(HALF, 2 * HALF, channels).astype(np.int32),
        "shift": rng.integers(shift, shift + 2, channels).astype(np.int32),
    }


def quantization(rng: Random) -> dict[str, Any]:
    """With ReLU as models have it, or with anything."""
    zero_point, clamp = [
        (-128, FULL),
        (int(rng.integers(-100, 101)), FULL),
        (-20, (-20, 90)),
        (10, (-70, 99)),
    ][rng.choice(4, p=[0.4, 0.4, 0.1, 0.1])]
    return {
        "input_zero_point": int(rng.integers(-128, 128)),
        "output_zero_point": zero_point,
        "clamp": clamp,
        "rounding": str(rng.choice(["double", "single"])),
    }


def spatial(rng: Random, channels: int, *, largest: int, kernel: tuple[int, int]) -> dict[str, Any]:
    """Shapes of a window over an image; one in four is a batch."""
    strides = tuple(int(size) for size in rng.choice([1, 2, 3], 2, p=[0.6, 0.3, 0.1]))
    dilation = tuple(int(size) for size in rng.choice([1, 2], 2, p=[0.8, 0.2]))
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    padding = (0, 0, 0, 0)
    if rng.random() < 0.7:
        padding = tuple(int(rng.integers(0, size)) for size in (*extent, *extent))
    height, width = (
        int(rng.integers(max(1, size - before - after), largest))
        for size, before, after in zip(extent, padding[:2], padding[2:], strict=True)
    )
    rows = (height + padding[0] + padding[2] - extent[0]) // strides[0] + 1
    columns = (width + padding[1] + padding[3] - extent[1]) // strides[1] + 1
    batch = int(rng.choice([1, 1, 1, 2]))
    return {
        "input_shape": (batch, height, width, channels),
        "output_shape": (batch, rows, columns),
        "kernel": kernel,
        "strides": strides,
        "padding": padding,
        "dilation": dilation,
    }


def convolution(
    rng: Random, kernel: tuple[int, int], channels: int, outputs: int, largest: int = 12
) -> Case:
    shapes = spatial(rng, channels, largest=largest, kernel=kernel)
    shapes["output_shape"] += (outputs,)
    workload = Conv2D(**shapes, groups=1, **quantization(rng))
    window = (*kernel, channels)
    constants = {
        "weight": weight(rng, outputs, *window),
        **scaling(rng, outputs, math.prod(window)),
    }
    return of_shapes(workload, constants)


def depthwise(
    rng: Random,
    kernel: tuple[int, int],
    channels: int,
    multiplier: int = 1,
    largest: int = 12,
    **fixed: Any,
) -> Case:
    """Of random shapes but for what is fixed."""
    shapes = spatial(rng, channels, largest=largest, kernel=kernel) | fixed
    outputs = channels * multiplier
    shapes["output_shape"] += (outputs,)
    constants = {
        "weight": weight(rng, *kernel, outputs),
        **scaling(rng, outputs, math.prod(kernel)),
    }
    return of_shapes(DepthwiseConv2D(**shapes, **quantization(rng)), constants)


def pointwise(rng: Random) -> Case:
    return convolution(rng, (1, 1), 4 * int(rng.integers(1, 20)), int(rng.integers(1, 20)))


def on_colours(rng: Random) -> Case:
    return convolution(rng, (3, 3), 3, int(rng.integers(1, 20)))


def on_one_pixel(rng: Random) -> Case:
    return convolution(rng, (1, 1), int(rng.integers(1, 40)), int(rng.integers(1, 9)), largest=2)


def wide_convolution(
    rng: Random,
    kernel: tuple[int, int],
    channels: int,
    outputs: int,
    largest: int = 12,
    groups: int = 1,
    kind: str = "",
    **fixed: Any,
) -> Case:
    """On int16, of random shapes but for what is fixed. By its kind, which is "plain" in three of
    four, a large "bias" or "factor" makes it need 64 bits, or an int32 bias is rounded "double"."""
    shapes = spatial(rng, channels, largest=largest, kernel=kernel) | fixed
    shapes["output_shape"] += (outputs,)
    kind = kind or str(rng.choice(["plain", "bias", "factor", "double"], p=[0.7, 0.1, 0.1, 0.1]))
    clamp = FULL_WIDE if rng.random() < 0.6 else (0, int(rng.choice([2**15 - 1, 20000])))
    rounding = "double" if kind == "double" else "reduced"
    workload = WideConv2D(**shapes, groups=groups, clamp=clamp, rounding=rounding)
    each = (*kernel, channels // groups)
    taps = math.prod(each)
    constants = {"weight": weight(rng, outputs, *each), **scaling(rng, outputs, taps)}
    if kind != "double":
        multiplier, shift = reduce_multipliers(constants["multiplier"], constants["shift"])
        if kind == "factor":
            shift = rng.integers(9, 40, outputs).astype(np.int8)
        elif rng.random() < 0.3:
            # A pruned channel may have any factor.
            place = int(rng.integers(outputs))
            multiplier[place], shift[place] = [(0, 15), (multiplier[place], 50)][rng.integers(2)]
        size = 2 ** int(rng.integers(33, 40)) if kind == "bias" else 2**20
        bias = rng.integers(-size, size, outputs)
        constants |= {"bias": bias, "multiplier": multiplier, "shift": shift}
    return of_shapes(workload, constants, "int16")


def copy(size: int, dtype: str = "int8") -> Workload:
    """The same values."""
    if dtype == "int16":
        return WideRequantize(size, dtype, dtype, 0, 0, HALF, 1, FULL_WIDE)
    return Requantize(size, "int8", "int8", 0, 0, HALF, 1, FULL)


def graph_of(cases: list[Case]) -> Graph:
    tensors: dict[str, Tensor] = {}
    nodes: list[Node] = []
    inputs: list[str] = []
    outputs: list[str] = []

    def emit(
        workload: Workload, sources: list[str], name: str, size: int, dtype: str, **rest: Any
    ) -> str:
        tensors[name] = Tensor(name, (size,), dtype)
        nodes.append(Node(workload, tuple(sources), name, origin=name, **rest))
        return name

    for index, case in enumerate(cases):
        sources, dtype = [], case.dtype
        for place, size in enumerate(case.inputs):
            name = f"in{index}_{place}"
            tensors[name] = Tensor(name, (size,), dtype)
            inputs.append(name)
            sources.append(emit(copy(size, dtype), [name], f"copy{index}_{place}", size, dtype))
        size = case.output
        result = emit(case.workload, sources, f"y{index}", size, dtype, constants=case.constants)
        outputs.append(emit(copy(size, dtype), [result], f"out{index}", size, dtype))
    return Graph("cases", tensors, tuple(inputs), tuple(outputs), tuple(nodes))


def images(rng: Random, graph: Graph) -> list[list[Array]]:
    """Inputs with many values between, and inputs of nothing but the extremes."""
    tensors = [graph.tensors[name] for name in graph.inputs]

    def limits(tensor: Tensor) -> tuple[int, int]:
        return np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max

    return [
        [rng.integers(*limits(x), x.shape, x.dtype, endpoint=True) for x in tensors],
        [rng.choice(limits(x), x.shape).astype(x.dtype) for x in tensors],
    ]


def check(
    cases: list[Case],
    directory: Path,
    target_name: str,
    rules: str | tuple[str, ...],
    *,
    decisions: Any = None,
    others: int = 0,
    sanitize: bool = False,
) -> None:
    """All cases compute what the reference says.

    Args:
        cases: to make an image of.
        directory: for the image.
        target_name: the core.
        rules: what (one of) the names of the rules begin with that all cases must take,
        others: but for so many, whose constants those rules cannot express exactly.
        decisions: for the knobs.
        sanitize: whether the address and undefined-behaviour sanitizers watch; on the host only.
    """
    rng = np.random.default_rng(len(cases))
    graph = graph_of(cases)
    target = get_target(target_name)
    operators = schedule_graph(graph, target, decisions)
    computed: dict[str, Operator] = {
        operator.node.output: operator for operator in operators if operator.node.output[0] == "y"
    }
    strange = [op.node.workload for op in computed.values() if not op.rule.startswith(rules)]
    assert len(strange) <= others, strange
    program = emit_program(graph, operators, plan_memory(graph, operators), target)
    image = build_image(program, target, directory=directory, sanitize=sanitize)
    inputs = images(rng, graph)
    result = run_image(image, [[array.tobytes() for array in one] for one in inputs])
    for one, data in zip(inputs, result.outputs, strict=True):
        values = evaluate(graph, one)
        for name, got in zip(graph.outputs, data, strict=True):
            operator = computed[name.replace("out", "y")]
            np.testing.assert_array_equal(
                np.frombuffer(got, graph.tensors[name].dtype),
                values[name],
                f"{operator.rule} {operator.node.workload} {dict(operator.decisions)}",
            )


def size_of(rng: Random) -> int:
    return int(rng.choice([rng.integers(1, 40), rng.integers(40, 400)]))


def addition(rng: Random) -> Case:
    """Scales as a converter makes them, any zero points."""
    scales = np.exp(rng.normal(-3.5, 0.5, 2))
    output = float(scales.max() * rng.uniform(0.8, 2))
    twice = 2 * float(scales.max())
    factors = [quantize_multiplier(float(scale) / twice) for scale in scales]
    multiplier, shift = quantize_multiplier(twice / (2**20 * output))
    surroundings = quantization(rng)
    size = size_of(rng)
    workload = Add(
        size,
        (int(rng.integers(-128, 128)), int(rng.integers(-128, 128))),
        (factors[0][0], factors[1][0]),
        (factors[0][1], factors[1][1]),
        20,
        multiplier,
        shift,
        surroundings["output_zero_point"],
        surroundings["clamp"],
    )
    return Case(workload, (size, size), size)


def rows(rng: Random) -> tuple[tuple[int, ...], tuple[Any, Any], tuple[int, int]]:
    """Shape, steps and sizes of two inputs in rows of any length; either may be repeated along the
    axes before them."""
    axes = int(rng.integers(1, 4))
    shape = (*(int(size) for size in rng.integers(1, 5, axes - 1)), int(rng.integers(4, 600)))
    repeated = rng.integers(0, 2, (2, axes)).astype(bool)
    repeated[:, -1] = False
    repeated[int(rng.integers(0, 2))] = False
    steps, sizes = [], []
    for axes_repeated in repeated:
        own = [1 if gone else size for gone, size in zip(axes_repeated, shape, strict=True)]
        strides = [math.prod(own[axis + 1 :]) for axis in range(axes)]
        steps.append(
            tuple(0 if gone else step for gone, step in zip(axes_repeated, strides, strict=True))
        )
        sizes.append(math.prod(own))
    return shape, (steps[0], steps[1]), (sizes[0], sizes[1])


def product(rng: Random) -> Case:
    shape, steps, sizes = rows(rng)
    factor = quantize_multiplier(float(np.exp(rng.normal(-4.5, 0.6))))
    surroundings = quantization(rng)
    zero_points = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    zero_point, clamp = surroundings["output_zero_point"], surroundings["clamp"]
    workload: Workload
    if rng.random() < 0.5:
        rest = (zero_point, clamp, surroundings["rounding"])
        workload = Multiply(shape, steps, sizes, zero_points, *factor, *rest)
    else:
        factors = (0, 0), (0, 0), factor
        place = "multiply", "int8", shape, steps
        workload = QuantizedBinary(*place, zero_points, 0, factors, zero_point, clamp)
    return Case(workload, sizes, math.prod(shape))


def difference(rng: Random) -> Case:
    """Or a sum, of tensors that may be broadcast."""
    plain: Any = addition(rng).workload
    shape, steps, sizes = rows(rng)
    first, second = zip(plain.multipliers, plain.shifts, strict=True)
    workload = QuantizedBinary(
        *(str(rng.choice(["subtract", "add"])), "int8", shape, steps),
        *(plain.input_zero_points, plain.left_shift),
        (first, second, (plain.output_multiplier, plain.output_shift)),
        *(plain.output_zero_point, plain.clamp),
    )
    return Case(workload, sizes, math.prod(shape))


def matrices(rng: Random) -> Case:
    """Products of matrices; the second one may be stored by columns, and repeated for all rows of
    the batch."""
    batch, rows, columns = (int(size) for size in rng.integers(1, [4, 7, 22]))
    depth = int(rng.choice([rng.integers(4, 70), 4 * rng.integers(1, 17)]))
    factor = quantize_multiplier(float(np.exp(rng.normal(-5, 0.4))) / math.sqrt(depth))
    surroundings = quantization(rng)
    points = int(rng.integers(-128, 128)), int(rng.integers(-128, 128))
    zero_point, clamp = surroundings["output_zero_point"], surroundings["clamp"]
    sizes = batch * rows * depth, batch * depth * columns
    workload: Workload
    if rng.random() < 0.4:
        rest = (zero_point, clamp, surroundings["rounding"])
        workload = BatchMatMul(batch, rows, depth, columns, points, *factor, *rest)
    else:
        repeated = rng.random() < 0.3
        steps = (rows * depth,), (0 if repeated else depth * columns,)
        sizes = sizes[0], depth * columns if repeated else sizes[1]
        second = (1, depth) if rng.random() < 0.5 else (columns, 1)
        matrix_steps = (depth, 1), second
        place = "int8", (batch,), steps, rows, depth, columns, matrix_steps
        workload = StridedMatMul(*place, points, factor, zero_point, clamp)
    return Case(workload, sizes, batch * rows * columns)
