"""What tests of operators share: random quantization, and the comparison with the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs

INFERENCES = 8


def scale(rng: np.random.Generator) -> float:
    return float(np.float32(np.exp(rng.uniform(np.log(0.01), np.log(0.3)))))


def zero_point(rng: np.random.Generator) -> int:
    """At an end of the range in one of four."""
    return int(rng.choice([-128, 127, *rng.integers(-128, 128, 6)]))


def differing_cases(path: Path, target: str) -> dict[str, str]:
    """Compiles and runs a model, and describes each output that is not TFLite Micro's."""
    compiled = compile_model(path, target)
    inputs = random_inputs(compiled.inputs, INFERENCES)
    expected = compiled.reference(path, inputs)
    # A case whose output never changes shows nothing.
    for tensor, *arrays in zip(compiled.outputs, *expected, strict=True):
        assert len(np.unique(np.stack(arrays))) > 1, f"{tensor} is constant: choose other cases"
    got = compiled.measure(inputs).outputs
    nodes = {node.output: node for node in compiled.graph.nodes}
    differing = {}
    for index, tensor in enumerate(compiled.outputs):
        steps = np.stack(
            [
                one[index].astype(int) - other[index].astype(int)
                for one, other in zip(got, expected, strict=True)
            ]
        )
        if steps.any():
            differing[nodes[tensor.name].origin] = (
                f"{np.count_nonzero(steps)} of {steps.size} differ by up to {np.abs(steps).max()}: "
                f"{nodes[tensor.name].workload}"
            )
    return differing
