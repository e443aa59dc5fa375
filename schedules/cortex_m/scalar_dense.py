"""Dense layers on cores without the DSP extension: four outputs share each load of an input."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.calls import at, call
from tinyaot.schedules.cortex_m.scalar_layer import HEADERS, Multiplier, clamp_outputs, derive, pack
from tinyaot.schedules.cortex_m.scalar_requantize import FORMS
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Conv2D, FullyConnected


def _in_fours(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """(channels, taps) in blocks of four channels, [taps / 4][channel][4], and the rest in rows."""
    weight = np.pad(weight, ((0, 0), (0, -weight.shape[1] % 4)))
    blocks, rest = np.split(weight, [len(weight) // 4 * 4])
    fours = blocks.reshape(len(blocks) // 4, 4, weight.shape[1] // 4, 4).transpose(0, 2, 1, 3)
    return np.concatenate([fours.reshape(-1), rest.reshape(-1)])


def _in_raised_fours(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """The same with 128 added: unsigned bytes in the place of signed ones."""
    raised: NDArray[np.int8] = _in_fours(weight) ^ np.int8(-128)
    return raised


FOURS = Multiplier("tinyaot_scalar_dense", _in_raised_fours)
FOURS_THUMB2 = Multiplier("tinyaot_scalar_dense_thumb2", _in_fours)


def _is_single(workload: FullyConnected) -> bool:
    return workload.batch == 1


@rule(FullyConnected, applies=_is_single, derive=derive)
def fully_connected(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """For any core; in assembly for Armv6-M."""
    sizes = workload.input_size, workload.output_size
    return dense(workload, *sizes, decisions["form"], FOURS)


@rule(FullyConnected, features={"thumb2"}, applies=_is_single, derive=derive)
def fully_connected_thumb2(workload: FullyConnected, decisions: Decisions) -> Kernel:
    """For cores with 32-bit Thumb instructions and more registers."""
    sizes = workload.input_size, workload.output_size
    return dense(workload, *sizes, decisions["form"], FOURS_THUMB2)


def dense(
    workload: FullyConnected | Conv2D, inputs: int, outputs: int, form: int, multiplier: Multiplier
) -> Kernel:
    """A layer of which all inputs reach all outputs."""
    padded = -(-inputs // 4) * 4
    words = FORMS[form].words

    @T.prim_func
    def dense(
        x: T.Buffer((inputs,), "int8"),
        weight: T.Buffer((outputs * padded,), "int8"),
        scaling: T.Buffer((outputs * words,), "int32"),
        y: T.Buffer((outputs,), "int8"),
    ):
        widened = T.alloc_buffer((padded,), "int32")
        call(
            multiplier.name,
            *(at(x), inputs, at(widened), at(weight), at(scaling), words, at(y), outputs),
            *(form, workload.output_zero_point),
        )
        clamp_outputs(workload, y)

    packed_constants = functools.partial(pack, workload, form, multiplier)
    # All inputs are widened before the first output is written.
    return Kernel(dense, packed_constants, (*HEADERS, "tinyaot_scalar_dense.h"), (0,))
