"""Workloads that are common on microcontrollers, for logs that serve models not seen yet."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tinyaot.compiler.tuning.tasks import Task, merge_tasks, workload_task
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, FullyConnected, Workload
from tinyaot.targets import get_target

_LARGEST = 4_000_000
"""Multiply-accumulates of the largest workload; larger ones take the sizes of a near one."""

_RELU = (-128, 127)
_ZERO_POINTS = (-128, -128)

# Channels of MobileNet v1's blocks before they are multiplied, and their strides.
_MOBILENET = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
    (1024, 1),
)  # fmt: skip
_MOBILENETS = ((0.25, 96), (0.25, 160), (0.25, 224), (0.5, 128), (0.75, 96), (1.0, 96))
_DS_CNN = (64, 172, 276)
_RESNETS = ((32, 16), (16, 32), (8, 64), (16, 64), (8, 128), (4, 256))
_DENSE = ((8, 128), (16, 16), (32, 10), (64, 10), (64, 12), (64, 64), (128, 8), (128, 128),
          (128, 640), (256, 2), (256, 64), (640, 128))  # fmt: skip


def common_tasks(core: str) -> list[Task]:
    """Layers of MobileNet v1, DS-CNN and ResNets, and dense layers, with random constants.

    Raises:
        TinyaotError: there is no such core.
    """
    target = get_target(core)
    workloads = dict.fromkeys(
        one for one in (*_mobilenets(), *_ds_cnns(), *_resnets(), *_dense()) if one.macs <= _LARGEST
    )
    return merge_tasks(workload_task(workload, target) for workload in workloads)


def _mobilenets() -> Iterator[Workload]:
    for width, size in _MOBILENETS:
        channels = _scaled(32, width)
        yield _convolution(size, 3, channels, 3, 2)
        size = math.ceil(size / 2)
        for wide, stride in _MOBILENET:
            yield _depthwise(size, channels, stride)
            size = math.ceil(size / stride)
            outputs = _scaled(wide, width)
            yield _convolution(size, channels, outputs, 1, 1)
            channels = outputs


def _ds_cnns() -> Iterator[Workload]:
    for channels in _DS_CNN:
        shape = (1, 25, 5, channels)
        common = ((1, 1), (1, 1, 1, 1), (1, 1))
        yield DepthwiseConv2D(shape, shape, (3, 3), *common, *_ZERO_POINTS, _RELU)
        yield Conv2D(shape, shape, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1, *_ZERO_POINTS, _RELU)


def _resnets() -> Iterator[Workload]:
    for size, channels in _RESNETS:
        yield _convolution(size, channels, channels, 3, 1)
        yield _convolution(size, channels, 2 * channels, 3, 2)
        yield _convolution(size, channels, 2 * channels, 1, 2)


def _dense() -> Iterator[Workload]:
    for inputs, outputs in _DENSE:
        yield FullyConnected(1, inputs, outputs, *_ZERO_POINTS, _RELU)


def _scaled(channels: int, width: float) -> int:
    return max(8, int(channels * width))


def _convolution(size: int, inputs: int, outputs: int, kernel: int, stride: int) -> Conv2D:
    out = math.ceil(size / stride)
    return Conv2D(
        (1, size, size, inputs), (1, out, out, outputs), (kernel, kernel), (stride, stride),
        _same(size, kernel, stride), (1, 1), 1, *_ZERO_POINTS, _RELU,
    )  # fmt: skip


def _depthwise(size: int, channels: int, stride: int) -> DepthwiseConv2D:
    out = math.ceil(size / stride)
    return DepthwiseConv2D(
        (1, size, size, channels), (1, out, out, channels), (3, 3), (stride, stride),
        _same(size, 3, stride), (1, 1), *_ZERO_POINTS, _RELU,
    )  # fmt: skip


def _same(size: int, kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TFLite's padding "same": the larger half comes last."""
    whole = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    before = whole // 2
    return before, before, whole - before, whole - before
