"""Images on emulated boards: results, sizes, stack, and every way in which a run can fail."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tinyaot.targets import (
    Program,
    TinyaotError,
    build_image,
    get_board,
    get_target,
    list_targets,
    run_image,
)
from tinyaot.targets.cortex_m.fit import memory_usage

if TYPE_CHECKING:
    from conftest import Sample

CORES = [name for name in list_targets() if get_target(name).board is not None]
ONE = [((1).to_bytes(4, "little"),)]

pytestmark = pytest.mark.usefixtures("emulated")


@pytest.mark.parametrize("name", CORES)
def test_a_program_runs_and_is_counted(name: str, sample: Sample, tmp_path: Path) -> None:
    image = build_image(sample.program, get_target(name), directory=tmp_path)
    inputs = sample.inputs(5)
    result = run_image(image, inputs)
    assert result.outputs == sample.outputs(inputs)
    assert result.instructions is not None
    assert all(500 < count < 3000 for count in result.instructions)
    assert result.operator_instructions is None
    assert result.stack_bytes is not None
    assert 0 < result.stack_bytes < 100
    assert image.size.flash_weights == 40
    assert image.size.ram == 80
    assert 100 < image.size.flash_code < 1000


def test_runs_repeat_to_the_instruction(sample: Sample, tmp_path: Path) -> None:
    image = build_image(sample.program, get_target("cortex-m4"), directory=tmp_path, profile=True)
    results = [run_image(image, sample.inputs(3)) for _ in range(3)]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("name", CORES)
def test_the_profile_adds_up(name: str, sample: Sample, tmp_path: Path) -> None:
    """What the hooks cost is taken out: a profiled run counts what a plain one does, give or take
    the few instructions that the compiler places differently around the calls."""
    target = get_target(name)
    inputs = sample.inputs(2)
    plain = run_image(build_image(sample.program, target, directory=tmp_path / "plain"), inputs)
    image = build_image(sample.program, target, directory=tmp_path / "profile", profile=True)
    profiled = run_image(image, inputs)
    assert profiled.outputs == plain.outputs
    assert plain.instructions is not None
    assert profiled.instructions is not None
    assert profiled.operator_instructions is not None
    for one, other in zip(plain.instructions, profiled.instructions, strict=True):
        assert abs(one - other) <= 4
    first = profiled.instructions[0]
    assert first - 30 < sum(profiled.operator_instructions) <= first


def test_an_operator_without_hooks_is_not_counted_as_zero(sample: Sample, tmp_path: Path) -> None:
    program = dataclasses.replace(sample.program, operators=("add_weights", "twice", "forgotten"))
    image = build_image(program, get_target("cortex-m4"), directory=tmp_path, profile=True)
    with pytest.raises(RuntimeError, match="does not call the hooks"):
        run_image(image, sample.inputs(1))


def test_no_inputs_no_results(sample: Sample, tmp_path: Path) -> None:
    image = build_image(sample.program, get_target("cortex-m4"), directory=tmp_path)
    assert run_image(image, []).outputs == ()


@pytest.mark.parametrize("name", CORES)
def test_stack_use_is_measured(
    name: str, word_program: Callable[..., Program], tmp_path: Path
) -> None:
    program = word_program(
        "    use_stack(outputs->y);\n    return 0;",
        before="""
__attribute__((noinline)) static void use_stack(int32_t *y)
{
    volatile int32_t local[500];
    for (int32_t i = 0; i < 500; i++) {
        local[i] = i;
    }
    y[0] = local[7];
}""",
    )
    image = build_image(program, get_target(name), directory=tmp_path)
    stack = run_image(image, ONE * 2).stack_bytes
    assert stack is not None
    assert 2000 <= stack <= 2064


def test_a_stack_overflow_is_told(word_program: Callable[..., Program], tmp_path: Path) -> None:
    """The guard below the 16 KiB of stack is written to, and nothing beyond."""
    program = word_program(
        "    volatile int32_t local[4500];\n"
        "    for (int32_t i = 0; i < 4500; i++) {\n        local[i] = i;\n    }\n"
        "    return local[0];"
    )
    image = build_image(program, get_target("cortex-m4"), directory=tmp_path)
    with pytest.raises(TinyaotError, match="the stack overflowed"):
        run_image(image, ONE)


@pytest.mark.parametrize("name", CORES)
def test_a_stack_overflow_out_of_ram_is_told(
    name: str, word_program: Callable[..., Program], tmp_path: Path
) -> None:
    """Below the guard there is no memory: the stack cannot hold what the handler looks at."""
    program = word_program(
        "    return down(inputs->x[0]);",
        before="""
__attribute__((noinline)) static int32_t down(int32_t x)
{
    volatile int32_t local[100] = {x};
    return x > 1000 ? 0 : down(x + 1) + local[0];
}""",
    )
    image = build_image(program, get_target(name), directory=tmp_path)
    with pytest.raises(TinyaotError, match="the stack overflowed"):
        run_image(image, ONE)


def test_a_lockup_is_told(word_program: Callable[..., Program], tmp_path: Path) -> None:
    """The core cannot find its fault handler, as after a wild write to VTOR."""
    program = word_program(
        "    *(volatile uint32_t *)0xE000ED08u = 0x90000000u;\n"
        '    __asm__ volatile("udf #0");\n    return 0;'
    )
    image = build_image(program, get_target("cortex-m4"), directory=tmp_path)
    with pytest.raises(TinyaotError, match="the core locked up"):
        run_image(image, ONE)


@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "    outputs->y[0] = *(volatile int32_t *)0xf8000004u;\n    return 0;",
            r"tinyaot_word_run\+0x.*data access to an address with no memory 0xf8000004",
        ),
        ('    __asm__ volatile("udf #0");\n    return 0;', "undefined instruction"),
    ],
    ids=["no-memory", "undefined"],
)
def test_a_fault_is_reported(
    name: str, body: str, message: str, word_program: Callable[..., Program], tmp_path: Path
) -> None:
    image = build_image(word_program(body), get_target(name), directory=tmp_path)
    with pytest.raises(TinyaotError, match=message):
        run_image(image, ONE)


def test_armv6m_code_faults_on_unaligned_accesses(
    word_program: Callable[..., Program], tmp_path: Path
) -> None:
    """The larger core that stands in for a Cortex-M0+ would allow what silicon does not."""
    program = word_program(
        "    volatile const uint32_t *word = (const uint32_t *)((uintptr_t)inputs->x + 1u);\n"
        "    outputs->y[0] = (int32_t)*word;\n    return 0;"
    )
    image = build_image(program, get_target("cortex-m0plus"), directory=tmp_path / "0")
    with pytest.raises(TinyaotError, match="unaligned access"):
        run_image(image, ONE)
    image = build_image(program, get_target("cortex-m3"), directory=tmp_path / "3")
    assert len(run_image(image, ONE).outputs) == 1


def test_an_endless_loop_ends(word_program: Callable[..., Program], tmp_path: Path) -> None:
    program = word_program(
        "    volatile int32_t forever = 1;\n    while (forever) {\n    }\n    return 0;"
    )
    image = build_image(program, get_target("cortex-m4"), directory=tmp_path)
    with pytest.raises(TinyaotError, match=r"did not end within 0\.5 s"):
        run_image(image, ONE, timeout=0.5)


def test_an_error_of_the_program_is_told(
    word_program: Callable[..., Program], tmp_path: Path
) -> None:
    image = build_image(word_program("    return -7;"), get_target("cortex-m4"), directory=tmp_path)
    with pytest.raises(TinyaotError, match="word returned -7 on inference 0"):
        run_image(image, ONE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([b"1234"], "1 inputs given, sample has 2"),
        ([b"1234", b"12"], "x has 4 bytes instead of 40"),
    ],
)
def test_inputs_must_match(
    inputs: list[bytes], message: str, sample: Sample, tmp_path: Path
) -> None:
    image = build_image(sample.program, get_target("cortex-m4"), directory=tmp_path)
    with pytest.raises(TinyaotError, match=message):
        run_image(image, [inputs])


@pytest.mark.parametrize(
    ("declaration", "region", "symbol"),
    [
        (
            '__attribute__((section(".rodata.tinyaot_weights")))\n'
            "static const int8_t big[5000000] = {1};",
            "flash",
            "big",
        ),
        (
            '__attribute__((section(".bss.tinyaot_arena")))\nstatic volatile int8_t big[5000000];',
            "RAM",
            "big",
        ),
    ],
    ids=["flash", "ram"],
)
def test_too_large_a_model(
    declaration: str,
    region: str,
    symbol: str,
    word_program: Callable[..., Program],
    tmp_path: Path,
) -> None:
    program = word_program("    return big[inputs->x[0]];", before=declaration)
    with pytest.raises(TinyaotError) as caught:
        build_image(program, get_target("cortex-m4"), directory=tmp_path)
    assert f"does not fit the {region} of board mps2-an386: 5,0" in caught.value.message
    assert "4,194,304 are there" in caught.value.message
    assert any(line.split() == ["5,000,000", "bytes", symbol] for line in caught.value.hints)
    table = [line for line in caught.value.hints if " of " in line]
    assert [line.split()[0] for line in table] == ["flash", "ram"]
    assert ["too many" in line for line in table] == [region == "flash", region == "RAM"]


def test_parts_lie_where_they_are_placed(sample: Sample, tmp_path: Path) -> None:
    """What is placed in RAM is copied there before it is used."""
    board = get_board("mps3-an547").placed({"weights": "dtcm", "arena": "dtcm", "code": "itcm"})
    image = build_image(sample.program, get_target("cortex-m55"), board, directory=tmp_path)
    usage = {one.name: one.parts for one in memory_usage(image.elf, board)}
    assert usage["dtcm"] == {"weights": 40, "arena": 80}
    assert usage["flash"]["weights"] == 40
    assert usage["itcm"]["code"] > 100
    inputs = sample.inputs(2)
    assert run_image(image, inputs).outputs == sample.outputs(inputs)


def test_a_board_that_qemu_does_not_know_is_not_emulated(sample: Sample, tmp_path: Path) -> None:
    board = get_board("nucleo_l4r5zi")
    image = build_image(sample.program, get_target("cortex-m4"), board, directory=tmp_path)
    with pytest.raises(TinyaotError, match="QEMU has no model of board nucleo_l4r5zi"):
        run_image(image, sample.inputs(1))


def test_a_board_of_another_core_is_refused(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(TinyaotError, match="mps2-an500 does not run code for cortex-m4"):
        build_image(
            sample.program, get_target("cortex-m4"), get_board("mps2-an500"), directory=tmp_path
        )


def test_code_that_does_not_compile_is_our_bug(
    word_program: Callable[..., Program], tmp_path: Path
) -> None:
    """Warnings count: here a conversion that loses bits."""
    program = word_program("    int8_t y = inputs->x[0];\n    return y;")
    with pytest.raises(TinyaotError, match=r"tinyaot_word\.c:\d+:\d+: error: conversion") as caught:
        build_image(program, get_target("cortex-m4"), directory=tmp_path)
    assert "bug in tinyaot" in caught.value.hints[0]
    assert str(tmp_path) in caught.value.hints[1]


def test_code_that_does_not_link_is_our_bug(
    word_program: Callable[..., Program], tmp_path: Path
) -> None:
    program = word_program("    return missing();", before="int32_t missing(void);")
    with pytest.raises(TinyaotError, match="undefined reference to `missing'"):
        build_image(program, get_target("cortex-m4"), directory=tmp_path)


def test_a_missing_toolchain_says_what_to_install(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = build_image(sample.program, get_target("cortex-m4"), directory=tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(TinyaotError, match="arm-none-eabi-gcc is not installed") as caught:
        build_image(sample.program, get_target("cortex-m4"), directory=tmp_path)
    assert "gcc-arm-none-eabi libnewlib-arm-none-eabi" in caught.value.hints[0]
    with pytest.raises(TinyaotError, match="qemu-system-arm is not installed") as caught:
        run_image(image, sample.inputs(1))
    assert "apt-get install qemu-system-arm" in caught.value.hints[0]


def test_an_unknown_machine_is_told(sample: Sample, tmp_path: Path) -> None:
    board = dataclasses.replace(get_board("mps2-an386"), machine="mps9")
    image = build_image(sample.program, get_target("cortex-m4"), board, directory=tmp_path)
    with pytest.raises(TinyaotError, match="qemu-system-arm ended with status 1"):
        run_image(image, sample.inputs(1))


def test_commands_are_logged_as_typed(
    sample: Sample, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="tinyaot"):
        run_image(
            build_image(sample.program, get_target("cortex-m4"), directory=tmp_path),
            sample.inputs(1),
        )
    assert "arm-none-eabi-gcc -mcpu=cortex-m4" in caplog.text
    assert "qemu-system-arm -M mps2-an386" in caplog.text


def test_a_build_leaves_nothing_of_an_earlier_one(
    sample: Sample, word_program: Callable[..., Program], tmp_path: Path
) -> None:
    build_image(sample.program, get_target("cortex-m4"), directory=tmp_path)
    build_image(word_program("    return 0;"), get_target("cortex-m4"), directory=tmp_path)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {
        "tinyaot_word.c",
        "tinyaot_word.h",
        "tinyaot_word.o",
    }
