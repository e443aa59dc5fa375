"""Estimated cycles of a command stream, whoever made it: the same model for our streams and Vela's.

Every kernel costs what Vela's `npu_performance` says for its registers, with the traffic of its
weights as they are encoded. Kernels, DMA transfers and waits are laid out in time: transfers run
beside kernels and share the flash's port with what kernels read there themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.ethos_u import cost_model
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.model.hardware import get_hardware
from tinyaot.targets.ethos_u.model.memory import Fail
from tinyaot.targets.ethos_u.model.operation import Operation, Registers, Source
from tinyaot.targets.ethos_u.model.stream import Command, StreamError, decode_stream
from tinyaot.targets.ethos_u.timeline import Timeline

_KERNELS = {"OP_CONV", "OP_DEPTHWISE", "OP_POOL", "OP_ELEMENTWISE"}
_KINDS = {
    "conv": "conv2d",
    "depthwise": "depthwise",
    "pool max": "max_pool",
    "pool average": "average_pool",
    "pool reduce_sum": "reduce_sum",
    "elementwise add": "add",
    "elementwise sub": "subtract",
    "elementwise mul": "multiply",
    "elementwise min": "minimum",
    "elementwise max": "maximum",
    "elementwise abs": "absolute",
    "elementwise lrelu": "absolute",
    "elementwise clz": "leading_zeros",
    "elementwise shl": "shift_left",
    "elementwise shr": "shift_right",
}
_UPSCALE = ("none", "nearest", "zeros")
_CONSTANTS, _CACHE = 0, 2


@dataclass(frozen=True)
class KernelEstimate:
    """One kernel of a stream.

    Attributes:
        name: such as `conv`.
        operation: what the registers say.
        cost: its cycles, waiting for nothing.
        begin, end: cycles from the start of the stream.
        macs_per_cycle: share of the multipliers that it keeps busy, from 0 to 1.
    """

    name: str
    operation: Operation
    cost: cost_model.Cost
    begin: int
    end: int
    macs_per_cycle: float


@dataclass(frozen=True)
class StreamEstimate:
    """A stream in time.

    Attributes:
        kernels: in order.
        cycles: of the whole stream.
        busy: of the kernels alone, waiting for nothing.
        dma_bytes: of all transfers.
        macs: multiply-accumulates.
    """

    kernels: tuple[KernelEstimate, ...]
    cycles: int
    busy: int
    dma_bytes: int
    macs: int


def estimate_stream(stream: NDArray[np.uint32], npu: Npu) -> StreamEstimate:
    """The cycles of a command stream.

    Raises:
        StreamError: it is damaged.
        TinyaotError: Vela is missing.
    """
    registers = Registers(get_hardware(npu.name))
    clock = Timeline(npu)
    kernels: list[KernelEstimate] = []
    dma_bytes = 0
    for command in decode_stream(stream):
        if command.name.startswith("SET_"):
            registers.set(command)
        elif command.name in _KERNELS:
            operation = registers.operation(command, _failure(command))
            cost = cost_model.cost(_job(operation), npu)
            begin, end = clock.kernel(cost)
            share = cost.macs / max(cost.cycles, 1) / (npu.macs * npu.cores)
            kernels.append(KernelEstimate(operation.name, operation, cost, begin, end, share))
        elif command.name == "OP_DMA_START":
            fail = _failure(command)
            length = registers.address("DMA0_LEN", fail)
            dma_bytes += length
            from_flash = registers.short("DMA0_SRC_REGION", fail) == _CONSTANTS
            clock.transfer(cost_model.copy_cycles(length, npu), from_flash)
        elif command.name == "OP_KERNEL_WAIT":
            clock.wait_kernels(command.parameter)
        elif command.name == "OP_DMA_WAIT":
            clock.wait_transfers(command.parameter)
    return StreamEstimate(
        tuple(kernels),
        clock.end(),
        sum(kernel.cost.cycles for kernel in kernels),
        dma_bytes,
        sum(kernel.cost.macs for kernel in kernels),
    )


def _failure(command: Command) -> Fail:
    def fail(problem: str, kind: str = "stream") -> StreamError:
        return StreamError(command.index, command.text, problem, kind)

    return fail


def _job(op: Operation) -> cost_model.Job:
    second = None if op.ifm2 is None else op.ifm2.shape
    binary = op.kind == "elementwise" and op.scalar is not None
    return cost_model.Job(
        kind=_KINDS[op.name],
        ifm=op.ifm.shape,
        ofm=op.ofm.shape,
        block=op.block,
        ifm2=(1, 1, 1) if binary else second,
        ifm_bits=8 * op.ifm.itemsize,
        ofm_bits=8 * op.ofm.itemsize,
        ifm_bricks=op.ifm.bricks,
        ofm_bricks=op.ofm.bricks,
        kernel=op.kernel.size,
        strides=op.kernel.stride,
        dilation=op.kernel.dilation,
        part_kernel=op.kernel.part_kernel,
        table=op.uses_table,
        upscale=_UPSCALE[op.upscale],
        ifm_outside=op.ifm.region != _CACHE,
        ifm2_outside=op.ifm2 is not None and op.ifm2.region != _CACHE,
        ofm_outside=op.ofm.region != _CACHE,
        weights_copied=op.weights is not None and op.weights.region != _CONSTANTS,
        weight_bytes=_bytes(op.weights),
        scale_bytes=_bytes(op.scales) if op.weights is not None else 0,
        scalar=binary,
    )


def _bytes(source: Source | None) -> int:
    return 0 if source is None else sum(length for _, length in source.ranges)
