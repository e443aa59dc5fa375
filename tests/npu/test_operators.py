"""Graphs of one operator on Ethos-U compute what TFLite Micro computes; see `npu_graphs.py`."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
from npu_graphs import CASES, compare

from tinyaot.targets.ethos_u.accelerator import get_npu

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("ethosu") is None, reason="needs the extra ethos-u"
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("tflite_micro") is None, reason="needs tflite-micro"
    ),
]

SAMPLE, CAMPAIGN = 1, 30


@pytest.mark.parametrize(("name", "first"), [("ethos-u55-128", 0), ("ethos-u65-256", 1)])
def test_sample(name: str, first: int) -> None:
    """Every second kind on one accelerator, the others on the other."""
    outcome = compare(list(CASES)[first::2], range(SAMPLE), get_npu(name))
    assert outcome.wrong == []
    # Nothing would be wrong if all stayed on the CPU.
    total = sum(sum(counts.values()) for counts in outcome.reasons.values())
    assert sum(counts.get("", 0) for counts in outcome.reasons.values()) > 0.8 * total


def test_stripes_of_tensors_under_two_shapes() -> None:
    npu = replace(get_npu("ethos-u55-128"), optimise="size")
    assert compare(["large reduction"], range(42, 44), npu).wrong == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256"])
@pytest.mark.parametrize("kind", CASES)
def test_many_for_size(kind: str, name: str) -> None:
    npu = replace(get_npu(name), optimise="size")
    assert compare([kind], range(SAMPLE, SAMPLE + CAMPAIGN), npu).wrong == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256"])
@pytest.mark.parametrize("kind", CASES)
def test_many(kind: str, name: str) -> None:
    outcome = compare([kind], range(SAMPLE, SAMPLE + CAMPAIGN), get_npu(name))
    assert outcome.wrong == []
    assert outcome.reasons[kind].get("", 0) > 0, outcome.reasons
