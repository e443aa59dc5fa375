"""Convolutions of images with few channels, whose columns are read as channels.

The multipliers work on eight input channels at a time. A convolution that moves two columns a step
reads a dense image of H x W x C as H x W/2 x 2C: the same bytes, and a kernel of half the width,
with zeros where the pairs of columns reach beyond it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from tinyaot.schedules.ethos_u.blocks import choose_block
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import Operation

_MOST_CHANNELS = 4
_WORTH = 0.98


def fold_columns(one: Operation, external: Collection[str], npu: Npu) -> Operation:
    """An operation with columns as channels if that takes fewer cycles, else as it is.

    Args:
        one: any.
        external: storages that are dense NHWC, as they come from outside.
        npu: the accelerator.
    """
    folded = _folded(one) if one.kind == "conv2d" and one.ifm.storage in external else None
    if folded is None:
        return one
    before, after = (choose_block(way, npu, True, ()).cost.cycles for way in (one, folded))
    return folded if after < _WORTH * before else one


def _folded(one: Operation) -> Operation | None:
    fm, step = one.ifm, one.strides[1]
    height, width, channels = fm.whole
    if (
        step == 1
        or width % step
        or channels > _MOST_CHANNELS
        or not fm.is_whole
        or fm.bricks
        or one.dilation[1] != 1
        or one.upscale != "none"
        or one.weights is None
    ):
        return None
    top, left, bottom, _ = one.padding
    before = -(-left // step)
    lead = before * step - left
    outputs, rows, columns, _ = one.weights.shape
    kernel = -(-(lead + columns) // step)
    weights = np.zeros((outputs, rows, kernel * step, channels), one.weights.dtype)
    weights[:, :, lead : lead + columns] = one.weights
    shape = (height, width // step, channels * step)
    after = one.ofm.shape[1] - 1 - before + kernel - shape[1]
    return replace(
        one,
        ifm=replace(fm, whole=shape, shape=shape),
        kernel=(rows, kernel),
        strides=(one.strides[0], 1),
        padding=(top, before, bottom, max(after, 0)),
        weights=weights.reshape(outputs, rows, kernel, channels * step),
    )
