"""Workloads that compute each element of the output from one element of each input.

Inputs may be broadcast: the output is seen as `shape`, and along its axis k input i moves by
`steps[i][k]` elements, 0 where it is repeated. Axes that can be seen as one are one. Booleans are
int8 here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyaot.schedules.workload import Workload

Shape = tuple[int, ...]
Factor = tuple[int, int]


@dataclass(frozen=True)
class Binary(Workload):
    """An operator on two integers of one type, not scaled: "add", "subtract", "multiply" and
    "squared_difference" wrap around; "divide" rounds towards 0; "minimum", "maximum", "and" and
    "or"; "equal", "not_equal", "greater", "greater_equal", "less" and "less_equal" give int8."""

    operation: str
    dtype: str
    shape: Shape
    steps: tuple[Shape, Shape]


@dataclass(frozen=True)
class QuantizedBinary(Workload):
    """An operator on two quantized tensors of int8 or int16.

    `factors` are multipliers and shifts as in `workload.py`, of either input and of the output;
    scaled means requantize((x - zero_point) << left_shift, factor). By `operation`:

    - "add", "subtract" and "squared_difference" combine the scaled inputs and scale the result;
    - "multiply" scales the product of the inputs less their zero points;
    - "prelu" scales the first where it is not negative, else its product with the second by the
      second's factor;
    - "equal" and the other comparisons of `Binary` compare the scaled inputs and give int8.
    """

    operation: str
    dtype: str
    shape: Shape
    steps: tuple[Shape, Shape]
    input_zero_points: tuple[int, int]
    left_shift: int
    factors: tuple[Factor, Factor, Factor]
    output_zero_point: int
    clamp: tuple[int, int]


@dataclass(frozen=True)
class Select(Workload):
    """Inputs are a boolean and two tensors: the first of them where it is true."""

    dtype: str
    shape: Shape
    steps: tuple[Shape, Shape, Shape]


@dataclass(frozen=True)
class AddN(Workload):
    """The sum of `count` int8 tensors of one shape, scale and zero point. In TFLite the zero
    point is taken off once more than there are inputs."""

    size: int
    count: int
    input_zero_point: int
    factor: Factor
    output_zero_point: int
    clamp: tuple[int, int]


@dataclass(frozen=True)
class Cast(Workload):
    """The same number in another integer type, wrapping around; to bool, whether it is not 0."""

    size: int
    input_dtype: str
    output_dtype: str
