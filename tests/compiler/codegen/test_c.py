"""The C printer: readable text that means what the TIR means."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tvm import tirx
from tvm.script import tirx as T

from tinyaot.compiler.codegen.c import CFunction, PrintError, c_type, print_function
from tinyaot.compiler.codegen.lower import lower_kernel
from tinyaot.targets.compile import C_FLAGS

HEADERS = Path(__file__).resolve().parents[3] / "schedules" / "intrinsics"
SIZE = 8


def printed(func: Any) -> CFunction:
    return print_function(lower_kernel(func))


def body(text: str) -> str:
    """Expected text, written without the outer indentation."""
    return textwrap.indent(textwrap.dedent(text).strip() + "\n", " " * 4)


def test_precedence() -> None:
    @T.prim_func
    def func(x: T.Buffer((8,), "int32"), y: T.Buffer((16,), "int32")):
        for i in T.serial(8):
            y[0] = (x[i] + 1) * (x[i] - (x[0] - 2))
            y[1] = T.shift_right(x[i] + 1, 3) + 1
            y[2] = T.shift_left(x[i], 3) * 2
            y[3] = T.bitwise_and(x[i], 255) + 1
            y[4] = T.bitwise_or(T.bitwise_and(x[i], 1), T.bitwise_xor(x[i], 2))
            y[5] = T.max(x[i], T.min(x[0], -5))
            y[6] = T.if_then_else(x[i] > 0, x[i], T.if_then_else(x[i] < -5, 0, 1))
            y[7] = T.Select(T.And(x[i] > 0, T.Or(i < 4, x[0] < 1)), 1, 2)
            y[i + 8] = T.bitwise_and(T.bitwise_not(x[i]), 3)

    assert printed(func).body == body(
        """
        for (int32_t i = 0; i < 8; ++i) {
            y[0] = (x[i] + 1) * (x[i] + 2 - x[0]);
            y[1] = ((x[i] + 1) >> 3) + 1;
            y[2] = (x[i] << 3) * 2;
            y[3] = (x[i] & 255) + 1;
            y[4] = (x[i] & 1) | (x[i] ^ 2);
            y[5] = tinyaot_max(x[i], tinyaot_min(x[0], -5));
            y[6] = 0 < x[i] ? x[i] : (x[i] < -5 ? 0 : 1);
            y[7] = 0 < x[i] && ((i < 4) || (x[0] < 1)) ? 1 : 2;
            y[i + 8] = ~x[i] & 3;
        }
        """
    )


def test_constants() -> None:
    @T.prim_func
    def func(x: T.Buffer((1,), "int32"), y: T.Buffer((4,), "int32"), z: T.Buffer((2,), "uint32")):
        y[0] = T.int32(-2147483648)
        y[1] = T.max(x[0], T.int32(-2147483647))
        y[2] = T.call_pure_extern("int32", "f", -7, T.int8(-128), T.bool(True))
        z[0] = T.uint32(4000000000)

    assert printed(func).body == body(
        """
        y[0] = (-2147483647 - 1);
        y[1] = tinyaot_max(x[0], -2147483647);
        y[2] = f(-7, -128, 1);
        z[0] = 4000000000u;
        """
    )


def test_division_rounds_down_where_it_matters() -> None:
    @T.prim_func
    def func(x: T.Buffer((8,), "int32"), y: T.Buffer((8,), "int32")):
        for i in T.serial(8):
            y[i] = T.floordiv(x[i], 3) + T.floormod(x[i], 4)
            y[T.floormod(i, 3)] = T.floordiv(i, 3)
            # The simplifier turns both into divisions by negative numbers.
            y[0] = T.floordiv(-x[i], 3)
            y[1] = T.floormod(-x[i], 3)

    assert printed(func).body == body(
        """
        for (int32_t i = 0; i < 8; ++i) {
            y[i] = tinyaot_floor_divide(x[i], 3) + tinyaot_floor_modulo(x[i], 4);
            y[i % 3] = i / 3;
            y[0] = tinyaot_floor_divide(x[i] * -1, 3);
            y[1] = tinyaot_floor_modulo(x[i] * -1, 3) * -1 * -1;
        }
        """
    )


def test_statements() -> None:
    @T.prim_func
    def func(x: T.Buffer((8,), "int8"), y: T.Buffer((8,), "int32")):
        for i in T.serial(2, 8):
            value: T.let[T.int32] = T.cast(x[i], "int32") - 5
            unused: T.let[T.int32] = value * 2  # noqa: F841
            if value > 3:
                y[i] = y[i] + value
            else:
                y[i] = T.cast(T.cast(value, "int8"), "int32")
            if i < 3:
                y[0] = value
        for i in T.serial(1):
            y[i] = T.cast(T.cast(x[0], "int64") * T.cast(x[1], "int64"), "int32")
        for i in T.unroll(2):
            y[i] = T.cast(x[i], "int32")

    assert printed(func).body == body(
        """
        for (int32_t i = 2; i < 8; ++i) {
            const int32_t value = x[i] - 5;
            if (3 < value) {
                y[i] += value;
            } else {
                y[i] = (int8_t)value;
            }
            if (i < 3) {
                y[0] = value;
            }
        }
        y[0] = (int32_t)((int64_t)x[0] * (int64_t)x[1]);
        y[0] = x[0];
        y[1] = x[1];
        """
    )


def test_memory() -> None:
    """Locals are variables; other buffers are places in the workspace, aligned to 8."""

    @T.prim_func
    def func(x: T.Buffer((8,), "int8"), y: T.Buffer((8,), "int8")):
        words = T.alloc_buffer((5,), "int16")
        bytes_ = T.alloc_buffer((3,), "int8")
        sums = T.alloc_buffer((4,), "int32")
        few = T.alloc_buffer((2,), "int32", scope="local")
        one = T.alloc_buffer((1,), "int32", scope="local")
        one[0] = 0
        for i in T.serial(3):
            bytes_[i] = x[i]
            words[i] = T.cast(bytes_[i], "int16")
            sums[i] = T.cast(words[i], "int32")
            few[0] = sums[i]
        T.evaluate(T.call_extern("void", "g", T.address_of(x[0]), T.address_of(y[3])))
        T.evaluate(T.call_extern("void", "h", T.address_of(one[0]), T.address_of(few[1])))

    function = printed(func)
    assert function.workspace == 16 + 8 + 16
    assert function.body == body(
        """
        int16_t *const words = (int16_t *)(void *)(workspace);
        int8_t *const bytes_ = workspace + 16;
        int32_t *const sums = (int32_t *)(void *)(workspace + 24);
        int32_t few[2];
        int32_t one;
        one = 0;
        for (int32_t i = 0; i < 3; ++i) {
            bytes_[i] = x[i];
            words[i] = (int16_t)bytes_[i];
            sums[i] = words[i];
            few[0] = sums[i];
        }
        g(x, y + 3);
        h(&one, few + 1);
        """
    )


def test_names_are_identifiers_of_c_and_differ() -> None:
    names = ["int", "x", "x", "größe", "1st", "int8_t", "workspace", ""]
    buffers = [tirx.decl_buffer((1,), "int32", name=name) for name in names]
    stores = [tirx.BufferStore(buffer, tirx.const(1, "int32"), [0]) for buffer in buffers]
    function = print_function(tirx.PrimFunc(buffers, tirx.SeqStmt(stores)))
    got = [parameter.name for parameter in function.parameters]
    assert got == ["int_1", "x", "x_1", "gr__e", "v1st", "int8_t_1", "workspace_1", "v"]
    assert [line.split("[")[0].strip() for line in function.body.splitlines()] == got


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "handle"])
def test_only_integers_have_a_type(dtype: str) -> None:
    with pytest.raises(PrintError, match="integer-only"):
        c_type(dtype)


def test_unknown_nodes_are_errors() -> None:
    @T.prim_func
    def expression(x: T.Buffer((1,), "int32"), y: T.Buffer((1,), "int32")):
        y[0] = T.popcount(x[0])

    @T.prim_func
    def statement(x: T.Buffer((1,), "int32")):
        assert x[0] > 0, "positive"

    for func in (expression, statement):
        with pytest.raises(PrintError, match="no C for"):
            printed(func)


class RandomExpressions:
    """Integer expressions as TIR and as a Python function of x (a list) and i."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.x = tirx.decl_buffer((SIZE,), "int32", name="x")
        self.i = tirx.Var("i", "int32")

    def integer(self, depth: int) -> tuple[Any, Callable[[Any, int], int]]:
        """Of a small magnitude: nothing overflows."""
        if depth == 0:
            choice = self._random.randrange(3)
            if choice == 0:
                value = self._random.randint(-130, 130)
                return tirx.const(value, "int32"), lambda x, i: value
            if choice == 1:
                return self.i, lambda x, i: i
            place = self._random.randrange(SIZE)
            return self.x[place], lambda x, i: x[place]
        a, eval_a = self.integer(depth - 1)
        b, eval_b = self.integer(self._random.randrange(depth))
        n = self._random.randint(1, 9)
        kinds: list[Callable[[], tuple[Any, Callable[[Any, int], int]]]] = [
            lambda: (a + b, lambda x, i: eval_a(x, i) + eval_b(x, i)),
            lambda: (a - b, lambda x, i: eval_a(x, i) - eval_b(x, i)),
            lambda: (b - a, lambda x, i: eval_b(x, i) - eval_a(x, i)),
            lambda: (a * n, lambda x, i: eval_a(x, i) * n),
            lambda: (-a, lambda x, i: -eval_a(x, i)),
            lambda: (a & b, lambda x, i: eval_a(x, i) & eval_b(x, i)),
            lambda: (a | b, lambda x, i: eval_a(x, i) | eval_b(x, i)),
            lambda: (b ^ a, lambda x, i: eval_b(x, i) ^ eval_a(x, i)),
            lambda: (~a, lambda x, i: ~eval_a(x, i)),
            lambda: ((a & 1023) << (n % 5), lambda x, i: (eval_a(x, i) & 1023) << (n % 5)),
            lambda: (a >> n, lambda x, i: eval_a(x, i) >> n),
            lambda: (tirx.max(a, b), lambda x, i: max(eval_a(x, i), eval_b(x, i))),
            lambda: (tirx.min(b, a), lambda x, i: min(eval_a(x, i), eval_b(x, i))),
            lambda: (tirx.floordiv(a, n), lambda x, i: eval_a(x, i) // n),
            lambda: (tirx.floormod(a, n), lambda x, i: eval_a(x, i) % n),
            lambda: self._choice(depth, (a, eval_a), (b, eval_b)),
            lambda: ((a & 255).astype("uint8").astype("int32"), lambda x, i: eval_a(x, i) & 255),
        ]
        return self._random.choice(kinds)()

    def _choice(self, depth: int, yes: Any, no: Any) -> tuple[Any, Callable[[Any, int], int]]:
        condition, holds = self.condition(depth - 1)
        select = self._random.choice([tirx.Select, tirx.if_then_else])
        return (
            select(condition, yes[0], no[0]),
            lambda x, i: yes[1](x, i) if holds(x, i) else no[1](x, i),
        )

    def condition(self, depth: int) -> tuple[Any, Callable[[Any, int], bool]]:
        a, eval_a = self.integer(depth)
        b, eval_b = self.integer(depth)
        kind = self._random.randrange(9 if depth else 6)
        if kind == 0:
            return tirx.LT(a, b), lambda x, i: eval_a(x, i) < eval_b(x, i)
        if kind == 1:
            return tirx.LE(a, b), lambda x, i: eval_a(x, i) <= eval_b(x, i)
        if kind == 2:
            return tirx.GT(a, b), lambda x, i: eval_a(x, i) > eval_b(x, i)
        if kind == 3:
            return tirx.GE(a, b), lambda x, i: eval_a(x, i) >= eval_b(x, i)
        if kind == 4:
            return tirx.EQ(a, b), lambda x, i: eval_a(x, i) == eval_b(x, i)
        if kind == 5:
            return tirx.NE(a, b), lambda x, i: eval_a(x, i) != eval_b(x, i)
        p, eval_p = self.condition(depth - 1)
        q, eval_q = self.condition(depth - 1)
        if kind == 6:
            return tirx.And(p, q), lambda x, i: eval_p(x, i) and eval_q(x, i)
        if kind == 7:
            return tirx.Or(p, q), lambda x, i: eval_p(x, i) or eval_q(x, i)
        return tirx.Not(p), lambda x, i: not eval_p(x, i)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
def test_printed_expressions_mean_what_they_say(tmp_path: Path) -> None:
    """Some hundred random expressions, compiled without a warning, against Python."""
    count = 300
    make = RandomExpressions(seed=0)
    cases = [make.integer(1 + index % 5) for index in range(count)]
    y = tirx.decl_buffer((SIZE * count,), "int32", name="y")
    stores = [
        tirx.BufferStore(y, expression, [make.i * count + index])
        for index, (expression, _) in enumerate(cases)
    ]
    loop = tirx.For(make.i, 0, SIZE, tirx.ForKind.SERIAL, tirx.SeqStmt(stores))
    function = print_function(tirx.PrimFunc([make.x, y], loop))
    source = (
        '#include "tinyaot_fixed_point.h"\n'
        "void kernel(const int32_t *x, int32_t *y);\n"
        f"void kernel(const int32_t *x, int32_t *y)\n{{\n{function.body}}}\n"
    )
    (tmp_path / "kernel.c").write_text(source)
    # Comparisons of constants are as they come here; kernels' are simplified away.
    flags = [*C_FLAGS, "-Wno-type-limits", "-Wno-tautological-compare", "-fPIC", "-shared"]
    command = ["cc", *flags, f"-I{HEADERS}", "kernel.c", "-o", "kernel.so"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    library = ctypes.CDLL(str(tmp_path / "kernel.so"))
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.integers(-200, 201, SIZE).astype(np.int32)
        got = np.zeros(SIZE * count, np.int32)
        library.kernel(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(got.ctypes.data))
        values = [int(value) for value in x]
        for i in range(SIZE):
            for index, (expression, evaluate) in enumerate(cases):
                assert got[i * count + index] == evaluate(values, i), (expression, values, i)
