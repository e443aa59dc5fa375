"""What an accelerator can do, and its command stream, by `ethosu.vela`.

Vela calls its Python core deprecated: what is called of it is called here and in `cost_model`. The
API is 5.2.0's `ethosu.vela.api` (U55 and U65).
"""

from __future__ import annotations

import configparser
import contextlib
import functools
import io
from collections.abc import Mapping, Sequence
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
    except (VelaError, configparser.Error, ValueError, KeyError) as error:
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
