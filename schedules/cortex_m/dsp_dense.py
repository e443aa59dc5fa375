"""Dense layers on cores with the DSP extension.

A row of inputs is widened once and multiplied with four channels at a time
(`tinyaot_dsp_dense_*`). Three rows and more are a 1x1 convolution; a convolution whose kernel
covers its input is a dense layer.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m import dsp_convolution
from tinyaot.schedules.cortex_m.dsp_calls import WHOLE_RANGE, at, call
from tinyaot.schedules.cortex_m.requantize import (
    Channels,
    fold_channels,
    output_steps,
    reference_rounding,
)
from tinyaot.schedules.registry import Constants, Decisions, Kernel, Space, UnsuitableError, rule
from tinyaot.schedules.workload import Conv2D, FullyConnected

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_dense.h")

# Channels of a group.
_QUAD = 4

# Rows from which on the tiles of a convolution do less.
_MANY_ROWS = 3


def _as_convolution(workload: FullyConnected) -> Conv2D:
    """The 1x1 convolution on an image of `batch` pixels."""
    return Conv2D(
        (1, workload.batch, 1, workload.input_size),
        (1, workload.batch, 1, workload.output_size),
        (1, 1),
        (1, 1),
        (0, 0, 0, 0),
        (1, 1),
        1,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )


def _has_many_rows(workload: FullyConnected) -> bool:
    return workload.batch >= _MANY_ROWS


def _many_space(workload: FullyConnected) -> Space:
    return dsp_convolution.space(_as_convolution(workload))


def _many_derive(workload: FullyConnected, constants: Constants) -> dict[str, int]:
    return dsp_convolution.derive(_as_convolution(workload), constants)


@rule(
    FullyConnected,
    features={"dsp"},
    applies=_has_many_rows,
    space=_many_space,
    derive=_many_derive,
)
def rows(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """Many rows, as a convolution."""
    return dsp_convolution.conv2d(_as_convolution(workload), decisions)


def _has_few_rows(workload: FullyConnected) -> bool:
    return workload.batch < _MANY_ROWS


def _fold(workload: FullyConnected, constants: Constants) -> Channels:
    channels = fold_channels(
        constants["weight"].reshape(workload.output_size, -1),
        constants,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )
    dsp_convolution.check_pairs(channels.weight)
    return channels


def _uniform_bias(
    workload: FullyConnected, channels: Channels, constants: Constants
) -> NDArray[np.int64] | None:
    """Biases with which all channels can use the same factor; None if they cannot.

    Channels whose output never changes get a bias that gives this output.
    """
    factors = np.stack([constants["multiplier"], constants["shift"]], axis=1)
    if np.any(factors != factors[0]):
        return None
    steps = output_steps(
        constants["multiplier"][:1].astype(np.int64),
        constants["shift"][:1].astype(np.int64),
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )[0]
    if not len(steps):
        return np.zeros_like(channels.bias)
    value = (channels.steps <= channels.low[:, None]).sum(axis=1)
    reached = np.concatenate([steps[:1] - 1, steps])[value]
    bias = np.where(channels.scale == 0, reached, channels.bias)
    return None if np.abs(bias).max() >= 2**23 else bias


def _derive(workload: FullyConnected, constants: Constants) -> dict[str, int]:
    if not constants:
        raise UnsuitableError("whether requantization is exact depends on the constants")
    channels = _fold(workload, constants)
    if reference_rounding(channels, constants, workload.output_zero_point) is None:
        raise UnsuitableError("no exact form of requantization")
    return {"uniform": int(_uniform_bias(workload, channels, constants) is not None)}


def _pack(workload: FullyConnected, uniform: bool, constants: Constants) -> Constants:
    """The stream: biases and weights of each four channels; and the requantization constants."""
    channels = _fold(workload, constants)
    finish = reference_rounding(channels, constants, workload.output_zero_point)
    bias = channels.bias
    assert finish is not None, "_derive has found one"
    if uniform:
        used = np.argmax(channels.scale != 0)
        finish = finish[used : used + 1]
        shared = _uniform_bias(workload, channels, constants)
        assert shared is not None, "_derive has found one"
        bias = shared
    missing = -workload.output_size % _QUAD
    surplus = -workload.input_size % 4
    weight = np.pad(channels.weight, ((0, missing), (0, surplus)))
    weight = weight.reshape(len(weight), -1, 4)[:, :, [0, 2, 1, 3]].reshape(len(weight), -1)
    bias = np.pad(bias, (0, missing))
    halfwords = (256 * weight[1::2] + weight[0::2]).astype(np.int16, order="C")
    biases = np.stack([bias[0::2], 256 * bias[1::2] + bias[0::2]], axis=1).astype(np.int32)
    words = halfwords.view(np.int32).reshape(-1, 2, halfwords.shape[1] // 2).transpose(0, 2, 1)
    parts = [biases.reshape(len(words), -1), words.reshape(len(words), -1)]
    if not uniform:
        finish = np.pad(finish, ((0, missing), (0, 0)))
    return {"stream": np.concatenate(parts, axis=1).reshape(-1), "finish": finish.reshape(-1)}


@rule(FullyConnected, features={"dsp"}, applies=_has_few_rows, derive=_derive)
def fully_connected(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """One row by four channels at a time; inputs are widened once."""
    batch, inputs, outputs = workload.batch, workload.input_size, workload.output_size
    uniform = decisions["uniform"] == 1
    taps = math.ceil(inputs / 4) * 4
    quads = math.ceil(outputs / _QUAD)
    name = f"tinyaot_dsp_dense_{workload.rounding}{'_uniform' if uniform else ''}"
    clamped = workload.clamp != WHOLE_RANGE

    @T.prim_func
    def fully_connected(
        x: T.Buffer((batch * inputs,), "int8"),
        stream: T.Buffer((quads * (_QUAD + taps),), "int32"),
        finish: T.Buffer((3 if uniform else 3 * _QUAD * quads,), "int32"),
        y: T.Buffer((batch * outputs,), "int8"),
    ):
        wide = T.alloc_buffer((taps,), "int16")
        for n in T.serial(batch):
            call("tinyaot_dsp_widen", at(wide), at(x, n * inputs), inputs)
            call(name, at(wide), at(stream), at(y, n * outputs), at(finish), taps, outputs)
        if clamped:
            call("tinyaot_dsp_clamp", at(y), batch * outputs, *workload.clamp)

    pack = functools.partial(_pack, workload, uniform)
    return Kernel(fully_connected, pack, _HEADERS, (0,) if outputs <= inputs else ())


def _covers_input(workload: Conv2D) -> bool:
    return (
        workload.groups == 1
        and workload.kernel == workload.input_shape[1:3]
        and workload.dilation == (1, 1)
        and not any(workload.padding)
        and workload.input_shape[0] < _MANY_ROWS
    )


def _as_dense(workload: Conv2D) -> FullyConnected:
    return FullyConnected(
        workload.input_shape[0],
        math.prod(workload.input_shape[1:]),
        workload.output_shape[3],
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )


def _covering_derive(workload: Conv2D, constants: Constants) -> dict[str, int]:
    return _derive(_as_dense(workload), constants)


@rule(Conv2D, features={"dsp"}, applies=_covers_input, derive=_covering_derive)
def covering_conv2d(workload: Conv2D, decisions: Decisions) -> Kernel:
    """One output pixel, as a dense layer."""
    return fully_connected(_as_dense(workload), decisions)
