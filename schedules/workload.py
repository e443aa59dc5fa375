"""What an operator computes, without saying how: the key of schedules and tuning records.

A workload holds every number that shapes the code of an operator: shapes, strides, padding, zero
points, clamps and scalar requantization parameters. Arrays (weights, biases, per-channel
multipliers, tables) are not part of it: they are the constants of a graph node, named in each
class's docstring. Two nodes with equal workloads can share one kernel.

Layouts: activations NHWC, convolution weights OHWI, depthwise weights HWO, dense weights OI.
A multiplier is a signed Q0.31 fraction and a shift a power of two (positive is left), as in
TFLite's `QuantizeMultiplier`; `rounding` says how the two are applied (see
`tinyaot_fixed_point.h`): "double" is TFLite's reference, "single" rounds once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass

# Where a word begins inside the name of a class.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])")


@dataclass(frozen=True)
class Workload:
    """Base of all workloads: equality, a stable textual key and the number of MACs."""

    @property
    def kind(self) -> str:
        """The operator family in snake case, such as `conv2d`; names C functions and rules."""
        return _WORD.sub("_", type(self).__name__).lower()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference; 0 for operators that have none."""
        return 0

    def key(self) -> str:
        """A canonical JSON text: equal workloads have equal keys across runs and versions."""
        fields = dataclasses.asdict(self)
        return json.dumps({"kind": self.kind, **fields}, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Conv2D(Workload):
    """Convolution with `groups`; constants weight int8 (O,KH,KW,I/groups), bias, multiplier and
    shift int32 (O). Padding is (top, left, bottom, right) and contributes the zero point."""

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
    rounding: str = "double"

    @property
    def macs(self) -> int:
        channels = self.input_shape[3] // self.groups
        return math.prod(self.output_shape) * math.prod(self.kernel) * channels


@dataclass(frozen=True)
class DepthwiseConv2D(Workload):
    """Depthwise convolution; output channel o reads input channel o // multiplier. Constants
    weight int8 (KH,KW,O), bias, multiplier and shift int32 (O)."""

    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    input_zero_point: int
    output_zero_point: int
    clamp: tuple[int, int]
    rounding: str = "double"

    @property
    def depth_multiplier(self) -> int:
        """Output channels per input channel."""
        return self.output_shape[3] // self.input_shape[3]

    @property
    def macs(self) -> int:
        return math.prod(self.output_shape) * math.prod(self.kernel)


@dataclass(frozen=True)
class FullyConnected(Workload):
    """Dense layer on `batch` rows; constants weight int8 (O,I), bias, multiplier and shift
    int32 (O)."""

    batch: int
    input_size: int
    output_size: int
    input_zero_point: int
    output_zero_point: int
    clamp: tuple[int, int]
    rounding: str = "double"

    @property
    def macs(self) -> int:
        return self.batch * self.input_size * self.output_size


@dataclass(frozen=True)
class BatchMatMul(Workload):
    """Products of activations (batch, rows, depth) and (batch, depth, columns)."""

    batch: int
    rows: int
    depth: int
    columns: int
    input_zero_points: tuple[int, int]
    multiplier: int
    shift: int
    output_zero_point: int
    clamp: tuple[int, int]
    rounding: str = "double"

    @property
    def macs(self) -> int:
        return self.batch * self.rows * self.depth * self.columns


@dataclass(frozen=True)
class Pool2D(Workload):
    """Max or average pooling; input and output share scale and zero point. The average counts
    only elements inside the input and rounds half away from zero."""

    mode: str
    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    clamp: tuple[int, int]


@dataclass(frozen=True)
class Mean(Workload):
    """Mean over the middle axis of a tensor seen as (outer, reduced, inner).

    out = clamp(requantize(sum(x) - reduced * input_zero_point) + output_zero_point), the
    division being part of the multiplier.
    """

    outer: int
    reduced: int
    inner: int
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    clamp: tuple[int, int]
    rounding: str = "double"


@dataclass(frozen=True)
class Add(Workload):
    """Element-wise sum of two tensors of one shape, seen as `size` elements.

    Each input, less its zero point, is shifted left by `left_shift` and scaled by its own
    multiplier; the sum is scaled by the output's (TFLite's integer `Add`).
    """

    size: int
    input_zero_points: tuple[int, int]
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    left_shift: int
    output_multiplier: int
    output_shift: int
    output_zero_point: int
    clamp: tuple[int, int]
    rounding: str = "double"


@dataclass(frozen=True)
class Broadcast(Workload):
    """Base of operators on two tensors: the output is seen as `shape`, and input k's element at
    (i0, i1, ...) is i0 * steps[k][0] + i1 * steps[k][1] + ... of its `input_sizes[k]`."""

    shape: tuple[int, ...]
    steps: tuple[tuple[int, ...], tuple[int, ...]]
    input_sizes: tuple[int, int]


@dataclass(frozen=True)
class Multiply(Broadcast):
    """Product: clamp(requantize((a - zero point) * (b - zero point)) + output_zero_point)."""

    input_zero_points: tuple[int, int]
    multiplier: int
    shift: int
    output_zero_point: int
    clamp: tuple[int, int]
    rounding: str = "double"


@dataclass(frozen=True)
class Extremum(Broadcast):
    """The larger ("max") or smaller ("min") of two elements of one scale."""

    mode: str


@dataclass(frozen=True)
class Requantize(Workload):
    """int8 or uint8 to int8 with another scale or zero point, or a clamp in a new scale."""

    size: int
    input_dtype: str
    output_dtype: str
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    clamp: tuple[int, int]
    rounding: str = "double"


@dataclass(frozen=True)
class Softmax(Workload):
    """Softmax over the last axis of (rows, depth); constant table int32 (256): entry d is
    exp(-d * scale * beta) in Q0.31 as TFLite's fixed point computes it, 0 where the difference
    is out of range."""

    rows: int
    depth: int


@dataclass(frozen=True)
class ScaledSoftmax(Workload):
    """Softmax over the last axis of (rows, depth) with any output scale.

    Constant table int32 (256): entry d is exp(-d * scale) in Q0.31. The output is the ratio of an
    exponential to the row's sum times `multiplier` / 2^16, rounded to nearest, ties up.
    """

    rows: int
    depth: int
    multiplier: int
    output_zero_point: int
    clamp: tuple[int, int]


@dataclass(frozen=True)
class Lookup(Workload):
    """int8 to int8 by a table; constant table int8 (256): entry i is the result for i - 128."""

    size: int


@dataclass(frozen=True)
class ChannelLookup(Workload):
    """`Lookup` with a table for each entry of the middle axis of (outer, channels, inner); constant
    table int8 (channels, 256)."""

    outer: int
    channels: int
    inner: int


@dataclass(frozen=True)
class ChannelAffine(Workload):
    """clamp((x * factor[c] + offset[c]) >> shift) on int8 seen as (outer, channels, inner);
    constants factor int32 and offset int64 (channels). The offset holds zero points, rounding and
    what is added."""

    outer: int
    channels: int
    inner: int
    shift: int
    clamp: tuple[int, int]


@dataclass(frozen=True)
class LinearResize(Workload):
    """Linear interpolation of (outer, input_size[0], input_size[1], inner) along the middle axes.

    Output row i is ((d - w) * x[first_0[i]] + w * x[second_0[i]]) / d with w = weight_0[i] and
    d = denominators[0]; columns alike by constants ending in 1, all int32. The division is part of
    the multiplier.
    """

    outer: int
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    inner: int
    denominators: tuple[int, int]
    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int
    clamp: tuple[int, int]
    rounding: str = "double"


@dataclass(frozen=True)
class Pad(Workload):
    """Constant padding; `padding` is a (before, after) pair for each axis."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    value: int
    dtype: str = "int8"


@dataclass(frozen=True)
class Transpose(Workload):
    """Permutation of the axes: output axis i is input axis `axes[i]`."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Reshape(Workload):
    """The same bytes under another shape; costs nothing."""

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Constant(Workload):
    """A tensor that is known at compile time: constant value. It lies in flash and has no code."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Rearrange(Workload):
    """Every element of the output is one of the input's `input_size`, found axis by axis.

    y[i0, i1, ...] = x[offset + f0(i0) + f1(i1) + ...] with the output seen as `shape`. fk(i) is
    i * steps[k]; where steps[k] is None it is entry i of the constant `places_k`, int32
    (shape[k]). `dtype` is any integer type of the elements' size.
    """

    dtype: str
    input_size: int
    shape: tuple[int, ...]
    offset: int
    steps: tuple[int | None, ...]


@dataclass(frozen=True)
class Gather(Workload):
    """Rows of (outer, size, inner) picked by indices that are computed: (outer, count, inner).

    The second input holds the indices, (outer, count) with `batched` and else (count), of type
    `index_dtype`; places beyond the axis are taken as the nearest row. `inner` counts elements of
    `dtype`.
    """

    dtype: str
    index_dtype: str
    outer: int
    size: int
    inner: int
    count: int
    batched: bool


@dataclass(frozen=True)
class GatherNd(Workload):
    """Blocks of an input of shape (*sizes, block), one for each of `count` tuples of indices.

    The second input holds the indices, int32 (count, len(sizes)); places beyond an axis are taken
    as the nearest ones. `block` counts elements of `dtype`.
    """

    dtype: str
    sizes: tuple[int, ...]
    block: int
    count: int


@dataclass(frozen=True)
class ResizeBilinear(Workload):
    """Bilinear interpolation of int8 or int16 images with 10 fractional bits, as in TFLite.

    Constants for each output row: `row_low`, `row_high` int32, the input rows next to it, and
    `row_part` int32, how far it is from the first in steps of 1/1024; and the same for columns.
    """

    input_shape: tuple[int, int, int, int]
    output_shape: tuple[int, int, int, int]
    dtype: str = "int8"


@dataclass(frozen=True)
class Concatenate(Workload):
    """Inputs seen as (outer, inners[k]) side by side: (outer, sum(inners))."""

    dtype: str
    outer: int
    inners: tuple[int, ...]
