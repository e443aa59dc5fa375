"""The host target: the same results as on a core, and sanitizers that find what they should."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tinyaot.targets import Program, TinyaotError, build_image, get_board, get_target, run_image

if TYPE_CHECKING:
    from conftest import Sample

HOST = get_target("host")
ONE = [((1).to_bytes(4, "little"),)]

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")


@pytest.mark.parametrize("sanitize", [False, True])
def test_a_program_runs(sanitize: bool, sample: Sample, tmp_path: Path) -> None:
    image = build_image(sample.program, HOST, directory=tmp_path, profile=True, sanitize=sanitize)
    inputs = sample.inputs(5)
    result = run_image(image, inputs)
    assert result.outputs == sample.outputs(inputs)
    assert (result.instructions, result.operator_instructions, result.stack_bytes) == (None,) * 3


def test_sizes_are_those_of_the_program(sample: Sample, tmp_path: Path) -> None:
    size = build_image(sample.program, HOST, directory=tmp_path).size
    assert (size.flash_weights, size.ram) == (40, 80)
    assert 100 < size.flash_code < 2000


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    outputs->y[1] = 1;\n    return 0;", "heap-buffer-overflow"),
        (
            "    static const int32_t table[4] = {1, 2, 3, 4};\n"
            "    outputs->y[0] = table[inputs->x[0] + 3];\n    return 0;",
            "out of bounds",
        ),
        (
            "    outputs->y[0] = inputs->x[0] + 2147483647;\n    return 0;",
            "signed integer overflow",
        ),
    ],
    ids=["heap", "index", "overflow"],
)
def test_sanitizers_stop_the_run(
    body: str, message: str, word_program: Callable[..., Program], tmp_path: Path
) -> None:
    program = word_program(body)
    image = build_image(program, HOST, directory=tmp_path, sanitize=True)
    with pytest.raises(TinyaotError, match=message):
        run_image(image, ONE)


def test_a_crash_and_an_endless_loop_are_told(
    word_program: Callable[..., Program], tmp_path: Path
) -> None:
    crash = build_image(
        word_program("    return *(volatile int32_t *)(intptr_t)inputs->x[0];"),
        HOST,
        directory=tmp_path / "crash",
    )
    with pytest.raises(TinyaotError, match="word: ended by SIGSEGV"):
        run_image(crash, ONE)
    endless = build_image(
        word_program("    volatile int32_t on = 1;\n    while (on) {\n    }\n    return 0;"),
        HOST,
        directory=tmp_path / "endless",
    )
    with pytest.raises(TinyaotError, match=r"did not end within 0\.2 s"):
        run_image(endless, ONE, timeout=0.2)


def test_a_missing_compiler_and_a_board_are_refused(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TinyaotError, match="no boards"):
        build_image(sample.program, HOST, get_board("mps2-an386"), directory=tmp_path)
    monkeypatch.setenv("CC", "no-such-cc -m64")
    with pytest.raises(TinyaotError, match="no-such-cc is not installed"):
        build_image(sample.program, HOST, directory=tmp_path)
