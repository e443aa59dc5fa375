"""Workloads that compute an element of the output from many of each input.

Tensors are seen through steps: along an axis k an input moves by `steps[k]` elements. Factors are
pairs of a multiplier and a shift as in `workload.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinyaot.schedules.workload import Workload

Shape = tuple[int, ...]
Factor = tuple[int, int]


@dataclass(frozen=True)
class Reduce(Workload):
    """Sum over any axes: clamp(requantize(sum(x - input_zero_point)) + output_zero_point); a mean
    has the division in its factor. The other axes are `kept`."""

    dtype: str
    kept: Shape
    kept_steps: Shape
    reduced: Shape
    reduced_steps: Shape
    input_zero_point: int
    factor: Factor
    output_zero_point: int
    clamp: tuple[int, int]


@dataclass(frozen=True)
class ReduceExtreme(Workload):
    """The largest or smallest element over any axes; with `argument` the int32 index of the first
    one along the only reduced axis."""

    mode: str
    argument: bool
    dtype: str
    kept: Shape
    kept_steps: Shape
    reduced: Shape
    reduced_steps: Shape


@dataclass(frozen=True)
class StridedMatMul(Workload):
    """Products of two batches of matrices, (rows, depth) by (depth, columns), either of which may
    be transposed or repeated.

    `batch` are the output's leading axes, `batch_steps` the steps of both inputs along them,
    `matrix_steps` those along (rows, depth) and (depth, columns). int8 is scaled as elsewhere;
    int16 is summed in 64 bits and its factor has a 15-bit multiplier and a right shift, as in
    `workload_wide.py`.
    """

    dtype: str
    batch: Shape
    batch_steps: tuple[Shape, Shape]
    rows: int
    depth: int
    columns: int
    matrix_steps: tuple[Factor, Factor]
    input_zero_points: tuple[int, int]
    factor: Factor
    output_zero_point: int
    clamp: tuple[int, int]

    @property
    def macs(self) -> int:
        return math.prod(self.batch) * self.rows * self.depth * self.columns


@dataclass(frozen=True)
class L2Normalization(Workload):
    """int8 (rows, depth) divided by the root of each row's sum of squares, in steps of 1/128."""

    rows: int
    depth: int
    input_zero_point: int


@dataclass(frozen=True)
class LogSoftmax(Workload):
    """Logarithm of softmax over the last axis of int8 (rows, depth), in steps of 1/16 below 127.

    Constants exponential and scaled, int32 (256): of a difference d to the row's largest,
    exp(-d * scale) in Q0.31 as in `Softmax`, and -d * scale in Q5.26. `reverse` takes the latter
    back to input steps; differences below `smallest` add nothing.
    """

    rows: int
    depth: int
    reverse: Factor
    smallest: int


@dataclass(frozen=True)
class SoftmaxInt16(Workload):
    """`Softmax` of int8 with an int16 result, in steps of 1/65536 from -32768 on."""

    rows: int
    depth: int
