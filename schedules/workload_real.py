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


@dataclass(frozen=True)
class Normalize(Workload):
    """int8 (rows, depth), each row divided by its size, then scaled and shifted.

    With `centred` the row less its mean is divided by its standard deviation, else the row less
    the zero point by the root of its sum of squares. What is under the root is computed exactly,
    times 2^`fraction` (even), `epsilon` added; the quotient has `quotient_bits` bits of fraction.
    y = clamp((quotient * factor + offset) >> shift). Constants factor int32 and offset int64 hold
    an entry for each of `row_period` rows, by each of depth / `repeat` places in a row.
    """

    rows: int
    depth: int
    row_period: int
    repeat: int
    centred: bool
    input_zero_point: int
    fraction: int
    epsilon: int
    quotient_bits: int
    shift: int
    clamp: tuple[int, int]


@dataclass(frozen=True)
class RealReduce(Workload):
    """int8 (outer, reduced, inner) to (outer, inner) by a sum over the middle axis.

    With x less its zero point and a = the sum, y = clamp((f(a) * factor + offset) >> shift):

    - "absolute": a = sum |x|, f(a) = a; "square": a = sum x^2;
    - "root": a = sum x^2, f(a) = sqrt(a) with 15 bits of fraction;
    - "logarithm": a = sum x, f(a) = log2(a) with 26 bits of fraction; the lowest y if a <= 0;
    - "exponential": a = sum exp((x - largest) * scale) by the constant table int32 (256) as in
      `ScaledSoftmax`, f(a) = log2(a) with 26 bits of fraction, and largest * `factor_largest` is
      added before the shift.
    """

    mode: str
    outer: int
    reduced: int
    inner: int
    input_zero_point: int
    factor: int
    factor_largest: int
    offset: int
    shift: int
    clamp: tuple[int, int]


@dataclass(frozen=True)
class RealLogSoftmax(Workload):
    """int8 (rows, depth) to the logarithm of its softmax, row by row.

    y = clamp(((x - largest) * factor - (log2(a / 2^31) * logarithm >> reduce) + offset) >> shift)
    with a = sum exp((x - largest) * scale) by the constant table int32 (256) as in `ScaledSoftmax`;
    log2 has 26 bits of fraction.
    """

    rows: int
    depth: int
    factor: int
    logarithm: int
    reduce: int
    offset: int
    shift: int
    clamp: tuple[int, int]
