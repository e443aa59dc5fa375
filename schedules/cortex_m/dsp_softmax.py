"""Softmax on cores with the DSP extension, which can count leading zeros."""

from __future__ import annotations

import functools

import numpy as np
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import at, call
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import Softmax

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_softmax.h")

# From this depth on the sum of the exponentials, in Q12.19, may not fit into 32 bits.
_DEPTHS = 4096


def _applies(workload: Softmax) -> bool:
    return workload.depth < _DEPTHS


def _derive(workload: Softmax, constants: Constants) -> dict[str, int]:
    """Table entries up to the last that is not 0."""
    if not constants:
        raise UnsuitableError("how long the table is depends on its entries")
    return {"entries": int(np.flatnonzero(constants["table"]).max(initial=0)) + 1}


def _pack(entries: int, constants: Constants) -> Constants:
    return {"table": constants["table"][:entries]}


@rule(Softmax, features={"dsp"}, applies=_applies, derive=_derive)
def softmax(workload: Softmax, decisions: Decisions) -> Kernel:
    """Exponentials come from a table; the output may overlay the input."""
    rows, depth, entries = workload.rows, workload.depth, decisions["entries"]

    @T.prim_func
    def softmax(
        x: T.Buffer((rows * depth,), "int8"),
        table: T.Buffer((entries,), "int32"),
        y: T.Buffer((rows * depth,), "int8"),
    ):
        for n in T.serial(rows):
            call(
                "tinyaot_dsp_softmax",
                at(x, n * depth),
                at(y, n * depth),
                at(table),
                depth,
                entries,
            )

    return Kernel(softmax, functools.partial(_pack, entries), _HEADERS, (0,))
