"""The kernels for cores with the DSP extension are exact on the emulated core, for any shape.

Many random operators make one image. Each lies between two copies, so that its input and output
are in the arena and the kernels that can work in place do.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kernel_cases
import numpy as np
import pytest
from kernel_cases import (
    FULL,
    HALF,
    Case,
    Random,
    convolution,
    depthwise,
    matrices,
    of_shapes,
    on_colours,
    on_one_pixel,
    pointwise,
    product,
    quantization,
    scaling,
    weight,
)

from tinyaot.compiler.legalize.fixed_point import softmax_exp_table
from tinyaot.schedules.registry import choose
from tinyaot.schedules.workload import (
    Add,
    FullyConnected,
    Lookup,
    Mean,
    Pool2D,
    Requantize,
    Softmax,
)
from tinyaot.targets import get_target

pytestmark = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)


def any_convolution(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 6, 2))
    return convolution(rng, kernel, int(rng.integers(1, 18)), int(rng.integers(1, 12)))


def on_words(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 4, 2))
    return convolution(rng, kernel, 8 * int(rng.integers(1, 5)), 2 * int(rng.integers(1, 9)))


def any_depthwise(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 6, 2))
    return depthwise(rng, kernel, int(rng.integers(4, 15)))


def depthwise_3x3(rng: Random) -> Case:
    """What the kernels on planes are for, up to images that take several blocks of columns."""
    stride, batch = int(rng.choice([1, 2])), int(rng.choice([1, 1, 2]))
    padding = tuple(int(size) for size in rng.integers(0, 2, 4))
    height, width = (int(size) for size in rng.choice([*range(3, 20), 27, 49, 60], 2))
    rows = (height + padding[0] + padding[2] - 3) // stride + 1
    columns = (width + padding[1] + padding[3] - 3) // stride + 1
    channels = 4 * int(rng.integers(1, 4))
    return depthwise(
        rng,
        (3, 3),
        channels,
        input_shape=(batch, height, width, channels),
        output_shape=(batch, rows, columns),
        padding=padding,
        strides=(stride, stride),
        dilation=(1, 1),
    )


def dense(rng: Random, batch: int, inputs: int, outputs: int) -> Case:
    workload = FullyConnected(batch, inputs, outputs, **quantization(rng))
    constants = {"weight": weight(rng, outputs, inputs), **scaling(rng, outputs, inputs)}
    if rng.random() < 0.5:
        constants["multiplier"][:] = constants["multiplier"][0]
        constants["shift"][:] = constants["shift"][0]
        # A neuron that never changes.
        constants["weight"][outputs // 2] = 0
        constants["bias"][outputs // 2] = rng.integers(-(2**28), 2**28)
    return Case(workload, (batch * inputs,), batch * outputs, constants)


def any_dense(rng: Random) -> Case:
    batch = int(rng.choice([1, 1, 1, 2, 3, 4, 5]))
    return dense(rng, batch, int(rng.integers(1, 150)), int(rng.integers(1, 20)))


def pool(rng: Random) -> Case:
    """Padding is below the kernel's size, so that no window is empty."""
    kernel, strides = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
    before, after = (rng.integers(0, kernel) for _ in range(2))
    size = kernel + rng.integers(0, 8, 2)
    out_size = (size + before + after - kernel) // strides + 1
    batch, channels = int(rng.choice([1, 1, 2])), int(rng.integers(4, 14))
    workload = Pool2D(
        str(rng.choice(["average", "max"])),
        (batch, *size.tolist(), channels),
        (batch, *out_size.tolist(), channels),
        tuple(kernel.tolist()),
        tuple(strides.tolist()),
        (*before.tolist(), *after.tolist()),
        FULL if rng.random() < 0.5 else (-30, 100),
    )
    return of_shapes(workload, {})


def global_pool(rng: Random) -> Case:
    height, width, channels = (int(size) for size in rng.integers([3, 3, 4], [40, 20, 9]))
    shapes = (1, height, width, channels), (1, 1, 1, channels)
    mode = str(rng.choice(["average", "average", "max"]))
    size = (height, width)
    return of_shapes(Pool2D(mode, *shapes, size, size, (0, 0, 0, 0), FULL), {})


def mean(rng: Random) -> Case:
    outer, reduced, inner = (int(size) for size in rng.integers([1, 1, 4], [3, 600, 14]))
    factor = {
        "multiplier": int(rng.integers(HALF, 2 * HALF)),
        "shift": -int(math.log2(reduced)),
    }
    workload = Mean(outer, reduced, inner, **factor, **quantization(rng))
    return Case(workload, (outer * reduced * inner,), outer * inner)


def add(rng: Random) -> Case:
    """As TFLite quantizes it: scales relative to twice the larger one, left shift 20."""
    size = int(rng.integers(1, 200))
    scales = rng.uniform(0.01, 0.1, 2)
    twice = 2 * scales.max()
    after = twice / 2**20 / (scales.sum() * rng.uniform(0.4, 1.1))
    (m0, s0), (m1, s1), (m2, s2) = (
        (round(fraction * 2**31) - 1, int(exponent))
        for fraction, exponent in map(np.frexp, (*(scales / twice), after))
    )
    points = tuple(int(one) for one in rng.integers(-128, 128, 2))
    common = quantization(rng)
    workload = Add(
        *(size, points, (m0, m1), (s0, s1), 20, m2, s2),
        common["output_zero_point"],
        common["clamp"],
        common["rounding"],
    )
    return Case(workload, (size, size), size)


def requantize(rng: Random) -> Case:
    size = int(rng.integers(512, 600))
    factor = int(rng.integers(HALF, 2 * HALF)), int(rng.integers(-1, 2))
    rounding = str(rng.choice(["double", "single"]))
    workload = Requantize(size, "int8", "int8", 20, -9, *factor, (-100, 90), rounding)
    return Case(workload, (size,), size)


def lookup(rng: Random) -> Case:
    size = int(rng.integers(1, 100))
    table = rng.integers(-128, 128, 256).astype(np.int8)
    return Case(Lookup(size), (size,), size, {"table": table})


def softmax(rng: Random) -> Case:
    rows = int(rng.integers(1, 4))
    depth = int(rng.choice([1, 2, 12, 100, 1000], p=[0.1, 0.2, 0.4, 0.2, 0.1]))
    table = softmax_exp_table(float(rng.choice([0.004, 0.05, 0.3])), 1.0)
    return Case(Softmax(rows, depth), (rows * depth,), rows * depth, {"table": table})


def any_decisions(rng: Random, cases: list[Case], features: frozenset[str]) -> Any:
    """Some value for every knob."""
    return {
        case.workload: {
            knob: int(rng.choice(valid))
            for knob, valid in choose(case.workload, features, None, dict(case.constants))
            .rule.space(case.workload)
            .items()
        }
        for case in cases
    }


def check(cases: list[Case], directory: Path, target_name: str, *, tuned: bool = False) -> None:
    """All cases use rules for the core, and compute what the reference says."""
    rng = np.random.default_rng(len(cases))
    features = get_target(target_name).features
    decisions = any_decisions(rng, cases, features) if tuned else None
    kernel_cases.check(cases, directory, target_name, "cortex_m.dsp", decisions=decisions)


CONVOLUTIONS: tuple[Callable[[Random], Case], ...] = (
    *(any_convolution, any_convolution, any_convolution),
    *(pointwise, on_words, on_colours, on_one_pixel),
)
DEPTHWISE: tuple[Callable[[Random], Case], ...] = (
    *(any_depthwise, depthwise_3x3, depthwise_3x3, depthwise_3x3),
)
DENSE: tuple[Callable[[Random], Case], ...] = (any_dense,)
OTHERS: tuple[Callable[[Random], Case], ...] = (
    *(pool, pool, global_pool, mean, add, product, matrices, requantize, lookup, softmax),
)


@pytest.mark.parametrize("tuned", [False, True], ids=["defaults", "any knobs"])
@pytest.mark.parametrize(
    ("makers", "repeats"),
    [(CONVOLUTIONS, 4), (DEPTHWISE, 4), (DENSE, 16), (OTHERS, 4)],
    ids=["convolutions", "depthwise", "dense", "others"],
)
def test_on_cortex_m4(
    makers: tuple[Callable[[Random], Case], ...], repeats: int, tuned: bool, tmp_path: Path
) -> None:
    rng = np.random.default_rng(int(tuned))
    cases = [make(rng) for make in makers for _ in range(repeats)]
    check(cases, tmp_path, "cortex-m4", tuned=tuned)


@pytest.mark.parametrize("target", ["cortex-m7", "cortex-m33"])
def test_on_other_cores(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    makers = (*CONVOLUTIONS, *DEPTHWISE, *DENSE, *OTHERS)
    check([make(rng) for make in makers], tmp_path, target)


@pytest.mark.parametrize(
    "make",
    [any_convolution, any_depthwise, depthwise_3x3, pool, add, lookup, softmax],
)
def test_alone(make: Callable[[Random], Case], tmp_path: Path) -> None:
    """With one call of each function the compiler knows all its arguments, and may use that."""
    check([make(np.random.default_rng(6))], tmp_path, "cortex-m4")


def test_a_dense_layer_alone(tmp_path: Path) -> None:
    """GCC 12 once left out the widening of its inputs, both being at known addresses."""
    check([dense(np.random.default_rng(6), 1, 64, 12)], tmp_path, "cortex-m4")
