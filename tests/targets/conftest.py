"""Programs written by hand, small enough to be checked by eye."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest

from tinyaot.targets import Port, Program

LENGTH = 40
WEIGHTS = np.arange(-100, 100, 5, dtype=np.int8)

_HEADER = """\
#ifndef TINYAOT_{upper}_H
#define TINYAOT_{upper}_H
#include <stdint.h>

struct tinyaot_{name}_inputs {{
    {inputs}
}};

struct tinyaot_{name}_outputs {{
    {outputs}
}};

int32_t tinyaot_{name}_run(const struct tinyaot_{name}_inputs *inputs,
                           const struct tinyaot_{name}_outputs *outputs);
#endif
"""

_SAMPLE = """\
#include "tinyaot_sample.h"

#include <string.h>

#ifndef TINYAOT_SECTION
#define TINYAOT_SECTION(name) __attribute__((section(name)))
#endif

#ifdef TINYAOT_PROFILE
void tinyaot_operator_begin(uint32_t index);
void tinyaot_operator_end(uint32_t index);
#define OPERATOR_BEGIN(index) tinyaot_operator_begin(index)
#define OPERATOR_END(index) tinyaot_operator_end(index)
#else
#define OPERATOR_BEGIN(index) ((void)0)
#define OPERATOR_END(index) ((void)0)
#endif

TINYAOT_SECTION(".rodata.tinyaot_weights")
static const int8_t weights[40] = {WEIGHTS};

TINYAOT_SECTION(".bss.tinyaot_arena")
static int8_t arena[80];

static int8_t saturate(int32_t value)
{
    return (int8_t)(value > 127 ? 127 : value < -128 ? -128 : value);
}

__attribute__((noinline)) static void add_weights(const int8_t *x, int32_t bias, int8_t *y)
{
    for (int32_t i = 0; i < 40; i++) {
        y[i] = saturate(x[i] + weights[i] + bias);
    }
}

__attribute__((noinline)) static void twice(const int8_t *y, int8_t *z)
{
    for (int32_t i = 0; i < 40; i++) {
        z[i] = saturate(y[i] + y[i]);
    }
}

int32_t tinyaot_sample_run(const struct tinyaot_sample_inputs *inputs,
                           const struct tinyaot_sample_outputs *outputs)
{
    OPERATOR_BEGIN(0);
    memcpy(arena, inputs->x, 40);
    add_weights(arena, inputs->bias[0], arena + 40);
    OPERATOR_END(0);
    OPERATOR_BEGIN(1);
    twice(arena + 40, outputs->z);
    OPERATOR_END(1);
    return 0;
}
"""


def _make_program(
    name: str,
    source: str,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    operators: tuple[str, ...] = (),
) -> Program:
    header = _HEADER.format(
        name=name,
        upper=name.upper(),
        inputs=" ".join(f"const {port.ctype} *{port.name};" for port in inputs),
        outputs=" ".join(f"{port.ctype} *{port.name};" for port in outputs),
    )
    files = {f"tinyaot_{name}.h": header, f"tinyaot_{name}.c": source}
    return Program(name, files, inputs, outputs, operators)


class Sample:
    """Two operators on 40 int8: y = x + weights + bias, z = y + y, both saturated."""

    def __init__(self) -> None:
        weights = "{" + ", ".join(str(weight) for weight in WEIGHTS) + "}"
        self.program = _make_program(
            "sample",
            _SAMPLE.replace("{WEIGHTS}", weights),
            inputs=(Port("x", "int8_t", LENGTH), Port("bias", "int16_t", 2)),
            outputs=(Port("z", "int8_t", LENGTH),),
            operators=("add_weights", "twice"),
        )

    def inputs(self, count: int) -> list[tuple[bytes, bytes]]:
        """Seeded inputs for that many inferences."""
        random = np.random.default_rng(0)
        return [
            (
                random.integers(-128, 128, LENGTH, dtype=np.int8).tobytes(),
                random.integers(-50, 50, 1, dtype=np.int16).tobytes(),
            )
            for _ in range(count)
        ]

    def outputs(self, inputs: list[tuple[bytes, bytes]]) -> tuple[tuple[bytes, ...], ...]:
        """What the program must compute, by NumPy."""
        outputs = []
        for x_bytes, bias_bytes in inputs:
            x, bias = np.frombuffer(x_bytes, np.int8), np.frombuffer(bias_bytes, np.int16)
            y = np.clip(x.astype(np.int32) + WEIGHTS + bias, -128, 127)
            outputs.append((np.clip(y + y, -128, 127).astype(np.int8).tobytes(),))
        return tuple(outputs)


@pytest.fixture(scope="session")
def sample() -> Sample:
    return Sample()


@pytest.fixture(scope="session")
def word_program() -> Callable[..., Program]:
    """Makes the program `word` from C: `in(x)`, `out(y)` and a body; one int32 in, one int32 out.

    `body` sees `inputs->x[0]` and `outputs->y[0]`; `before` is put in front of the function, and
    `attributes` before its name.
    """

    def make(body: str, before: str = "", attributes: str = "") -> Program:
        source = (
            f'#include "tinyaot_word.h"\n{before}\n{attributes}\n'
            "int32_t tinyaot_word_run(const struct tinyaot_word_inputs *inputs,\n"
            "                         const struct tinyaot_word_outputs *outputs)\n"
            f"{{\n    (void)inputs;\n    (void)outputs;\n{body}\n}}\n"
        )
        return _make_program("word", source, (Port("x", "int32_t", 4),), (Port("y", "int32_t", 4),))

    return make


@pytest.fixture(scope="session")
def emulated() -> None:
    """Skips where the cross compiler or the emulator is not installed."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
