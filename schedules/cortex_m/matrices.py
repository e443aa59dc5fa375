"""Products of matrices of activations, however the workload names them.

The fast kernels read the rows of the first matrix and the columns of the second as neighbours; a
second matrix that is stored otherwise is transposed before. With zero points p and q

    sum((a - p) * (b - q)) = sum(a * b) - q * sum(a) - p * sum(b) + depth * p * q

so that the inner loop multiplies bytes as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.cortex_m.requantize import Channels, output_steps
from tinyaot.schedules.workload import BatchMatMul
from tinyaot.schedules.workload_reduction import StridedMatMul

Expr = Any
Steps = tuple[int, ...]

_AXES = 4
_WORD = 4


@dataclass(frozen=True)
class Matrices:
    """A `BatchMatMul` or a `StridedMatMul` on int8.

    Attributes:
        batch: four axes of matrices.
        steps: of both inputs and of the output along them.
        rows, depth, columns: of one product.
        row_step: from row to row of the first matrix, whose rows are neighbours.
        column_steps: of the second matrix along depth and columns.
        sizes: elements of both inputs and of the output.
        zero_points: of the inputs.
        multiplier, shift, zero_point, clamp, rounding: of the output.
    """

    batch: Steps
    steps: tuple[Steps, Steps, Steps]
    rows: int
    depth: int
    columns: int
    row_step: int
    column_steps: tuple[int, int]
    sizes: tuple[int, int, int]
    zero_points: tuple[int, int]
    multiplier: int
    shift: int
    zero_point: int
    clamp: tuple[int, int]
    rounding: str

    @classmethod
    def of(cls, workload: BatchMatMul | StridedMatMul) -> Matrices:
        rows, depth, columns = workload.rows, workload.depth, workload.columns
        matrix_steps: tuple[tuple[int, int], tuple[int, int]]
        if isinstance(workload, BatchMatMul):
            batch: Steps = (workload.batch,)
            batch_steps: tuple[Steps, Steps] = (rows * depth,), (depth * columns,)
            matrix_steps = (depth, 1), (columns, 1)
            factor, rounding = (workload.multiplier, workload.shift), workload.rounding
        else:
            batch, batch_steps = workload.batch, workload.batch_steps
            matrix_steps = workload.matrix_steps
            factor, rounding = workload.factor, "double"
        missing = _AXES - len(batch)
        shape = (1,) * missing + batch
        first, second = ((0,) * missing + steps for steps in batch_steps)
        output = tuple(rows * columns * math.prod(shape[axis + 1 :]) for axis in range(_AXES))
        matrix_sizes = (rows, depth), (depth, columns)
        extents = [
            1 + sum((size - 1) * step for size, step in zip((*shape, *matrix), steps, strict=True))
            for matrix, steps in zip(
                matrix_sizes,
                ((*first, *matrix_steps[0]), (*second, *matrix_steps[1])),
                strict=True,
            )
        ]
        return cls(
            *(shape, (first, second, output), rows, depth, columns),
            *(matrix_steps[0][0], matrix_steps[1]),
            (extents[0], extents[1], math.prod(shape) * rows * columns),
            workload.input_zero_points,
            *factor,
            workload.output_zero_point,
            workload.clamp,
            rounding,
        )

    def place(self, which: int, indices: Sequence[Expr]) -> Expr:
        """Where a matrix of input 0 or 1 or of the output (2) begins."""
        place: Expr = 0
        for index, step in zip(indices, self.steps[which], strict=True):
            place = place + index * step
        return place

    @property
    def transposes(self) -> bool:
        """Whether the second matrix must be copied: its columns are no neighbours in words."""
        return self.column_steps[0] != 1 or self.depth % _WORD != 0

    @property
    def pitch(self) -> int:
        """From column to column as the kernel reads them."""
        return -(-self.depth // _WORD) * _WORD if self.transposes else self.column_steps[1]

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest sum."""
        ends = [(-128 - zero_point, 127 - zero_point) for zero_point in self.zero_points]
        corners = [first * second * self.depth for first in ends[0] for second in ends[1]]
        return min(corners), max(corners)

    def channels(self) -> Channels:
        """What must be computed of a sum, as of those of one channel."""
        low, high = (np.array([bound]) for bound in self.bounds)
        multiplier, shift = np.array([self.multiplier]), np.array([self.shift])
        steps = output_steps(multiplier, shift, self.zero_point, self.clamp, self.rounding)
        none: NDArray[np.int64] = np.zeros((1, 0), np.int64)
        scale = np.array([self.multiplier * 2.0 ** (self.shift - 31)])
        return Channels(none, np.zeros(1, np.int64), low, high, steps, self.clamp[0] + 1, scale)


def are_matrices(workload: BatchMatMul | StridedMatMul) -> bool:
    """Whether it is a product of int8 matrices of which the first has its rows as neighbours."""
    if isinstance(workload, StridedMatMul) and (
        workload.dtype != "int8" or workload.matrix_steps[0][1] != 1
    ):
        return False
    whole = Matrices.of(workload)
    return whole.multiplier > 0 and whole.depth >= _WORD
