"""Every quantized ONNX operator against the real numbers it stands for, and ONNX Runtime.

Each test is one model that holds many independent cases: seeded random shapes, quantization and
attributes, int8 and uint8, quantized and float at the model's edge. Rounding may differ from ONNX
Runtime's only where the real result is next to a tie.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx_builder import QdqModel, Quantization

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs

CASES, INFERENCES = 8, 8
# Steps by which a computed result may be beyond the middle between two steps: in fixed point, and
# in ONNX Runtime's single-precision floats.
TOLERANCE, FLOAT_TOLERANCE = 1e-5, 1e-4

Real = NDArray[np.float64]


@dataclass
class Suite:
    """A model under construction, and what its outputs are in real numbers.

    Attributes:
        inputs: quantizations of the model's inputs.
        outputs: for each output its quantization, the indices of the inputs it depends on, and
            the function that computes it from their real values.
    """

    model: QdqModel
    rng: np.random.Generator
    inputs: list[Quantization] = field(default_factory=list)
    outputs: list[tuple[Quantization, list[int], Callable[..., Real]]] = field(default_factory=list)

    def quantization(self, low: float = 0.01, high: float = 0.3) -> Quantization:
        dtype = str(self.rng.choice(["int8", "uint8"]))
        info = np.iinfo(dtype)
        scale = float(np.float32(np.exp(self.rng.uniform(np.log(low), np.log(high)))))
        points = [info.min, info.max, (info.min + info.max + 1) // 2]
        points += self.rng.integers(info.min, info.max, 3).tolist()
        return Quantization(dtype, scale, int(self.rng.choice(points)))

    def input(self, *shape: int, q: Quantization | None = None) -> str:
        q = q or self.quantization()
        self.inputs.append(q)
        return self.model.input(shape, q, as_float=bool(self.rng.random() < 0.3))

    def output(
        self, x: str, q: Quantization, compute: Callable[..., Real], inputs: int = 1
    ) -> None:
        """The next output: `compute` takes the real values of the last `inputs` inputs."""
        places = list(range(len(self.inputs) - inputs, len(self.inputs)))
        shapes = [
            [size.dim_value for size in self.model._inputs[place].type.tensor_type.shape.dim]
            for place in places
        ]
        shape = compute(*(np.zeros(one) for one in shapes)).shape
        self.outputs.append((q, places, compute))
        self.model.output(x, q, shape, as_float=bool(self.rng.random() < 0.3))

    def image(self, q: Quantization | None = None) -> tuple[str, tuple[int, ...]]:
        height, width = (int(size) for size in self.rng.integers(5, 11, 2))
        shape = (1, int(self.rng.choice([1, 2, 3, 4, 6])), height, width)
        return self.input(*shape, q=q), shape


def windows(x: Real, kernel: Any, strides: Any, pads: Any, dilations: Any, fill: float) -> Real:
    """Patches (N, C, OH, OW, KH, KW) of an NCHW tensor."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    patches = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    return patches[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def parameters(s: Suite, x_scale: float, shape: tuple[int, ...], axis: int, y_scale: float) -> Any:
    """Weights and bias that make sums of products fill the output's range: names, real values."""
    channels = shape[axis]
    weight = s.rng.integers(-127, 128, shape).astype(np.int8)
    fan_in = weight.size // channels
    count = channels if s.rng.random() < 0.6 else 1
    spread = np.exp(s.rng.uniform(-1, 1, count))
    scale = (spread * y_scale / (x_scale * 74 * np.sqrt(fan_in))).astype(np.float32)
    scale = scale if count > 1 else scale[0]
    bias = s.rng.integers(-20000, 20000, channels).astype(np.int32)
    bias_scale = np.float32(x_scale) * scale
    names = [s.model.weight(weight, scale, axis), s.model.weight(bias, bias_scale)]
    shaped = np.reshape(scale, [-1 if i == axis else 1 for i in range(len(shape))])
    # What one step of the bias is worth is what its own scale says, not its product in double.
    return names, weight * shaped.astype(np.float64), bias * bias_scale.astype(np.float64)


def convolution(s: Suite, groups: int, channels: int, shape: tuple[int, ...], x: str) -> None:
    y = s.quantization()
    kernel = [int(size) for size in s.rng.integers(1, 4, 2)]
    attributes = {
        "kernel_shape": kernel,
        "strides": [int(size) for size in s.rng.integers(1, 3, 2)],
        "dilations": [int(size) for size in s.rng.choice([1, 1, 2], 2)],
        "pads": [int(size) for size in s.rng.integers(0, 3, 4)],
    }
    inputs = shape[1] // groups
    names, weight, bias = parameters(s, s.inputs[-1].scale, (channels, inputs, *kernel), 0, y.scale)
    if s.rng.random() < 0.3:
        names, bias = names[:1], np.zeros(channels)

    def compute(x: Real) -> Real:
        _, strides, dilations, pads = attributes.values()
        patches = windows(x, kernel, strides, pads, dilations, 0.0)
        split = patches.reshape(1, groups, inputs, *patches.shape[2:])
        kernels = weight.reshape(groups, channels // groups, inputs, *kernel)
        result = np.einsum("ngihwkl,goikl->ngohw", split, kernels)
        return result.reshape(1, channels, *patches.shape[2:4]) + bias[:, None, None]

    s.output(s.model.operator("Conv", x, *names, group=groups, **attributes), y, compute)


def conv(s: Suite) -> None:
    x, shape = s.image()
    groups = int(s.rng.choice([size for size in (1, 1, 1, 2, 3) if shape[1] % size == 0]))
    convolution(s, groups, groups * int(s.rng.choice([1, 3, 4])), shape, x)


def depthwise(s: Suite) -> None:
    x, shape = s.image()
    convolution(s, shape[1], shape[1] * int(s.rng.choice([1, 1, 2])), shape, x)


def gemm(s: Suite) -> None:
    depth, outputs = (int(size) for size in s.rng.integers(2, [60, 12]))
    rows = int(s.rng.choice([1, 1, 3]))
    x, y = s.input(rows, depth), s.quantization()
    if s.rng.random() < 0.5:
        names, weight, bias = parameters(s, s.inputs[-1].scale, (outputs, depth), 0, y.scale)
        result = s.model.operator("Gemm", x, *names, transB=1)
        s.output(result, y, lambda x: x @ weight.T + bias)
    else:
        names, weight, bias = parameters(s, s.inputs[-1].scale, (depth, outputs), 1, y.scale)
        s.output(s.model.operator("MatMul", x, names[0]), y, lambda x: x @ weight)


def add(s: Suite) -> None:
    x, shape = s.image()
    other = s.input(*shape)
    y = s.quantization(0.05, 0.5)
    s.output(s.model.operator("Add", x, other), y, lambda a, b: a + b, inputs=2)


def global_average(s: Suite) -> None:
    x, _ = s.image()
    keep = int(s.rng.random() < 0.5)
    q = s.inputs[-1]
    y = Quantization(q.dtype, float(np.float32(q.scale * s.rng.uniform(0.2, 1.2))), q.zero_point)
    if s.rng.random() < 0.5:
        result = s.model.operator("GlobalAveragePool", x)
        s.output(result, y, lambda x: x.mean(axis=(2, 3), keepdims=True))
    else:
        result = s.model.operator("ReduceMean", x, axes=[2, 3], keepdims=keep)
        s.output(result, y, lambda x: x.mean(axis=(2, 3), keepdims=bool(keep)))


def pool(s: Suite, kind: str, pads: list[int], reduce: Callable[[Real], Real]) -> None:
    x, _ = s.image()
    kernel = [int(size) for size in s.rng.integers(2, 5, 2)]
    strides = [int(size) for size in s.rng.integers(1, 4, 2)]
    result = s.model.operator(kind, x, kernel_shape=kernel, strides=strides, pads=pads)
    s.output(
        result, s.inputs[-1], lambda x: reduce(windows(x, kernel, strides, pads, (1, 1), -np.inf))
    )


def max_pool(s: Suite) -> None:
    pool(s, "MaxPool", [int(n) for n in s.rng.integers(0, 2, 4)], lambda x: x.max(axis=(4, 5)))


def average_pool(s: Suite) -> None:
    pool(s, "AveragePool", [0, 0, 0, 0], lambda x: x.mean(axis=(4, 5)))


def softmax(s: Suite) -> None:
    x = s.input(int(s.rng.choice([1, 4])), int(s.rng.integers(2, 40)))
    dtype = str(s.rng.choice(["int8", "uint8"]))
    y = Quantization(
        dtype, float(np.float32(s.rng.choice([1 / 256, 1 / 255]))), np.iinfo(dtype).min
    )

    def compute(x: Real) -> Real:
        exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
        return exponentials / exponentials.sum(axis=-1, keepdims=True)

    s.output(s.model.operator("Softmax", x, axis=-1), y, compute)


def requantize(s: Suite) -> None:
    """A change of scale, alone or with an activation that the quantizer kept."""
    x, _ = s.image()
    y = s.quantization()
    choice = s.rng.integers(3)
    if choice == 0:
        s.output(x, y, lambda x: x)
    elif choice == 1:
        s.output(s.model.operator("Relu", x), y, lambda x: np.maximum(x, 0))
    else:
        low, high = float(np.float32(-20 * y.scale)), float(np.float32(60.25 * y.scale))
        bounds = [s.model.constant(np.float32(bound)) for bound in (low, high)]
        s.output(s.model.operator("Clip", x, *bounds), y, lambda x: np.clip(x, low, high))


def movement(s: Suite) -> None:
    """Bytes that move between dequantize and quantize, which also change the scale."""
    x, shape = s.image()
    y = s.inputs[-1] if s.rng.random() < 0.5 else s.quantization()
    choice = s.rng.integers(5)
    if choice == 0:
        axes = [0, *(int(axis) for axis in 1 + s.rng.permutation(3))]
        s.output(s.model.operator("Transpose", x, perm=axes), y, lambda x: x.transpose(axes))
    elif choice == 1:
        axis = int(s.rng.integers(1, 4))
        rows = int(np.prod(shape[:axis]))
        s.output(s.model.operator("Flatten", x, axis=axis), y, lambda x: x.reshape(rows, -1))
    elif choice == 2:
        target = s.model.constant(np.array([0, shape[2], -1]))
        s.output(s.model.operator("Reshape", x, target), y, lambda x: x.reshape(1, shape[2], -1))
    elif choice == 3:
        axes = s.model.constant(np.array([0]))
        squeezed = s.model.operator("Squeeze", x, axes)
        restored = s.model.operator("Unsqueeze", squeezed, s.model.constant(np.array([0, 1])))
        s.output(restored, y, lambda x: x[None])
    else:
        amounts = [int(amount) for amount in s.rng.integers(0, 3, 6)]
        value = float(np.float32(s.rng.choice([0.0, 1.5])))
        widths = s.model.constant(np.array([0, *amounts[:3], 0, *amounts[3:]]))
        padded = s.model.operator("Pad", x, widths, s.model.constant(np.float32(value)))
        pairs = [(0, 0), *zip(amounts[:3], amounts[3:], strict=True)]
        s.output(padded, y, lambda x: np.pad(x, pairs, constant_values=value))


OPERATORS = (
    conv,
    depthwise,
    gemm,
    add,
    global_average,
    max_pool,
    average_pool,
    softmax,
    requantize,
    movement,
)


def as_int8(q: Quantization) -> tuple[int, tuple[int, int]]:
    """Zero point and range of the type with which a float tensor comes out of the compiler."""
    return q.zero_point - (128 if q.dtype == "uint8" else 0), (-128, 127)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_operator(
    operator: Callable[[Suite], None],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    suite = Suite(QdqModel(), np.random.default_rng(1))
    for _ in range(CASES):
        operator(suite)
    path = tmp_path / f"{operator.__name__}.onnx"
    onnx.save(suite.model.model(), path)
    compiled = compile_model(path, "host")
    inputs = random_inputs(compiled.inputs, INFERENCES)
    outputs = compiled.measure(inputs, on="host").outputs
    references = compiled.reference(path, inputs)
    differing = total = 0
    for one, got, expected in zip(inputs, outputs, references, strict=True):
        real = [
            np.float64(tensor.scale or 1) * (x.astype(np.float64) - tensor.zero_point)
            for x, tensor in zip(one, compiled.inputs, strict=True)
        ]
        for index, (q, places, compute) in enumerate(suite.outputs):
            tensor = compiled.outputs[index]
            info = np.iinfo(tensor.dtype)
            steps = compute(*(real[place] for place in places)) / np.float64(np.float32(q.scale))
            steps = np.clip(steps + tensor.zero_point, info.min, info.max)
            where = f"output {index}: {compiled.graph.nodes[index].workload}"
            assert np.abs(got[index] - steps).max() <= 0.5 + TOLERANCE, where
            tie = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < FLOAT_TOLERANCE
            differs = got[index] != expected[index]
            if operator is not softmax:
                assert not (differs & ~tie).any(), where
            differing += int(differs.sum())
            total += differs.size
            # ONNX Runtime's own softmax on integers rounds its exponentials.
            assert np.abs(got[index].astype(int) - expected[index]).max() <= 1, where
    record_property("differs from ONNX Runtime", f"{differing} of {total}")
