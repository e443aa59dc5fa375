"""What operations cost on an accelerator, in cycles by Vela's `npu_performance`, and the blocks it
can work in."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import POOLING, Operation, Shape
from tinyaot.targets.ethos_u.vela import architecture

_COST_OPS = {
    "conv2d": "Conv2DBias",
    "depthwise": "DepthwiseConv2DBias",
    "max_pool": "MaxPool",
    "average_pool": "AvgPool",
    "reduce_sum": "ReduceSum",
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "absolute": "Abs",
    "leading_zeros": "CLZ",
    "shift_left": "SHL",
    "shift_right": "SHR",
}


@dataclass(frozen=True)
class Job:
    """What the cost of an operation depends on; also what a command stream tells of one.

    Attributes:
        kind: as of `Operation`.
        ifm, ifm2, ofm: shapes.
        ifm_bits, ofm_bits: of an element.
        ifm_bricks, ofm_bricks: whether their layout is NHCWB16.
        kernel, strides, dilation: height and width.
        part_kernel: how weights are traversed.
        block: of the output.
        table: whether it ends in a look-up table.
        upscale: whether the input is doubled.
        ifm_outside, ifm2_outside, ofm_outside: whether they lie in the arena where the accelerator
            has an SRAM of its own.
        weights_copied: whether weights have been copied to SRAM.
        weight_bytes, scale_bytes: encoded.
        scalar: whether the second operand is one number.
    """

    kind: str
    ifm: Shape
    ofm: Shape
    block: Shape
    ifm2: Shape | None = None
    ifm_bits: int = 8
    ofm_bits: int = 8
    ifm_bricks: bool = False
    ofm_bricks: bool = False
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    part_kernel: bool = False
    table: bool = False
    upscale: str = "none"
    ifm_outside: bool = False
    ifm2_outside: bool = False
    ofm_outside: bool = False
    weights_copied: bool = False
    weight_bytes: int = 0
    scale_bytes: int = 0
    scalar: bool = False


@dataclass(frozen=True)
class Cost:
    """Estimated cycles of one operation.

    Attributes:
        cycles: the largest of the others.
        compute: of the multipliers and the output unit.
        arena, constants: of the traffic to these memories; feature maps outside the accelerator's
            own SRAM lie where the constants do.
        macs: multiply-accumulates done.
    """

    cycles: int
    compute: int
    arena: int
    constants: int
    macs: int

    @property
    def bound(self) -> str:
        """What takes longest."""
        if self.constants > max(self.compute, self.arena):
            return "flash"
        return "SRAM" if self.arena > self.compute else "compute"


def job_of(operation: Operation, block: Shape, **known: Any) -> Job:
    """What the cost of an operation depends on.

    Args:
        operation: what to compute.
        block: of the output: height, width, depth; all 0 if it is still to be chosen.
        known: other attributes of `Job`, such as bytes of weights.
    """
    return Job(
        kind=operation.kind,
        ifm=operation.ifm.shape,
        ofm=operation.ofm.shape,
        block=block,
        ifm2=None if operation.ifm2 is None else operation.ifm2.shape,
        ifm_bits=8 * operation.ifm.itemsize,
        ofm_bits=8 * operation.ofm.itemsize,
        ifm_bricks=operation.ifm.bricks,
        ofm_bricks=operation.ofm.bricks,
        kernel=operation.kernel,
        strides=operation.strides,
        dilation=operation.dilation,
        part_kernel=operation.part_kernel,
        table=operation.table is not None,
        upscale=operation.upscale,
        ifm_outside=operation.ifm.outside,
        ifm2_outside=operation.ifm2 is not None and operation.ifm2.outside,
        ofm_outside=operation.ofm.outside,
        scalar=operation.scalar is not None,
        **known,
    )


def _block_config(job: Job, npu: Npu) -> Any:
    """Vela's description of a block with its place in SHRAM; None if it does not fit."""
    from ethosu.vela.architecture_allocator import try_block_config
    from ethosu.vela.architecture_features import Block
    from ethosu.vela.ethos_u55_regs.ethos_u55_regs import resampling_mode
    from ethosu.vela.operation import Kernel

    def block(shape: Shape) -> Any:
        return Block(shape[1], shape[0], shape[2])

    return try_block_config(
        block(job.block),
        architecture(npu),
        _block_type(job.kind),
        block(job.ofm),
        block(job.ifm),
        None if job.ifm2 is None or job.scalar else block(job.ifm2),
        job.scalar,
        job.ifm_bits,
        is_partkernel=job.part_kernel,
        kernel=Kernel(
            job.kernel[1],
            job.kernel[0],
            job.strides[1],
            job.strides[0],
            job.dilation[1],
            job.dilation[0],
        ),
        lut_banks=2 if job.table else 0,
        scaled=True,
        ifm_resampling={
            "none": resampling_mode.NONE,
            "nearest": resampling_mode.NEAREST,
            "zeros": resampling_mode.TRANSPOSE,
        }[job.upscale],
    )


def _block_type(kind: str) -> Any:
    from ethosu.vela.operation import NpuBlockType

    if kind == "conv2d":
        return NpuBlockType.ConvolutionMxN
    if kind == "depthwise":
        return NpuBlockType.ConvolutionDepthWise
    if kind == "reduce_sum":
        return NpuBlockType.ReduceSum
    return NpuBlockType.Pooling if kind in POOLING else NpuBlockType.ElementWise


def with_block(
    job: Job, block: Shape, weight_bytes: int = 0, scale_bytes: int = 0, copied: bool = False
) -> Job:
    """A job in another block, with weights of that size."""
    return replace(
        job,
        block=block,
        weight_bytes=weight_bytes,
        scale_bytes=scale_bytes,
        weights_copied=copied,
    )


@functools.cache
def blocks(job: Job, npu: Npu) -> tuple[Shape, ...]:
    """Output blocks that the accelerator can work in, the largest first."""
    arch = architecture(npu)
    unit = (arch.ofm_ublock.height, arch.ofm_ublock.width, arch.ofm_ublock.depth)
    if job.upscale != "none":
        unit = (max(unit[0], 2), max(unit[1], 2), unit[2])
    limit = (arch.ofm_block_max.height, arch.ofm_block_max.width, arch.ofm_block_max.depth)
    ends = [
        -(-min(most, size) // step) * step
        for most, size, step in zip(limit, job.ofm, unit, strict=True)
    ]
    whole = min(limit[2], job.ofm[2])
    found = [
        (height, width, depth)
        for height in range(unit[0], ends[0] + 1, unit[0])
        for width in range(unit[1], ends[1] + 1, unit[1])
        for depth in range(unit[2], ends[2] + 1, unit[2])
        # A block that splits the output's depth does so at multiples of 16 channels.
        if (depth >= whole or depth % 16 == 0)
        and _block_config(with_block(job, (height, width, depth)), npu) is not None
    ]
    return tuple(sorted(found, key=lambda block: (-block[0] * block[1] * block[2], block)))


@functools.lru_cache(maxsize=1 << 16)
def cost(job: Job, npu: Npu) -> Cost:
    """Vela's estimate of an operation; see `npu_performance.estimate_full_op_performance`."""
    from ethosu.vela import npu_performance
    from ethosu.vela.operation import Kernel, Op
    from ethosu.vela.shape4d import Shape4D
    from ethosu.vela.tensor import TensorFormat

    arch = architecture(npu)
    formats = (TensorFormat.NHWC, TensorFormat.NHCWB16)
    flash, fast = arch.permanent_storage_mem_area, arch.fast_storage_mem_area

    def area(outside: bool) -> Any:
        kept = not outside and arch.is_spilling_enabled()
        return fast if kept else arch.feature_map_storage_mem_area

    query = npu_performance.PerformanceQuery(_block_type(job.kind))
    query.ifm_shape = Shape4D(1, *job.ifm)
    query.ifm_format = formats[job.ifm_bricks]
    query.ifm_memory_area = area(job.ifm_outside)
    query.ifm2_memory_area = area(job.ifm2_outside)
    query.ofm_memory_area = area(job.ofm_outside)
    query.ifm_bits = query.ifm2_bits = job.ifm_bits
    if job.ifm2 is not None:
        query.ifm2_shape = Shape4D(1, *((1, 1, 1) if job.scalar else job.ifm2))
        query.ifm2_format = formats[job.ifm_bricks]
    query.ofm_shape = Shape4D(1, *job.ofm)
    query.ofm_bits = job.ofm_bits
    query.ofm_format = formats[job.ofm_bricks]
    query.kernel = Kernel(
        job.kernel[1], job.kernel[0], job.strides[1], job.strides[0], *job.dilation[::-1]
    )
    query.config = _block_config(job, npu)
    if query.config is None:
        raise ValueError(f"block {job.block} does not fit {npu.name}: {job}")
    query.config.ofm_block = Shape4D(1, *job.block)
    weights_area = fast if job.weights_copied else flash
    if job.weight_bytes:
        query.const_shape = Shape4D(1, 1, 1, job.ofm[2])
    query.const_memory_area = weights_area
    activation = Op.LUT if job.table else None
    measured = npu_performance.measure_cycle_cost(
        arch, Op[_COST_OPS[job.kind]], activation or Op.Relu, query
    )
    access = npu_performance.measure_element_access(arch, query)

    traffic: dict[Any, float] = {}

    def transfer(read: bool, bits: int, elements: float, memory: Any) -> None:
        bricks = job.ifm_bricks if read else job.ofm_bricks
        shape = query.ifm_shape if read else query.ofm_shape
        amount = npu_performance._estimate_memory_transfer_efficiency(
            arch,
            read,
            memory,
            formats[bricks],
            bits,
            query.config.ifm_block if read else query.config.ofm_block,
            shape,
            elements * bits // 8,
        )
        traffic[memory] = traffic.get(memory, 0.0) + float(amount)

    transfer(False, job.ofm_bits, access.ofm_write, query.ofm_memory_area)
    for count, memory in zip(
        access.ifm_read, (query.ifm_memory_area, query.ifm2_memory_area), strict=True
    ):
        transfer(True, job.ifm_bits, count, memory)
    # Weights are read again for each block of rows and columns.
    constant = job.weight_bytes * max(access.weights_refetch, 1) + job.scale_bytes
    traffic[weights_area] = traffic.get(weights_area, 0.0) + constant
    bandwidth = arch.memory_bandwidths_per_cycle
    cycles = {area: int(bytes_ / bandwidth[area]) for area, bytes_ in traffic.items()}
    compute = int(measured.op_cycles)
    # Where all lies in one memory, nothing is beside it.
    apart = flash != fast
    flash_cycles = cycles.get(flash, 0) if apart else 0
    arena_cycles = max(
        (n for memory, n in cycles.items() if memory != flash or not apart), default=0
    )
    return Cost(
        max(compute, arena_cycles, flash_cycles),
        compute,
        arena_cycles,
        flash_cycles,
        int(measured.op_macs),
    )


@functools.lru_cache(maxsize=4096)
def copy_cycles(nbytes: int, npu: Npu) -> int:
    """Cycles to copy constants to the SRAM."""
    from ethosu.vela import npu_performance

    arch = architecture(npu)
    return int(
        npu_performance.measure_mem2mem_cycles(
            arch, arch.permanent_storage_mem_area, arch.fast_storage_mem_area, nbytes
        )
    )
