"""What each kernel computes, on whole feature maps, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tinyaot.targets.ethos_u.model import arithmetic
from tinyaot.targets.ethos_u.model.arithmetic import Ints
from tinyaot.targets.ethos_u.model.memory import Fail
from tinyaot.targets.ethos_u.model.operation import NEAREST, ZEROS, Operation

_MOST_TAPS = 1 << 30


@dataclass(frozen=True)
class Constants:
    """What an operation reads besides its inputs.

    Attributes:
        weights: output channels, kernel height, kernel width, input channels; None if it has none.
        bias, multiplier, shift: per output channel; None if it has none.
        table: bytes of the look-up table from its slot on; None if it has none.
    """

    weights: NDArray[np.int16] | None = None
    bias: Ints | None = None
    multiplier: Ints | None = None
    shift: Ints | None = None
    table: NDArray[np.uint8] | None = None


def compute(op: Operation, ifm: Ints, ifm2: Ints | None, constants: Constants, fail: Fail) -> Ints:
    """The output of an operation.

    Args:
        op: the operation.
        ifm: its input, minus the zero point.
        ifm2: its second input, minus the zero point; None if it has none or it is a scalar.
        constants: what else it reads.
        fail: makes the error to raise.

    Raises:
        StreamError: an accumulator overflows, or a combination of settings is not defined.
    """
    if op.kind == "elementwise":
        scaled = _elementwise(op, ifm, ifm2, fail)
    elif op.kind == "pool":
        scaled = _pool(op, ifm, fail)
    else:
        scaled = _convolution(op, ifm, constants, fail)
    return _activate(op, scaled + op.ofm.zero_point, constants, fail)


def _windows(op: Operation, ifm: Ints, fill: int, fail: Fail) -> Ints:
    """Every window of the padded input: height, width, channels, kernel height, kernel width."""
    if op.upscale == NEAREST:
        ifm = ifm.repeat(2, axis=0).repeat(2, axis=1)
    elif op.upscale == ZEROS:
        wide = np.zeros((2 * ifm.shape[0], 2 * ifm.shape[1], ifm.shape[2]), np.int64)
        wide[::2, ::2] = ifm
        ifm = wide
    kernel = op.kernel
    taps = math.prod(op.ofm.shape[:2]) * math.prod(kernel.size) * ifm.shape[2]
    if taps > _MOST_TAPS:
        raise fail(f"{taps:,} elements in all windows are too many for the model", "unsupported")
    top, left, _, _ = kernel.padding
    size = [(op.ofm.shape[axis] - 1) * kernel.stride[axis] + kernel.area[axis] for axis in range(2)]
    # Upscaling may give a row or column more than is needed.
    inside = [
        min(ifm.shape[axis], size[axis] - kernel.padding[axis] - kernel.padding[axis + 2])
        for axis in range(2)
    ]
    padded = np.full((size[0], size[1], ifm.shape[2]), fill, np.int64)
    padded[top : top + inside[0], left : left + inside[1]] = ifm[: inside[0], : inside[1]]
    windows = sliding_window_view(padded, kernel.area, axis=(0, 1))
    return windows[
        :: kernel.stride[0], :: kernel.stride[1], :, :: kernel.dilation[0], :: kernel.dilation[1]
    ]


def _convolution(op: Operation, ifm: Ints, constants: Constants, fail: Fail) -> Ints:
    weights, bias = constants.weights, constants.bias
    assert weights is not None
    assert bias is not None
    windows = _windows(op, ifm, 0, fail)
    if op.kind == "depthwise":
        total = np.zeros(op.ofm.shape, np.int64)
        for y in range(op.kernel.size[0]):
            for x in range(op.kernel.size[1]):
                total += windows[..., y, x] * weights[:, y, x, 0].astype(np.int64)
    else:
        total = _matmul(windows, weights).reshape(op.ofm.shape)
    total = total + bias
    _check_accumulator(op, total, fail)
    if op.global_scale is not None:
        return arithmetic.scale(total, *op.global_scale, op.rounding)
    return arithmetic.scale(total, constants.multiplier, constants.shift, op.rounding)


def _matmul(windows: Ints, weights: NDArray[np.int16]) -> Ints:
    """Sums of products, by BLAS on floats wide enough to be exact."""
    outputs = weights.shape[0]
    flat = weights.transpose(3, 1, 2, 0).reshape(-1, outputs)
    largest = int(np.abs(windows).max(initial=0))
    bound = largest * int(np.abs(flat.astype(np.int64)).sum(axis=0).max(initial=0))
    exact: Any = np.float32 if bound < 1 << 24 else np.float64
    left = windows.astype(exact).reshape(-1, flat.shape[0])
    return np.asarray(left @ flat.astype(exact)).astype(np.int64)


def _check_accumulator(op: Operation, total: Ints, fail: Fail) -> None:
    limit = 1 << (op.accumulator_bits - 1)
    if total.max(initial=0) >= limit or total.min(initial=0) < -limit:
        raise fail(f"an accumulator of {op.accumulator_bits} bits overflows", "overflow")


def _pool(op: Operation, ifm: Ints, fail: Fail) -> Ints:
    if op.mode == "max":
        return np.asarray(_windows(op, ifm, -(1 << 40), fail).max(axis=(3, 4)), np.int64)
    total = np.asarray(_windows(op, ifm, 0, fail).sum(axis=(3, 4)), np.int64)
    if op.mode == "reduce_sum":
        total = total.sum(axis=2, keepdims=True)
    _check_accumulator(op, total, fail)
    if op.global_scale is not None:
        return arithmetic.scale(total, *op.global_scale, op.rounding)
    if op.mode == "reduce_sum":
        return total
    # The hardware divides by the number of elements that are not padding.
    count = _windows(op, np.ones((*ifm.shape[:2], 1), np.int64), 0, fail).sum(axis=(3, 4))
    if not count.all():
        raise fail("a window lies in the padding alone", "shape")
    half = count // 2
    away = np.where(total >= 0, (total + half) // count, -((half - total) // count))
    return np.asarray(away, np.int64)


def _elementwise(op: Operation, ifm: Ints, ifm2: Ints | None, fail: Fail) -> Ints:
    if op.mode == "clz":
        return arithmetic.leading_zeros(ifm)
    if op.mode == "abs":
        return _scaled(op, np.abs(ifm))
    if op.mode == "lrelu":
        return np.asarray(np.where(ifm < 0, _scaled(op, ifm), ifm), np.int64)
    if ifm2 is None:
        ifm2 = np.full(ifm.shape, op.scalar, np.int64)
    a, b = (ifm2, ifm) if op.reversed else (ifm, ifm2)
    a, b = np.broadcast_arrays(a, b)
    if op.mode == "min":
        return np.minimum(a, b)
    if op.mode == "max":
        return np.maximum(a, b)
    if op.mode == "mul":
        return _multiply(op, a, b)
    if op.mode in ("shl", "shr"):
        return _shift(op, a, b, fail)
    a, b = _operands(op, a, b, fail)
    return _scaled(op, a + b if op.mode == "add" else a - b)


def _scaled(op: Operation, values: Ints) -> Ints:
    if op.global_scale is None:
        return values
    return arithmetic.scale(values, *op.global_scale, op.rounding)


def _multiply(op: Operation, a: Ints, b: Ints) -> Ints:
    product = a * b
    if op.global_scale is None:
        return product
    multiplier, shift = op.global_scale
    # Products of 32-bit inputs are only shifted.
    wide = op.ifm.itemsize == 4
    return arithmetic.scale(product, 1 if wide else multiplier, shift, op.rounding)


def _shift(op: Operation, a: Ints, b: Ints, fail: Fail) -> Ints:
    if b.min(initial=0) < 0 or b.max(initial=0) > 31:
        raise fail(f"a shift by {int(b.min())} to {int(b.max())} is not within 0 to 31", "overflow")
    if op.mode == "shl":
        return a << b
    return arithmetic.scale(a, 1, b, op.rounding)


def _operands(op: Operation, a: Ints, b: Ints, fail: Fail) -> tuple[Ints, Ints]:
    """The operands of ADD and SUB on a common scale."""
    first, shift, second = op.operand_scales
    if op.scaled_operand == 0:
        if op.ifm.itemsize == 4:
            return a, b
        return a * (first & 0xFFFF), b * (second & 0xFFFF)
    if op.ifm.itemsize == 4:
        raise fail("operands of 32 bits cannot be scaled", "register")
    left = 20 if op.ifm.itemsize == 1 else 15
    if op.scaled_operand == 1:
        return arithmetic.scale_operand(a, left, first, shift), b << (left - 1)
    return a << (left - 1), arithmetic.scale_operand(b, left, first, shift)


def _activate(op: Operation, values: Ints, constants: Constants, fail: Fail) -> Ints:
    if op.activation in (arithmetic.TANH, arithmetic.SIGMOID):
        if op.ofm.itemsize != 2:
            raise fail("the built-in functions are known for 16-bit outputs only", "unsupported")
        function = arithmetic.tanh if op.activation == arithmetic.TANH else arithmetic.sigmoid
        return np.clip(function(values), *op.clamp)
    if op.ofm.itemsize == 4 and op.activation == arithmetic.NONE:
        # 32 bits are stored as they are.
        return ((values + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
    clamped = np.clip(values, *op.clamp)
    if constants.table is None:
        return clamped
    if op.clamp[1] - op.clamp[0] > 255 and op.ofm.itemsize != 2:
        raise fail("a look-up table of 256 entries needs a range of 8 bits", "register")
    return arithmetic.lookup(clamped, constants.table, op.table_bits, op.signed_table)
