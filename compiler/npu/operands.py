"""What the rules of the NPU's operators share: tensors as images, limits, scales, copies.

Limits are the hardware's: registers, and `tflite_operator_constraints` of Vela.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Node, Tensor
from tinyaot.targets.ethos_u.operation import FeatureMap, Operation, Shape

Factor = tuple[int, int]

LARGEST = 1 << 16
"""Elements on an axis."""
KERNEL_HEIGHT, KERNEL_ELEMENTS = 64, 64 * 64
POOL_SIDE = 256
MOST_STRIDE = 3
MOST_PARTS = 32
"""Commands that one operator may become."""

ROUNDING = {"double": "double", "single": "natural"}
"""How the hardware names what a workload calls its rounding."""


class Unsupported(Exception):  # noqa: N818 (an answer, not a failure)
    """The NPU does not compute a node; the text says why."""


def feature_map(
    tensor: Tensor, whole: Shape, zero_point: int = 0, *, offset: int = 0
) -> FeatureMap:
    """A tensor seen as an image, or the part of one that begins at `offset` elements."""
    itemsize = np.dtype(tensor.dtype).itemsize
    return FeatureMap(
        tensor.name,
        whole,
        whole,
        dtype=tensor.dtype,
        zero_point=zero_point,
        offset=offset * itemsize,
    )


def strided(
    tensor: Tensor, shape: Shape, steps: tuple[int, int], zero_point: int = 0, *, offset: int = 0
) -> FeatureMap:
    """Elements of a tensor as an image with so many elements from row to row and from column to
    column; the first is `offset`."""
    fm = feature_map(tensor, shape, zero_point, offset=offset)
    dense = (fm.row_stride, fm.column_stride)
    own = [
        given if size == 1 else step * fm.itemsize
        for size, step, given in zip(shape, steps, dense, strict=False)
    ]
    return fm if own == [*dense] else replace(fm, strides=(own[0], own[1]))


def image(shape: tuple[int, ...]) -> Shape:
    """Any shape as height, width, channels: the last two axes stay."""
    padded = (1, 1, 1, *shape)
    return math.prod(padded[:-2]), padded[-2], padded[-1]


def hardware_factor(factor: Factor) -> tuple[int, int]:
    """A TFLite multiplier and shift as the NPU's."""
    multiplier, shift = factor
    right = 31 - shift
    if multiplier == 0:
        return 0, 16
    if not 0 <= right < 64 or multiplier < 0:
        raise Unsupported(f"a scale of {multiplier} * 2^{shift - 31} is out of range")
    return multiplier, right


def channel_scales(node: Node) -> NDArray[np.int64]:
    """Multipliers and shifts of each channel, (O, 2)."""
    pairs = zip(
        node.constants["multiplier"].tolist(), node.constants["shift"].tolist(), strict=True
    )
    return np.array([hardware_factor(pair) for pair in pairs], np.int64)


def copy(ifm: FeatureMap, ofm: FeatureMap, origin: str) -> Operation:
    """Moves elements as they are."""
    limits = np.iinfo(ofm.dtype)
    return Operation(
        "average_pool", ifm, ofm, clamp=(int(limits.min), int(limits.max)), origin=origin
    )
