"""Workloads with a memory, and the transposed convolution that streaming networks end in.

See `workload.py` for what multipliers, shifts and rounding mean; here they are applied with
rounding "double" unless said otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinyaot.schedules.workload import Workload

Scale = tuple[int, int]
"""A multiplier and a shift."""


@dataclass(frozen=True)
class TransposeConv2D(Workload):
    """Transposed convolution: input place i adds to output places i * stride - padding + k.

    Constants weight int8 (O,KH,KW,I), and bias, multiplier and shift (O): int32, or as in
    `WideConv2D` with rounding "reduced". `dtype` is that of input and output; `padding` is
    (top, left).
    """

    dtype: str
    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int]
    input_zero_point: int
    output_zero_point: int
    clamp: tuple[int, int]
    rounding: str = "double"

    @property
    def macs(self) -> int:
        channels = self.output_shape[3]
        return math.prod(self.input_shape) * math.prod(self.kernel) * channels


@dataclass(frozen=True)
class Svdf(Workload):
    """One step of TFLite's SVDF, a convolution over time of rank-one filters.

    Every filter (unit * rank of them) multiplies the input by its feature weights, keeps the last
    `memory` results in the state (batch, filters, memory), and multiplies those by its time
    weights; a unit is the sum over its filters. Constants feature int8 (filters, input_size), time
    (filters, memory) of the state's type, bias int32 (units). A new result is clamped to the
    state's type before the zero point is added, and wraps then, as in TFLite Micro.
    """

    batch: int
    input_size: int
    filters: int
    memory: int
    rank: int
    state_dtype: str
    input_zero_point: int
    state_zero_point: int
    output_zero_point: int
    feature_scale: Scale
    output_scale: Scale
    clamp: tuple[int, int]

    @property
    def macs(self) -> int:
        return self.batch * self.filters * (self.input_size + self.memory)


@dataclass(frozen=True)
class Lstm(Workload):
    """All steps of TFLite's integer LSTM with an int16 cell.

    Gates are in the order input, forget, cell, output. Constants, zero points being folded into
    the biases: input_weight int8 (4, units, input_size) and input_bias int32 (4, units),
    recurrent_weight int8 (4, units, units) and recurrent_bias int32 (4, units), table uint16 (256)
    as of `WideSigmoid`; on int16 the biases are int64. States: hidden and cell int16, both
    (batch, units).

    Attributes:
        dtype: of input, hidden state and output: int8 or int16.
        batch, steps, input_size, units: sizes.
        time_major: input and output are (steps, batch, ...) and not (batch, steps, ...).
        input_scales, recurrent_scales: of each gate's products to Q3.12; on int16 reduced as in
            `WideConv2D` with rounding "reduced".
        forget_scale: of forget gate times cell, to the cell.
        update_scale: of input gate times cell gate, to the cell.
        output_scale: of output gate times tanh of the cell, to the hidden state.
        cell_tanh: multiplier and right shift that scale the cell for tanh, as in `WideSigmoid`.
        cell_clip: largest magnitude of the cell; 0 for none.
        hidden_zero_point: of the hidden state, which is the output.
    """

    dtype: str
    batch: int
    steps: int
    input_size: int
    units: int
    time_major: bool
    input_scales: tuple[Scale, Scale, Scale, Scale]
    recurrent_scales: tuple[Scale, Scale, Scale, Scale]
    forget_scale: Scale
    update_scale: Scale
    output_scale: Scale
    cell_tanh: Scale
    cell_clip: int
    hidden_zero_point: int

    @property
    def macs(self) -> int:
        return self.batch * self.steps * 4 * self.units * (self.input_size + self.units)
