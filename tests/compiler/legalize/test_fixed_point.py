"""Fixed-point arithmetic against exact rational numbers, and the C header against numpy.

`fixed_point.py` says what the device computes; everything that is bit-exact rests on the two
agreeing. The formulas here are those of the definitions, in Python's unbounded integers.
"""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinyaot.compiler.legalize import fixed_point

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
HEADERS = Path(__file__).resolve().parents[3] / "schedules" / "intrinsics"

int32 = st.integers(INT32_MIN, INT32_MAX)
# Normalized, as quantize_multiplier makes them, or 0.
multiplier = st.integers(2**30, INT32_MAX) | st.just(0)
# Accumulators whose product with a factor below one, or a small left shift, stays in 32 bits.
accumulator = st.integers(-(2**24), 2**24)


def wide(value: int) -> NDArray[np.int64]:
    return np.array(value, np.int64)


def half_away(value: Fraction) -> int:
    return (
        math.floor(value + Fraction(1, 2)) if value >= 0 else -math.floor(-value + Fraction(1, 2))
    )


def half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


@given(st.floats(2.0**-31, 2.0**29))
@example(1.0)
@example(0.5)
@example(1 - 2.0**-53)
@example(2.0**-31)
def test_a_multiplier_is_the_nearest_of_31_bits(real: float) -> None:
    m, shift = fixed_point.quantize_multiplier(real)
    assert 2**30 <= m < 2**31
    error = abs(Fraction(m) * Fraction(2) ** (shift - 31) - Fraction(real))
    assert error <= Fraction(2) ** (shift - 32)


def test_multipliers_at_the_ends() -> None:
    assert fixed_point.quantize_multiplier(0.0) == (0, 0)
    assert fixed_point.quantize_multiplier(2.0**-40) == (0, 0)
    assert fixed_point.quantize_multiplier(1.0) == (2**30, 1)
    multipliers, shifts = fixed_point.quantize_multipliers(np.array([0.75, 0.0, 3.0]))
    assert multipliers.tolist() == [3 * 2**29, 0, 3 * 2**29]
    assert shifts.tolist() == [0, 0, 2]


@pytest.mark.parametrize("real", [-1.0, math.nan, math.inf, 2.0**31])
def test_impossible_factors_are_refused(real: float) -> None:
    with pytest.raises(ValueError, match="factor"):
        fixed_point.quantize_multiplier(real)


@given(int32, int32)
@example(INT32_MIN, INT32_MIN)
@example(INT32_MIN, INT32_MAX)
@example(2**30, 1)
@example(-(2**30), 1)
def test_high_mul(a: int, b: int) -> None:
    """The product's upper half, doubled: to nearest, ties up; the one overflow saturates."""
    expected = min(half_up(Fraction(a * b, 2**31)), INT32_MAX)
    assert fixed_point.saturating_rounding_doubling_high_mul(wide(a), wide(b)) == expected


@given(int32, st.integers(0, 31))
@example(INT32_MIN, 31)
@example(-3, 1)
def test_rounding_shift(x: int, exponent: int) -> None:
    expected = half_away(Fraction(x, 2**exponent))
    assert fixed_point.rounding_divide_by_pot(wide(x), exponent) == expected


@given(accumulator, multiplier, st.integers(-31, 6))
def test_double_rounding(acc: int, m: int, shift: int) -> None:
    left, right = max(shift, 0), max(-shift, 0)
    high = half_up(Fraction((acc << left) * m, 2**31))
    expected = half_away(Fraction(high, 2**right))
    assert fixed_point.requantize(wide(acc), wide(m), wide(shift), "double") == expected


@given(accumulator, multiplier, st.integers(-31, 6))
def test_single_rounding(acc: int, m: int, shift: int) -> None:
    expected = half_up(Fraction(acc * m) * Fraction(2) ** (shift - 31))
    assert fixed_point.requantize(wide(acc), wide(m), wide(shift), "single") == expected


@given(accumulator, st.floats(1e-6, 30))
def test_both_roundings_are_close_to_the_real_product(acc: int, real: float) -> None:
    """Double rounding is off by less than one step, single by half a step, beside the factor."""
    m, shift = fixed_point.quantize_multiplier(real)
    exact = Fraction(acc) * Fraction(real)
    factor_error = abs(exact) / 2**30
    for rounding, step in (("double", Fraction(1)), ("single", Fraction(1, 2))):
        got = int(fixed_point.requantize(wide(acc), wide(m), wide(shift), rounding))
        assert abs(got - exact) <= step + factor_error


def test_unknown_rounding() -> None:
    with pytest.raises(ValueError, match="triple"):
        fixed_point.requantize(wide(1), wide(2**30), wide(0), "triple")


@given(
    st.sampled_from([0.0, -1.0, 1.0, 6.0, -math.inf, math.inf]),
    st.floats(1e-3, 1.0),
    st.integers(-128, 127),
)
def test_activation_bounds(bound: float, scale: float, zero_point: int) -> None:
    low, high = fixed_point.activation_range(bound, bound, scale, zero_point, "int8")
    if math.isinf(bound):
        assert (low, high) == (-128, 127)
        return
    # Nearest to the quotient of the two float32 numbers, inside the type.
    quotient = Fraction(float(np.float32(bound) / np.float32(scale)))
    nearest = zero_point + half_away(quotient)
    assert low == high == min(max(nearest, -128), 127)


def test_softmax_table_is_the_exponential() -> None:
    """Within the precision of gemmlowp's polynomial; falling; 0 where out of range."""
    for scale, beta in ((0.05, 1.0), (0.003, 1.0), (0.2, 0.5), (0.9, 1.0)):
        table = fixed_point.softmax_exp_table(scale, beta).astype(np.float64) / 2**31
        exact = np.exp(-np.arange(256) * scale * beta)
        inside = table > 0
        assert np.abs(table - exact)[inside].max() < 2**-22
        assert (exact[~inside] < 2**-31).all()
        assert (np.diff(table) <= 0).all()


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.floats(0.005, 0.5))
def test_softmax_is_within_a_step(differences: list[int], scale: float) -> None:
    differences = [0, *differences]
    exponentials = fixed_point.softmax_exp_table(scale, 1.0)[differences].astype(np.int64)
    total = fixed_point.rounding_divide_by_pot(exponentials, 12).sum(keepdims=True)
    got = fixed_point.softmax_outputs(exponentials, total)
    exact = np.exp(-np.array(differences) * scale)
    expected = np.minimum(exact / exact.sum() * 256 - 128, 127)
    assert np.abs(got - expected).max() < 0.51


C_LIBRARY = r"""
#include "tinyaot_fixed_point.h"
#define EACH(name, call) \
    void name(int32_t n, const int32_t *a, const int32_t *b, const int32_t *c, int32_t *y) \
    { \
        for (int32_t i = 0; i < n; ++i) { \
            y[i] = call; \
        } \
        (void)a; (void)b; (void)c; \
    }
EACH(high_mul, tinyaot_high_mul(a[i], b[i]))
EACH(shift_right, tinyaot_rounding_shift_right(a[i], b[i]))
EACH(requantize, tinyaot_requantize(a[i], b[i], c[i]))
EACH(requantize_single, tinyaot_requantize_single(a[i], b[i], c[i]))
EACH(divide, tinyaot_rounding_divide(a[i], b[i]))
EACH(clamp, tinyaot_clamp(a[i], b[i], c[i]))
EACH(minimum, tinyaot_min(a[i], b[i]))
EACH(maximum, tinyaot_max(a[i], b[i]))
EACH(floor_divide, tinyaot_floor_divide(a[i], b[i]))
EACH(floor_modulo, tinyaot_floor_modulo(a[i], b[i]))
EACH(leading_zeros, tinyaot_leading_zeros((uint32_t)a[i]))
EACH(ratio, tinyaot_ratio(a[i], b[i], (int64_t)c[i] * 64 + 1))
EACH(softmax, tinyaot_softmax_output(a[i], tinyaot_softmax_reciprocal(b[i]), b[i]))
"""

COUNT = 20_000


@pytest.fixture(scope="module")
def c_library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("cc") is None:
        pytest.skip("no cc on the PATH")
    directory = tmp_path_factory.mktemp("fixed_point")
    (directory / "library.c").write_text(C_LIBRARY)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2", "-fPIC", "-shared"]
    command = ["cc", *flags, f"-I{HEADERS}", "library.c", "-o", "library.so"]
    subprocess.run(command, cwd=directory, check=True)
    return ctypes.CDLL(str(directory / "library.so"))


class Device:
    """Calls the C functions on arrays."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def __call__(self, name: str, *columns: NDArray[Any]) -> NDArray[np.int64]:
        given_columns = [np.ascontiguousarray(column, np.int32) for column in columns]
        size = given_columns[0].size
        padded = [*given_columns, *[np.zeros(size, np.int32)] * (3 - len(columns))]
        result = np.empty(size, np.int32)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*padded, result)]
        getattr(self._library, name)(ctypes.c_int32(size), *pointers)
        return result.astype(np.int64)


@pytest.fixture
def device(c_library: Any) -> Device:
    return Device(c_library)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def any_int32(rng: np.random.Generator, low: int = INT32_MIN, high: int = INT32_MAX) -> Any:
    """Values of every magnitude, both ends, and what is next to powers of two."""
    magnitudes = np.exp2(rng.uniform(0, 31, COUNT))
    values = np.rint(magnitudes * rng.choice([-1, 1], COUNT)).astype(np.int64)
    powers = np.array(
        [sign * 2**bit + by for bit in range(32) for sign in (1, -1) for by in (-1, 0, 1)]
    )
    values[: len(powers)] = powers
    values[len(powers) : len(powers) + 2] = low, high
    return rng.permutation(np.clip(values, low, high))


def multipliers(rng: np.random.Generator) -> Any:
    values = rng.integers(2**30, INT32_MAX, COUNT, endpoint=True)
    values[:4] = 0, 2**30, INT32_MAX, 2**30 + 1
    return rng.permutation(values)


def test_c_high_mul(device: Device, rng: np.random.Generator) -> None:
    a, b = any_int32(rng), any_int32(rng, INT32_MIN + 1)
    expected = fixed_point.saturating_rounding_doubling_high_mul(a, b)
    np.testing.assert_array_equal(device("high_mul", a, b), expected)


def test_c_rounding_shift(device: Device, rng: np.random.Generator) -> None:
    x, exponent = any_int32(rng), rng.integers(0, 32, COUNT)
    expected = fixed_point.rounding_divide_by_pot(x, exponent)
    np.testing.assert_array_equal(device("shift_right", x, exponent), expected)


def test_c_requantize(device: Device, rng: np.random.Generator) -> None:
    acc, m, shift = any_int32(rng), multipliers(rng), rng.integers(-31, 31, COUNT)
    expected = fixed_point.requantize(acc, m, shift, "double")
    np.testing.assert_array_equal(device("requantize", acc, m, shift), expected)


def test_c_requantize_single(device: Device, rng: np.random.Generator) -> None:
    acc, m, shift = any_int32(rng), multipliers(rng), rng.integers(-31, 31, COUNT)
    expected = fixed_point.requantize(acc, m, shift, "single")
    fits = np.abs(expected) <= INT32_MAX
    assert fits.mean() > 0.4
    got = device("requantize_single", acc, m, shift)
    np.testing.assert_array_equal(got[fits], expected[fits])


def test_c_divisions(device: Device, rng: np.random.Generator) -> None:
    a, b = any_int32(rng, -(2**30), 2**30), any_int32(rng, 1, 2**20)
    np.testing.assert_array_equal(device("floor_divide", a, b), a // b)
    np.testing.assert_array_equal(device("floor_modulo", a, b), a % b)
    half_away_from_zero = np.sign(a) * ((2 * np.abs(a) + b) // (2 * b))
    # count / 2 rounds down where count is odd, which has no ties.
    np.testing.assert_array_equal(device("divide", a, b), half_away_from_zero)


def test_c_comparisons(device: Device, rng: np.random.Generator) -> None:
    a, b, c = any_int32(rng), any_int32(rng), any_int32(rng)
    low, high = np.minimum(b, c), np.maximum(b, c)
    np.testing.assert_array_equal(device("clamp", a, low, high), np.clip(a, low, high))
    np.testing.assert_array_equal(device("minimum", a, b), np.minimum(a, b))
    np.testing.assert_array_equal(device("maximum", a, b), np.maximum(a, b))


def test_c_leading_zeros(device: Device, rng: np.random.Generator) -> None:
    values = any_int32(rng, 1)
    expected = [32 - int(value).bit_length() for value in values]
    np.testing.assert_array_equal(device("leading_zeros", values), expected)
    assert device("leading_zeros", np.array([-1, INT32_MIN])).tolist() == [0, 0]


def test_c_ratio(device: Device, rng: np.random.Generator) -> None:
    part, factor = any_int32(rng, 0), rng.integers(1, 2**24, COUNT, endpoint=True)
    total = np.maximum(any_int32(rng, 1), part // 64 + 1)
    expected = [
        half_up(Fraction(int(p) * int(f), 2**16 * (int(t) * 64 + 1)))
        for p, f, t in zip(part, factor, total, strict=True)
    ]
    np.testing.assert_array_equal(device("ratio", part, factor, total), expected)


def test_c_softmax(device: Device, rng: np.random.Generator) -> None:
    exponential = any_int32(rng, 0)
    # The sum, in Q12.19, holds at least this exponential and the largest one, which is 1.
    total = np.maximum(2**19 + exponential // 2**12, any_int32(rng, 2**19))
    expected = fixed_point.softmax_outputs(exponential, total)
    np.testing.assert_array_equal(device("softmax", exponential, total), expected)
