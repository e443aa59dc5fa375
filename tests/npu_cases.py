"""Random operations through `ethosu.vela.api`, and what they compute by other means than the model.

Expected values come from the definitions: windows over padded arrays, TFLite's fixed-point formulas
on Python's integers, addresses element by element.
"""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.ethos_u.model import run_stream

Array = NDArray[Any]

_LIMIT = 1 << 20


def api() -> Any:
    """Vela's API."""
    from ethosu.vela import api as vela

    return vela


def npu(accelerator: str) -> Any:
    """Vela's name for an accelerator."""
    return api().NpuAccelerator[accelerator.replace("ethos-u", "Ethos_U").replace("-", "_")]


def high_mul(value: int, multiplier: int) -> int:
    """Gemmlowp's saturating rounding doubling high multiply of 32 bits."""
    product = value * multiplier
    nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
    return nudged >> 31 if nudged >= 0 else -(-nudged >> 31)


def divide_by_power(value: int, exponent: int) -> int:
    """Gemmlowp's rounding division: to the nearest, ties away from zero."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (value < 0)
    return (value >> exponent) + ((value & mask) > threshold)


def requantize(value: int, scale: int, shift: int, rounding: str) -> int:
    """`value * scale / 2^shift` as TFLite does it, or rounded once, or cut off."""
    if rounding == "TFL":
        if shift < 31:
            return high_mul(value << (31 - shift), scale)
        return divide_by_power(high_mul(value, scale), shift - 31)
    if rounding == "NATURAL":
        return (value * scale + (1 << shift >> 1)) >> shift
    magnitude = abs(value * scale) >> shift
    return magnitude if value * scale >= 0 else -magnitude


def each(function: Any, *arrays: Any) -> Array:
    """A function of integers on every element."""
    return np.asarray(
        np.frompyfunc(lambda *a: function(*map(int, a)), len(arrays), 1)(*arrays)
    ).astype(np.int64)


@dataclass
class Placed:
    """A feature map in region 1, in one to four tiles."""

    fm: Any
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def addresses(self) -> Array:
        """Addresses of all elements, one at a time, as Vela's API describes them."""
        height, width, depth = self.shape
        tiles, size = self.fm.tiles, self.dtype.itemsize
        strides = self.fm.strides
        found = np.zeros(self.shape, np.int64)
        for y in range(height):
            for x in range(width):
                right = x >= tiles.width_0
                top = tiles.height_1 if right else tiles.height_0
                below = y >= top
                base = tiles.addresses[2 * below + right]
                row, column = y - top * below, x - tiles.width_0 * right
                for c in range(depth):
                    if self.fm.layout.name == "NHWC":
                        found[y, x, c] = (
                            base + row * strides.height + column * strides.width + c * size
                        )
                    else:
                        found[y, x, c] = (
                            base
                            + row * strides.height
                            + c // 16 * strides.depth
                            + column * 16 * size
                            + c % 16 * size
                        )
        return found


class Bench:
    """Memory that feature maps and constants are put into."""

    def __init__(self, rng: np.random.Generator, accelerator: str) -> None:
        self.rng = rng
        self.accelerator = accelerator
        self.scratch = np.zeros(_LIMIT, np.uint8)
        self.written: list[tuple[int, int]] = []
        self.constants = bytearray()
        self._free = 0

    def choice(self, *options: Any) -> Any:
        """One of some options."""
        return options[int(self.rng.integers(len(options)))]

    def feature_map(
        self,
        shape: tuple[int, int, int],
        dtype: str,
        scale: float | None,
        zero_point: int,
        layout: str = "",
    ) -> Placed:
        """A feature map of random layout and tiles."""
        vela = api()
        height, width, depth = shape
        kind = np.dtype(dtype)
        fm = vela.NpuFeatureMap()
        fm.data_type = vela.NpuDataType[dtype.upper()]
        fm.region = 1
        fm.shape = vela.NpuShape3D(height=height, width=width, depth=depth)
        fm.quantization = vela.NpuQuantization(scale_f32=scale, zero_point=zero_point)
        fm.layout = vela.NpuLayout[layout or self.choice("NHWC", "NHCWB16")]
        size = kind.itemsize
        if fm.layout.name == "NHWC":
            gap = self.choice(0, 0, 16)
            x_stride = depth * size + gap
            y_stride = x_stride * width + gap
            if self.rng.random() < 0.2:
                # Columns in order, as of a tensor that is transposed.
                x_stride, y_stride = x_stride * height + gap, x_stride
            fm.strides = vela.NpuShape3D(depth=size, width=x_stride, height=y_stride)
        else:
            column = 16 * size
            fm.strides = vela.NpuShape3D(
                depth=column * width, width=column, height=column * width * -(-depth // 16)
            )
        heights, first = [height, 0], width
        if self.rng.random() < 0.3 and min(height, width) > 1:
            heights = [int(self.rng.integers(1, height + 1)) for _ in range(2)]
            first = int(self.rng.integers(1, width + 1))
        longest = max(fm.strides.height * height, fm.strides.width * width)
        tile = -(-longest // 16) * 16 + 64
        bases = [self._free + tile * index for index in range(4)]
        self._free += 4 * tile
        fm.tiles = vela.NpuTileBox(
            height_0=heights[0], height_1=heights[1] or height, width_0=first, addresses=bases
        )
        return Placed(fm, shape, kind)

    def fill(self, placed: Placed, values: Array) -> None:
        """Stores the elements of a feature map."""
        raw = np.ascontiguousarray(values.astype(placed.dtype)).view(np.uint8)
        raw = raw.reshape(*placed.shape, placed.dtype.itemsize)
        address = placed.addresses()
        for byte in range(placed.dtype.itemsize):
            self.scratch[address + byte] = raw[..., byte]
        self.written += [
            (int(one), int(one) + placed.dtype.itemsize) for one in address.reshape(-1)
        ]

    def read(self, placed: Placed) -> Array:
        """The elements of a feature map."""
        address = placed.addresses()[..., None] + np.arange(placed.dtype.itemsize)
        return self.scratch[address].view(placed.dtype)[..., 0].astype(np.int64)

    def random(self, placed: Placed) -> Array:
        """Random elements, stored."""
        info = np.iinfo(placed.dtype)
        low, high = int(info.min), int(info.max)
        if placed.dtype.itemsize == 4:
            low, high = -(1 << 20), 1 << 20
        values = self.rng.integers(low, high, placed.shape, endpoint=True)
        self.fill(placed, values)
        return values

    def constant(self, data: bytes) -> Any:
        """Bytes in region 0, aligned."""
        at = len(self.constants)
        self.constants += data + bytes(-len(data) % 16)
        return api().NpuAddressRange(region=0, address=at, length=len(self.constants) - at)

    def run(self, *operations: Any) -> None:
        """Gives the operations to Vela and its stream to the model."""
        vela = api()
        with contextlib.redirect_stdout(io.StringIO()):
            words = vela.npu_generate_register_command_stream(
                list(operations), npu(self.accelerator)
            )
        regions = {0: bytearray(self.constants) or bytearray(16), 1: self.scratch}
        run_stream(np.array(words, np.uint32), regions, self.accelerator, written={1: self.written})

    def block(self, operation: Any) -> bool:
        """Sets one of the blocks that fit; False if none does."""
        with contextlib.redirect_stdout(io.StringIO()):
            found = api().npu_find_block_configs(operation, npu(self.accelerator))
        if found:
            operation.block_config = self.choice(*found)
        return bool(found)


def _clamp(
    bench: Bench, operation: Any, dtype: str, zero_point: int, scale: float
) -> tuple[int, int]:
    """An activation's smallest and largest value, sometimes narrower than the type's."""
    vela = api()
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    if bench.rng.random() < 0.4:
        low = int(bench.rng.integers(low, low // 2 + high // 2))
        high = int(bench.rng.integers(low + 1, high))
        activation = vela.NpuActivation(vela.NpuActivationOp.NONE_OR_RELU)
        activation.min, activation.max = ((one - zero_point) * scale for one in (low, high))
        operation.activation = activation
    return low, high


def _window(
    bench: Bench, operation: Any, most: int
) -> tuple[Any, tuple[int, int], tuple[int, int], Any]:
    """Random kernel and padding: kernel, size, stride, padding."""
    vela = api()
    size = tuple(int(one) for one in bench.rng.integers(1, most + 1, 2))
    stride = tuple(int(one) for one in bench.rng.integers(1, 4, 2))
    operation.kernel = vela.NpuKernel(size[1], size[0], stride[1], stride[0])
    operation.padding = vela.NpuPadding(0, 0, 0, 0)
    return operation.kernel, (size[0], size[1])


def _input_extent(out: int, stride: int, area: int, pads: int, upscale: int) -> int:
    return -(-((out - 1) * stride + area - pads) // upscale)


def _windows(
    values: Array, kernel: Any, padding: Any, upscale: str, out: tuple[int, int], fill: int = 0
) -> Array:
    """Windows (rows, columns, kernel rows, kernel columns, channels) by plain indexing."""
    if upscale != "NONE":
        wide = np.zeros((2 * values.shape[0], 2 * values.shape[1], values.shape[2]), np.int64)
        wide[::2, ::2] = values
        if upscale == "NEAREST":
            wide[1::2, ::2] = values
            wide[:, 1::2] = wide[:, ::2]
        values = wide
    area = (
        (kernel.height - 1) * kernel.dilation_y + 1,
        (kernel.width - 1) * kernel.dilation_x + 1,
    )
    need = [
        (out[0] - 1) * kernel.stride_y + area[0] - padding.top - padding.bottom,
        (out[1] - 1) * kernel.stride_x + area[1] - padding.left - padding.right,
    ]
    values = values[: need[0], : need[1]]
    padded = np.pad(
        values,
        ((padding.top, padding.bottom), (padding.left, padding.right), (0, 0)),
        constant_values=fill,
    )
    result = np.zeros((*out, kernel.height, kernel.width, values.shape[2]), np.int64)
    for y in range(kernel.height):
        for x in range(kernel.width):
            row, column = y * kernel.dilation_y, x * kernel.dilation_x
            result[:, :, y, x] = padded[
                row : row + (out[0] - 1) * kernel.stride_y + 1 : kernel.stride_y,
                column : column + (out[1] - 1) * kernel.stride_x + 1 : kernel.stride_x,
            ]
    return result


def convolution(bench: Bench, depthwise: bool) -> tuple[Array, Array] | None:
    """A convolution: computed, expected. None if no block fits."""
    vela, rng = api(), bench.rng
    operation = vela.NpuConvDepthWiseOperation() if depthwise else vela.NpuConv2DOperation()
    kernel, size = _window(bench, operation, 5 if rng.random() < 0.9 else 11)
    kernel.dilation_x, kernel.dilation_y = (int(one) for one in rng.integers(1, 3, 2))
    area = (
        (size[0] - 1) * kernel.dilation_y + 1,
        (size[1] - 1) * kernel.dilation_x + 1,
    )
    pads = [int(rng.integers(0, area[axis % 2])) for axis in range(4)]
    operation.padding = vela.NpuPadding(*pads)
    upscale = bench.choice("NONE", "NONE", "NEAREST", "TRANSPOSE")
    operation.ifm_upscale = vela.NpuResamplingMode[upscale]
    out = tuple(int(one) for one in rng.integers(1, 9, 2))
    up = 1 if upscale == "NONE" else 2
    inside = (
        _input_extent(out[0], kernel.stride_y, area[0], pads[0] + pads[2], up),
        _input_extent(out[1], kernel.stride_x, area[1], pads[1] + pads[3], up),
    )
    if min(inside) < 1:
        return None
    depth = int(rng.integers(1, 40))
    into = depth if depthwise else int(rng.integers(1, 40))
    ifm_type = bench.choice("int8", "int8", "uint8", "int16")
    ofm_type = "int16" if ifm_type == "int16" else bench.choice(ifm_type, "int8", "uint8")
    zero_in = 0 if ifm_type == "int16" else int(rng.integers(0, 50))
    zero_out = 0 if ofm_type == "int16" else int(rng.integers(0, 50))
    ifm = bench.feature_map((inside[0], inside[1], into), ifm_type, 0.1, zero_in)
    ofm = bench.feature_map((out[0], out[1], depth), ofm_type, 0.2, zero_out)
    operation.ifm, operation.ofm = ifm.fm, ofm.fm
    rounding = bench.choice("TFL", "NATURAL", "TRUNCATE")
    operation.rounding_mode = vela.NpuRoundingMode[rounding]
    part = not depthwise and bool(rng.integers(2))
    traversal = vela.NpuBlockTraversal["PART_KERNEL_FIRST" if part else "DEPTH_FIRST"]
    if not depthwise:
        operation.block_traversal = traversal
    low, high = _clamp(bench, operation, ofm_type, zero_out, 0.2)
    if not bench.block(operation):
        return None
    weights = rng.integers(-127, 128, (depth, *size, 1 if depthwise else into))
    bias = rng.integers(-(1 << 16), 1 << 16, depth)
    # Such that results fill the output's range.
    spread = math.log2(max(abs(int(np.abs(weights).sum(axis=(1, 2, 3)).max())) * 100, 2))
    bits = 15 if ifm_type == "int16" else 31
    scale = rng.integers(1 << (bits - 1), 1 << bits, depth)
    shift = rng.integers(0, 3, depth) + bits + max(int(spread) - (13 if bits == 15 else 6), 0)
    cores = 2 if bench.accelerator == "ethos-u65-512" else 1
    for core in range(min(cores, depth)):
        width = (operation.block_config.depth + cores - 1 - core) // cores
        with contextlib.redirect_stdout(io.StringIO()):
            stream = vela.npu_encode_weights(
                npu(bench.accelerator),
                weights[core::cores].astype(np.int16),
                (kernel.dilation_x, kernel.dilation_y),
                16 if ifm_type == "int16" else 8,
                width,
                depthwise,
                traversal,
            )
        operation.weights.append(bench.constant(bytes(stream)))
        records = b"".join(
            bytes(vela.npu_encode_bias(np.int64(bias[c]), int(scale[c]), int(shift[c])))
            for c in range(core, depth, cores)
        )
        operation.biases.append(bench.constant(records))
    values = bench.random(ifm) - zero_in
    bench.run(operation)

    windows = _windows(values, kernel, operation.padding, upscale, (out[0], out[1]))
    if depthwise:
        total = np.einsum("hwyxc,cyx->hwc", windows, weights[..., 0])
    else:
        total = np.einsum("hwyxc,oyxc->hwo", windows, weights)
    total = total + bias
    expected = each(lambda v, m, s: requantize(v, m, s, rounding), total, scale, shift)
    return bench.read(ofm), np.clip(expected + zero_out, low, high)


def pooling(bench: Bench) -> tuple[Array, Array] | None:
    """MAX and AVERAGE pooling, and the sum over channels."""
    vela, rng = api(), bench.rng
    mode = bench.choice("MAX", "AVERAGE", "AVERAGE", "REDUCE_SUM")
    operation = vela.NpuPoolingOperation(vela.NpuPoolingOp[mode])
    kernel, size = _window(bench, operation, 1 if mode == "REDUCE_SUM" else 6)
    if mode == "REDUCE_SUM":
        kernel.stride_x = kernel.stride_y = 1
    pads = [int(rng.integers(0, size[axis % 2])) for axis in range(4)]
    if bench.rng.random() < 0.4:
        pads = [0, 0, 0, 0]
    operation.padding = vela.NpuPadding(*pads)
    out = tuple(int(one) for one in rng.integers(1, 9, 2))
    inside = (
        _input_extent(out[0], kernel.stride_y, size[0], pads[0] + pads[2], 1),
        _input_extent(out[1], kernel.stride_x, size[1], pads[1] + pads[3], 1),
    )
    if min(inside) < 1:
        return None
    depth = int(rng.integers(1, 40))
    dtype = bench.choice("int8", "uint8", "int16")
    if mode == "REDUCE_SUM":
        dtype = bench.choice("int8", "int32")
    zero = 0 if dtype in ("int16", "int32") else int(rng.integers(0, 20))
    ofm_type = "int32" if mode == "REDUCE_SUM" else dtype
    layout = "NHWC" if mode == "REDUCE_SUM" else ""
    scale = None if mode == "REDUCE_SUM" else 0.1
    ifm = bench.feature_map((inside[0], inside[1], depth), dtype, scale, zero, layout)
    channels = 1 if mode == "REDUCE_SUM" else depth
    zero_out = 0 if mode == "REDUCE_SUM" else zero
    ofm = bench.feature_map((out[0], out[1], channels), ofm_type, scale, zero_out)
    operation.ifm, operation.ofm = ifm.fm, ofm.fm
    if not bench.block(operation):
        return None
    values = bench.random(ifm) - zero
    bench.run(operation)
    if mode == "REDUCE_SUM":
        return bench.read(ofm), values.sum(axis=2, keepdims=True)
    shape = (out[0], out[1])
    if mode == "MAX":
        windows = _windows(values, kernel, operation.padding, "NONE", shape, -(1 << 20))
        return bench.read(ofm), windows.max(axis=(2, 3)) + zero
    total = _windows(values, kernel, operation.padding, "NONE", shape).sum(axis=(2, 3))
    ones = np.ones_like(values)
    count = _windows(ones, kernel, operation.padding, "NONE", shape).sum(axis=(2, 3))
    if not count.all():
        return None

    def average(value: int, number: int) -> int:
        half = number // 2
        return (value + half) // number if value >= 0 else -((-value + half) // number)

    return bench.read(ofm), each(average, total, count) + zero


def _quantize(scale: float) -> tuple[int, int]:
    """TFLite's QuantizeMultiplier: a Q0.31 fraction and a right shift."""
    fraction, exponent = math.frexp(scale)
    fixed = math.floor(fraction * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        return fixed // 2, 31 - exponent - 1
    return fixed, 31 - exponent


_BINARY = ("ADD", "SUB", "MUL", "MIN", "MAX")
_WIDE = ("ADD", "SUB", "MUL", "SHL", "SHR")


def elementwise(bench: Bench) -> tuple[Array, Array] | None:
    """One or two inputs, element by element."""
    vela, rng = api(), bench.rng
    wide = rng.random() < 0.4
    unary = rng.random() < 0.2
    if unary:
        kind = bench.choice("CLZ") if wide else bench.choice("ABS", "LRELU")
    else:
        kind = bench.choice(*(_WIDE if wide else _BINARY))
    dtype = "int32" if wide else bench.choice("int8", "uint8", "int16")
    operation = vela.NpuElementWiseOperation(vela.NpuElementWiseOp[kind])
    shape = tuple(int(one) for one in rng.integers(1, (12, 12, 40)))
    one_scale = kind in ("MIN", "MAX", "ABS", "LRELU")
    scales = [None] * 3 if wide else [float(np.float32(s)) for s in rng.uniform(0.01, 0.2, 3)]
    if one_scale and not wide:
        scales = [scales[0]] * 3
    if not wide and bench.rng.random() < 0.3:
        scales[1] = scales[0]
    zeros = [0, 0, 0] if dtype in ("int16", "int32") else [int(z) for z in rng.integers(0, 30, 3)]
    if one_scale:
        zeros = [zeros[0]] * 3
    ifm = bench.feature_map((shape[0], shape[1], shape[2]), dtype, scales[0], zeros[0])
    if kind == "LRELU":
        scales[2] = 0.25
    if kind == "ABS":
        scales[2] = 1.0
    ofm = bench.feature_map((shape[0], shape[1], shape[2]), dtype, scales[2], zeros[2])
    operation.ifm, operation.ofm = ifm.fm, ofm.fm
    first = bench.random(ifm) - zeros[0]
    second: Array = np.zeros(1, np.int64)
    if not unary:
        operation.reversed_operands = bool(rng.integers(2))
        broadcast = [1 if rng.random() < 0.3 else extent for extent in shape]
        second_map = bench.feature_map(
            (broadcast[0], broadcast[1], broadcast[2]), dtype, scales[1], zeros[1]
        )
        operation.ifm2 = second_map.fm
        if rng.random() < 0.25 and not operation.reversed_operands and not wide:
            info = np.iinfo(dtype)
            scalar = int(rng.integers(max(info.min, -100), min(int(info.max), 100)))
            operation.ifm2_scalar = float((scalar - zeros[1]) * scales[1])
            operation.ifm2.shape = ifm.fm.shape
            second = np.full((1, 1, 1), scalar - zeros[1])
        else:
            second = bench.random(second_map) - zeros[1]
        if kind in ("SHL", "SHR"):
            operation.reversed_operands = False
            second = rng.integers(0, 12, second.shape)
            bench.fill(second_map, second)
            if kind == "SHL":
                first = first >> 8
                bench.fill(ifm, first)
        if kind == "MUL" and wide:
            first, second = first >> 6, second >> 6
            bench.fill(ifm, first)
            bench.fill(second_map, second)
    rounding = "TFL"
    if kind == "SHR":
        rounding = bench.choice("TFL", "NATURAL", "TRUNCATE")
        operation.rounding_mode = vela.NpuRoundingMode[rounding]
    low, high = -(1 << 31), (1 << 31) - 1
    if not wide:
        low, high = _clamp(bench, operation, dtype, zeros[2], scales[2])
    if one_scale and not wide and operation.activation is not None:
        # The clamp is a real number, of the output's scale, which is not the operation's here.
        operation.activation = None
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if not bench.block(operation):
        return None
    bench.run(operation)

    a, b, sa, sb = first, second, scales[0], scales[1]
    if operation.reversed_operands:
        a, b, sa, sb = second, first, scales[1], scales[0]
    if kind == "CLZ":
        expected = each(lambda v: 32 - (v & 0xFFFFFFFF).bit_length(), first)
    elif kind == "ABS":
        expected = np.abs(first)
    elif kind == "LRELU":
        alpha = _quantize(0.25)
        expected = each(lambda v: v if v >= 0 else requantize(v, *alpha, "TFL"), first)
    elif kind == "MIN":
        expected = np.minimum(a, b)
    elif kind == "MAX":
        expected = np.maximum(a, b)
    elif kind == "SHL":
        expected = a << b
    elif kind == "SHR":
        expected = each(lambda v, s: requantize_shift(v, s, rounding), a, b)
    elif wide:
        expected = {"ADD": a + b, "SUB": a - b, "MUL": a * b}[kind]
    elif kind == "MUL":
        product = np.float32(sa) * np.float32(sb) / np.float32(scales[2])
        factor = _quantize(float(product))
        expected = each(lambda v: requantize(v, *factor, "TFL"), a * b)
    else:
        expected = _sum(kind, a, b, (sa, sb, scales[2]), dtype)
    return bench.read(ofm), np.clip(np.broadcast_to(expected, shape) + zeros[2], low, high)


def requantize_shift(value: int, shift: int, rounding: str) -> int:
    """A rounding shift to the right."""
    if rounding != "TRUNCATE":
        return (value + (1 << shift >> 1)) >> shift
    return abs(value) >> shift if value >= 0 else -(abs(value) >> shift)


def _sum(kind: str, a: Array, b: Array, scales: tuple[Any, Any, Any], dtype: str) -> Array:
    """TFLite's ADD and SUB."""
    left = 15 if dtype == "int16" else 20
    twice = 2 * max(float(scales[0]), float(scales[1]))
    one, other = _quantize(scales[0] / twice), _quantize(scales[1] / twice)
    result = _quantize(twice / ((1 << left) * scales[2]))

    def add(x: int, y: int) -> int:
        x = requantize(x << left, *one, "TFL")
        y = requantize(y << left, *other, "TFL")
        return requantize(x + y if kind == "ADD" else x - y, *result, "TFL")

    return each(add, a, b)


def table(bench: Bench) -> tuple[Array, Array] | None:
    """A copy of a table to shared RAM, then an operation that looks up in it."""
    vela, rng = api(), bench.rng
    kind = bench.choice("int8", "uint8", "int16", "int32")
    source = "int8" if kind == "int32" else kind
    shape = tuple(int(one) for one in rng.integers(1, (9, 9, 40)))
    ifm = bench.feature_map((shape[0], shape[1], shape[2]), source, 1.0, 0)
    ofm = bench.feature_map((shape[0], shape[1], shape[2]), kind, 1.0, 0)
    entries = {"int8": 256, "uint8": 256, "int16": 512, "int32": 256}[kind]
    width = {"int8": "i1", "uint8": "u1"}.get(kind, "<i4")
    info = np.iinfo(width)
    values = rng.integers(info.min, info.max, entries, endpoint=True).astype(width)
    if kind == "int16":
        values = (rng.integers(-500, 500, entries) << 16 | rng.integers(0, 16000, entries)).astype(
            width
        )
    data = values.tobytes()
    slots = 8 * 256 // len(data)
    slot = int(rng.integers(slots)) * len(data) // 256
    banks = {"32": 16, "64": 16, "128": 24}.get(bench.accelerator.rsplit("-", 1)[1], 48)
    start = banks * 1024 - 2048 + slot * 256
    copy = vela.NpuDmaOperation(
        bench.constant(data), vela.NpuAddressRange(region=0x103, address=start, length=len(data))
    )
    operation = vela.NpuElementWiseOperation(vela.NpuElementWiseOp.ADD)
    operation.ifm, operation.ofm = ifm.fm, ofm.fm
    operation.ifm2 = vela.NpuFeatureMap()
    operation.ifm2.data_type = ifm.fm.data_type
    operation.ifm2.shape = ifm.fm.shape
    operation.ifm2.quantization = vela.NpuQuantization(scale_f32=None, zero_point=0)
    operation.ifm.quantization = operation.ofm.quantization = operation.ifm2.quantization
    operation.ifm2_scalar = 0.0
    operation.activation = vela.NpuActivation(vela.NpuActivationOp.TABLE_LOOKUP)
    operation.activation.lookup_table_index = slot
    if not bench.block(operation):
        return None
    indices = bench.random(ifm)
    bench.run(copy, operation)
    if kind == "int16":
        base, slope = values.astype(np.int64) & 0xFFFF, values.astype(np.int64) >> 16
        at = (indices + 32768) >> 7
        expected = base[at] + ((slope[at] * (indices & 127) + 64) >> 7)
    else:
        expected = values.astype(np.int64)[indices + (0 if kind == "uint8" else 128)]
    return bench.read(ofm), expected


CASES = {
    "convolution": lambda bench: convolution(bench, False),
    "depthwise": lambda bench: convolution(bench, True),
    "pooling": pooling,
    "elementwise": elementwise,
    "table": table,
}
"""Kinds of cases: functions of a `Bench` that return what was computed and what should be."""


def case(kind: str, accelerator: str, seed: int) -> tuple[Array, Array]:
    """The first case from a seed on that can be: computed and expected."""
    for attempt in range(50):
        rng = np.random.default_rng((seed, attempt))
        made = CASES[kind](Bench(rng, accelerator))
        if made is not None:
            return made
    raise RuntimeError(f"no {kind} fits {accelerator}")
