"""What an Ethos-U computes with one command, and how it sees memory; no addresses yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Scale = tuple[int, int]
"""An unsigned multiplier and a right shift: x * multiplier / 2^shift."""

BRICK = 16
"""Channels that lie together in the layout NHCWB16."""

ELEMENTWISE = frozenset(
    {
        "add",
        "subtract",
        "multiply",
        "minimum",
        "maximum",
        "absolute",
        "leading_zeros",
        "shift_left",
        "shift_right",
    }
)
POOLING = frozenset({"max_pool", "average_pool", "reduce_sum"})
WEIGHTED = frozenset({"conv2d", "depthwise"})


@dataclass(frozen=True)
class FeatureMap:
    """A tensor, or a part of one, as the NPU reads or writes it.

    Attributes:
        storage: name of the memory that holds it.
        whole: height, width and channels of the tensor.
        shape: those of the part.
        first: row, column and channel of the tensor that the part begins with.
        dtype: `int8`, `uint8`, `int16` or `int32`.
        zero_point: of the quantization.
        offset: bytes from the start of the storage to the tensor.
        strides: bytes from row to row and from column to column; None if dense.
        bricks: whether the layout is NHCWB16: 16 channels of a column together, then those of the
            next column. Else NHWC.
        rows: the storage holds so many rows, and row y lies at y modulo rows; None for all.
        outside: whether it lies in the arena where the accelerator has an SRAM of its own beside
            it (Vela's Dedicated_Sram).
    """

    storage: str
    whole: Shape
    shape: Shape
    first: Shape = (0, 0, 0)
    dtype: str = "int8"
    zero_point: int = 0
    offset: int = 0
    strides: tuple[int, int] | None = None
    bricks: bool = False
    rows: int | None = None
    outside: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def column_stride(self) -> int:
        """Bytes from column to column."""
        if self.strides is not None:
            return self.strides[1]
        return (BRICK if self.bricks else self.whole[2]) * self.itemsize

    @property
    def brick_stride(self) -> int:
        """Bytes from 16 channels of a row to the next 16."""
        return self.whole[1] * BRICK * self.itemsize

    @property
    def row_stride(self) -> int:
        """Bytes from row to row."""
        if self.strides is not None:
            return self.strides[0]
        if self.bricks:
            return -(-self.whole[2] // BRICK) * self.brick_stride
        return self.whole[1] * self.column_stride

    @property
    def nbytes(self) -> int:
        """Bytes of a storage that holds the whole tensor and nothing else."""
        return (self.rows or self.whole[0]) * self.row_stride

    @property
    def end(self) -> int:
        """Bytes from the start of the storage to the end of the whole tensor."""
        if self.strides is None:
            return self.offset + self.nbytes
        height, width, depth = self.whole
        last = (height - 1) * self.row_stride + (width - 1) * self.column_stride
        return self.offset + last + depth * self.itemsize

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole tensor, dense, that begins where its storage does."""
        return self.shape == self.whole and self.strides is None and self.offset == 0

    def address(self, row: int = 0) -> int:
        """Bytes from the start of the storage to a row of the part."""
        row += self.first[0]
        if self.rows is not None:
            row %= self.rows
        _, column, channel = self.first
        start = self.offset + row * self.row_stride + column * self.column_stride
        if self.bricks:
            return start + channel // BRICK * self.brick_stride + channel % BRICK * self.itemsize
        return start + channel * self.itemsize

    def part(
        self,
        rows: tuple[int, int] | None = None,
        columns: tuple[int, int] | None = None,
        channels: tuple[int, int] | None = None,
    ) -> FeatureMap:
        """What lies between two bounds on each axis, the second exclusive."""
        bounds = [
            (0, size) if given is None else given
            for given, size in zip((rows, columns, channels), self.shape, strict=True)
        ]
        row, column, channel = (
            start + low for start, (low, _) in zip(self.first, bounds, strict=True)
        )
        height, width, depth = (high - low for low, high in bounds)
        return replace(self, first=(row, column, channel), shape=(height, width, depth))


@dataclass(frozen=True, eq=False)
class Operation:
    """One command of the NPU.

    Attributes:
        kind: one of `WEIGHTED`, `POOLING` or `ELEMENTWISE`.
        ifm, ifm2, ofm: what it reads and writes.
        scalar: value of the second operand where that is one number, quantized.
        swapped: the second operand is the first of a difference or shift.
        kernel, strides, dilation: height and width.
        padding: top, left, bottom, right.
        weights: (O, KH, KW, I), or (KH, KW, O) for depthwise; zero points taken off.
        bias: int32 or int64 (O).
        scales: multiplier and shift of each output channel, (O, 2).
        scale: of the whole output, for pooling and element-wise operators; None for none.
        operand_scale: of the operand with the smaller scale in sums: 1 if that is `ifm` and 2 if it
            is `ifm2`, and its scale to 2^20 times the other's step, halved.
        clamp: smallest and largest output.
        rounding: `double` as TFLite's, `natural` rounds once, ties up.
        table: int8 or, for outputs of int32, int32 (256): looked up last.
        constants: values of the storages that are operands and known.
        upscale: `none`, or how the input is doubled: `nearest` or `zeros`.
        origin: the model node.
        macs: multiply-accumulates that the model needs here.
        number: of the operation in its group; its stripes and slices have the same.
    """

    kind: str
    ifm: FeatureMap
    ofm: FeatureMap
    ifm2: FeatureMap | None = None
    scalar: int | None = None
    swapped: bool = False
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    weights: NDArray[Any] | None = None
    bias: NDArray[Any] | None = None
    scales: NDArray[np.int64] | None = None
    scale: Scale | None = None
    operand_scale: tuple[int, Scale] | None = None
    clamp: tuple[int, int] = (-128, 127)
    rounding: str = "double"
    table: NDArray[Any] | None = None
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    upscale: str = "none"
    origin: str = ""
    macs: int = 0
    number: int = -1

    @property
    def inputs(self) -> tuple[FeatureMap, ...]:
        """The feature maps it reads."""
        return (
            (self.ifm,) if self.ifm2 is None or self.scalar is not None else (self.ifm, self.ifm2)
        )

    @property
    def part_kernel(self) -> bool:
        """Whether weights are traversed with several kernel elements at a time: better for few
        input channels. Vela's rule."""
        if self.kind != "conv2d":
            return False
        depth = self.ifm.shape[2]
        elements = self.kernel[0] * self.kernel[1]
        by_depth, by_part = (32, 4) if self.ifm.itemsize == 1 else (16, 2)
        depth_use = depth / _round_up(depth, by_depth)
        part_use = depth * elements / (_round_up(depth, 8) * _round_up(elements, by_part))
        return depth <= 8 or part_use >= depth_use


@dataclass(frozen=True)
class Place:
    """Where something lies: a base pointer of the driver and bytes from it."""

    region: int
    address: int
    nbytes: int = 0


@dataclass(frozen=True)
class Copy:
    """A DMA transfer; `table` is the slot of a look-up table if that is where it goes."""

    source: Place
    destination: Place | None
    slot: int = 0


@dataclass(frozen=True, eq=False)
class Command:
    """An operation with all that the hardware needs.

    Attributes:
        operation: what.
        block: height, width, depth of the output block it works in.
        weights, scales: of each core.
        slot: of the look-up table.
        places: where storages lie.
    """

    operation: Operation
    block: Shape
    weights: tuple[Place, ...] = ()
    scales: tuple[Place, ...] = ()
    slot: int = 0
    places: dict[str, Place] = field(default_factory=dict)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
