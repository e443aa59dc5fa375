"""The cycle estimate counts every instruction that was executed, at documented prices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tinyaot.targets import Program, build_image, estimate_cycles, get_target, run_image
from tinyaot.targets.cortex_m.cycles import MODELS, Instruction, _price

_C = """
#include "tinyaot_loop.h"
int32_t tinyaot_loop_run(const struct tinyaot_loop_inputs *inputs,
    const struct tinyaot_loop_outputs *outputs)
{
    int32_t left = %d;
    __asm volatile("1: nop\\n nop\\n nop\\n subs %%0, #1\\n bne 1b\\n" : "+r"(left) : : "cc");
    outputs->y[0] = inputs->x[0];
    return left;
}
"""
_H = """
#include <stdint.h>
struct tinyaot_loop_inputs { const int8_t *x; };
struct tinyaot_loop_outputs { int8_t *y; };
int32_t tinyaot_loop_run(const struct tinyaot_loop_inputs *, const struct tinyaot_loop_outputs *);
"""

needs_arm = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)


def _loop(turns: int) -> Program:
    from tinyaot.targets import Port

    port = (Port("x", "int8_t", 1),), (Port("y", "int8_t", 1),)
    files = {"tinyaot_loop.c": _C % turns, "tinyaot_loop.h": _H}
    return Program("loop", files, *port, operators=())


@needs_arm
@pytest.mark.parametrize("wait_states", [0, 3])
def test_a_loop_costs_its_instructions_and_its_taken_branches(
    tmp_path: Path, wait_states: int
) -> None:
    """Three nops, a subtraction and a taken branch (1 + 2 on the M4) a turn; the rest cancels."""
    cycles = []
    for turns in (100, 1100):
        image = build_image(_loop(turns), get_target("cortex-m4"), directory=tmp_path)
        run_image(image, [[b"\0"]])
        estimate = estimate_cycles(image, [b"\0"], flash_wait_states=wait_states)
        assert estimate is not None
        cycles.append(estimate)
    assert cycles[1] - cycles[0] == 1000 * (4 + 1 + 2 + wait_states)


def test_targets_without_a_model_have_no_estimate(tmp_path: Path) -> None:
    """The host's timing is nobody's model."""
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler for the host")
    image = build_image(_plain(), get_target("host"), directory=tmp_path)
    assert estimate_cycles(image, [b"\0"]) is None


def _plain() -> Program:
    program = _loop(1)
    code = (
        _C[: _C.index("    int32_t left")] + "    outputs->y[0] = inputs->x[0];\n    return 0;\n}\n"
    )
    files = {**program.files, "tinyaot_loop.c": code}
    return Program("loop", files, program.inputs, program.outputs, program.operators)


def _block(*lines: str) -> list[Instruction]:
    return [
        Instruction(index, line.split(" ")[0], line.partition(" ")[2])
        for index, line in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("core", "lines", "cycles"),
    [
        # Cortex-M4 TRM table 3-1: LDR 2, pipelined after another 1, LDM 1 + N, LDRD 1 + 2.
        ("cortex-m4", ["ldr r0, [r1]"], 2),
        ("cortex-m4", ["ldr r0, [r1]", "ldr r2, [r1, #4]"], 3),
        ("cortex-m4", ["ldmia.w r0!, {r4, r5, r6, r7}"], 5),
        ("cortex-m4", ["ldmia.w r0!, {r4-r7, lr}"], 6),
        ("cortex-m4", ["ldrd r2, r3, [r0], #8"], 3),
        ("cortex-m4", ["smlad r0, r1, r2, r0", "ssat r0, #8, r0"], 2),
        # The M7 starts two independent instructions at once, but not two multiplications.
        ("cortex-m7", ["add r0, r1, r2", "add r3, r4, r5"], 1),
        ("cortex-m7", ["add r0, r1, r2", "add r3, r0, r5"], 2),
        ("cortex-m7", ["smlad r0, r1, r2, r0", "smlad r3, r1, r2, r3"], 2),
        ("cortex-m7", ["ldr r0, [r1]", "ldr r2, [r3]"], 2),
        # The M55 overlaps a vector load with vector arithmetic.
        ("cortex-m55", ["vldrb.8 q0, [r0]", "vmladava.s8 r2, q0, q1"], 3),
        ("cortex-m55", ["vmladava.s8 r2, q0, q1", "vmladava.s8 r4, q0, q2"], 4),
    ],
)
def test_prices(core: str, lines: list[str], cycles: int) -> None:
    assert _price(_block(*lines), MODELS[core], 0) == cycles
