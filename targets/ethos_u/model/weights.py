"""Weights and scales as the NPU reads them.

Weights are compressed, and stored in the order in which the multipliers take them; scales and
biases are records of ten bytes per output channel. The order follows Vela's weight encoder.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.ethos_u.model.hardware import SUBKERNEL, Hardware

SCALE_BYTES = 10
"""A record of `decode_scales`."""


@dataclass(frozen=True)
class WeightOrder:
    """All that decides in which order weights are stored.

    Attributes:
        shape: output channels, kernel height, kernel width, input channels; 1 if depthwise.
        block_depth: output channels of a block.
        ofm_ublock: output channels of a micro-block.
        ifm_ublock: input channels of a micro-block.
        depthwise: whether each output channel has one input channel.
        part_kernel: whether kernel elements come before input channels.
        bits: of an input element.
        dilation: of the kernel, vertical and horizontal.
    """

    shape: tuple[int, int, int, int]
    block_depth: int
    ofm_ublock: int
    ifm_ublock: int
    depthwise: bool
    part_kernel: bool
    bits: int
    dilation: tuple[int, int]


@functools.lru_cache(maxsize=512)
def positions(order: WeightOrder) -> NDArray[np.int64]:
    """For each stored weight its flat index in the array of shape `order.shape`; -1 for padding."""
    depth, kernel_h, kernel_w, inputs = order.shape
    sub_h, sub_w = (SUBKERNEL // dilation for dilation in order.dilation)
    ifm_block = 16 if order.part_kernel or order.bits == 16 else 32
    parts: list[NDArray[np.int64]] = []
    for ofm in range(0, depth, order.block_depth):
        block = min(order.block_depth, depth - ofm)
        for ifm in range(0, 1 if order.depthwise else inputs, ifm_block):
            for y in range(0, kernel_h, sub_h):
                for x in range(0, kernel_w, sub_w):
                    height, width = min(sub_h, kernel_h - y), min(sub_w, kernel_w - x)
                    parts.append(_subkernel(order, ofm, block, ifm, (y, x, height, width)))
    return np.concatenate(parts)


def _subkernel(
    order: WeightOrder, ofm: int, block: int, ifm: int, part: tuple[int, int, int, int]
) -> NDArray[np.int64]:
    depth, kernel_h, kernel_w, inputs = order.shape
    y0, x0, height, width = part
    elements = height * width
    multiple = 4 if order.depthwise else 1
    if order.part_kernel:
        multiple = 2 if order.bits == 16 else 4
    elements += -elements % multiple
    if order.depthwise:
        ifm_blocks, lanes = 1, 1
    else:
        deep = 16 if order.part_kernel or order.bits == 16 else 32
        if order.part_kernel:
            deep = min(deep, inputs - ifm)
        ifm_blocks, lanes = -(-deep // order.ifm_ublock), order.ifm_ublock
    ofm_blocks = -(-block // order.ofm_ublock)

    # Axes: outer input micro-block, output micro-block, element, inner input micro-block,
    # output channel, input channel.
    outer, inner = (ifm_blocks, 1) if order.part_kernel else (1, ifm_blocks)
    axes = np.ogrid[:outer, :ofm_blocks, :elements, :inner, : order.ofm_ublock, :lanes]
    a, b, e, c, o, i = (np.asarray(axis) for axis in axes)
    out = ofm + b * order.ofm_ublock + o
    into = ifm + (a + c) * order.ifm_ublock + i
    y, x = y0 + e // width, x0 + e % width
    inside = (out < depth) & (into < inputs) & (e < height * width)
    flat = ((out * kernel_h + y) * kernel_w + x) * inputs + into
    return np.where(inside, flat, -1).reshape(-1)


@functools.lru_cache(maxsize=512)
def _decode(stream: bytes) -> NDArray[np.int16]:
    try:
        from ethosu import mlw_codec
    except ImportError as error:
        raise TinyaotError(
            f"weights are decoded by Vela's codec: {error}",
            "install it: pip install 'tinyaot[ethos-u]'",
        ) from error
    decoded = np.asarray(mlw_codec.decode(bytearray(stream)), np.int16)
    decoded.setflags(write=False)
    return decoded


def decode_weights(stream: bytes, order: WeightOrder) -> NDArray[np.int16]:
    """The weights of one core, with `order.shape`.

    Vela's decoder ends the process on a damaged stream: decode foreign ones in a child process.

    Raises:
        ValueError: the stream does not hold as many weights as the operation needs, or some where
            padding belongs.
    """
    decoded = _decode(stream)
    needed = math.prod(order.shape)
    if len(decoded) < needed:
        raise ValueError(f"they are {len(decoded)}, the operation needs {needed}")
    index = positions(order)
    if len(decoded) != len(index):
        raise ValueError(f"they are {len(decoded)}, with padding they would be {len(index)}")
    if decoded[index < 0].any():
        raise ValueError("some are not zero where padding belongs: the order is another one")
    weights = np.zeros(order.shape, np.int16)
    weights.reshape(-1)[index[index >= 0]] = decoded[index >= 0]
    return weights


def weight_order(
    hardware: Hardware,
    core: int,
    shape: tuple[int, int, int, int],
    block_depth: int,
    *,
    cores: int,
    depthwise: bool,
    part_kernel: bool,
    bits: int,
    dilation: tuple[int, int],
) -> WeightOrder:
    """The order of one core's weights, out of `cores` that share the output channels.

    Args:
        hardware: whose micro-blocks.
        core: which one; it computes the channels that are `core` modulo `cores`.
        shape: of the weights of that core.
        block_depth: of the output block of all cores.
    """
    return WeightOrder(
        shape=shape,
        block_depth=max((block_depth + cores - 1 - core) // cores, 1),
        ofm_ublock=hardware.ofm_block[2],
        ifm_ublock=hardware.ifm_depth,
        depthwise=depthwise,
        part_kernel=part_kernel,
        bits=bits,
        dilation=dilation,
    )


def decode_scales(
    data: NDArray[np.uint8], channels: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Bias (40 bits, signed), multiplier (32 bits, unsigned) and shift (6 bits) per channel."""
    records = data[: channels * SCALE_BYTES].reshape(channels, SCALE_BYTES).astype(np.int64)
    powers = np.int64(1) << 8 * np.arange(5)
    bias = records[:, :5] @ powers
    bias -= (bias >> 39) << 40
    return bias, records[:, 5:9] @ powers[:4], records[:, 9] & 0x3F
