"""Products of matrices of activations on Helium: four columns share each load of a row."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.cortex_m.matrices import Matrices, are_matrices
from tinyaot.schedules.cortex_m.mve_calls import at, call, round_up
from tinyaot.schedules.cortex_m.mve_requantize import Vector, form, is_signed, solve_vector
from tinyaot.schedules.registry import Constants, Decisions, Kernel, UnsuitableError, rule
from tinyaot.schedules.workload import BatchMatMul
from tinyaot.schedules.workload_reduction import StridedMatMul

_HEADERS = (
    *("tinyaot_fixed_point.h", "tinyaot_mve.h"),
    *("tinyaot_mve_matrices.h", "tinyaot_mve_dense.h"),
)


def _solve(whole: Matrices) -> Vector:
    low, high = whole.bounds
    if max(-low, high) << max(whole.shift, 0) >= 2**31:
        raise UnsuitableError("the reference's own arithmetic overflows")
    signed = is_signed(whole.zero_point, whole.clamp, whole.rounding)
    return solve_vector(whole.channels(), whole.zero_point if signed else None)


def _derive(workload: BatchMatMul | StridedMatMul, constants: Constants) -> dict[str, int]:
    return {"fraction": _solve(Matrices.of(workload)).fraction}


@rule(BatchMatMul, features={"dsp", "mve"}, applies=are_matrices, derive=_derive)
def matmul(workload: BatchMatMul | StridedMatMul, decisions: Decisions) -> Kernel:
    """A row of the output at a time."""
    whole = Matrices.of(workload)
    size_a, size_b, size = whole.sizes
    rows, depth, columns = whole.rows, whole.depth, whole.columns
    (b_depth, b_column), pitch = whole.column_steps, whole.pitch
    first, second = whole.zero_points
    signed = is_signed(whole.zero_point, whole.clamp, whole.rounding)
    requantize = f"requantize_flat{form(signed, whole.clamp, decisions['fraction'])}"
    sums = round_up(columns, 16)
    transposes = whole.transposes

    @T.prim_func
    def matmul(
        x: T.Buffer((size_a,), "int8"),
        z: T.Buffer((size_b,), "int8"),
        stream: T.Buffer((7,), "int32"),
        y: T.Buffer((size,), "int8"),
    ):
        acc = T.alloc_buffer((sums,), "int32")
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
            call("column_biases", at(bias), matrix, pitch, depth, columns, first, second)
            for i in T.serial(rows):
                call(
                    "matrix_row",
                    at(acc),
                    at(x, whole.place(0, [a, b, c, d]) + i * whole.row_step),
                    matrix,
                    at(bias),
                    pitch,
                    depth,
                    columns,
                    second,
                )
                call(
                    requantize,
                    at(acc),
                    at(stream),
                    at(y, whole.place(2, [a, b, c, d]) + i * columns),
                    columns,
                )

    def pack(constants: Constants) -> Constants:
        return {"stream": _solve(whole).flat(0, whole.clamp)}

    return Kernel(matmul, pack, _HEADERS)


@rule(StridedMatMul, features={"dsp", "mve"}, applies=are_matrices, derive=_derive)
def strided_matmul(workload: StridedMatMul, decisions: Decisions) -> Kernel:
    """The same."""
    return matmul(workload, decisions)
