"""Random graphs of one operator for the NPU's code generator, against TFLite Micro.

Cases are those of the operators' own tests and larger ones, of which a block of the NPU holds a
part only. What only moves elements is followed by an operator that computes, as it stays on the CPU
otherwise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tflite
from end_to_end import test_operators_elementwise as elementwise
from end_to_end import test_operators_functions as functions
from end_to_end import test_operators_movement as movement
from end_to_end import test_operators_reduction as reduction
from end_to_end import test_operators_sequence as sequence
from end_to_end import test_operators_wide as wide
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler.frontend import import_model
from tinyaot.compiler.legalize import legalize
from tinyaot.compiler.oracle import random_inputs, reference_outputs
from tinyaot.compiler.transform import simplify
from tinyaot.targets.ethos_u.accelerator import Npu

Rng = np.random.Generator
Case = Callable[[TFLiteBuilder, Rng], list[Tensor]]

INFERENCES = 2


def one(case: Callable[[TFLiteBuilder, Rng], Tensor]) -> Case:
    return lambda b, rng: [case(b, rng)]


def moved(case: Callable[[TFLiteBuilder, Rng, str], list[Tensor]], dtype: str) -> Case:
    return lambda b, rng: [computed(b, rng, tensor) for tensor in case(b, rng, dtype)]


def computed(b: TFLiteBuilder, rng: Rng, x: Tensor) -> Tensor:
    """Something that the NPU computes from a tensor."""
    if x.dtype == "int8":
        scale = float(np.float32(x.scale * rng.uniform(0.5, 2)))
        return b.quantize(x, scale=scale, zero_point=int(rng.integers(-20, 20)))
    output = {"scale": float(np.float32(x.scale * 1.5)), "dtype": x.dtype}
    return b.operator("ADD", [x, x], x.shape, options="AddOptions", **output)


def image(b: TFLiteBuilder, rng: Rng) -> Tensor:
    """An image of some thousand elements that the NPU has made."""
    shape = [1, *(int(size) for size in rng.integers(3, 24, 2)), int(rng.choice([1, 3, 16, 24]))]
    x = b.input(shape, 0.05, int(rng.integers(-30, 30)))
    return b.max_pool2d(x, (2, 2), strides=(1, 1), padding="SAME")


def large_pad(b: TFLiteBuilder, rng: Rng) -> Tensor:
    x = image(b, rng)
    amounts = [(0, 0), *(tuple(int(n) for n in rng.integers(0, 5, 2)) for _ in range(2)), (0, 0)]
    if rng.random() < 0.3:
        amounts[3] = (int(rng.integers(0, 20)), 16)
    return computed(b, rng, b.pad(x, amounts, None if rng.random() < 0.5 else -7))


def large_transpose(b: TFLiteBuilder, rng: Rng) -> Tensor:
    axes = [0, *(int(axis) for axis in 1 + rng.permutation(3))]
    return computed(b, rng, b.transpose(image(b, rng), axes))


def large_reduction(b: TFLiteBuilder, rng: Rng) -> Tensor:
    kind = str(rng.choice(["SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN"]))
    x = image(b, rng)
    axes = [axis for axis in range(1, 4) if rng.random() < 0.5] or [3]
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    count = float(np.prod([x.shape[axis] for axis in axes]))
    output = x.quantization
    if kind in ("SUM", "MEAN"):
        spread = count**0.5 if kind == "SUM" else count**-0.5
        output = {"scale": float(np.float32(x.scale * spread)), "zero_point": 9}
    operands = [x, b.constant(np.array(axes, np.int32))]
    options = {"options": "ReducerOptions", "KeepDims": True}
    return b.operator(kind, operands, shape, **output, **options)


def whole_resize(kind: str) -> Case:
    """To a multiple of the size, or of its corners' distance, as networks do."""

    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        x, factor = (
            image(b, rng),
            int(rng.choice([2, 2, 4, 8] if kind == "RESIZE_NEAREST_NEIGHBOR" else [2, 2, 4])),
        )
        mode = str(rng.choice(["AlignCorners", "HalfPixelCenters", ""]))
        corners = mode == "AlignCorners"
        size = [(extent - corners) * factor + corners for extent in x.shape[1:3]]
        shape = (1, *size, x.shape[3])
        title = "".join(word.title() for word in kind.split("_"))
        options = {"options": f"{title}Options", **({mode: True} if mode else {})}
        operands = [x, b.constant(np.array(size, np.int32))]
        return computed(b, rng, b.operator(kind, operands, shape, **x.quantization, **options))

    return one(case)


def same_scale(kind: str, dtype: str) -> Case:
    """A sum whose operands have one scale, for which the NPU has registers of its own."""

    def case(b: TFLiteBuilder, rng: Rng) -> Tensor:
        given = elementwise.quantization(rng, dtype)
        shape, options = (1, 5, 7, 19), {"options": f"{kind.title()}Options", "dtype": dtype}
        x, y = (b.input(shape, dtype=dtype, **given) for _ in range(2))
        output = elementwise.result_quantization(rng, kind, given, given, dtype)
        return b.operator(kind, [x, y], shape, **output, **options)

    return one(case)


def doubling_transpose_conv(b: TFLiteBuilder, rng: Rng) -> Tensor:
    """A transposed convolution as decoders have them: stride 2, more than one block."""
    x, channels = image(b, rng), int(rng.choice([4, 20]))
    kernel, padding = int(rng.integers(2, 5)), str(rng.choice(["SAME", "VALID"]))
    weight = rng.integers(-127, 128, (channels, kernel, kernel, x.shape[3])).astype(np.int8)
    extra = max(kernel - 2, 0) if padding == "VALID" else 0
    shape = (1, 2 * x.shape[1] + extra, 2 * x.shape[2] + extra, channels)
    operands = [b.constant(np.array(shape, np.int32)), b.constant(weight, 0.01), x]
    return b.operator(
        *("TRANSPOSE_CONV", operands, shape),
        scale=float(0.5 * kernel * x.shape[3] ** 0.5 * rng.uniform(0.5, 2)),
        zero_point=int(rng.integers(-50, 50)),
        options="TransposeConvOptions",
        Padding=getattr(tflite.Padding, padding),
        StrideH=2,
        StrideW=2,
    )


def large_wide_conv(b: TFLiteBuilder, rng: Rng) -> Tensor:
    shape = (1, *(int(size) for size in rng.integers(6, 20, 2)), int(rng.choice([3, 16, 36])))
    x = b.input(shape, wide.scale(rng), dtype="int16")
    kernel = tuple(int(size) for size in rng.integers(1, 4, 2))
    if rng.random() < 0.4:
        return wide.convolution(
            *(b, rng, "DEPTHWISE_CONV_2D", x, (1, *kernel, shape[3]), 3),
            options="DepthwiseConv2DOptions",
            DepthMultiplier=1,
        )
    weights = (int(rng.choice([5, 24, 40])), *kernel, shape[3])
    return wide.convolution(b, rng, "CONV_2D", x, weights, 0, options="Conv2DOptions")


MOVEMENT: dict[str, Case] = {
    **{
        f"{case.__name__} {kind}": moved(case, kind)
        for case in movement.OPERATORS
        for kind in ("int8", "int16")
        if movement.has_reference(case, kind)
    },
    "large pad": one(large_pad),
    "RESIZE_BILINEAR to multiples": whole_resize("RESIZE_BILINEAR"),
    "RESIZE_NEAREST to multiples": whole_resize("RESIZE_NEAREST_NEIGHBOR"),
    "large transpose": one(large_transpose),
}
ELEMENTWISE: dict[str, Case] = {
    f"{kind} {dtype}": one(elementwise.binary(kind, dtype))
    for kind in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")
    for dtype in ("int8", "int16")
} | {
    **{
        f"{kind} {dtype}, one scale": same_scale(kind, dtype)
        for kind in ("ADD", "SUB")
        for dtype in ("int8", "int16")
    },
    "SQUARED_DIFFERENCE": one(elementwise.binary("SQUARED_DIFFERENCE", "int8")),
    "ABS int8": one(lambda b, rng: functions.case(b, rng, "ABS")),
    "ABS int16": one(wide.absolute),
    "LEAKY_RELU int16": one(wide.leaky_relu),
    "RELU int16": one(wide.relu),
}
REDUCTION: dict[str, Case] = {
    "SUM": one(reduction.sums("SUM", "int8")),
    "MEAN": one(reduction.sums("MEAN", "int8")),
    "large reduction": one(large_reduction),
    "REDUCE_MAX": one(reduction.extreme("REDUCE_MAX")),
    "REDUCE_MIN": one(reduction.extreme("REDUCE_MIN")),
}
WINDOWS: dict[str, Case] = {
    "TRANSPOSE_CONV": one(sequence.transpose_conv),
    "TRANSPOSE_CONV int16": one(sequence.wide_transpose_conv),
    "TRANSPOSE_CONV, stride 2": one(doubling_transpose_conv),
    "CONV_2D int16": one(wide.conv2d),
    "CONV_2D int16, grouped": one(wide.grouped_conv2d),
    "large convolution int16": one(large_wide_conv),
    "DEPTHWISE_CONV_2D int16": one(wide.depthwise_conv2d),
    "FULLY_CONNECTED int16": one(wide.fully_connected),
    "MAX_POOL_2D int16": one(wide.pool("MAX_POOL_2D")),
    "AVERAGE_POOL_2D int16": one(wide.pool("AVERAGE_POOL_2D")),
}
CASES: dict[str, Case] = {**MOVEMENT, **ELEMENTWISE, **REDUCTION, **WINDOWS}
"""Kinds of graphs, by name."""


@dataclass(frozen=True)
class Outcome:
    """What became of some graphs.

    Attributes:
        wrong: kind and seed of those that do not compute what TFLite Micro computes.
        reasons: of each kind, how many are on the NPU in whole ("") and why others are not.
    """

    wrong: list[tuple[str, int]]
    reasons: dict[str, dict[str, int]]


def compare(kinds: Sequence[str], seeds: Sequence[int], npu: Npu) -> Outcome:
    """Compiles one graph of each kind and seed for the NPU and runs it in the functional model.

    All are one model, so that the oracle runs once.
    """
    from tinyaot.compiler.npu.lower import lower
    from tinyaot.compiler.npu.operands import Unsupported
    from tinyaot.compiler.npu.partition import partition
    from tinyaot.compiler.npu.simulate import simulate
    from tinyaot.schedules.workload import Constant

    b, names = TFLiteBuilder(), []
    for kind in kinds:
        for seed in seeds:
            for tensor in CASES[kind](b, np.random.default_rng((seed, len(kind)))):
                b.output(tensor)
                names.append((kind, seed))
    model = b.build()
    graph = simplify(legalize(import_model(model), "m"))
    parts = partition(graph, npu)
    inputs = random_inputs([graph.tensors[name] for name in graph.inputs], INFERENCES, 5)
    with tempfile.TemporaryDirectory(prefix="tinyaot-npu-") as folder:
        path = Path(folder) / "graphs.tflite"
        path.write_bytes(model)
        expected = reference_outputs(path, inputs)
    wrong: dict[tuple[str, int], None] = {}
    for arrays, outputs in zip(inputs, expected, strict=True):
        values = simulate(parts.graph, arrays)
        for name, result, known in zip(names, graph.outputs, outputs, strict=True):
            if not np.array_equal(values[result], known):
                wrong[name] = None
    reasons: dict[str, dict[str, int]] = {}
    makers = {node.output: node for node in graph.nodes}
    for (kind, _), result in zip(names, graph.outputs, strict=True):
        found, waiting = "", [result]
        while waiting and not found:
            node = makers.get(waiting.pop())
            if node is None or isinstance(node.workload, Constant):
                continue
            waiting += node.inputs
            try:
                lower(node, graph)
            except Unsupported as reason:
                found = str(reason)
        counts = reasons.setdefault(kind, {})
        counts[found] = counts.get(found, 0) + 1
    return Outcome(list(wrong), reasons)
