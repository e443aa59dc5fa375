"""Workloads of int16 activations: what `workload.py` has for int8, in TFLite's 16x8 form.

Quantization is symmetric: zero points are 0. With rounding "reduced" an operator sums in 64 bits
and scales as TFLite's `MultiplyByQuantizedMultiplier` for int64: the multiplier has 15 bits and the
product is rounded once, ties up. Its constants are multiplier int16, a Q0.15 fraction, and shift
int8, how far to the right the product moves (15 less the power of two).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinyaot.schedules.workload import Workload


@dataclass(frozen=True)
class WideConv2D(Workload):
    """Convolution of int16 by int8 with `groups`; dense and depthwise layers are special cases.

    Constants weight int8 (O,KH,KW,I/groups) and for each output channel bias, multiplier and shift:
    int64, int16 and int8 with rounding "reduced", int32 all three with rounding "double". Padding
    is (top, left, bottom, right).
    """

    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    clamp: tuple[int, int]
    rounding: str

    @property
    def macs(self) -> int:
        channels = self.input_shape[3] // self.groups
        return math.prod(self.output_shape) * math.prod(self.kernel) * channels


@dataclass(frozen=True)
class WidePool2D(Workload):
    """Max or average pooling of int16; see `Pool2D`."""

    mode: str
    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    clamp: tuple[int, int]


@dataclass(frozen=True)
class WideSoftmax(Workload):
    """Softmax over the last axis of int16 (rows, depth), as TFLite's `SoftmaxInt16`.

    Constants exponential and reciprocal, int16 (513): exp on [-10, 0] and 1 / (1 + x) on [0, 1] in
    Q0.15 at 513 places. `multiplier` and `shift` take an input difference to 10 / 65535.
    """

    rows: int
    depth: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class WideSigmoid(Workload):
    """LOGISTIC or TANH of int16 from a table with interpolation; constant table uint16 (256) holds
    sigmoid(i / 24) in Q0.16. An input times `multiplier`, shifted right by `shift` with rounding,
    is in steps of 1 / (3 * 4096)."""

    function: str
    size: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class WideLookup(Workload):
    """A function of int16 from a table with interpolation; constant table int16 (513) holds it at
    every 128th place from -32768 on."""

    size: int


@dataclass(frozen=True)
class WideRamp(Workload):
    """A line on each side of 0: x >= 0 scaled by `positive`, others by `negative`, which are pairs
    of a multiplier and a shift as in `workload.py`; with `mirror` it is -x that is scaled there."""

    size: int
    positive: tuple[int, int]
    negative: tuple[int, int]
    mirror: bool
    clamp: tuple[int, int]


@dataclass(frozen=True)
class WideRsqrt(Workload):
    """1 / sqrt(x) of int16, scaled by `factor` after 20 fractional bits; 32767 for x <= 0."""

    size: int
    factor: tuple[int, int]


@dataclass(frozen=True)
class WideRequantize(Workload):
    """`Requantize` from or to int16 or int32."""

    size: int
    input_dtype: str
    output_dtype: str
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    clamp: tuple[int, int]
    rounding: str = "double"
