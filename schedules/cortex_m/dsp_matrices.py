"""Products of matrices of activations on cores with the DSP extension: a row is widened once."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.dsp_calls import WHOLE_RANGE, at, call
from tinyaot.schedules.cortex_m.matrices import Matrices, are_matrices
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import BatchMatMul
from tinyaot.schedules.workload_reduction import StridedMatMul

_HEADERS = (
    *("tinyaot_fixed_point.h", "tinyaot_dsp.h", "tinyaot_dsp_dense.h"),
    "tinyaot_dsp_matrices.h",
)


def _derive(workload: BatchMatMul | StridedMatMul, constants: Constants) -> dict[str, int]:
    whole = Matrices.of(workload)
    low, high = whole.bounds
    # A sum is doubled, and stays inside 32 bits beside the zero point when it is scaled.
    if max(-low, high) >= 2**30 or not 1 <= -whole.shift <= 22:
        raise UnsuitableError("the sums do not end in a saturation")
    return {}


@rule(BatchMatMul, features={"dsp"}, applies=are_matrices, derive=_derive)
def matmul(workload: BatchMatMul | StridedMatMul, decisions: Decisions) -> Kernel:
    """A row of the output at a time, two columns at once."""
    whole = Matrices.of(workload)
    size_a, size_b, size = whole.sizes
    rows, depth, columns = whole.rows, whole.depth, whole.columns
    (b_depth, b_column), pitch = whole.column_steps, whole.pitch
    padded = -(-depth // 4) * 4
    first, second = whole.zero_points
    right = -whole.shift
    addend = (whole.zero_point << right) + (1 << (right - 1))
    function = f"tinyaot_dsp_matrix_row_{whole.rounding}"
    transposes, clamped = whole.transposes, whole.clamp != WHOLE_RANGE

    @T.prim_func
    def matmul(
        x: T.Buffer((size_a,), "int8"),
        z: T.Buffer((size_b,), "int8"),
        y: T.Buffer((size,), "int8"),
    ):
        widened = T.alloc_buffer((padded,), "int16")
        bias = T.alloc_buffer((columns,), "int32")
        if transposes:
            transposed = T.alloc_buffer((columns * pitch,), "int8")
        for a, b, c, d in T.grid(*whole.batch):
            if transposes:
                for j, k in T.grid(columns, depth):
                    transposed[j * pitch + k] = z[
                        whole.place(1, [a, b, c, d]) + k * b_depth + j * b_column
                    ]
                matrix = T.meta_var(at(transposed))
            else:
                matrix = T.meta_var(at(z, whole.place(1, [a, b, c, d])))
            call(
                "tinyaot_dsp_column_biases",
                *(at(bias), matrix, pitch, depth, columns, first, second),
            )
            for i in T.serial(rows):
                call(
                    "tinyaot_dsp_widen",
                    at(widened),
                    at(x, whole.place(0, [a, b, c, d]) + i * whole.row_step),
                    depth,
                )
                call(
                    function,
                    at(y, whole.place(2, [a, b, c, d]) + i * columns),
                    at(widened),
                    matrix,
                    at(bias),
                    pitch,
                    padded,
                    columns,
                    second,
                    whole.multiplier,
                    addend,
                    right,
                )
        if clamped:
            call("tinyaot_dsp_clamp", at(y), size, *whole.clamp)

    return Kernel(matmul, headers=_HEADERS)


@rule(StridedMatMul, features={"dsp"}, applies=are_matrices, derive=_derive)
def strided_matmul(workload: StridedMatMul, decisions: Decisions) -> Kernel:
    """The same."""
    return matmul(workload, decisions)
