"""The commands that speak of boards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tinyaot.targets import list_boards
from tinyaot.targets.cortex_m.board import BOARDS

if TYPE_CHECKING:
    from conftest import Command

needs_arm = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="no arm-none-eabi-gcc on the PATH"
)


@pytest.fixture
def debugger() -> None:
    """Skips where the way to boards is not installed."""
    pytest.importorskip("pygdbmi", reason="the extra boards is not installed")
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm", "gdb-multiarch"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")


def test_boards_are_listed_and_shown(tinyaot: Command) -> None:
    listed = [board["name"] for board in tinyaot("boards", "--json").document["boards"]]
    assert listed == list(list_boards())
    assert "nucleo_h743zi2" in tinyaot("boards").stdout
    shown = tinyaot("boards", BOARDS / "nucleo_h743zi2.toml").stdout
    for words in ("axi_sram", "RM0433", "stack=dtcm", "stm32h743xx", "st_nucleo_h743zi.cfg"):
        assert words in shown
    done = tinyaot("boards", "nucleo_h734zi2")
    assert done.status == 2
    assert "did you mean nucleo_h743zi2?" in done.errors[1]


def test_devices_lists_the_emulated_boards(tinyaot: Command) -> None:
    done = tinyaot("devices", "--json")
    assert done.status == 0
    if shutil.which("qemu-system-arm"):
        assert {"runner": "qemu", "name": "mps2-an386", "identifier": ""} in done.document[
            "devices"
        ]
    assert any(note.startswith("pyocd: ") for note in done.document["notes"])


@needs_arm
def test_what_would_be_run_is_printed(tinyaot: Command, model: Path) -> None:
    done = tinyaot("flash", model, "--board", "nucleo_l4r5zi", "--runner", "openocd", "--dry-run")
    assert done.status == 0
    assert "openocd -f board/st_nucleo_l4.cfg -c 'gdb_port 3333'" in done.stdout
    assert "target extended-remote localhost:3333" in done.stdout
    assert "not written" in done.stdout


@pytest.mark.usefixtures("debugger")
def test_a_model_is_flashed_run_and_profiled(tinyaot: Command, model: Path) -> None:
    assert tinyaot("compile", model, "-t", "cortex-m33", "-o", "small.tar").status == 0
    done = tinyaot("flash", "small.tar", "--board", "mps2-an505", "--json")
    assert done.status == 0
    assert done.document["flashed"] is True
    assert done.document["runner"] == "qemu"
    run = tinyaot("run", model, "--on", "mps3-an547", "--place", "weights=dtcm", "--count", "2",
                  "--json").document  # fmt: skip
    assert run["target"] == "cortex-m55"
    assert run["board"] == "mps3-an547"
    assert run["counter"] == "instructions"
    emulated = tinyaot("run", model, "-t", "cortex-m55", "--count", "2", "--json").document
    assert 0.99 < run["instructions"] / emulated["instructions"] < 1.01
    profile = tinyaot("profile", model, "--on", "mps2-an386", "--runs", "2", "--json")
    assert profile.status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--on", "nucleo_l4r5zj"), "unknown board 'nucleo_l4r5zj'"),
        (("--on", "nowhere/mine.toml"), "cannot read nowhere/mine.toml"),
        (("--on", "gdb:localhost:3333"), "which board is it?"),
        (("--on", "gdb:x:y", "--board", "rpi_pico"), "is not the address of a GDB server"),
        (("--on", "rpi_pico", "--board", "mps2-an386"), "two boards are named"),
        (("--on", "rpi_pico", "--runner", "jlink"), "unknown runner 'jlink'"),
        (("--runner", "pyocd"), "which one?"),
        (("--place", "weights=dtcm"), "--place is of a board's memories"),
        (("--on", "mps3-an547", "--place", "weights=dctm"), "unknown memory of board mps3-an547"),
        (("--on", "rpi_pico2", "--runner", "openocd"), "names no OpenOCD configuration"),
        (("--on", "nucleo_l4r5zi", "-t", "cortex-m55"), "does not run code for cortex-m55"),
    ],
)
def test_wrong_words_are_explained(
    arguments: tuple[str, ...], message: str, tinyaot: Command, model: Path
) -> None:
    pytest.importorskip("pygdbmi", reason="the extra boards is not installed")
    done = tinyaot("run", model, *arguments)
    assert done.status == 2
    assert message in done.errors[0]
