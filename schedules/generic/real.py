"""Normalization, roots and logarithms of sums, for any core."""

from __future__ import annotations

from tvm.script import tirx as T

from tinyaot.schedules.generic.arithmetic import Expr
from tinyaot.schedules.registry import Decisions, Kernel, rule
from tinyaot.schedules.workload_real import Normalize, RealLogSoftmax, RealReduce

_HEADERS = ("tinyaot_fixed_point.h", "tinyaot_real.h")


def _wide(name: str, *args: Expr) -> Expr:
    return T.call_pure_extern("int64", name, *args)


def _wide_affine(
    value: Expr, factor: int, offset: Expr, shift: int, clamp: tuple[int, int]
) -> Expr:
    call = T.call_pure_extern(
        "int32", "tinyaot_wide_affine", value, T.int32(factor), offset, T.int32(shift),
        T.int32(clamp[0]), T.int32(clamp[1]),
    )  # fmt: skip
    return T.cast(call, "int8")


@rule(Normalize)
def normalize(workload: Normalize, decisions: Decisions) -> Kernel:
    """One root and one division a row; two wide products an element. The output may overlay the
    input."""
    rows, depth = workload.rows, workload.depth
    repeat, period = workload.repeat, workload.row_period
    places = depth // repeat
    zero_point = workload.input_zero_point
    gain = depth if workload.centred else 1
    right = 61 - workload.fraction // 2 - workload.quotient_bits
    low, high = workload.clamp

    @T.prim_func
    def normalize(
        x: T.Buffer((rows * depth,), "int8"),
        factor: T.Buffer((period * places,), "int32"),
        offset: T.Buffer((period * places,), "int64"),
        y: T.Buffer((rows * depth,), "int8"),
    ):
        for n in T.serial(rows):
            total = T.alloc_buffer((1,), "int32", scope="local")
            squares = T.alloc_buffer((1,), "int64", scope="local")
            total[0] = 0
            squares[0] = T.int64(0)
            for i in T.serial(depth):
                value: T.let[T.int32] = T.cast(x[n * depth + i], "int32") - zero_point
                total[0] = total[0] + value
                squares[0] = squares[0] + T.cast(value * value, "int64")
            if workload.centred:
                squares[0] = squares[0] * T.int64(depth) - T.cast(total[0], "int64") * T.cast(
                    total[0], "int64"
                )
            else:
                total[0] = 0
            if squares[0] == T.int64(0):
                for i in T.serial(depth):
                    y[n * depth + i] = T.cast(
                        T.call_pure_extern(
                            "int32",
                            "tinyaot_clamp_wide",
                            T.shift_right(
                                offset[n % period * places + i // repeat], T.int64(workload.shift)
                            ),
                            T.int32(low),
                            T.int32(high),
                        ),
                        "int8",
                    )
            else:
                under: T.let[T.int64] = squares[0] * T.int64(1 << workload.fraction) + T.int64(
                    workload.epsilon
                )
                headroom: T.let[T.int32] = T.call_pure_extern(
                    "int32", "tinyaot_even_headroom", under
                )
                inverse: T.let[T.int64] = _wide("tinyaot_inverse_root", under, headroom)
                for i in T.serial(depth):
                    y[n * depth + i] = T.cast(
                        T.call_pure_extern(
                            "int32",
                            "tinyaot_normalized",
                            (T.cast(x[n * depth + i], "int32") - zero_point) * gain - total[0],
                            inverse,
                            right - headroom // 2,
                            factor[n % period * places + i // repeat],
                            offset[n % period * places + i // repeat],
                            T.int32(workload.shift),
                            T.int32(low),
                            T.int32(high),
                        ),
                        "int8",
                    )

    return Kernel(normalize, headers=_HEADERS, in_place_inputs=(0,))


def _has_table(workload: RealReduce) -> bool:
    return workload.mode == "exponential"


def _has_no_table(workload: RealReduce) -> bool:
    return workload.mode != "exponential"


@rule(RealReduce, applies=_has_no_table)
def real_reduce(workload: RealReduce, decisions: Decisions) -> Kernel:
    """One sum an output, then its root or logarithm."""
    outer, reduced, inner = workload.outer, workload.reduced, workload.inner
    zero_point, mode = workload.input_zero_point, workload.mode

    def part(value: Expr) -> Expr:
        if mode == "absolute":
            return T.call_pure_extern("int32", "tinyaot_max", value, 0 - value)
        return value if mode == "logarithm" else value * value

    def function(total: Expr) -> Expr:
        if mode == "root":
            return T.cast(T.call_pure_extern("int32", "tinyaot_fine_root", total), "int64")
        if mode == "logarithm":
            positive = T.call_pure_extern("int32", "tinyaot_max", total, T.int32(1))
            return _wide("tinyaot_logarithm_of_two", T.cast(positive, "int64"))
        return T.cast(total, "int64")

    def result(total: Expr) -> Expr:
        return _wide_affine(
            function(total),
            workload.factor,
            T.int64(workload.offset),
            workload.shift,
            workload.clamp,
        )

    @T.prim_func
    def real_reduce(
        x: T.Buffer((outer * reduced * inner,), "int8"),
        y: T.Buffer((outer * inner,), "int8"),
    ):
        for n, c in T.grid(outer, inner):
            total = T.alloc_buffer((1,), "int32", scope="local")
            total[0] = 0
            for r in T.serial(reduced):
                value: T.let[T.int32] = (
                    T.cast(x[(n * reduced + r) * inner + c], "int32") - zero_point
                )
                total[0] = total[0] + part(value)
            if mode == "logarithm":
                if total[0] > 0:
                    y[n * inner + c] = result(total[0])
                else:
                    y[n * inner + c] = T.int8(workload.clamp[0])
            else:
                y[n * inner + c] = result(total[0])

    return Kernel(real_reduce, headers=_HEADERS)


@rule(RealReduce, applies=_has_table)
def log_sum_exp(workload: RealReduce, decisions: Decisions) -> Kernel:
    """The logarithm of a sum of exponentials, less the largest."""
    outer, reduced, inner = workload.outer, workload.reduced, workload.inner

    @T.prim_func
    def log_sum_exp(
        x: T.Buffer((outer * reduced * inner,), "int8"),
        table: T.Buffer((256,), "int32"),
        y: T.Buffer((outer * inner,), "int8"),
    ):
        for n, c in T.grid(outer, inner):
            largest = T.alloc_buffer((1,), "int32", scope="local")
            total = T.alloc_buffer((1,), "int64", scope="local")
            largest[0] = -128
            for r in T.serial(reduced):
                largest[0] = T.max(largest[0], T.cast(x[(n * reduced + r) * inner + c], "int32"))
            total[0] = T.int64(0)
            for r in T.serial(reduced):
                total[0] = total[0] + T.cast(
                    table[largest[0] - T.cast(x[(n * reduced + r) * inner + c], "int32")], "int64"
                )
            y[n * inner + c] = _wide_affine(
                _wide("tinyaot_logarithm_of_two", total[0]),
                workload.factor,
                T.cast(largest[0] - workload.input_zero_point, "int64")
                * T.int64(workload.factor_largest)
                + T.int64(workload.offset),
                workload.shift,
                workload.clamp,
            )

    return Kernel(log_sum_exp, headers=_HEADERS)


@rule(RealLogSoftmax)
def real_log_softmax(workload: RealLogSoftmax, decisions: Decisions) -> Kernel:
    """One logarithm a row; the output may overlay the input."""
    rows, depth = workload.rows, workload.depth

    @T.prim_func
    def real_log_softmax(
        x: T.Buffer((rows * depth,), "int8"),
        table: T.Buffer((256,), "int32"),
        y: T.Buffer((rows * depth,), "int8"),
    ):
        for n in T.serial(rows):
            largest = T.alloc_buffer((1,), "int32", scope="local")
            total = T.alloc_buffer((1,), "int64", scope="local")
            largest[0] = -128
            for i in T.serial(depth):
                largest[0] = T.max(largest[0], T.cast(x[n * depth + i], "int32"))
            total[0] = T.int64(0)
            for i in T.serial(depth):
                total[0] = total[0] + T.cast(
                    table[largest[0] - T.cast(x[n * depth + i], "int32")], "int64"
                )
            offset: T.let[T.int64] = T.int64(workload.offset) - T.shift_right(
                (_wide("tinyaot_logarithm_of_two", total[0]) - T.int64(31 << 26))
                * T.int64(workload.logarithm),
                T.int64(workload.reduce),
            )
            for i in T.serial(depth):
                y[n * depth + i] = _wide_affine(
                    T.cast(T.cast(x[n * depth + i], "int32") - largest[0], "int64"),
                    workload.factor,
                    offset,
                    workload.shift,
                    workload.clamp,
                )

    return Kernel(real_log_softmax, headers=_HEADERS, in_place_inputs=(0,))
