"""Boards through GDB servers: QEMU's own, killed, silent, occupied, or of another core."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tinyaot.targets import Image, Program, TinyaotError, build_image, get_board, get_target
from tinyaot.targets.cortex_m.fit import memory_usage
from tinyaot.targets.cortex_m.mailbox import board_counter
from tinyaot.targets.cortex_m.toolchain import build_for_debugger
from tinyaot.targets.image import run_image
from tinyaot.targets.runners import Session, get_runner, list_runners, runner_for
from tinyaot.targets.runners.base import find_program

if TYPE_CHECKING:
    from conftest import Sample

BOARD = get_board("mps2-an386")
BOARD_TARGET = get_target("cortex-m4")
ONE = [((1).to_bytes(4, "little"),)]
FAULTS = {
    "null-call": (
        "    void (*volatile call)(void) = 0;\n    call();\n    return inputs->x[0];",
        "",
        r"UsageFault: branch to an address without the Thumb bit, after a call of address 0x0 "
        r"from tinyaot_word_run\+0x",
    ),
    "bus-error": (
        "    outputs->y[0] = *(volatile int32_t *)0xf8000004u;\n    return 0;",
        "",
        r"at tinyaot_word_run\+0x.*BusFault: data access to an address with no memory 0xf8000004",
    ),
    "stack-overflow": (
        "    return down(inputs->x[0]);",
        """
__attribute__((noinline)) static int32_t down(int32_t x)
{
    volatile int32_t local[100] = {x};
    return x > 1000 ? 0 : down(x + 1) + local[0];
}""",
        r"the stack overflowed, and the core faulted",
    ),
}


@pytest.fixture(scope="session")
def debugger(emulated: None) -> None:
    """Skips where GDB or its Python side is not installed."""
    pytest.importorskip("pygdbmi", reason="the extra boards is not installed")
    if not any(map(shutil.which, ("gdb-multiarch", "arm-none-eabi-gdb"))):
        pytest.skip("no gdb-multiarch on the PATH")


pytestmark = pytest.mark.usefixtures("debugger")


def image_for(program: Program, folder: Path, board: str = "mps2-an386") -> Image:
    chosen = get_board(board)
    return build_for_debugger(
        program, get_target(chosen.cores[0]), chosen, folder,
        profile=True, optimize=("-O2",), counter="instructions",
    )  # fmt: skip


@pytest.fixture
def session() -> Iterator[Session]:
    one = Session(runner_for(BOARD), BOARD, timeout=20)
    yield one
    one.close()


@pytest.mark.parametrize("board", ["mps2-an385", "mps2-an500", "mps2-an505"])
def test_inferences_follow_each_other_without_flashing(
    board: str, sample: Sample, tmp_path: Path
) -> None:
    image = image_for(sample.program, tmp_path, board)
    inputs = sample.inputs(3)
    session = Session(runner_for(get_board(board)), get_board(board))
    try:
        session.load(image)
        result, counter = session.run(inputs, profile=True, runs=2)
        again, _ = session.run(inputs)
    finally:
        session.close()
    assert result.outputs == again.outputs == sample.outputs(inputs)
    assert counter == "instructions"
    assert result.instructions is not None
    assert result.operator_instructions is not None
    assert result.instructions[0] - 30 < sum(result.operator_instructions)
    assert sum(result.operator_instructions) <= result.instructions[0]
    assert result.stack_bytes is not None
    assert 0 < result.stack_bytes < 100


def test_it_counts_what_the_other_harness_counts(
    sample: Sample, session: Session, tmp_path: Path
) -> None:
    inputs = sample.inputs(2)
    plain = build_image(sample.program, get_target("cortex-m4"), directory=tmp_path / "plain",
                        profile=True)  # fmt: skip
    session.load(image_for(sample.program, tmp_path / "debug"))
    assert session.run(inputs)[0].instructions == run_image(plain, inputs).instructions


def test_a_killed_server_of_ours_is_started_again(
    sample: Sample, session: Session, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session.load(image_for(sample.program, tmp_path))
    inputs = sample.inputs(2)
    first, _ = session.run(inputs)
    assert session.server is not None
    session.server.process.kill()
    with caplog.at_level(logging.WARNING, logger="tinyaot"):
        again, _ = session.run(inputs)
    assert again.outputs == first.outputs == sample.outputs(inputs)
    assert "is started again" in caplog.text


def test_what_can_be_wrong_with_a_server(
    sample: Sample, word_program: Callable[..., Program], session: Session, tmp_path: Path
) -> None:
    """One server, and the clients that come to it."""
    image = image_for(sample.program, tmp_path / "sample")
    runner = get_runner("qemu")
    with runner.serve(BOARD) as (_, port, server):
        assert server is not None
        way = get_runner(f"gdb:127.0.0.1:{port}")
        with pytest.raises(TinyaotError, match="has a cortex-m7, but a cortex-m4 answers"):
            Session(way, get_board("nucleo_f746zg"))
        first = Session(way, BOARD)
        with pytest.raises(TinyaotError, match="is running something else than sample"):
            first.attach(image)
        first.load(image)
        with pytest.raises(TinyaotError, match="does not answer as a GDB server") as caught:
            Session(way, BOARD)
        assert "another debugger may be connected" in caught.value.hints[0]
        first.close()
        second = Session(way, BOARD)
        second.attach(image)
        inputs = sample.inputs(1)
        assert second.run(inputs)[0].outputs == sample.outputs(inputs)
        with pytest.raises(TinyaotError, match="is running something else than word"):
            second.attach(image_for(word_program("    return 0;"), tmp_path / "word"))
        second.attach(image)
        server.process.kill()
        server.process.wait()
        with pytest.raises(TinyaotError, match=f"mps2-an386 at 127.0.0.1:{port} is gone"):
            second.run(inputs)
        second.close()
    with pytest.raises(TinyaotError, match="no GDB server listens at 127"):
        Session(way, BOARD)


def test_a_listener_that_is_no_gdb_server() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TinyaotError, match="does not answer as a GDB server"):
            Session(get_runner(f"gdb:{silent.getsockname()[1]}"), BOARD)


def test_no_answer(word_program: Callable[..., Program], tmp_path: Path) -> None:
    program = word_program(
        "    volatile int32_t forever = 1;\n    while (forever) {\n    }\n    return 0;"
    )
    session = Session(runner_for(BOARD), BOARD, timeout=0.5)
    try:
        session.load(image_for(program, tmp_path))
        with pytest.raises(TinyaotError, match=r"within 0\.5 s; it is in tinyaot_word_run"):
            session.run(ONE)
    finally:
        session.close()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("path", ["gdb", "semihosting"])
def test_a_fault_is_decoded(
    path: str, fault: str, word_program: Callable[..., Program], session: Session, tmp_path: Path
) -> None:
    body, before, message = FAULTS[fault]
    program = word_program(body, before=before)
    if path == "gdb":
        session.load(image_for(program, tmp_path))
        run: Callable[..., object] = session.run
    else:
        run = partial(run_image, build_image(program, BOARD_TARGET, directory=tmp_path))
    with pytest.raises(TinyaotError, match=message) as caught:
        run(ONE)
    assert any("CFSR" in hint and "SP 0x" in hint for hint in caught.value.hints)
    assert any(hint.startswith(("r0 ", "r4 ")) for hint in caught.value.hints)


def test_a_fault_names_the_operator(sample: Sample, session: Session, tmp_path: Path) -> None:
    """The call in the entry function tells which one, though the kernel is inlined or shared."""
    source = sample.program.files["tinyaot_sample.c"]
    source = source.replace(
        "    OPERATOR_BEGIN(1);\n    twice(arena + 40, outputs->z);\n    OPERATOR_END(1);",
        "    TINYAOT_OPERATOR(0, (void)0);\n    TINYAOT_OPERATOR(1, twice((int8_t *)0xf8000000u, "
        "outputs->z));",
    ).replace("#ifdef TINYAOT_PROFILE", "#define TINYAOT_OPERATOR(i, call) call\n"
              "#ifdef TINYAOT_PROFILE", 1)  # fmt: skip
    files = {**sample.program.files, "tinyaot_sample.c": source}
    program = Program("sample", files, sample.program.inputs, sample.program.outputs,
                      sample.program.operators)  # fmt: skip
    session.load(image_for(program, tmp_path))
    with pytest.raises(TinyaotError, match=r"at twice.*\+0x.* in operator 1 \(twice\): BusFault"):
        session.run(sample.inputs(1))
    session.load(image_for(sample.program, tmp_path / "good"))
    inputs = sample.inputs(1)
    assert session.run(inputs)[0].outputs == sample.outputs(inputs)


@pytest.mark.parametrize("name", ["pyocd", "openocd"])
def test_no_probe_is_one_line(name: str) -> None:
    if find_program(name) is None:
        pytest.skip(f"no {name} on the PATH")
    with pytest.raises(TinyaotError, match=f"no debug probe is connected: {name} finds none"):
        Session(get_runner(name), get_board("nrf52840dk"))


@pytest.mark.parametrize("name", list_runners()[:-1])
def test_a_missing_program_says_how_to_install_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyaot.targets.runners.base.find_program", lambda name: None)
    board = BOARD if name in ("qemu", "west") else get_board("nrf52840dk")
    with pytest.raises(TinyaotError, match="is not installed, or not on the PATH") as caught:
        Session(get_runner(name), board)
    assert "install" in caught.value.hints[0]


def test_systick_counts_where_there_is_no_cycle_counter(sample: Sample, tmp_path: Path) -> None:
    """Under QEMU a tick is 40 instructions; on an ARMv6-M chip it is a cycle."""
    board = get_board("mps2-an385")
    image = build_for_debugger(
        sample.program, get_target("cortex-m0plus"), board, tmp_path,
        profile=False, optimize=("-O2",), counter="systick",
    )  # fmt: skip
    session = Session(runner_for(board), board)
    try:
        session.counter = "systick"
        session.load(image)
        result, counter = session.run(sample.inputs(1))
    finally:
        session.close()
    assert counter == "systick"
    assert result.instructions is not None
    assert 10 < result.instructions[0] < 80


@pytest.mark.parametrize("board", ["nucleo_h743zi2", "nucleo_u575zi_q", "rpi_pico", "ek_ra8d1"])
def test_images_for_silicon_are_linked(board: str, sample: Sample, tmp_path: Path) -> None:
    chosen = get_board(board)
    image = build_for_debugger(
        sample.program, get_target(chosen.cores[0]), chosen, tmp_path,
        profile=True, optimize=("-O2",), counter=board_counter(chosen),
    )  # fmt: skip
    used = {one.name: one.used for one in memory_usage(image.elf, chosen)}
    assert used["flash"] < 4096
    assert all(one.used <= one.size for one in memory_usage(image.elf, chosen))
