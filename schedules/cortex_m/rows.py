"""Two tensors of which either may be broadcast, seen as rows of neighbours in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinyaot.schedules.workload import Broadcast
from tinyaot.schedules.workload_elementwise import QuantizedBinary

Expr = Any
Steps = tuple[int, ...]

AXES = 5
"""Loops around a row."""

# Shorter rows cost more in calls than in work.
_SHORTEST = 4


@dataclass(frozen=True)
class Rows:
    """Where the elements of an operator lie.

    Attributes:
        outer: the axes before a row, `AXES` of them.
        length: elements of a row.
        steps: of both inputs and of the output along the outer axes.
        sizes: elements of both inputs and of the output.
    """

    outer: Steps
    length: int
    steps: tuple[Steps, Steps, Steps]
    sizes: tuple[int, int, int]

    @classmethod
    def of(cls, workload: Broadcast | QuantizedBinary) -> Rows:
        shape = workload.shape
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        if isinstance(workload, Broadcast):
            inputs = workload.input_sizes
        else:
            first, second = (
                1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
                for steps in workload.steps
            )
            inputs = first, second
        missing = AXES + 1 - len(shape)
        first_steps, second_steps, output_steps = (
            (0,) * missing + steps[:-1] for steps in (*workload.steps, strides)
        )
        return cls(
            (1,) * missing + shape[:-1],
            shape[-1],
            (first_steps, second_steps, output_steps),
            (*inputs, math.prod(shape)),
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


def in_rows(workload: Broadcast | QuantizedBinary) -> bool:
    """Whether both inputs are read in rows long enough to pay."""
    return (
        0 < len(workload.shape) <= AXES + 1
        and all(steps[-1] == 1 for steps in workload.steps)
        and workload.shape[-1] >= _SHORTEST
    )
