"""Workloads that round what a formula over real numbers gives, as ONNX models need them.

Where TFLite defines integer recipes, ONNX defines none: any arithmetic will do that is precise
enough to find the nearest step. See `workload.py` for layouts, multipliers and shifts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinyaot.schedules.workload import Workload


@dataclass(frozen=True)
class OffsetConv2D(Workload):
    """Convolution whose weights have a zero point: fields and constants of `Conv2D`, and
    weight_zero_point int32 (O). Rounds once."""

    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    input_zero_point: int
    output_zero_point: int
    clamp: tuple[int, int]

    @property
    def macs(self) -> int:
        window = math.prod(self.kernel) * (self.input_shape[3] // self.groups)
        return math.prod(self.output_shape) * window
