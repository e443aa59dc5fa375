"""How four lanes share an output whose windows overlap, and how their inputs are packed.

The output is cut into four blocks: of rows, of columns, or two of each. Lane l works in block l, so
that neighbouring windows of a lane are neighbours in memory and an input is packed once for all of
them. Blocks have one size and overlap where the output is no multiple of it.

Packed inputs hold zero points beyond the borders, so that no loop over taps has a case for them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.calls import Buffer, Expr, at, call
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D

LANES = 4
ROW_BLOCKS = (1, 2, 4)

Tables = tuple[Buffer, Buffer]


@dataclass(frozen=True)
class Axis:
    """Rows or columns.

    Attributes:
        inputs, outputs: sizes.
        stride, dilation, taps, before: of the window and its padding.
        blocks: of the lanes.
    """

    inputs: int
    outputs: int
    stride: int
    dilation: int
    taps: int
    before: int
    blocks: tuple[int, int, int, int]

    @property
    def steps(self) -> int:
        """Outputs of a block."""
        return math.ceil(self.outputs / (max(self.blocks) + 1))

    @property
    def starts(self) -> list[int]:
        """The first output of each lane."""
        last = self.outputs - self.steps
        return [min(block * self.steps, last) for block in self.blocks]

    @property
    def reach(self) -> int:
        """From the first tap of a window to the last, both counted."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def packed(self) -> int:
        """Packed entries: from the first tap of a block's first window to the last of its last."""
        return (self.steps - 1) * self.stride + self.reach

    @property
    def first_inputs(self) -> list[int]:
        """For each lane the input at its first packed entry; negative in the padding."""
        return [start * self.stride - self.before for start in self.starts]

    def intervals(self) -> Iterator[tuple[int, int, list[int | None]]]:
        """The packed entries as (begin, end, the input of each lane at begin), cut where a lane
        enters or leaves the padding; None stands for the padding."""
        cuts = {0, self.packed}
        for first in self.first_inputs:
            cuts |= {cut for cut in (-first, self.inputs - first) if 0 < cut < self.packed}
        for begin, end in itertools.pairwise(sorted(cuts)):
            places = [first + begin for first in self.first_inputs]
            yield begin, end, [place if 0 <= place < self.inputs else None for place in places]


@dataclass(frozen=True)
class Window:
    """The rows and columns of a convolution, cut into `row_blocks` blocks of rows.

    Attributes:
        step: bytes from tap to tap that are packed one after the other: 1 if all channels of a
            pixel are packed, all of a pixel's bytes if one channel is.
    """

    workload: Conv2D | DepthwiseConv2D
    row_blocks: int
    step: int

    @property
    def rows(self) -> Axis:
        """The vertical axis."""
        return self._axis(0)

    @property
    def columns(self) -> Axis:
        """The horizontal axis."""
        return self._axis(1)

    def _axis(self, i: int) -> Axis:
        w = self.workload
        across = LANES // self.row_blocks
        blocks = [lane // across if i == 0 else lane % across for lane in range(LANES)]
        sizes = w.input_shape[1 + i], w.output_shape[1 + i], w.strides[i], w.dilation[i]
        return Axis(*sizes, w.kernel[i], w.padding[i], (blocks[0], blocks[1], blocks[2], blocks[3]))

    @property
    def values(self) -> int:
        """Values that are packed of a pixel."""
        return self.workload.input_shape[3] // self.step

    @property
    def row_size(self) -> int:
        """Entries of a packed row."""
        return self.columns.packed * self.values

    @property
    def steps(self) -> int:
        """Windows of a lane."""
        return self.rows.steps * self.columns.steps

    @property
    def places(self) -> list[int]:
        """The first output of each lane as an offset in the image."""
        _, _, width, channels = self.workload.output_shape
        starts = zip(self.rows.starts, self.columns.starts, strict=True)
        return [(row * width + column) * channels for row, column in starts]

    @property
    def border(self) -> int:
        """Size of the run of zero points that `pack` reads in place of the padding."""
        longest = max((end - begin for begin, end, _ in self._intervals()), default=1)
        return longest * self.values * self.step

    def _intervals(self) -> Iterator[tuple[int, int, list[int | None]]]:
        for begin, end, places in self.columns.intervals():
            if any(place is not None for place in places):
                yield begin, end, places

    def lanes(self) -> NDArray[np.int32]:
        """For each interval of columns what `tinyaot_scalar_pack_rows` wants to know of lanes."""
        channels = self.workload.input_shape[3]
        table = [
            [*self.rows.first_inputs, *(-1 if p is None else p * channels for p in places)]
            for _, _, places in self._intervals()
        ]
        return np.array(table, np.int32).reshape(-1)

    def prepare(self, packed: Buffer, entries: int, border: Buffer) -> None:
        """Statements that fill the border, and where all lanes are padding the packed entries."""
        zero_point = self.workload.input_zero_point
        T.evaluate(call("memset", at(border), zero_point, self.border))
        if len(list(self._intervals())) < len(list(self.columns.intervals())):
            T.evaluate(call("tinyaot_scalar_pack_value", at(packed), zero_point, entries))

    def pack(
        self,
        packed: Buffer,
        begin: Expr,
        x: Expr,
        tables: tuple[Buffer, Buffer],
        first: Expr,
        rows: int,
    ) -> None:
        """Statements that pack rows.

        Args:
            packed, begin: where to, and the entry there.
            x: address of the image, or of a channel of its first pixel.
            tables: the border and `lanes`.
            first, rows: the first row and how many.
        """
        _, height, width, channels = self.workload.input_shape
        border, lanes = tables
        for i, (start, end, _) in enumerate(self._intervals()):
            to = at(packed, 2 * (begin + start * self.values))
            image = self.row_size, x, height, width * channels, at(border), at(lanes, 2 * LANES * i)
            count = (end - start) * self.values
            T.evaluate(call("tinyaot_scalar_pack_rows", to, *image, first, rows, self.step, count))
