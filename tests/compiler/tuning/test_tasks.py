"""The workloads that a model gives to tune are those that its compilation schedules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.tuning.tasks import model_tasks


def decoder(path: Path) -> Path:
    """A transposed convolution after a plain one."""
    builder, rng = TFLiteBuilder(), np.random.default_rng(3)
    x = builder.input((1, 6, 6, 4), 0.05, -3)
    weight = rng.integers(-90, 90, (8, 3, 3, 4)).astype(np.int8)
    x = builder.conv2d(x, weight=weight, weight_scale=0.002, scale=0.06, padding="SAME")
    shape = (1, 12, 12, 8)
    weight = rng.integers(-90, 90, (8, 2, 2, 8)).astype(np.int8)
    operands = [builder.constant(np.array(shape, np.int32)), builder.constant(weight, 0.002), x]
    y = builder.operator(
        *("TRANSPOSE_CONV", operands, shape),
        scale=0.05,
        zero_point=2,
        options="TransposeConvOptions",
        Padding=tflite.Padding.SAME,
        StrideH=2,
        StrideW=2,
    )
    builder.output(y)
    path.write_bytes(builder.build())
    return path


@pytest.mark.parametrize("npu", ["", "+ethos-u55-128", "+ethos-u85-256"])
def test_tasks_are_what_is_scheduled_for_the_core(npu: str, tmp_path: Path) -> None:
    if npu:
        pytest.importorskip("ethosu.vela", reason="needs the extra ethos-u")
    path, target = decoder(tmp_path / "decoder.tflite"), f"cortex-m55{npu}"
    found = {task.workload for task in model_tasks([path], target)}
    scheduled = {node.workload for node in compile_model(path, target).graph.nodes}
    assert found <= scheduled
    kinds = [workload.kind for workload in found]
    assert kinds.count("conv2d") == (0 if npu else 2)
