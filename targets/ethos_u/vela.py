"""All use of `ethosu.vela`: what an accelerator can do, what it costs, and its command stream.

Vela calls its Python core deprecated; nothing else of ours imports it. The API is 5.2.0's
`ethosu.vela.api` (U55 and U65), the estimates are its `npu_performance`.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.operation import (
    ELEMENTWISE,
    POOLING,
    Command,
    Copy,
    FeatureMap,
    Operation,
    Place,
    Shape,
)

TABLE_BYTES = 256
"""A look-up table of int8; SHRAM holds eight of them."""

_MEM2MEM = (1 << 8) | 3
_DTYPES = {"int8": "INT8", "uint8": "UINT8", "int16": "INT16", "int32": "INT32"}
_POOLS = {"max_pool": "MAX", "average_pool": "AVERAGE", "reduce_sum": "REDUCE_SUM"}
_ELEMENTWISE = {
    "add": "ADD",
    "subtract": "SUB",
    "multiply": "MUL",
    "minimum": "MIN",
    "maximum": "MAX",
    "absolute": "ABS",
    "leading_zeros": "CLZ",
    "shift_left": "SHL",
    "shift_right": "SHR",
}
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


@functools.cache
def _api() -> Any:
    try:
        from ethosu.vela import api
    except ImportError as error:
        raise TinyaotError(
            f"Ethos-U needs Arm's Vela: {error}",
            "install what it needs: pip install 'tinyaot[ethos-u]'",
        ) from error
    return api


def _accelerator(npu: Npu) -> Any:
    name = npu.name.replace("ethos-u", "Ethos_U").replace("-", "_")
    return _api().NpuAccelerator[name]


@functools.cache
def architecture(npu: Npu) -> Any:
    """Vela's description of the accelerator in its system.

    Raises:
        TinyaotError: Vela is missing or does not take the configuration.
    """
    _api()
    from ethosu.vela.architecture_features import ArchitectureFeatures
    from ethosu.vela.errors import VelaError

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return ArchitectureFeatures(
                vela_config_files=[str(npu.config_file)],
                accelerator_config=npu.name,
                system_config=npu.system,
                memory_mode=npu.memory,
                max_blockdep=ArchitectureFeatures.MAX_BLOCKDEP,
                verbose_config=False,
                arena_cache_size=None,
            )
    except (VelaError, ValueError, KeyError) as error:
        raise TinyaotError(
            f"the configuration of {npu.name} is not valid: {error}",
            f"see System_Config.{npu.system} and Memory_Mode.{npu.memory} in {npu.config_file}",
        ) from error


def has_cache(npu: Npu) -> bool:
    """Whether the accelerator has an SRAM of its own beside the arena's memory."""
    return bool(architecture(npu).is_spilling_enabled())


def _feature_map(fm: FeatureMap, places: Mapping[str, Place], scale: float | None) -> Any:
    api = _api()
    result = api.NpuFeatureMap()
    place = places.get(fm.storage, Place(1, 0))
    height, width, depth = fm.shape
    result.data_type = api.NpuDataType[_DTYPES[fm.dtype]]
    result.region = place.region
    result.shape = api.NpuShape3D(height, width, depth)
    result.layout = api.NpuLayout.NHCWB16 if fm.bricks else api.NpuLayout.NHWC
    result.quantization = api.NpuQuantization(scale, fm.zero_point)
    depth_stride = fm.brick_stride if fm.bricks else fm.itemsize
    result.strides = api.NpuShape3D(fm.row_stride, fm.column_stride, depth_stride)
    above = height
    if fm.rows is not None:
        above = min(height, fm.rows - fm.first[0] % fm.rows)
    wrapped = place.address + fm.address(above) if above < height else 0
    addresses = [place.address + fm.address(), 0, wrapped, 0]
    result.tiles = api.NpuTileBox(above, 0, width, addresses)
    return result


def _operation(command: Command, npu: Npu) -> Any:
    """Vela's form of a command. Scales are given so that Vela derives just our multipliers."""
    api = _api()
    op = command.operation
    scales: list[float | None] = [1.0, 1.0, 1.0]
    if op.kind in ("add", "subtract") and op.operand_scale is not None:
        assert op.scale is not None
        which, (multiplier, shift) = op.operand_scale
        smaller = multiplier * 2.0 ** -(shift - 1)
        # The larger step is 1; Vela multiplies by 2^20 / 2 and divides the output alike.
        left_shift = 20 if op.ifm.itemsize == 1 else 15
        smaller /= 2.0**left_shift
        scales[:2] = (smaller, 1.0) if which == 1 else (1.0, smaller)
        scales[2] = 2.0 / (2.0**left_shift * op.scale[0] * 2.0 ** -op.scale[1])
    elif op.kind == "absolute":
        assert op.scale is not None
        scales[2] = op.scale[0] * 2.0 ** -op.scale[1]
    elif op.kind in ELEMENTWISE and op.scale is None:
        scales = [None, None, None]
    ifm = _feature_map(op.ifm, command.places, scales[0])
    ofm = _feature_map(op.ofm, command.places, scales[2])
    if op.kind == "conv2d":
        result = api.NpuConv2DOperation()
        traversal = api.NpuBlockTraversal
        result.block_traversal = (
            traversal.PART_KERNEL_FIRST if op.part_kernel else traversal.DEPTH_FIRST
        )
    elif op.kind == "depthwise":
        result = api.NpuConvDepthWiseOperation()
    elif op.kind in POOLING:
        from ethosu.vela.operation import ExplicitScaling

        result = api.NpuPoolingOperation(api.NpuPoolingOp[_POOLS[op.kind]])
        if op.scale is not None:
            result.rescale = ExplicitScaling(False, [op.scale[1]], [op.scale[0]])
    else:
        result = api.NpuElementWiseOperation(api.NpuElementWiseOp[_ELEMENTWISE[op.kind]])
        if op.scale is not None and op.operand_scale is None and op.kind != "absolute":
            result.rescale = op.scale
        result.reversed_operands = op.swapped
    result.name = op.origin
    result.ifm, result.ofm = ifm, ofm
    if op.ifm2 is not None:
        result.ifm2 = _feature_map(op.ifm2, command.places, scales[1])
        if op.scalar is not None:
            result.ifm2.quantization = api.NpuQuantization(scales[1], op.ifm2.zero_point)
            step = scales[1] if scales[1] is not None else 1.0
            result.ifm2_scalar = float((op.scalar - op.ifm2.zero_point) * step)
            result.ifm2.shape = api.NpuShape3D(0, 0, 0)
    if op.kind not in ELEMENTWISE:
        result.kernel = api.NpuKernel(
            op.kernel[1], op.kernel[0], op.strides[1], op.strides[0], op.dilation[1], op.dilation[0]
        )
        top, left, bottom, right = op.padding
        result.padding = api.NpuPadding(top, left, bottom, right)
    result.weights = [api.NpuAddressRange(p.region, p.address, p.nbytes) for p in command.weights]
    result.biases = [api.NpuAddressRange(p.region, p.address, p.nbytes) for p in command.scales]
    kinds = api.NpuActivationOp
    activation = api.NpuActivation(
        kinds.TABLE_LOOKUP if op.table is not None else kinds.NONE_OR_RELU
    )
    step = scales[2] if scales[2] is not None else 1.0
    activation.min, activation.max = ((x - op.ofm.zero_point) * step for x in op.clamp)
    activation.lookup_table_index = command.slot
    result.activation = activation
    result.block_config = api.NpuShape3D(*command.block)
    rounding = api.NpuRoundingMode
    result.rounding_mode = {
        "double": rounding.TFL,
        "natural": rounding.NATURAL,
        "truncate": rounding.TRUNCATE,
    }[op.rounding]
    result.ifm_upscale = {
        "none": api.NpuResamplingMode.NONE,
        "nearest": api.NpuResamplingMode.NEAREST,
        "zeros": api.NpuResamplingMode.TRANSPOSE,
    }[op.upscale]
    return result


def command_stream(commands: Sequence[Command | Copy], npu: Npu) -> NDArray[np.uint32]:
    """The register commands, with the waits and block dependencies that they need.

    Raises:
        TinyaotError: Vela rejects a command; says which.
    """
    api = _api()
    from ethosu.vela.errors import VelaError

    operations = []
    for command in commands:
        if isinstance(command, Command):
            operations.append(_operation(command, npu))
        else:
            operations.append(_copy(command, npu))
    _tell_views_apart(operations)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            words = api.npu_generate_register_command_stream(operations, _accelerator(npu))
    except VelaError as error:
        raise TinyaotError(
            f"Vela rejects the commands: {error}", "this is a bug in tinyaot: please report it"
        ) from error
    return np.array(words, np.uint32)


def _tell_views_apart(operations: Sequence[Any]) -> None:
    """Vela takes an input for the result of the operation before, element for element, if it has
    the same shape and the same tiles, and allows overlap by that; but strides may differ. Another
    height of a tile that is not used makes Vela compare addresses."""
    before: Any = None
    for operation in operations:
        if not hasattr(operation, "ofm"):
            continue
        for fm in (operation.ifm, operation.ifm2):
            if (
                before is not None
                and fm is not None
                and (fm.shape, fm.tiles) == (before.shape, before.tiles)
                and (fm.strides, fm.layout) != (before.strides, before.layout)
            ):
                fm.tiles = fm.tiles._replace(height_1=fm.tiles.height_0)
        before = operation.ofm


def _copy(copy: Copy, npu: Npu) -> Any:
    api = _api()
    source = api.NpuAddressRange(copy.source.region, copy.source.address, copy.source.nbytes)
    if copy.destination is not None:
        target = api.NpuAddressRange(
            copy.destination.region, copy.destination.address, copy.source.nbytes
        )
    else:
        start = architecture(npu).shram_lut_address + copy.slot * TABLE_BYTES
        target = api.NpuAddressRange(_MEM2MEM, start, copy.source.nbytes)
    return api.NpuDmaOperation(source, target)


def driver_payload(stream: NDArray[np.uint32], npu: Npu) -> bytes:
    """The command stream with the header that Arm's driver reads."""
    payload: bytes = bytes(
        _api().npu_create_driver_payload([int(word) for word in stream], _accelerator(npu))
    )
    return payload


def encode_weights(operation: Operation, block_depth: int, npu: Npu) -> list[tuple[bytes, bytes]]:
    """Weights and scales of a convolution in the form that each core reads, 16-byte multiples.

    Args:
        operation: with weights, bias and scales of the channels that one command computes.
        block_depth: of the output block.
    """
    api = _api()
    assert operation.weights is not None
    assert operation.bias is not None
    assert operation.scales is not None
    weights = operation.weights
    if operation.kind == "depthwise":
        weights = np.moveaxis(weights, -1, 0)[..., None]
    streams = []
    channels = len(weights)
    for core in range(min(npu.cores, channels)):
        depth = (block_depth + npu.cores - 1 - core) // npu.cores
        traversal = api.NpuBlockTraversal
        encoded = api.npu_encode_weights(
            _accelerator(npu),
            np.ascontiguousarray(weights[core :: npu.cores].astype(np.int16)),
            (operation.dilation[1], operation.dilation[0]),
            8 * operation.ifm.itemsize,
            depth,
            operation.kind == "depthwise",
            traversal.PART_KERNEL_FIRST if operation.part_kernel else traversal.DEPTH_FIRST,
        )
        records = b"".join(
            bytes(api.npu_encode_bias(np.int64(bias), int(multiplier), int(shift)))
            for bias, (multiplier, shift) in zip(
                operation.bias[core :: npu.cores], operation.scales[core :: npu.cores], strict=True
            )
        )
        streams.append((bytes(encoded), _padded(records)))
    return streams


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


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
        weights_in_arena: whether weights have been copied to SRAM.
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
    weights_in_arena: bool = False
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
    """The cost-relevant part of an operation."""
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
    job: Job, block: Shape, weight_bytes: int = 0, scale_bytes: int = 0, in_arena: bool = False
) -> Job:
    """A job in another block, with weights of that size."""
    return replace(
        job,
        block=block,
        weight_bytes=weight_bytes,
        scale_bytes=scale_bytes,
        weights_in_arena=in_arena,
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
    weights_area = fast if job.weights_in_arena else flash
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
