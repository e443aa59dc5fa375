"""Lowers a kernel's TIR to the loops, stores and integer expressions that the C printer knows."""

from __future__ import annotations

import tvm
from tvm.target import Target
from tvm.tirx import PrimFunc, transform


def lower_kernel(func: PrimFunc) -> PrimFunc:
    """Unrolls the loops marked so and drops what has no effect.

    Buffers are flat already and stay parameters: no packed calling convention is made. Index
    arithmetic is simplified by the printer, which keeps the names of bound values.
    """
    module = tvm.IRModule({"kernel": func.with_attr("global_symbol", "kernel")})
    passes = [
        transform.BindTarget(Target({"kind": "c"})),
        transform.UnrollLoop(),
        transform.RemoveNoOp(),
    ]
    return tvm.transform.Sequential(passes)(module)["kernel"]
