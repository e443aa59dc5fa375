"""The functional model computes, from Vela's streams, what TFLite Micro computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from vela_streams import check_model, compile_by_vela, draw_inputs, run_network

from tinyaot.targets.ethos_u.model import ACCELERATORS

MODELS = ("ad01", "kws", "resnet8", "streaming_wakeword", "vww_96")
SAMPLE = [
    ("ad01", "ethos-u55-64", "performance"),
    ("kws", "ethos-u55-32", "size"),
    ("kws", "ethos-u65-512", "performance"),
    ("resnet8", "ethos-u55-128", "performance"),
    ("resnet8", "ethos-u55-256", "size"),
    ("streaming_wakeword", "ethos-u65-256", "performance"),
    ("vww_96", "ethos-u55-128", "performance"),
]

Find = Callable[[str], Path]


@pytest.mark.parametrize(("model", "accelerator", "optimise"), SAMPLE)
def test_sample(mlperf_tiny: Find, model: str, accelerator: str, optimise: str) -> None:
    check_model(mlperf_tiny(f"{model}_int8.tflite"), accelerator, 2, optimise)


@pytest.mark.campaign
@pytest.mark.parametrize("optimise", ["performance", "size"])
@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("model", MODELS)
def test_all(mlperf_tiny: Find, model: str, accelerator: str, optimise: str) -> None:
    check_model(mlperf_tiny(f"{model}_int8.tflite"), accelerator, 20, optimise)


def test_regions_may_share_memory(mlperf_tiny: Find) -> None:
    path = mlperf_tiny("kws_int8.tflite")
    network = compile_by_vela(path.read_bytes(), "ethos-u55-128")
    one = draw_inputs(path, network, 1)[0]
    outputs, trace = run_network(network, "ethos-u55-128", one)
    again, _ = run_network(network, "ethos-u55-128", one, check=False)
    assert outputs == again
    assert trace.macs > 2_000_000
