"""No layer becomes slower unnoticed: counts are deterministic and kept in the repository."""

from __future__ import annotations

import json
import shutil

import pytest
from instruction_counts import STORED, TARGETS, compiler_version, measure

_TOLERANCE = 1.01

pytestmark = pytest.mark.skipif(
    not shutil.which("arm-none-eabi-gcc") or not shutil.which("qemu-system-arm"),
    reason="needs gcc-arm-none-eabi and qemu-system-arm",
)


@pytest.mark.parametrize("target", TARGETS)
def test_no_layer_takes_more_instructions_than_it_did(target: str) -> None:
    """At most 1% more than stored, layer by layer; the stored counts are of one compiler."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    if compiler_version() != stored["compiler"]:
        pytest.skip(f"counts are of GCC {stored['compiler']}, this is {compiler_version()}")
    counts = measure(target)
    slower = {
        layer: f"{before} -> {counts[layer]}"
        for layer, before in stored["counts"][target].items()
        if counts[layer] > before * _TOLERANCE
    }
    assert not slower
