"""`tinyaot bench`: what it measures, how it compares, and `-O`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tinyaot.tools.baseline import PEERS, geometric_mean, load_baseline

if TYPE_CHECKING:
    from conftest import Command

needs_arm = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)

KEYS = {
    "model", "target", "board", "count", "mismatched_elements", "instructions", "arena_bytes",
    "stack_bytes", "flash_code_bytes", "flash_weight_bytes", "macs", "cycles_estimate", "layers",
}  # fmt: skip


@needs_arm
def test_documents_hold_every_figure_and_serve_as_a_baseline(tinyaot: Command, model: Path) -> None:
    done = tinyaot("bench", model, "-t", "cortex-m4", "-t", "cortex-m0plus", "--json", "out.json")
    assert done.status == 0
    documents = json.loads(Path("out.json").read_text())
    assert [document["target"] for document in documents] == ["cortex-m4", "cortex-m0plus"]
    for document in documents:
        assert document.keys() >= KEYS
        counted = sum(layer["instructions"] for layer in document["layers"])
        assert 0.8 * document["instructions"] < counted <= document["instructions"]
    assert documents[0]["cycles_estimate"] > documents[0]["instructions"] / 2
    assert documents[1]["cycles_estimate"] is None

    again = tinyaot("bench", model, "--baseline", "out.json", "--per-layer")
    assert again.status == 0
    assert "cortex-m4: 1.00 times fewer instructions than out" in again.stdout


@needs_arm
def test_optimizing_for_size_gives_less_code_than_for_speed(tinyaot: Command, model: Path) -> None:
    code = {}
    for optimize in ("speed", "balanced", "size"):
        done = tinyaot("bench", model, "-O", optimize, "--json", "-")
        (document,) = json.loads(done.stdout)
        code[optimize] = document["flash_code_bytes"]
    assert code["size"] < code["balanced"] <= code["speed"]


def test_the_shipped_baseline_names_its_source_and_knows_the_peers() -> None:
    """The figure of the peer's page for the keyword model on the M4."""
    document = json.loads(PEERS.read_text())
    assert "90b983c2" in document["source"]
    baseline = load_baseline(PEERS)
    assert baseline.instructions("kws_int8", "cortex-m4") == 7_698_240
    assert baseline.layer("kws_int8", "cortex-m4", 2) == 1_069_200
    assert baseline.instructions("kws_int8", "cortex-m85") is None


def test_the_geometric_mean() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([]) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot read the baseline"),
        ("{", "is not JSON"),
        ("{}", "is not a baseline"),
        ('{"format": 9, "name": "x", "results": []}', "has format 9"),
        ('[{"model": "m"}]', "is not a baseline"),
    ],
)
def test_a_bad_baseline_is_one_clear_line(
    tinyaot: Command, model: Path, text: str | None, complaint: str
) -> None:
    if text is not None:
        Path("bad.json").write_text(text)
    done = tinyaot("bench", model, "--baseline", "bad.json")
    assert done.status == 2
    assert complaint in done.errors[0]
