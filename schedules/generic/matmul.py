"""Products of two activations, for any core."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import requantized, store_int8
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload import BatchMatMul


@rule(BatchMatMul)
def batch_matmul(workload: BatchMatMul, decisions: Decisions) -> Kernel:
    """One sum of products an output element."""
    batch, rows, depth, columns = workload.batch, workload.rows, workload.depth, workload.columns
    zero_point_a, zero_point_b = workload.input_zero_points

    @T.prim_func
    def batch_matmul(
        a: T.Buffer((batch * rows * depth,), "int8"),
        b: T.Buffer((batch * depth * columns,), "int8"),
        y: T.Buffer((batch * rows * columns,), "int8"),
    ):
        for n, i, j in T.grid(batch, rows, columns):
            acc = T.alloc_buffer((1,), "int32", scope="local")
            acc[0] = 0
            for k in T.serial(depth):
                acc[0] = acc[0] + (
                    T.cast(a[(n * rows + i) * depth + k], "int32") - zero_point_a
                ) * (T.cast(b[(n * depth + k) * columns + j], "int32") - zero_point_b)
            y[(n * rows + i) * columns + j] = store_int8(
                requantized(acc[0], workload.multiplier, workload.shift, workload.rounding),
                workload.output_zero_point,
                workload.clamp,
            )

    return Kernel(batch_matmul)
