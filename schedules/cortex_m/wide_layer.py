"""What the rules for layers on int16 share: bounds of their sums, and how they become outputs.

Sums of products with int16 are kept in 32 bits where the weights prove that they fit, bias
included, and TFLite's scaling is then one instruction: with multiplier m and shift s of rounding
"reduced",

    floor((acc * m + 2^(s - 1)) / 2^s) = floor((acc * M + 2^31) / 2^32) for M = m * 2^(32 - s),

which is SMMULR or VQRDMULH. Rounding "double" takes a few more. Other layers are cut into segments
of taps whose sums fit 32 bits; these are added up by `tinyaot_wide_finish_*`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.registry import UnsuitableError
from tinyaot.schedules.workload_wide import WideConv2D

FULL_RANGE = (-(2**15), 2**15 - 1)
RELU_RANGE = (0, 2**15 - 1)

BYTES = 2
"""Of an activation."""

SMALL_WINDOW = 2048
"""A window that holds the whole input is taken up to this size in bytes."""

# An input of -2^15 times weights whose sizes add up to this stays inside 32 bits.
_LARGEST_SUM = 2**16 - 1


def in_rows(workload: WideConv2D) -> WideConv2D:
    """An equal convolution with the only axis of the image, if there is one, from row to row."""
    flat = workload.input_shape[1] == workload.output_shape[1] == workload.kernel[0] == 1
    if not flat or workload.padding[0] or workload.padding[2]:
        return workload
    top, left, bottom, right = workload.padding

    def turned(shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        return shape[0], shape[2], shape[1], shape[3]

    return replace(
        workload,
        input_shape=turned(workload.input_shape),
        output_shape=turned(workload.output_shape),
        kernel=workload.kernel[::-1],
        strides=workload.strides[::-1],
        dilation=workload.dilation[::-1],
        padding=(left, top, right, bottom),
    )


def in_bytes(workload: WideConv2D) -> WideConv2D:
    """The geometry of an image whose channels are bytes."""
    shapes = {
        name: (*shape[:3], shape[3] * BYTES)
        for name, shape in (
            ("input_shape", workload.input_shape),
            ("output_shape", workload.output_shape),
        )
    }
    return replace(workload, **shapes)  # type: ignore[arg-type]


def matrix(constants: Mapping[str, NDArray[np.generic]]) -> NDArray[np.int64]:
    """The weights as (channels, taps)."""
    if "weight" not in constants:
        raise UnsuitableError("the form of the sums depends on the constants")
    weight = constants["weight"].astype(np.int64)
    return weight.reshape(len(weight), -1)


def always_zero(constants: Mapping[str, NDArray[np.generic]]) -> NDArray[np.bool_]:
    """Channels with a factor so small, by rounding "reduced", that no sum in 32 bits shows."""
    multiplier, shift = (constants[name].astype(np.int64) for name in ("multiplier", "shift"))
    gone: NDArray[np.bool_] = (multiplier == 0) | (shift >= 48)
    return gone


def high_word_multipliers(
    weight: NDArray[np.int64], constants: Mapping[str, NDArray[np.generic]], rounding: str
) -> NDArray[np.int32] | None:
    """M of the module's text for each channel; None if a sum or a factor does not fit."""
    if rounding != "reduced":
        return None
    gone = always_zero(constants)
    shift = np.where(gone, 32, constants["shift"].astype(np.int64))
    multiplier = np.where(gone, 0, constants["multiplier"].astype(np.int64))
    bias = np.abs(constants["bias"].astype(np.int64))
    if shift.min() < 16 or shift.max() > 32:
        return None
    if (np.abs(weight).sum(axis=1) * 2**15 + bias).max() >= 2**31:
        return None
    words: NDArray[np.int64] = multiplier << (32 - shift)
    return words.astype(np.int32)


def double_rounding(
    weight: NDArray[np.int64], constants: Mapping[str, NDArray[np.generic]], rounding: str
) -> NDArray[np.int32] | None:
    """(channels, 3) {multiplier, addend, r} of rounding "double" in a short form.

        y = sat16((addend - (acc < 0) + round(acc * multiplier / 2^31)) >> r),

    see `reference_rounding`; None if twice a sum or a factor does not fit.
    """
    if rounding != "double":
        return None
    right = -constants["shift"].astype(np.int64)
    bias = np.abs(constants["bias"].astype(np.int64))
    if right.min() < 1 or right.max() > 30 or constants["multiplier"].min() < 2**30:
        return None
    if (np.abs(weight).sum(axis=1) * 2**15 + bias).max() >= 2**30:
        return None
    addend = np.int64(1) << (right - 1)
    return np.stack([constants["multiplier"], addend, right], axis=1).astype(np.int32)


def half_word_multipliers(
    weight: NDArray[np.int64], constants: Mapping[str, NDArray[np.generic]], rounding: str
) -> NDArray[np.int32] | None:
    """Halves of `high_word_multipliers`, for VQRDMULH, which doubles the product."""
    found = high_word_multipliers(weight, constants, rounding)
    return None if found is None or np.any(found % 2) else found // 2


def segment_taps(weight: NDArray[np.int64], multiple: int) -> int:
    """The most taps whose sum fits 32 bits in every channel, in equal parts of all: a multiple of
    `multiple`, except that one part may be more than there are."""
    taps = weight.shape[1]
    for parts in range(1, taps + 1):
        size: int = math.ceil(taps / parts / multiple) * multiple
        missing = -taps % size
        pieces = np.pad(np.abs(weight), ((0, 0), (0, missing))).reshape(len(weight), -1, size)
        if pieces.sum(axis=2).max() <= _LARGEST_SUM:
            return size
    raise AssertionError("a few taps always fit")


def scaling_words(constants: Mapping[str, NDArray[np.generic]]) -> NDArray[np.int32]:
    """(channels, 4) as `tinyaot_wide_finish_*` reads them: bias in 64 bits, multiplier, shift."""
    bias = constants["bias"].astype("<i8").view("<i4").reshape(-1, 2)
    factors = np.stack([constants["multiplier"], constants["shift"]], axis=1)
    return np.concatenate([bias, factors], axis=1).astype(np.int32)
