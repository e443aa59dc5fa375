"""The kernels for int16 activations are exact on the emulated cores, for any shape."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import FULL_WIDE, Case, Random, check, rows, size_of, wide_convolution

from tinyaot.compiler.legalize.fixed_point import quantize_multiplier, requantize
from tinyaot.schedules.cortex_m.wide_elementwise import Line
from tinyaot.schedules.registry import choose
from tinyaot.schedules.workload_elementwise import QuantizedBinary
from tinyaot.schedules.workload_wide import WideRamp, WideRequantize
from tinyaot.targets import get_target

INT16 = ("int16", "int16")


def any_convolution(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 5, 2))
    return wide_convolution(rng, kernel, int(rng.integers(1, 18)), int(rng.integers(1, 12)))


def along_time(rng: Random) -> Case:
    """As streaming networks have them: one axis, strides or dilation, few places."""
    taps, channels = int(rng.choice([1, 3, 4, 7])), int(rng.choice([1, 2, 8, 16, 17]))
    stride, dilation = [(1, 1), (2, 1), (1, 3)][rng.integers(0, 3)]
    padding = int(rng.choice([0, 0, 2]))
    time = (taps - 1) * dilation + 1 + int(rng.choice([0, 1, 2, 9]))
    places = (time + padding - (taps - 1) * dilation - 1) // stride + 1

    def pair(value: int, other: int = 1) -> tuple[int, int]:
        return (other, value) if flat else (value, other)

    flat = bool(rng.random() < 0.5)
    return wide_convolution(
        *(rng, pair(taps), channels, int(rng.choice([1, 4, 7, 16]))),
        largest=20,
        input_shape=(1, *pair(time), channels),
        output_shape=(1, *pair(places)),
        strides=pair(stride),
        dilation=pair(dilation),
        padding=(*pair(padding, 0), 0, 0),
    )


def pointwise(rng: Random) -> Case:
    return wide_convolution(rng, (1, 1), 4 * int(rng.integers(1, 20)), int(rng.integers(1, 20)))


def dense(rng: Random) -> Case:
    """With sums that need 64 bits where it is long."""
    inputs, outputs = int(rng.choice([3, 8, 20, 30, 900, 1301])), int(rng.integers(1, 12))
    batch = int(rng.choice([1, 1, 2, 3]))
    return wide_convolution(
        *(rng, (1, 1), inputs, outputs),
        input_shape=(batch, 1, 1, inputs),
        output_shape=(batch, 1, 1),
        strides=(1, 1),
        dilation=(1, 1),
        padding=(0, 0, 0, 0),
    )


def any_depthwise(rng: Random, multiple: int = 4) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 5, 2))
    channels = 4 + multiple * int(rng.integers(0, 20 // multiple))
    return wide_convolution(rng, kernel, channels, channels, groups=channels, kind="plain")


def depthwise_of_pairs(rng: Random) -> Case:
    return any_depthwise(rng, 2)


def ramp(rng: Random) -> Case:
    """A leaky ReLU that keeps its scale or changes it, or a change of scale alone."""
    size = size_of(rng)
    other = quantize_multiplier(float(rng.uniform(0.01, 2.5)))
    if rng.random() < 0.3:
        clamp = FULL_WIDE if rng.random() < 0.5 else (0, 9000)
        return Case(WideRequantize(size, *INT16, 0, 0, *other, clamp), (size,), size, dtype="int16")
    positive = quantize_multiplier(float(rng.choice([1.0, rng.uniform(0.3, 2.5)])))
    workload = WideRamp(size, positive, other, mirror=False, clamp=FULL_WIDE)
    return Case(workload, (size,), size, dtype="int16")


def combination(rng: Random) -> Case:
    """A sum, difference or product of tensors that may be broadcast, scaled as TFLite does it."""
    shape, steps, sizes = rows(rng)
    operation = str(rng.choice(["add", "add", "subtract", "multiply"]))
    clamp = FULL_WIDE if rng.random() < 0.7 else (0, 2**15 - 1)
    if operation == "multiply":
        factors = [1.0, 1.0, float(np.exp(rng.uniform(-12, -8)))]
    else:
        scales = np.exp(rng.normal(-7, 0.7, 2))
        twice = 2 * scales.max()
        output = twice / 2**15 / (scales.sum() * rng.uniform(0.3, 1.1))
        factors = [*(scales / twice).tolist(), float(output)]
    three = tuple(map(quantize_multiplier, factors))
    place = operation, "int16", shape, steps
    workload = QuantizedBinary(*place, (0, 0), 15, three, 0, clamp)
    return Case(workload, sizes, math.prod(shape), dtype="int16")


def some_decisions(rng: Random, cases: list[Case], target: str) -> dict[object, dict[str, int]]:
    """Some value for every knob of half of the cases."""
    features = get_target(target).features
    return {
        case.workload: {
            knob: int(rng.choice(valid))
            for knob, valid in choose(case.workload, features, None, dict(case.constants))
            .rule.space(case.workload)
            .items()
        }
        for case in cases[::2]
    }


LAYERS: tuple[Callable[[Random], Case], ...] = (
    *(any_convolution, along_time, pointwise, dense, any_depthwise),
)
MAKERS = (*LAYERS, depthwise_of_pairs, ramp, combination, combination)
DSP, MVE, SCALAR = (f"cortex_m.{kind}_wide" for kind in ("dsp", "mve", "scalar"))
RULES = {
    "host": (SCALAR,),
    "cortex-m0plus": (SCALAR,),
    "cortex-m3": (SCALAR,),
    "cortex-m4": (DSP, "cortex_m.wide_depthwise.dsp"),
    "cortex-m33": (DSP, "cortex_m.wide_depthwise.dsp"),
    "cortex-m55": (MVE, "cortex_m.wide_depthwise.mve"),
}


@pytest.mark.parametrize(
    ("target", "makers", "repeats"),
    [
        *(("cortex-m4", MAKERS, 5), ("cortex-m33", MAKERS, 2), ("cortex-m55", MAKERS, 5)),
        *(("host", LAYERS, 3), ("cortex-m0plus", LAYERS, 3), ("cortex-m3", LAYERS, 3)),
    ],
)
def test_on_a_core(
    target: str, makers: tuple[Callable[[Random], Case], ...], repeats: int, tmp_path: Path
) -> None:
    on_host = target == "host"
    for tool in ("cc",) if on_host else ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    rng = np.random.default_rng(repeats)
    cases = [make(rng) for make in makers for _ in range(repeats)]
    decisions = some_decisions(rng, cases, target)
    check(cases, tmp_path, target, RULES[target], decisions=decisions, sanitize=on_host)


@pytest.mark.parametrize("seed", range(40))
def test_a_line_is_the_reference_for_every_value(seed: int) -> None:
    """Of one sign, from left shifts to the largest right shift."""
    rng = np.random.default_rng(seed)
    multiplier, shift = int(rng.integers(2**30, 2**31)), int(rng.integers(-15, 15))
    multiplier = int(rng.choice([multiplier, 2**30]))
    for negative in (False, True):
        x = np.arange(-(2**15), 0) if negative else np.arange(2**15)
        # Larger results saturate before the reference overflows.
        x = x[np.abs(x) << max(shift, 0) < 2**31]
        line = Line.of((multiplier, shift), negative)
        sums = line.addend + (multiplier * x >> 16)
        assert np.abs(sums).max() < 2**31
        expected = requantize(x, np.array(multiplier), np.array(shift), "double")
        np.testing.assert_array_equal(sums >> line.shift, expected)
