"""What limits an operator: its measured count beside the least that each kind of work takes.

Three estimates are made from an operator's shapes, each at the best rate that the core's
instructions allow, as if the other two cost nothing:

    compute      multiply-accumulates, or the additions and comparisons of a pool or a mean
    load         bytes read and written, as often as the accumulators that fit in registers demand
    requantize   outputs brought to their scale, saturated and stored

The largest names the bound if it explains a quarter of what was measured; otherwise the count goes
into something else (loops, address arithmetic, a kernel without a special form for this core). They
are estimates for ranking work, not promises: see docs/profile.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.scheduling import Operator
from tinyaot.schedules.workload import (
    BatchMatMul,
    Conv2D,
    FullyConnected,
    Mean,
    Pool2D,
    Workload,
)
from tinyaot.schedules.workload_reduction import StridedMatMul
from tinyaot.schedules.workload_wide import WideConv2D
from tinyaot.targets import Target

_EXPLAINS = 0.25
_WIDE_REGISTER_FILE = 12


@dataclass(frozen=True)
class Rates:
    """The best that a core's instructions do.

    Attributes:
        macs: multiply-accumulates of int8 values by one instruction.
        wide_macs: those of int16 values by int8 weights.
        nbytes: bytes that one instruction loads or stores.
        requantize: instructions for one output: scale, round, saturate, store.
        accumulators: sums that fit in registers beside what is added to them.
    """

    macs: float
    wide_macs: float
    nbytes: int
    requantize: float
    accumulators: int


def rates(target: Target) -> Rates:
    """The rates of a core, from its features.

    MVE: VMLADAVA.S8 adds 16 products, VMLADAVA.S16 8, VLDRB loads 16 bytes; a multiplication, a
    rounding shift, an addition, a minimum, a maximum and a store requantize 4 lanes. DSP: SMLAD
    adds 2 products; loads of multiplier and addend, SMMLA, SSAT and STRB. Armv7-M: MLA; SMLAL,
    shift, saturate and store. Armv6-M: MULS and ADDS; a product in pieces, saturation by branches.
    """
    features = target.features
    accumulators = 8 if target.registers >= _WIDE_REGISTER_FILE else 4
    if "mve" in features:
        return Rates(16, 8, 16, 1.5, accumulators)
    if "dsp" in features:
        return Rates(2, 2, 4, 4, accumulators)
    if "smull" in features:
        return Rates(1, 1, 4, 6, accumulators)
    return Rates(0.5, 0.5, 4, 12, accumulators)


@dataclass(frozen=True)
class Bound:
    """Estimated instructions of one operator by kind of work.

    Attributes:
        compute, load, requantize: as the module says.
    """

    compute: int
    load: int
    requantize: int

    def name(self, count: int) -> str:
        """`compute`, `load`, `requantize`, or `other` where none explains `count` instructions."""
        kind, least = max(self.parts().items(), key=lambda part: part[1])
        return kind if least and least >= _EXPLAINS * count else "other"

    def parts(self) -> dict[str, int]:
        """The three by name."""
        return {"compute": self.compute, "load": self.load, "requantize": self.requantize}


def bound_of(operator: Operator, graph: Graph, target: Target) -> Bound:
    """The estimates for an operator on a core."""
    workload, best = operator.node.workload, rates(target)
    outputs = math.prod(graph.tensors[operator.node.output].shape)
    macs = best.wide_macs if isinstance(workload, WideConv2D) else best.macs
    return Bound(
        compute=round(_operations(workload, outputs) / macs),
        load=round(_traffic(operator, graph, best) / best.nbytes),
        requantize=round(_requantized(operator, outputs) * best.requantize),
    )


def _operations(workload: Workload, outputs: int) -> int:
    if isinstance(workload, Pool2D):
        return outputs * math.prod(workload.kernel)
    if isinstance(workload, Mean):
        return workload.outer * workload.reduced * workload.inner
    return workload.macs


def _traffic(operator: Operator, graph: Graph, best: Rates) -> float:
    """Bytes to load and store.

    A product of matrices loads an activation once for each group of columns and a weight once for
    each group of rows, and a group of a rows and b columns needs a * b accumulators. Everything
    else touches each byte once, but of a table at most an entry for each output.
    """
    node = operator.node
    activations = sum(graph.tensors[name].nbytes for name in (*node.inputs, *node.states))
    output = graph.tensors[node.output]
    written, outputs = output.nbytes, math.prod(output.shape)
    constants = sum(
        min(array.nbytes, outputs * array.itemsize) if "table" in name else array.nbytes
        for name, array in operator.constants.items()
    )
    shape = _matrix(node.workload)
    if shape is None:
        return activations + constants + written
    rows, columns = shape
    groups = ((a, best.accumulators // a) for a in range(1, best.accumulators + 1))
    per_mac = min(1 / min(a, rows) + 1 / min(b, columns) for a, b in groups)
    return max(node.workload.macs * per_mac, activations + constants) + written


def _matrix(workload: Workload) -> tuple[int, int] | None:
    """Rows and columns of the result, if the operator is a product of matrices."""
    match workload:
        case Conv2D() | WideConv2D():
            *pixels, channels = workload.output_shape
            return math.prod(pixels), channels // workload.groups
        case FullyConnected():
            return workload.batch, workload.output_size
        case BatchMatMul() | StridedMatMul():
            return workload.rows, workload.columns
    return None


def _requantized(operator: Operator, outputs: int) -> int:
    """How many values are scaled."""
    node = operator.node
    scales = {"multiplier", "factor", "rounding"} & set(vars(node.workload))
    return outputs if scales or "multiplier" in node.constants else 0
