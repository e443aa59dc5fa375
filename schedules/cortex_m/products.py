"""Products of two int8 tensors, however the workload names them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.cortex_m.requantize import Channels, output_steps
from tinyaot.schedules.cortex_m.rows import in_rows
from tinyaot.schedules.workload import Multiply
from tinyaot.schedules.workload_elementwise import QuantizedBinary


@dataclass(frozen=True)
class Products:
    """A `Multiply`, or a `QuantizedBinary` that multiplies.

    Attributes:
        zero_points: of the inputs.
        multiplier, shift, zero_point, clamp, rounding: of the output.
    """

    zero_points: tuple[int, int]
    multiplier: int
    shift: int
    zero_point: int
    clamp: tuple[int, int]
    rounding: str

    @classmethod
    def of(cls, workload: Multiply | QuantizedBinary) -> Products:
        if isinstance(workload, Multiply):
            factor, rounding = (workload.multiplier, workload.shift), workload.rounding
        else:
            factor, rounding = workload.factors[2], "double"
        zero_points, output = workload.input_zero_points, workload.output_zero_point
        return cls(zero_points, *factor, output, workload.clamp, rounding)

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


def are_products(workload: Multiply | QuantizedBinary) -> bool:
    """Whether it is a product of int8 tensors in rows."""
    multiplies = isinstance(workload, Multiply) or (
        workload.operation == "multiply" and workload.dtype == "int8"
    )
    return multiplies and in_rows(workload) and Products.of(workload).multiplier > 0
