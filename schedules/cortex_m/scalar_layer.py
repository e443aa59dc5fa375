"""What convolutions, depthwise convolutions and dense layers share: weights, scaling, products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.calls import Buffer, Expr, at, call
from tinyaot.schedules.cortex_m.requantize import Channels, fold_channels
from tinyaot.schedules.cortex_m.scalar_requantize import FORMS, choose_form, form_constants
from tinyaot.schedules.registry import Constants, UnsuitableError
from tinyaot.schedules.workload import Conv2D, DepthwiseConv2D, FullyConnected

Layer = Conv2D | DepthwiseConv2D | FullyConnected

HEADERS = ("tinyaot_fixed_point.h", "tinyaot_scalar.h")
MATMUL_HEADERS = (*HEADERS, "tinyaot_scalar_matmul.h")


@dataclass(frozen=True)
class Multiplier:
    """A C function for the matrix product and the order in which it reads weights."""

    name: str
    order: Callable[[NDArray[np.int8]], NDArray[np.int8]]


def _in_blocks(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """(channels, taps) in blocks of eight channels, [tap][channel]; the last may be narrower."""
    blocks = [weight[first : first + 8].T.reshape(-1) for first in range(0, len(weight), 8)]
    return np.concatenate(blocks)


BLOCKS = Multiplier("tinyaot_scalar_matmul_blocks", _in_blocks)
ROWS = Multiplier("tinyaot_scalar_matmul_rows", lambda weight: weight.reshape(-1))


def target_channels(workload: Layer, constants: Constants) -> Channels:
    """What to compute, by output channel.

    Raises:
        UnsuitableError: the constants are not known, or products of pairs may overflow.
    """
    if "weight" not in constants:
        raise UnsuitableError("the constants are not known")
    weight = constants["weight"]
    if isinstance(workload, DepthwiseConv2D):
        weight = weight.transpose(2, 0, 1)
    weight = weight.reshape(len(weight), -1)
    lowest = weight == -128
    in_pairs = not isinstance(workload, FullyConnected) or workload.batch > 1
    if in_pairs and np.any(lowest[:, 1:] & lowest[:, :-1]):
        raise UnsuitableError("two neighbouring weights of -128")
    return fold_channels(
        weight,
        constants,
        workload.input_zero_point,
        workload.output_zero_point,
        workload.clamp,
        workload.rounding,
    )


def derive(workload: Layer, constants: Constants) -> dict[str, int]:
    """The form of requantization."""
    channels = target_channels(workload, constants)
    return {"form": choose_form(channels, workload.output_zero_point, workload.rounding)}


def pack(workload: Layer, form: int, multiplier: Multiplier, constants: Constants) -> Constants:
    """The parameters of the kernels: weights in order, and the constants of the form."""
    channels = target_channels(workload, constants)
    weight = channels.weight.astype(np.int8)
    groups = workload.groups if isinstance(workload, Conv2D) else 1
    ordered = [multiplier.order(part) for part in np.split(weight, groups)]
    scaling = form_constants(channels, workload.output_zero_point, FORMS[form], constants)
    return {"weight": np.concatenate(ordered), "scaling": scaling.reshape(-1)}


def clamp_outputs(workload: Layer, y: Buffer) -> None:
    """Statements that limit the outputs to a clamp that is less than int8."""
    if workload.clamp != (-128, 127):
        size = math.prod(y.shape)
        T.evaluate(call("tinyaot_scalar_clamp", at(y), size, *workload.clamp))


@dataclass(frozen=True)
class Matmul:
    """A call of the matrix product for all channels of one group."""

    multiplier: Multiplier
    form: int
    workload: Layer
    channels: int

    def __call__(
        self,
        x: Expr,
        begins: Expr,
        runs: int,
        taps: int,
        weight: Expr,
        scaling: Expr,
        y: Expr,
        lanes: list[Expr],
    ) -> Expr:
        """See `tinyaot_scalar_matmul.h`; `lanes` are the places of the four lanes in y."""
        steps = [later - earlier for earlier, later in itertools.pairwise(lanes)]
        return call(
            self.multiplier.name,
            *(x, begins, runs, taps, weight, scaling, FORMS[self.form].words, y, *steps),
            *(self.channels, self.form, self.workload.output_zero_point),
        )
