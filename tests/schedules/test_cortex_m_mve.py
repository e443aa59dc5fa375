"""The Helium kernels are exact on the emulated Cortex-M55, for any shape that they accept."""

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
    addition,
    convolution,
    depthwise,
    difference,
    matrices,
    of_shapes,
    on_colours,
    on_one_pixel,
    pointwise,
    product,
    quantization,
    scaling,
    size_of,
    spatial,
    weight,
)

from tinyaot.compiler.legalize.fixed_point import (
    quantize_multiplier,
    requantize,
    softmax_exp_table,
)
from tinyaot.schedules.cortex_m.mve_requantize import is_signed, outputs, solve_vector
from tinyaot.schedules.cortex_m.mve_window import block_space
from tinyaot.schedules.cortex_m.requantize import fold_channels
from tinyaot.schedules.registry import UnsuitableError, find_rules
from tinyaot.schedules.workload import (
    Conv2D,
    FullyConnected,
    Lookup,
    Mean,
    Pool2D,
    Requantize,
    Softmax,
    Workload,
)
from tinyaot.targets import get_target

on_device = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)

FEATURES = get_target("cortex-m55").features


def check(cases: list[Case], directory: Path, decisions: Any = None, others: int = 0) -> None:
    kernel_cases.check(
        cases, directory, "cortex-m55", "cortex_m.mve_", decisions=decisions, others=others
    )


def any_convolution(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 6, 2))
    return convolution(rng, kernel, int(rng.integers(1, 20)), int(rng.integers(1, 20)))


def strided_pointwise(rng: Random) -> Case:
    case = convolution(rng, (1, 1), int(rng.integers(1, 70)), 4 * int(rng.integers(1, 20)))
    return case


def three_wide(rng: Random) -> Case:
    """Windows of three columns on whole vectors of channels."""
    kernel = int(rng.integers(1, 4)), 3
    return convolution(rng, kernel, 16 * int(rng.integers(1, 4)), 4 * int(rng.integers(1, 9)))


def any_depthwise(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 8, 2))
    return depthwise(rng, kernel, int(rng.integers(1, 30)))


def depthwise_3x3(rng: Random) -> Case:
    return depthwise(rng, (3, 3), 4 * int(rng.integers(1, 12)), largest=16)


def dense(rng: Random) -> Case:
    """With one scale or several, and any number of inputs."""
    batch, outputs = int(rng.choice([1, 1, 3])), int(rng.integers(1, 40))
    inputs = int(rng.choice([rng.integers(1, 40), rng.integers(40, 300), 128, 256]))
    constants = {"weight": weight(rng, outputs, inputs), **scaling(rng, outputs, inputs)}
    if rng.random() < 0.6:
        constants["multiplier"][:] = constants["multiplier"][0]
        constants["shift"][:] = constants["shift"][0]
    workload = FullyConnected(batch, inputs, outputs, **quantization(rng))
    return Case(workload, (batch * inputs,), batch * outputs, constants)


def rescaling(rng: Random) -> Case:
    size = size_of(rng)
    multiplier, shift = quantize_multiplier(float(rng.uniform(0.1, 2.5)))
    surroundings = quantization(rng)
    zero_points = surroundings["input_zero_point"], surroundings["output_zero_point"]
    rest = surroundings["clamp"], surroundings["rounding"]
    workload = Requantize(size, "int8", "int8", *zero_points, multiplier, shift, *rest)
    return Case(workload, (size,), size)


def table(rng: Random) -> Case:
    size = size_of(rng)
    return Case(Lookup(size), (size,), size, {"table": weight(rng, 256)})


def pooling(rng: Random) -> Case:
    """The average without padding, the maximum with it; no window is all padding."""
    while True:
        kernel = tuple(int(size) for size in rng.integers(1, 5, 2))
        shapes = spatial(rng, int(rng.integers(1, 40)), largest=12, kernel=kernel)
        shapes["output_shape"] += (shapes["input_shape"][3],)
        last = [
            (size - 1) * stride - pad
            for size, stride, pad in zip(
                shapes["output_shape"][1:3], shapes["strides"], shapes["padding"][:2], strict=True
            )
        ]
        inside = all(
            pad < size and begin < length
            for pad, size, begin, length in zip(
                shapes["padding"][:2], kernel, last, shapes["input_shape"][1:3], strict=True
            )
        )
        if inside and shapes.pop("dilation") == (1, 1):
            break
    mode = "max" if any(shapes["padding"]) else "average"
    clamp = FULL if rng.random() < 0.7 else (-100, 90)
    return of_shapes(Pool2D(mode, clamp=clamp, **shapes), {})


def average_of_all(rng: Random) -> Case:
    outer, reduced, inner = (int(rng.integers(1, most)) for most in (3, 300, 40))
    multiplier, shift = quantize_multiplier(float(rng.uniform(0.3, 2)) / reduced)
    workload = Mean(outer, reduced, inner, multiplier=multiplier, shift=shift, **quantization(rng))
    return Case(workload, (outer * reduced * inner,), outer * inner)


def softmax(rng: Random) -> Case:
    rows, depth = int(rng.integers(1, 4)), int(rng.integers(1, 300))
    table = softmax_exp_table(float(rng.uniform(0.005, 0.3)), 1.0)
    return Case(Softmax(rows, depth), (rows * depth,), rows * depth, {"table": table})


CONVOLUTIONS: tuple[Callable[[Random], Case], ...] = (
    *(any_convolution, any_convolution, strided_pointwise),
    *(pointwise, three_wide, on_colours, on_one_pixel),
)


@on_device
@pytest.mark.parametrize("seed", range(2))
def test_convolutions(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    check([make(rng) for make in CONVOLUTIONS for _ in range(4)], tmp_path, others=2)


@on_device
def test_depthwise_convolutions(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    makers = (any_depthwise, depthwise_3x3, depthwise_3x3)
    check([make(rng) for make in makers for _ in range(9)], tmp_path, others=2)


@on_device
def test_dense_layers(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    check([dense(rng) for _ in range(30)], tmp_path, others=2)


@on_device
def test_other_operators(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    makers = (
        addition,
        difference,
        product,
        matrices,
        rescaling,
        table,
        average_of_all,
        softmax,
        pooling,
        pooling,
    )
    check([make(rng) for make in makers for _ in range(5)], tmp_path, others=4)


@on_device
def test_convolutions_at_every_size(tmp_path: Path) -> None:
    """Whatever the knobs say, the result is the same."""
    rng = np.random.default_rng(7)
    cases, decisions = [], {}
    makers = (*CONVOLUTIONS, any_depthwise, depthwise_3x3)
    while len(cases) < 2 * len(makers):
        case = makers[len(cases) % len(makers)](rng)
        knobs = {name: int(rng.choice(values)) for name, values in space_of(case.workload).items()}
        cases.append(case)
        decisions[case.workload] = knobs
    check(cases, tmp_path, decisions, others=2)


def space_of(workload: Workload) -> Any:
    """The knobs of the rule that is asked first."""
    return find_rules(workload, FEATURES)[0].space(workload)


def random_channels(rng: Random, rounding: str) -> dict[str, Any]:
    """A layer's constants and what surrounds them, some with extreme factors."""
    channels, taps = int(rng.integers(1, 9)), int(rng.choice([1, 3, 9, 40]))
    weight = rng.integers(-127, 128, (channels, taps))
    weight[rng.random(channels) < 0.1] = 0
    ideal = -math.ceil(math.log2(74 * math.sqrt(taps)))
    zero_point, clamp = [
        (-128, FULL),
        (int(rng.integers(-128, 128)), FULL),
        (-20, (-20, 90)),
        (int(rng.integers(-128, 128)), (-70, 99)),
    ][rng.integers(4)]
    multiplier = rng.integers(HALF, 2 * HALF, channels)
    return {
        "weight": weight,
        "constants": {
            "bias": rng.integers(-20000, 20000, channels),
            "multiplier": np.where(rng.random(channels) < 0.2, HALF, multiplier),
            "shift": rng.integers(ideal - 1, ideal + 3, channels),
        },
        "input_zero_point": int(rng.integers(-128, 128)),
        "output_zero_point": zero_point,
        "clamp": clamp,
        "rounding": rounding,
    }


@pytest.mark.parametrize("rounding", ["double", "single"])
def test_vector_form_equals_reference_for_every_sum(rounding: str) -> None:
    """Every sum that a channel can reach, not only those next to the steps."""
    rng = np.random.default_rng(11)
    solved = 0
    for _ in range(40):
        layer = random_channels(rng, rounding)
        zero_point, clamp = layer["output_zero_point"], layer["clamp"]
        target = fold_channels(**layer)
        signed = is_signed(zero_point, clamp, rounding)
        try:
            found = solve_vector(target, zero_point if signed else None)
        except UnsuitableError:
            continue
        solved += 1
        weight, constants = layer["weight"], layer["constants"]
        for channel, taps in enumerate(weight):
            # The inputs keep their zero point, the bias holds it.
            bias = int(constants["bias"][channel] - layer["input_zero_point"] * taps.sum())
            low = bias + int(np.minimum(-128 * taps, 127 * taps).sum())
            high = bias + int(np.maximum(-128 * taps, 127 * taps).sum())
            sums = np.arange(low, high + 1)
            multiplier, shift = constants["multiplier"][channel], constants["shift"][channel]
            wanted = requantize(sums, multiplier, shift, rounding) + zero_point
            # A channel of constant output has lost its weights.
            seen = sums if np.any(target.weight[channel]) else 0 * sums
            got = outputs(found, np.broadcast_to(seen, (len(weight), len(seen))))[channel]
            np.testing.assert_array_equal(np.clip(got, *clamp), np.clip(wanted, *clamp))
    assert solved > 35


@pytest.mark.parametrize(
    ("channels", "block"), [(8, 8), (64, 64), (256, 128), (172, 172), (276, 92), (1028, 4)]
)
def test_blocks_of_channels_are_neither_small_nor_huge(channels: int, block: int) -> None:
    shape = (1, 4, 4, channels)
    workload = Conv2D(shape, shape, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, 0, 0, (-128, 127))
    sizes = block_space(workload)
    assert sizes[0] == block
    assert len(set(sizes)) == len(sizes)
    assert all(channels % size == 0 and size % 4 == 0 for size in sizes)
