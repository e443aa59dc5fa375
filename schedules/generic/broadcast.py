"""Element-wise operators on two tensors, either of which may be broadcast, for any core."""

from __future__ import annotations

import math
from typing import Any

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import intrinsic, requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import Extremum, Multiply

_AXES = 6


@rule(Multiply, applies=lambda workload: len(workload.shape) <= _AXES)
def multiply(workload: Multiply, decisions: Decisions) -> Kernel:
    """One product and one requantization an element; may overlay an input of full size."""
    zero_point_a, zero_point_b = workload.input_zero_points
    size, shape, steps_a, steps_b, steps_y = _geometry(workload)
    size_a, size_b = workload.input_sizes

    @T.prim_func
    def multiply(
        a: T.Buffer((size_a,), "int8"),
        b: T.Buffer((size_b,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i, j, k, m, n, o in T.grid(*shape):
            y[_at((i, j, k, m, n, o), steps_y)] = store_int8(
                requantized(
                    (T.cast(a[_at((i, j, k, m, n, o), steps_a)], "int32") - zero_point_a)
                    * (T.cast(b[_at((i, j, k, m, n, o), steps_b)], "int32") - zero_point_b),
                    workload.multiplier,
                    workload.shift,
                    workload.rounding,
                ),
                workload.output_zero_point,
                workload.clamp,
            )

    return Kernel(multiply, in_place_inputs=_full_inputs(workload))


@rule(Extremum, applies=lambda workload: len(workload.shape) <= _AXES)
def extremum(workload: Extremum, decisions: Decisions) -> Kernel:
    """The larger or smaller of two elements; may overlay an input of full size."""
    function = {"max": "tinyaot_max", "min": "tinyaot_min"}[workload.mode]
    size, shape, steps_a, steps_b, steps_y = _geometry(workload)
    size_a, size_b = workload.input_sizes

    @T.prim_func
    def extremum(
        a: T.Buffer((size_a,), "int8"),
        b: T.Buffer((size_b,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        for i, j, k, m, n, o in T.grid(*shape):
            y[_at((i, j, k, m, n, o), steps_y)] = T.cast(
                intrinsic(
                    function,
                    T.cast(a[_at((i, j, k, m, n, o), steps_a)], "int32"),
                    T.cast(b[_at((i, j, k, m, n, o), steps_b)], "int32"),
                ),
                "int8",
            )

    return Kernel(extremum, in_place_inputs=_full_inputs(workload))


def _geometry(workload: Any) -> tuple[int, tuple[int, ...], Any, Any, Any]:
    """Number of elements, six extents, and the steps of both inputs and the output along them."""
    missing = _AXES - len(workload.shape)
    shape = (1,) * missing + workload.shape
    steps_a, steps_b = ((0,) * missing + steps for steps in workload.steps)
    steps_y = tuple(math.prod(shape[axis + 1 :]) for axis in range(_AXES))
    return math.prod(shape), shape, steps_a, steps_b, steps_y


def _full_inputs(workload: Any) -> tuple[int, ...]:
    size = math.prod(workload.shape)
    return tuple(place for place, given in enumerate(workload.input_sizes) if given == size)


def _at(indices: tuple[Any, ...], steps: tuple[int, ...]) -> Any:
    offset: Any = 0
    for index, step in zip(indices, steps, strict=True):
        offset = offset + index * step
    return offset
