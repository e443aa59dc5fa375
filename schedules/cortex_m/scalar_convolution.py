"""Convolution on cores without the DSP extension: four places at a time, two in a multiplication.

Four output places (lanes) are computed together. Their inputs are packed into pairs, after which
`tinyaot_scalar_matmul_*` runs over all output channels (see `tinyaot_scalar.h`).

Where the kernel is a single tap, four neighbouring pixels are packed at a time. Larger windows
overlap: the output is cut into four blocks of columns (or of rows, where those come out more even)
and lane l works in block l, so that neighbouring windows of a lane are neighbours in memory and
an input row is packed once, into a ring of as many rows as a window has. Zero points are packed
beyond the borders, so that no loop has a case for them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.calls import Buffer, Expr, at, call, value
from tinyaot.schedules.cortex_m.requantize import Channels, fold_channels
from tinyaot.schedules.cortex_m.scalar_requantize import FORMS, choose_form, form_constants
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, UnsuitableError, rule
from tinyaot.schedules.workload import Conv2D, FullyConnected

HEADERS = ("tinyaot_fixed_point.h", "tinyaot_scalar.h", "tinyaot_scalar_matmul.h")

LANES = 4

# How much more even blocks of rows must be to make up for their larger ring.
_ROWS_GAIN = 1.08


@dataclass(frozen=True)
class Multiplier:
    """A C function for the matrix product and the order in which it reads weights."""

    name: str
    order: Callable[[NDArray[np.generic]], NDArray[np.generic]]


def _in_blocks(weight: NDArray[np.generic]) -> NDArray[np.generic]:
    """(channels, taps) in blocks of eight channels, [tap][channel]; the last may be narrower."""
    blocks = [weight[first : first + 8].T.reshape(-1) for first in range(0, len(weight), 8)]
    return np.concatenate(blocks)


BLOCKS = Multiplier("tinyaot_scalar_matmul_blocks", _in_blocks)
ROWS = Multiplier("tinyaot_scalar_matmul_rows", lambda weight: weight.reshape(-1))


def target_channels(workload: Conv2D | FullyConnected, constants: Constants) -> Channels:
    """What to compute, by output channel.

    Raises:
        UnsuitableError: the constants are not known, or products of pairs may overflow.
    """
    if "weight" not in constants:
        raise UnsuitableError("the constants are not known")
    weight = constants["weight"].reshape(len(constants["bias"]), -1)
    lowest = weight == -128
    if np.any(lowest[:, 1:] & lowest[:, :-1]):
        raise UnsuitableError("two neighbouring weights of -128")
    return fold_channels(
        weight,
        constants,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )


def derive(workload: Conv2D | FullyConnected, constants: Constants) -> dict[str, int]:
    """The form of requantization."""
    channels = target_channels(workload, constants)
    return {"form": choose_form(channels, workload.output_zero_point, workload.rounding)}


def pack(
    workload: Conv2D | FullyConnected, form: int, multiplier: Multiplier, constants: Constants
) -> Constants:
    """The parameters of the kernels: weights in order, and the constants of the form."""
    channels = target_channels(workload, constants)
    weight = channels.weight.astype(np.int8)
    groups = workload.groups if isinstance(workload, Conv2D) else 1
    ordered = [multiplier.order(part) for part in np.split(weight, groups)]
    scaling = form_constants(channels, workload.output_zero_point, FORMS[form], constants)
    return {"weight": np.concatenate(ordered), "scaling": scaling.reshape(-1)}


def clamp_outputs(workload: Any, y: Buffer) -> None:
    """Statements that limit the outputs to a clamp that is less than int8."""
    if workload.clamp != (-128, 127):
        size = math.prod(y.shape)
        T.evaluate(call("tinyaot_scalar_clamp", at(y), size, *workload.clamp))


@dataclass(frozen=True)
class Matmul:
    """A call of the matrix product for all channels of one group."""

    multiplier: Multiplier
    form: int
    workload: Conv2D | FullyConnected
    channels: int

    def __call__(
        self,
        x: Expr,
        begins: Expr,
        runs: int,
        taps: int,
        weight: Expr,
        scaling: Expr,
        y: Expr,
        lanes: list[Expr],
    ) -> Expr:
        """See `tinyaot_scalar_matmul.h`; `lanes` are the places of the four lanes in y."""
        steps = [later - earlier for earlier, later in itertools.pairwise(lanes)]
        return call(
            self.multiplier.name,
            *(x, begins, runs, taps, weight, scaling, FORMS[self.form].words, y, *steps),
            *(self.channels, self.form, self.workload.output_zero_point),
        )


def _is_pointwise(workload: Conv2D) -> bool:
    return workload.kernel == (1, 1) and not any(workload.padding)


def _space(workload: Conv2D) -> Space:
    if _is_pointwise(workload):
        return {}
    _, rows, columns, _ = workload.output_shape
    by_columns = math.ceil(columns / LANES) * rows
    by_rows = math.ceil(rows / LANES) * columns
    return {"by_rows": (0, 1) if by_columns < by_rows * _ROWS_GAIN else (1, 0)}


@rule(Conv2D, space=_space, derive=derive)
def conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """For any core; in assembly for Armv6-M."""
    return _convolution(workload, decisions, BLOCKS)


@rule(Conv2D, features={"thumb2"}, space=_space, derive=derive)
def conv2d_thumb2(workload: Conv2D, decisions: Decisions) -> Kernel:
    """For cores with 32-bit Thumb instructions and more registers."""
    return _convolution(workload, decisions, ROWS)


def _convolution(workload: Conv2D, decisions: Decisions, multiplier: Multiplier) -> Kernel:
    form = decisions["form"]
    if _is_pointwise(workload):
        return _pointwise(workload, form, multiplier)
    return _windows(workload, bool(decisions["by_rows"]), form, multiplier)


def _pointwise(workload: Conv2D, form: int, multiplier: Multiplier) -> Kernel:
    batch, height, width, channels = workload.input_shape
    _, rows, columns, out_channels = workload.output_shape
    stride_h, stride_w = workload.strides
    if workload.strides == (1, 1):
        columns *= batch * rows
        batch = rows = 1
    groups = workload.groups
    taps, group_out = channels // groups, out_channels // groups
    matmul = Matmul(multiplier, form, workload, group_out)
    words = FORMS[form].words

    @T.prim_func
    def conv2d(
        x: T.Buffer((math.prod(workload.input_shape),), "int8"),
        weight: T.Buffer((out_channels * taps,), "int8"),
        scaling: T.Buffer((out_channels * words,), "int32"),
        y: T.Buffer((math.prod(workload.output_shape),), "int8"),
    ):
        packed = T.alloc_buffer((2 * channels,), "int32")
        begins = T.alloc_buffer((1,), "int32", scope="local")
        begins[0] = 0
        for n, row, tile in T.grid(batch, rows, math.ceil(columns / LANES)):
            source: T.let[T.int32] = (n * height + row * stride_h) * width
            place: T.let[T.int32] = ((n * rows + row) * columns + tile * LANES) * out_channels
            across = T.meta_var([T.min(tile * LANES + i, columns - 1) for i in range(LANES)])
            pixels = T.meta_var([at(x, (source + c * stride_w) * channels) for c in across])
            call("tinyaot_scalar_pack", at(packed), *pixels, 1, channels)
            for g in T.serial(groups):
                matmul(
                    at(packed, 2 * taps * g),
                    at(begins),
                    1,
                    taps,
                    at(weight, g * group_out * taps),
                    at(scaling, g * group_out * words),
                    at(y, place + g * group_out),
                    [c * out_channels for c in across],
                )
        clamp_outputs(workload, y)

    # A tile is packed before it is overwritten, and the output never gets ahead of the input.
    in_place = (0,) if out_channels <= channels else ()
    return Kernel(conv2d, functools.partial(pack, workload, form, multiplier), HEADERS, in_place)


@dataclass(frozen=True)
class Axis:
    """One axis of an output: in blocks for the lanes, or walked as it is.

    Attributes:
        inputs, outputs: sizes.
        stride, dilation, taps, before: of the window and its padding.
        in_blocks: whether each lane has a block.
    """

    inputs: int
    outputs: int
    stride: int
    dilation: int
    taps: int
    before: int
    in_blocks: bool

    @property
    def steps(self) -> int:
        """Places that a lane visits."""
        return math.ceil(self.outputs / LANES) if self.in_blocks else self.outputs

    @property
    def starts(self) -> list[int]:
        """The first place of each lane; the last blocks overlap if they must."""
        last = self.outputs - self.steps
        return [min(lane * self.steps, last) for lane in range(LANES)]

    @property
    def reach(self) -> int:
        """From the first tap of a window to the last, both counted."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def packed(self) -> int:
        """Packed entries from the first window's first to the last window's last."""
        return (self.steps - 1) * self.stride + self.reach

    def first_inputs(self) -> list[int]:
        """For each lane the input at its first packed entry; negative in the padding."""
        return [start * self.stride - self.before for start in self.starts]

    def intervals(self) -> Iterator[tuple[int, int, list[int | None]]]:
        """The packed entries as (begin, end, the input of each lane at begin), cut where a lane
        enters or leaves the padding; None stands for the padding."""
        firsts = self.first_inputs()
        cuts = {0, self.packed}
        for first in firsts:
            cuts |= {cut for cut in (-first, self.inputs - first) if 0 < cut < self.packed}
        ordered = sorted(cuts)
        for begin, end in itertools.pairwise(ordered):
            places = [first + begin for first in firsts]
            yield begin, end, [place if 0 <= place < self.inputs else None for place in places]


def axes(workload: Any, by_rows: bool) -> tuple[Axis, Axis]:
    """The rows and columns of a window operator."""
    made = (
        Axis(
            workload.input_shape[1 + i],
            workload.output_shape[1 + i],
            workload.strides[i],
            workload.dilation[i],
            workload.kernel[i],
            workload.padding[i],
            in_blocks=by_rows == (i == 0),
        )
        for i in range(2)
    )
    rows, columns = made
    return rows, columns


def _windows(workload: Conv2D, by_rows: bool, form: int, multiplier: Multiplier) -> Kernel:
    batch, _, _, channels = workload.input_shape
    _, out_rows, out_columns, out_channels = workload.output_shape
    groups = workload.groups
    group_in, group_out = channels // groups, out_channels // groups
    rows, columns = axes(workload, by_rows)
    # A kernel row is one run of taps if they are neighbours in memory.
    runs = 1 if groups == 1 and columns.dilation == 1 else columns.taps
    run = columns.taps // runs * group_in
    taps = rows.taps * columns.taps * group_in
    row_size = columns.packed * channels
    ring = rows.reach
    fresh = min(rows.stride, ring)
    matmul = Matmul(multiplier, form, workload, group_out)
    words = FORMS[form].words
    lane_size = out_channels * (out_columns if by_rows else 1)
    lanes = [start * lane_size for start in (rows if by_rows else columns).starts]
    packing = _Packing(workload, rows, columns)

    @T.prim_func
    def conv2d(
        x: T.Buffer((math.prod(workload.input_shape),), "int8"),
        weight: T.Buffer((out_channels * taps,), "int8"),
        scaling: T.Buffer((out_channels * words,), "int32"),
        y: T.Buffer((math.prod(workload.output_shape),), "int8"),
    ):
        packed = T.alloc_buffer((2 * ring * row_size,), "int32")
        border = T.alloc_buffer((packing.border,), "int8")
        begins = T.alloc_buffer((rows.taps * runs,), "int32")
        call("memset", at(border), workload.input_zero_point, packing.border)
        for n in T.serial(batch):
            for first in T.serial(ring - fresh):
                packing.row(packed, x, border, n, first, first)
            for step in T.serial(rows.steps):
                for i in T.serial(fresh):
                    r: T.let[T.int32] = step * rows.stride + ring - fresh + i
                    packing.row(packed, x, border, n, r, r % ring)
                for kh, kw in T.grid(rows.taps, runs):
                    begins[kh * runs + kw] = (
                        step * rows.stride + kh * rows.dilation
                    ) % ring * row_size + kw * columns.dilation * channels
                for tile, g in T.grid(columns.steps, groups):
                    matmul(
                        at(packed, 2 * (tile * columns.stride * channels + g * group_in)),
                        at(begins),
                        rows.taps * runs,
                        run,
                        at(weight, g * group_out * taps),
                        at(scaling, g * group_out * words),
                        at(
                            y,
                            ((n * out_rows + step) * out_columns + tile) * out_channels
                            + g * group_out
                            + lanes[0],
                        ),
                        lanes,
                    )
        clamp_outputs(workload, y)

    in_place = (0,) if not by_rows and _stays_behind(workload, rows) else ()
    return Kernel(conv2d, functools.partial(pack, workload, form, multiplier), HEADERS, in_place)


def _stays_behind(workload: Conv2D, rows: Axis) -> bool:
    """Whether an output row that overlays the input lies in rows that are packed already."""
    inputs = math.prod(workload.input_shape[2:])
    outputs = math.prod(workload.output_shape[2:])
    if workload.output_shape[1] * outputs > workload.input_shape[1] * inputs:
        return False
    return all(
        (row + 1) * outputs
        <= min(row * rows.stride + rows.reach - rows.before, rows.inputs) * inputs
        for row in range(rows.outputs)
    )


@dataclass(frozen=True)
class _Packing:
    """How input rows become packed rows."""

    workload: Conv2D
    rows: Axis
    columns: Axis

    @property
    def border(self) -> int:
        """Size of the run of zero points that stands for the padding."""
        sizes = [end - begin for begin, end, _ in self.columns.intervals()]
        return max(sizes) * self.workload.input_shape[3]

    def row(self, packed: Buffer, x: Buffer, border: Buffer, n: Expr, r: Expr, slot: Expr) -> None:
        """Statements that pack row `r` into a slot of the ring."""
        _, height, width, channels = self.workload.input_shape

        def lane(row: Expr, column: int | None) -> Expr:
            if column is None:
                return at(border)
            place = ((n * height + row) * width + column) * channels
            inside = T.And(row >= 0, row < height)
            return value("tinyaot_scalar_lane", inside, at(x), place, at(border))

        rows = [first + r for first in self.rows.first_inputs()]
        for begin, end, places in self.columns.intervals():
            to = at(packed, 2 * channels * (slot * self.columns.packed + begin))
            lanes = [lane(row, column) for row, column in zip(rows, places, strict=True)]
            T.evaluate(call("tinyaot_scalar_pack", to, *lanes, 1, (end - begin) * channels))
