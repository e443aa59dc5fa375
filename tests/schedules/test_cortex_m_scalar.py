"""The kernels that multiply two inputs at once are exact, for any shape that they accept.

They serve every core that has no better rule: in assembly on the emulated Cortex-M0+ and M3, in C
on the host, where the sanitizers watch.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
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
    on_colours,
    on_one_pixel,
    pointwise,
    quantization,
    scaling,
    weight,
)

from tinyaot.compiler.legalize.fixed_point import requantize
from tinyaot.schedules.cortex_m.requantize import fold_channels
from tinyaot.schedules.cortex_m.scalar_requantize import (
    FORMS,
    choose_form,
    form_constants,
    outputs,
    solve,
)
from tinyaot.schedules.registry import choose
from tinyaot.schedules.workload import Conv2D, FullyConnected
from tinyaot.targets import get_target

TARGETS = ("host", "cortex-m0plus", "cortex-m3")


def check(cases: list[Case], directory: Path, target: str, decisions: Any = None) -> None:
    on_host = target == "host"
    for tool in ("cc",) if on_host else ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    rules = "cortex_m.scalar_"
    kernel_cases.check(cases, directory, target, rules, decisions=decisions, sanitize=on_host)


def any_convolution(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 6, 2))
    return convolution(rng, kernel, int(rng.integers(1, 18)), int(rng.integers(1, 20)))


def grouped(rng: Random) -> Case:
    """Convolution whose channels are cut into groups."""
    groups, kernel = int(rng.integers(2, 5)), (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    inputs, outputs = int(rng.integers(1, 5)), int(rng.integers(1, 12))
    case = convolution(rng, kernel, groups * inputs, groups * outputs)
    assert isinstance(case.workload, Conv2D)
    constants = {
        "weight": weight(rng, groups * outputs, *kernel, inputs),
        **scaling(rng, groups * outputs, math.prod(kernel) * inputs),
    }
    return Case(replace(case.workload, groups=groups), case.inputs, case.output, constants)


CONVOLUTIONS: tuple[Callable[[Random], Case], ...] = (
    *(any_convolution, any_convolution, any_convolution),
    *(pointwise, on_colours, on_one_pixel, grouped),
)


@pytest.mark.parametrize("target", TARGETS)
def test_convolutions(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    check([make(rng) for make in CONVOLUTIONS for _ in range(3)], tmp_path, target)


def depthwise_3x3(rng: Random) -> Case:
    return depthwise(rng, (3, 3), int(rng.integers(1, 10)))


def any_depthwise(rng: Random) -> Case:
    kernel = tuple(int(size) for size in rng.integers(1, 6, 2))
    return depthwise(rng, kernel, int(rng.integers(1, 7)), int(rng.choice([1, 1, 2, 3])))


def column(rng: Random) -> Case:
    """A window over all of a signal's columns, of which there is one."""
    taps, length, channels = rng.integers(1, 9), rng.integers(9, 20), int(rng.integers(1, 5))
    case = depthwise(rng, (int(taps), 1), channels)
    shapes = (1, int(length), 1, channels), (1, int(length - taps) + 1, 1, channels)
    rest = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    workload = replace(case.workload, input_shape=shapes[0], output_shape=shapes[1], **rest)
    return Case(workload, (math.prod(shapes[0]),), math.prod(shapes[1]), case.constants)


DEPTHWISE = (depthwise_3x3, depthwise_3x3, any_depthwise, any_depthwise, column)


@pytest.mark.parametrize("target", TARGETS)
def test_depthwise_convolutions(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    check([make(rng) for make in DEPTHWISE for _ in range(4)], tmp_path, target)


def dense(rng: Random) -> Case:
    inputs, outputs = int(rng.integers(1, 80)), int(rng.integers(1, 20))
    batch = int(rng.choice([1, 1, 1, 2, 5]))
    workload = FullyConnected(batch, inputs, outputs, **quantization(rng))
    constants = {
        "weight": rng.integers(-127 if batch > 1 else -128, 128, (outputs, inputs)).astype(np.int8),
        **scaling(rng, outputs, inputs),
    }
    # A neuron that never changes.
    constants["weight"][outputs // 2] = 0
    constants["bias"][outputs // 2] = rng.integers(-(2**28), 2**28)
    return Case(workload, (batch * inputs,), batch * outputs, constants)


@pytest.mark.parametrize("target", TARGETS)
def test_additions(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    check([make(rng) for make in (addition, difference) for _ in range(5)], tmp_path, target)


def one_window(rng: Random) -> Case:
    """A convolution whose only window is the whole input."""
    case = convolution(rng, (3, 2), int(rng.integers(1, 9)), int(rng.integers(1, 9)))
    assert isinstance(case.workload, Conv2D)
    shapes = (1, 3, 2, case.workload.input_shape[3]), (1, 1, 1, case.workload.output_shape[3])
    rest = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
    workload = replace(case.workload, input_shape=shapes[0], output_shape=shapes[1], **rest)
    return Case(workload, (math.prod(shapes[0]),), math.prod(shapes[1]), case.constants)


@pytest.mark.parametrize("target", TARGETS)
def test_dense_layers(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    check([dense(rng) for _ in range(16)] + [one_window(rng) for _ in range(4)], tmp_path, target)


@pytest.mark.parametrize("target", TARGETS)
def test_lanes_in_rows_and_in_columns(target: str, tmp_path: Path) -> None:
    """Whichever way the lanes share an output, it is the same."""
    rng = np.random.default_rng(2)
    makers = (any_convolution, depthwise_3x3, any_depthwise)
    cases = [make(rng) for _ in range(5) for make in makers]
    decisions = {}
    for index, case in enumerate(cases):
        if "row_blocks" in choice_of(case).values:
            decisions[case.workload] = {"row_blocks": (1, 2, 4)[index // 3 % 3]}
    assert len(decisions) > 10
    check(cases, tmp_path, target, decisions)


def choice_of(case: Case, target: str = "host") -> Any:
    return choose(case.workload, get_target(target).features, constants=dict(case.constants))


def test_weights_that_overflow_a_pair_go_to_another_rule() -> None:
    """Two products of -128 and -128 are one more than 16 bits hold."""
    case = on_colours(np.random.default_rng(3))
    assert choice_of(case).rule.name.startswith("cortex_m.scalar_")
    lowest = case.constants["weight"].copy()
    lowest[0, 0, 0, :2] = -128
    other = Case(case.workload, case.inputs, case.output, {**case.constants, "weight": lowest})
    assert not choice_of(other).rule.name.startswith("cortex_m.scalar_")


@pytest.mark.parametrize("target", TARGETS)
def test_the_lowest_weight_beside_any_other(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    cases = []
    for taps in (8, 9):
        case = convolution(rng, (1, 1), taps, 16)
        weights = np.full(case.constants["weight"].shape, -127, np.int8)
        weights[..., ::2] = -128
        cases.append(replace(case, constants={**case.constants, "weight": weights}))
    check(cases, tmp_path, target)


def random_layer(rng: Random, rounding: str) -> dict[str, Any]:
    """A layer's constants and what surrounds them, some with extreme factors."""
    channels, taps = int(rng.integers(1, 9)), int(rng.choice([1, 3, 9, 40]))
    weights = rng.integers(-127, 128, (channels, taps))
    weights[rng.random(channels) < 0.1] = 0
    ideal = -math.ceil(math.log2(74 * math.sqrt(taps)))
    zero_point, clamp = [
        (-128, FULL),
        (int(rng.integers(-128, 128)), FULL),
        (-20, (-20, 90)),
        (int(rng.integers(-128, 128)), (-70, 99)),
        (int(rng.integers(-128, 128)), (5, 5)),
    ][rng.choice(5, p=[0.3, 0.4, 0.1, 0.1, 0.1])]
    multiplier = rng.integers(HALF, 2 * HALF, channels)
    return {
        "weight": weights,
        "constants": {
            "bias": rng.integers(-20000, 20000, channels),
            "multiplier": np.where(rng.random(channels) < 0.2, HALF, multiplier),
            "shift": rng.integers(ideal - 2, ideal + 3, channels),
        },
        "input_zero_point": int(rng.integers(-128, 128)),
        "output_zero_point": zero_point,
        "clamp": clamp,
        "rounding": rounding,
    }


@pytest.mark.parametrize("rounding", ["double", "single"])
def test_forms_equal_the_reference_for_every_sum(rounding: str) -> None:
    """Every sum that a channel can reach, not only those next to the steps, in every form."""
    rng = np.random.default_rng(5)
    solved = dict.fromkeys(range(len(FORMS)), 0)
    for _ in range(40):
        layer = random_layer(rng, rounding)
        zero_point, clamp = layer["output_zero_point"], layer["clamp"]
        constants = layer["constants"]
        target = fold_channels(**layer)
        chosen = choose_form(target, zero_point, rounding)
        for index, form in enumerate(FORMS):
            if form.pieces == 0 or target.steps.shape[1] == 0:
                continue
            found = solve(target, zero_point, form)
            assert found is not None or index != chosen
            if found is None:
                continue
            solved[index] += 1
            low, high = (target.low - target.bias).min(), (target.high - target.bias).max()
            every = np.arange(low, high + 1)
            for channel in range(len(target.bias)):
                first, last = target.low[channel], target.high[channel]
                sums = every[(every + target.bias[channel] >= first)]
                sums = sums[sums + target.bias[channel] <= last]
                got = outputs(form, found[channel : channel + 1], sums[None, :], zero_point)[0]
                acc = sums + target.bias[channel]
                if target.scale[channel] == 0:
                    acc = np.array([reference_sum(layer, channel)])
                multiplier, shift = constants["multiplier"][channel], constants["shift"][channel]
                wanted = requantize(acc, multiplier, shift, rounding) + zero_point
                np.testing.assert_array_equal(np.clip(got, *clamp), np.clip(wanted, *clamp))
    assert min(solved[index] for index in (0, 1, 4)) > 5
    assert rounding == "single" or min(solved[index] for index in (2, 3, 5)) > 10


def reference_sum(layer: dict[str, Any], channel: int) -> int:
    """One of the sums that a channel can have."""
    taps = layer["weight"][channel]
    return int(layer["constants"]["bias"][channel] - layer["input_zero_point"] * taps.sum())


@pytest.mark.parametrize("rounding", ["double", "single"])
def test_the_last_form_takes_what_no_other_does(rounding: str) -> None:
    """A layer of one channel that scales up and one of which nearly nothing is left."""
    layer = {
        "weight": np.array([[100, 90], [-127, 127]]),
        "constants": {
            "bias": np.array([5, -7]),
            "multiplier": np.array([HALF + 12345, HALF + 99]),
            "shift": np.array([1, -17]),
        },
        "input_zero_point": 3,
        "output_zero_point": 9,
        "clamp": FULL,
        "rounding": rounding,
    }
    target = fold_channels(**layer)
    index = choose_form(target, 9, rounding)
    assert FORMS[index].pieces == 0
    constants = form_constants(target, 9, FORMS[index], layer["constants"]).astype(np.int64)
    for channel, sums in enumerate((np.arange(-24000, 24000), np.arange(1))):
        bias, multiplier, shift = constants[channel]
        got = requantize(sums + bias, multiplier, shift, rounding) + 9
        acc = sums + (target.bias[channel] if channel == 0 else reference_sum(layer, channel))
        factors = layer["constants"]["multiplier"][channel], layer["constants"]["shift"][channel]
        wanted = requantize(acc, *factors, rounding) + 9
        np.testing.assert_array_equal(np.clip(got, *FULL), np.clip(wanted, *FULL))
