"""Graphs of one operator on Ethos-U compute what TFLite Micro computes; see `npu_graphs.py`."""

from __future__ import annotations

import importlib.util

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


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256"])
@pytest.mark.parametrize("kind", CASES)
def test_many(kind: str, name: str) -> None:
    outcome = compare([kind], range(SAMPLE, SAMPLE + CAMPAIGN), get_npu(name))
    assert outcome.wrong == []
    assert outcome.reasons[kind].get("", 0) > 0, outcome.reasons
