"""Products of two int8 tensors as the fast kernels see them: rows of neighbours in both inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.cortex_m.requantize import Channels, output_steps
from tinyaot.schedules.workload import Multiply
from tinyaot.schedules.workload_elementwise import QuantizedBinary

Expr = Any
Steps = tuple[int, ...]

AXES = 5
"""Loops around a row."""


@dataclass(frozen=True)
class Products:
    """A `Multiply`, or a `QuantizedBinary` that multiplies.

    Attributes:
        outer: the axes before a row, `AXES` of them.
        row: elements of a row.
        steps: of both inputs and of the output along the outer axes.
        sizes: elements of both inputs and of the output.
        zero_points: of the inputs.
        multiplier, shift, zero_point, clamp, rounding: as in the workload.
    """

    outer: Steps
    row: int
    steps: tuple[Steps, Steps, Steps]
    sizes: tuple[int, int, int]
    zero_points: tuple[int, int]
    multiplier: int
    shift: int
    zero_point: int
    clamp: tuple[int, int]
    rounding: str

    @classmethod
    def of(cls, workload: Multiply | QuantizedBinary) -> Products:
        shape = workload.shape or (1,)
        steps = [one or (1,) for one in workload.steps]
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        inputs = [
            1 + sum((size - 1) * step for size, step in zip(shape, one, strict=True))
            for one in steps
        ]
        if isinstance(workload, Multiply):
            inputs = list(workload.input_sizes)
            factor, rounding = (workload.multiplier, workload.shift), workload.rounding
        else:
            factor, rounding = workload.factors[2], "double"
        missing = AXES + 1 - len(shape)
        padded = [(0,) * missing + one[:-1] for one in (*steps, strides)]
        return cls(
            (1,) * missing + shape[:-1],
            shape[-1],
            (padded[0], padded[1], padded[2]),
            (inputs[0], inputs[1], math.prod(shape)),
            workload.input_zero_points,
            *(*factor, workload.output_zero_point, workload.clamp, rounding),
        )

    def place(self, which: int, indices: Sequence[Expr]) -> Expr:
        """Where a row of input 0 or 1 or of the output (2) begins."""
        place: Expr = 0
        for index, step in zip(indices, self.steps[which], strict=True):
            place = place + index * step
        return place

    @property
    def in_place(self) -> tuple[int, ...]:
        """Inputs of the output's size, which the output may overlay."""
        return tuple(which for which in range(2) if self.sizes[which] == self.sizes[2])

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest product."""
        ends = [(-128 - zero_point, 127 - zero_point) for zero_point in self.zero_points]
        corners = [first * second for first in ends[0] for second in ends[1]]
        return min(corners), max(corners)

    def channels(self) -> Channels:
        """What must be computed of a product, as of the sums of one channel."""
        low, high = (np.array([bound]) for bound in self.bounds)
        multiplier, shift = np.array([self.multiplier]), np.array([self.shift])
        steps = output_steps(multiplier, shift, self.zero_point, self.clamp, self.rounding)
        none: NDArray[np.int64] = np.zeros((1, 0), np.int64)
        scale = np.array([self.multiplier * 2.0 ** (self.shift - 31)])
        return Channels(none, np.zeros(1, np.int64), low, high, steps, self.clamp[0] + 1, scale)


def in_rows(workload: Multiply | QuantizedBinary) -> bool:
    """Whether it is a product of int8 tensors that are read in rows long enough to pay."""
    if isinstance(workload, QuantizedBinary) and (
        workload.operation != "multiply" or workload.dtype != "int8"
    ):
        return False
    multiplier = workload.multiplier if isinstance(workload, Multiply) else workload.factors[2][0]
    return (
        0 < len(workload.shape) <= AXES + 1
        and all(steps[-1] == 1 for steps in workload.steps)
        and workload.shape[-1] >= 4
        and multiplier > 0
    )
