"""The kernels for int16 activations are exact on the emulated cores, for any shape."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import Case, Random, check, wide_convolution

from tinyaot.schedules.registry import choose
from tinyaot.targets import get_target

pytestmark = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)


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


MAKERS: tuple[Callable[[Random], Case], ...] = (any_convolution, along_time, pointwise, dense)
RULES = {
    "cortex-m4": "cortex_m.dsp_wide",
    "cortex-m33": "cortex_m.dsp_wide",
    "cortex-m55": "cortex_m.mve_wide",
}


@pytest.mark.parametrize(
    ("target", "repeats"), [("cortex-m4", 8), ("cortex-m33", 2), ("cortex-m55", 8)]
)
def test_on_a_core(target: str, repeats: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(repeats)
    cases = [make(rng) for make in MAKERS for _ in range(repeats)]
    decisions = some_decisions(rng, cases, target)
    check(cases, tmp_path, target, RULES[target], decisions=decisions)
