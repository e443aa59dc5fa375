"""Random operations through Vela's API compute what their definitions say, on every accelerator."""

from __future__ import annotations

import numpy as np
import pytest
from npu_cases import CASES, case

from tinyaot.targets.ethos_u.model import ACCELERATORS

SAMPLE, CAMPAIGN = 3, 60


@pytest.fixture(autouse=True)
def vela() -> None:
    pytest.importorskip("ethosu.vela", reason="Arm's Vela is not installed")


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("kind", CASES)
def test_sample(kind: str, accelerator: str) -> None:
    for seed in range(SAMPLE):
        got, expected = case(kind, accelerator, seed)
        np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")


@pytest.mark.campaign
@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("kind", CASES)
def test_many(kind: str, accelerator: str) -> None:
    for seed in range(SAMPLE, SAMPLE + CAMPAIGN):
        got, expected = case(kind, accelerator, seed)
        np.testing.assert_array_equal(got, expected, err_msg=f"seed {seed}")
