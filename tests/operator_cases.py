"""What tests of operators share: random quantization, and the comparison with the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tflite_builder import Tensor, TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.compiler.reference import evaluate

INFERENCES = 8
CASES_PER_OPERATOR = 8

ACTIVATIONS = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0, np.inf),
    "RELU6": (0, 6),
    "RELU_N1_TO_1": (-1, 1),
}

Case = Callable[[TFLiteBuilder, np.random.Generator], Tensor]


def scale(rng: np.random.Generator) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(0.01), np.log(0.3)))))


def zero_point(rng: np.random.Generator) -> int:
    """At an end of the range in one of four."""
    return int(rng.choice([-128, 127, *rng.integers(-128, 128, 6)]))


def activation(rng: np.random.Generator, scale: float, zero_point: int, dtype: str = "int8") -> str:
    """A fused activation that leaves some of the range of its output."""
    limits = np.iinfo(dtype)

    def width(low: float, high: float) -> float:
        top = min(limits.max, zero_point + high / scale)
        return float(top - max(limits.min, zero_point + low / scale))

    return str(rng.choice([name for name, bounds in ACTIVATIONS.items() if width(*bounds) > 8]))


def window(rng: np.random.Generator) -> dict[str, Any]:
    """Strides and padding of a convolution or pool."""
    return {
        "strides": tuple(int(stride) for stride in rng.integers(1, 4, 2)),
        "padding": str(rng.choice(["SAME", "VALID"])),
    }


def dilated(rng: np.random.Generator, attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes with a dilation in one of three; TFLite forbids it together with strides."""
    if rng.random() < 0.33:
        attributes |= {"strides": (1, 1), "dilation": (2, int(rng.integers(1, 3)))}
    return attributes


def write_model(path: Path, *cases: Case, seed: int = 0) -> Path:
    builder = TFLiteBuilder()
    rng = np.random.default_rng(seed)
    for case in cases:
        builder.output(case(builder, rng))
    path.write_bytes(builder.build())
    return path


def differing_cases(path: Path, target: str, constant: bool = False) -> dict[str, str]:
    """Compiles and runs a model, and describes each output that is not TFLite Micro's, in C or in
    the numpy interpreter; outputs that never change are a mistake unless they are expected."""
    compiled = compile_model(path, target)
    inputs = random_inputs(compiled.inputs, INFERENCES)
    expected = compiled.reference(path, inputs)
    # A case whose output never changes shows nothing.
    for tensor, *arrays in zip(compiled.outputs, *expected, strict=True):
        varied = constant or len(np.unique(np.stack(arrays))) > 1
        assert varied, f"{tensor} is constant: choose other cases"
    got = compiled.measure(inputs).outputs
    plain = evaluate(compiled.graph, inputs[0])
    nodes = {node.output: node for node in compiled.graph.nodes}
    differing = {}
    for index, tensor in enumerate(compiled.outputs):
        steps = np.stack(
            [
                one[index].astype(int) - other[index].astype(int)
                for one, other in zip(got, expected, strict=True)
            ]
        )
        if not np.array_equal(plain[tensor.name], expected[0][index]):
            differing[f"numpy: {nodes[tensor.name].origin}"] = f"{nodes[tensor.name].workload}"
        if steps.any():
            differing[nodes[tensor.name].origin] = (
                f"{np.count_nonzero(steps)} of {steps.size} differ by up to {np.abs(steps).max()}: "
                f"{nodes[tensor.name].workload}"
            )
    return differing
