"""The constants of additions are right for every pair of inputs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from tinyaot.compiler.graph import Node
from tinyaot.compiler.reference import evaluate_node
from tinyaot.schedules.cortex_m.addition import solve_add_high_word, solve_add_linear
from tinyaot.schedules.registry import UnsuitableError
from tinyaot.schedules.workload import Add, Workload
from tinyaot.schedules.workload_elementwise import QuantizedBinary

FULL = (-128, 127)
X = np.arange(-128, 128)

Int64 = NDArray[np.int64]
Random = np.random.Generator


def random_add(rng: Random) -> Add:
    """As TFLite quantizes it: scales relative to twice the larger one, left shift 20."""
    scales = rng.uniform(0.01, 0.1, 2)
    twice = 2 * scales.max()
    after = twice / 2**20 / (scales.sum() * rng.uniform(0.4, 1.1))
    fixed = [np.frexp(one) for one in (*(scales / twice), after)]
    (m0, s0), (m1, s1), (m2, s2) = ((round(f * 2**31) - 1, int(e)) for f, e in fixed)
    first, second, zero_point = (int(one) for one in rng.integers(-128, 128, 3))
    clamp = FULL if rng.random() < 0.6 else (zero_point, 127)
    rounding = str(rng.choice(["double", "single"]))
    return Add(1, (first, second), (m0, m1), (s0, s1), 20, m2, s2, zero_point, clamp, rounding)


def wanted(workload: Add, sign: int = 1) -> Int64:
    shape = (65536,)
    zero_points, shift = workload.input_zero_points, workload.left_shift
    first, second = zip(workload.multipliers, workload.shifts, strict=True)
    factors = first, second, (workload.output_multiplier, workload.output_shift)
    pairs: Workload = dataclasses.replace(workload, size=65536)
    if sign < 0:
        place = "subtract", "int8", shape, ((1,), (1,))
        rest = workload.output_zero_point, workload.clamp
        pairs = QuantizedBinary(*place, zero_points, shift, factors, *rest)
    inputs = [np.repeat(X, 256), np.tile(X, 256)]
    return evaluate_node(Node(pairs, ("a", "b"), "y"), inputs).reshape(256, 256)


def test_products_of_the_high_word() -> None:
    rng = np.random.default_rng(4)
    solved = 0
    for _ in range(40):
        workload = random_add(rng)
        found = solve_add_high_word(workload, 20)
        if found is None:
            continue
        solved += 1
        factor0, factor1, addend = found
        parts = (factor0 * (X << 8)) >> 16, (factor1 * (X << 8)) >> 16
        total = addend + parts[0][:, None] + parts[1][None, :]
        assert np.abs(total).max() < 2**31
        got = np.clip(np.clip(total >> 20, -128, 127), *workload.clamp)
        np.testing.assert_array_equal(got, wanted(workload))
    assert solved > 35


@pytest.mark.parametrize("sign", [1, -1])
def test_products_of_32_bits(sign: int) -> None:
    rng = np.random.default_rng(5)
    solved = 0
    for _ in range(20):
        # Differences have TFLite's rounding.
        workload = random_add(rng)
        if sign < 0:
            workload = dataclasses.replace(workload, rounding="double")
        try:
            found = solve_add_linear(workload, (22, 21, 20, 19, 18, 16), sign)
        except UnsuitableError:
            continue
        solved += 1
        factors = found["factor_0"], found["factor_1"]
        total = X[:, None].astype(np.int64) * factors[0] + X * factors[1] + found["addend"]
        assert np.abs(total).max() < 2**31
        got = np.clip(total >> found["fraction"], *workload.clamp)
        np.testing.assert_array_equal(got, wanted(workload, sign))
    assert solved > 17
