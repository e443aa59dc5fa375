"""Workloads over real numbers in the numpy interpreter; see `reference.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.legalize.fixed_point import Int64, requantize
from tinyaot.schedules.workload_real import OffsetConv2D

Constants = Mapping[str, NDArray[Any]]
SumsOfProducts = Callable[[Int64, Any, Constants], Int64]


def offset_conv2d(sums: SumsOfProducts) -> Callable[[OffsetConv2D, list[Int64], Constants], Int64]:
    """The function for `OffsetConv2D`, given that for a convolution before it is rescaled."""

    def evaluate(workload: OffsetConv2D, inputs: list[Int64], constants: Constants) -> Int64:
        zero_points = constants["weight_zero_point"].reshape(-1, 1, 1, 1)
        centred = {**constants, "weight": constants["weight"] - zero_points}
        acc = sums(inputs[0] - workload.input_zero_point, workload, centred)
        scaled = requantize(acc, constants["multiplier"], constants["shift"], "single")
        return np.clip(scaled + workload.output_zero_point, *workload.clamp)

    return evaluate
