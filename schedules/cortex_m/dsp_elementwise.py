"""Element-wise operators on cores with the DSP extension, four elements at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.addition import solve_add_high_word
from tinyaot.schedules.cortex_m.dsp_calls import WHOLE_RANGE, at, call
from tinyaot.schedules.cortex_m.requantize import requantized
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import Add, Lookup, Requantize

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_elementwise.h")

# Fraction of `tinyaot_dsp_add`.
_FRACTION = 20

# From this many elements on a table is smaller than what it saves.
_TABLE_PAYS = 512


def _add_derive(workload: Add, constants: Constants) -> dict[str, int]:
    found = solve_add_high_word(workload, _FRACTION)
    if found is None:
        raise UnsuitableError("no exact constants")
    return dict(zip(("factor_0", "factor_1", "addend"), found, strict=True))


@rule(Add, features={"dsp"}, derive=_add_derive)
def add(workload: Add, decisions: Decisions) -> Kernel:
    """Two multiplications and a saturation an element; the output may overlay either input."""
    size = workload.size
    factors = [decisions[name] for name in ("factor_0", "factor_1", "addend")]
    clamped = workload.clamp != WHOLE_RANGE

    @T.prim_func
    def add(
        a: T.Buffer((size,), "int8"),
        b: T.Buffer((size,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        call("tinyaot_dsp_add", at(a), at(b), at(y), size, *factors)
        if clamped:
            call("tinyaot_dsp_clamp", at(y), size, *workload.clamp)

    return Kernel(add, headers=_HEADERS, in_place_inputs=(0, 1))


def _by_byte(constants: Constants) -> Constants:
    """The table by the input's bytes as unsigned numbers."""
    return {"table": np.roll(constants["table"], 128)}


@rule(Lookup, features={"dsp"})
def lookup(workload: Lookup, decisions: Decisions) -> Kernel:
    """One load from the table an element; the output may overlay the input."""
    return Kernel(_lookup(workload.size, "int8", "int8"), _by_byte, _HEADERS, (0,))


def _lookup(size: int, input_dtype: str, output_dtype: str) -> PrimFunc:
    @T.prim_func
    def lookup(
        x: T.Buffer((size,), input_dtype),
        table: T.Buffer((256,), "int8"),
        y: T.Buffer((size,), output_dtype),
    ):
        call("tinyaot_dsp_lookup", at(x), at(y), at(table), size)

    return lookup


def _table(workload: Requantize) -> NDArray[np.int8]:
    """The results for all bytes."""
    values = np.arange(256).astype(np.uint8).view(workload.input_dtype).astype(np.int64)
    scaled = requantized(
        values - workload.input_zero_point,
        workload.multiplier,
        workload.shift,
        workload.rounding,
    )
    results = np.clip(scaled + workload.output_zero_point, *workload.clamp)
    return results.astype(workload.output_dtype).view(np.int8)


def _pays(workload: Requantize) -> bool:
    return workload.size >= _TABLE_PAYS


def _requantize_derive(workload: Requantize, constants: Constants) -> dict[str, int]:
    _table(workload)
    return {}


@rule(Requantize, features={"dsp"}, applies=_pays, derive=_requantize_derive)
def requantize(workload: Requantize, decisions: Decisions) -> Kernel:
    """A table of all results; the output may overlay the input."""
    func = _lookup(workload.size, workload.input_dtype, workload.output_dtype)
    return Kernel(func, lambda constants: {"table": _table(workload)}, _HEADERS, (0,))
