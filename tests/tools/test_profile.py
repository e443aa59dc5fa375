"""`tinyaot profile`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Command

needs_emulator = pytest.mark.skipif(
    None in (shutil.which("arm-none-eabi-gcc"), shutil.which("qemu-system-arm")),
    reason="no arm-none-eabi-gcc and qemu-system-arm on the PATH",
)


@needs_emulator
def test_it_prints_a_table_and_writes_files(tinyaot: Command, model: Path) -> None:
    files = ("--html", "p.html", "--trace", "t.json", "--speedscope", "s.json")
    done = tinyaot("profile", model, "--runs", 3, *files)
    assert done.status == 0
    for words in ("instructions", "MACs/instruction", "bound", "the same in all 3 runs", "stack",
                  "small for cortex-m4, run on mps2-an386", "QEMU", "p.html"):  # fmt: skip
        assert words in done.stdout
    assert Path("p.html").read_text("utf-8").startswith("<!doctype html>")
    assert json.loads(Path("t.json").read_text("utf-8"))["traceEvents"]
    assert json.loads(Path("s.json").read_text("utf-8"))["profiles"]
    assert not done.errors


@needs_emulator
def test_json_says_what_was_counted(tinyaot: Command, model: Path) -> None:
    np.save("input.npy", np.zeros((1, 12, 11, 3), np.int8))
    done = tinyaot("profile", model, "--target", "cortex-m55", "--input", "input.npy", "--json")
    assert done.status == 0
    document = done.document
    assert document["quantity"] == "instructions"
    assert document["board"] == "mps3-an547"
    assert sum(one["share"] for one in document["operators"]) == pytest.approx(1)
    assert {one["bound"] for one in document["operators"]} <= {
        "compute", "load", "requantize", "other",
    }  # fmt: skip
    assert abs(document["total"] - document["operator_total"]) <= 0.01 * document["total"]
    assert {"offset", "size", "first", "last", "name"} <= set(document["memory"][0])


def test_mistakes_are_told_in_a_line(tinyaot: Command, model: Path) -> None:
    for arguments, words in (
        (("--target", "host"), "nothing is counted on host"),
        (("--board", "nowhere"), "unknown board 'nowhere'"),
        (("--input", "none.npy"), "cannot read the input none.npy"),
    ):
        done = tinyaot("profile", model, *arguments)
        assert done.status == 2
        assert words in done.errors[0]
        assert not done.stdout


@needs_emulator
def test_an_unwritable_page_is_an_error(tinyaot: Command, model: Path) -> None:
    done = tinyaot("profile", model, "--html", "no/such/folder.html")
    assert done.status == 2
    assert "cannot write no/such/folder.html" in done.errors[0]
