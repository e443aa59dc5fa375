"""Networks that Vela compiles, and running them on the functional model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from numpy.typing import NDArray

from tinyaot.compiler.oracle import random_inputs, reference_outputs
from tinyaot.targets.ethos_u.model import Trace, parse_driver_payload, run_stream
from tinyaot.targets.ethos_u.regor import (
    CompiledNetwork,
    NetworkTensor,
    compile_network,
    compile_tflite,
    vela_config,
)

SYSTEMS = {
    "u55": "Ethos_U55_High_End_Embedded",
    "u65": "Ethos_U65_Embedded",
    "u85": "Ethos_U85_SYS_Flash_High",
}


@functools.lru_cache(maxsize=32)
def compile_by_vela(
    network: bytes, accelerator: str, optimise: str = "performance", arena: int | None = None
) -> CompiledNetwork:
    """A network compiled by regor with shared SRAM."""
    pytest.importorskip("ethosu.regor", reason="Arm's Vela is not installed")
    family, macs = accelerator.removeprefix("ethos-").split("-")
    two_cores = accelerator == "ethos-u65-512"
    return compile_network(
        network,
        accelerator,
        macs=256 if two_cores else int(macs),
        cores=2 if two_cores else 1,
        system=SYSTEMS[family],
        memory="Shared_Sram",
        config=vela_config(),
        optimise=optimise,
        arena_bytes=arena,
    )


@dataclass(frozen=True)
class Spec:
    """What `random_inputs` must know of an input."""

    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int


def draw_inputs(path: Path, network: CompiledNetwork, count: int) -> list[list[NDArray[Any]]]:
    """Random inputs of a TFLite file."""
    graph = tflite.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
    specs = [
        Spec(
            tuple(int(one) for one in graph.Tensors(graph.Inputs(index)).ShapeAsNumpy()),
            tensor.dtype,
            tensor.scale,
            tensor.zero_point,
        )
        for index, tensor in enumerate(network.inputs)
    ]
    return random_inputs(specs, count)


def memory_of(
    network: CompiledNetwork, inputs: Sequence[NDArray[Any]]
) -> tuple[dict[int, NDArray[np.uint8]], dict[int, list[tuple[int, int]]]]:
    """Regions with inputs in place, and which parts of inputs and outputs hold data."""
    sizes: dict[int, int] = {1: network.scratch_bytes, 2: network.fast_scratch_bytes}
    for tensor in (*network.inputs, *network.outputs):
        sizes[tensor.region] = max(sizes.get(tensor.region, 0), tensor.address + tensor.nbytes)
    regions = {region: np.zeros(size, np.uint8) for region, size in sizes.items() if size}
    regions[0] = np.frombuffer(bytearray(network.read_only), np.uint8)
    written: dict[int, list[tuple[int, int]]] = {one.region: [] for one in network.outputs}
    for tensor, data in zip(network.inputs, inputs, strict=True):
        end = tensor.address + tensor.nbytes
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        regions[tensor.region][tensor.address : end] = raw
        written.setdefault(tensor.region, []).append((tensor.address, end))
    return regions, written


def read_output(regions: dict[int, NDArray[np.uint8]], tensor: NetworkTensor) -> bytes:
    """The bytes of an output."""
    return regions[tensor.region][tensor.address : tensor.address + tensor.nbytes].tobytes()


def run_network(
    network: CompiledNetwork, accelerator: str, inputs: Sequence[NDArray[Any]], **options: Any
) -> tuple[list[bytes], Trace]:
    """One inference on the functional model: the outputs' bytes, and what was run."""
    regions, written = memory_of(network, inputs)
    stream = parse_driver_payload(network.payload)
    trace = run_stream(stream, regions, accelerator, written=written, **options)
    return [read_output(regions, tensor) for tensor in network.outputs], trace


def check_model(path: Path, accelerator: str, count: int, optimise: str = "performance") -> None:
    """Vela's stream for a model computes what TFLite Micro computes, and raises no alarm."""
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    network = compile_by_vela(path.read_bytes(), accelerator, optimise)
    inputs = draw_inputs(path, network, count)
    expected = _reference(path, count, tuple(network.inputs))
    for index, (one, reference) in enumerate(zip(inputs, expected, strict=True)):
        outputs, _ = run_network(network, accelerator, one)
        for got, wanted in zip(outputs, reference, strict=True):
            assert got == wanted.tobytes(), f"inference {index} differs"


@functools.lru_cache(maxsize=16)
def _reference(
    path: Path, count: int, inputs: tuple[NetworkTensor, ...]
) -> list[list[NDArray[Any]]]:
    network = CompiledNetwork(b"", b"", 0, 0, inputs, (), 0, 0, 0, 0, ())
    return reference_outputs(path, draw_inputs(path, network, count))


@functools.lru_cache(maxsize=8)
def vela_file(network: bytes, accelerator: str) -> bytes:
    """The TFLite file that Vela's command line would write."""
    pytest.importorskip("ethosu.regor", reason="Arm's Vela is not installed")
    family, macs = accelerator.removeprefix("ethos-").split("-")
    two_cores = accelerator == "ethos-u65-512"
    return compile_tflite(
        network,
        accelerator,
        macs=256 if two_cores else int(macs),
        cores=2 if two_cores else 1,
        system=SYSTEMS[family],
        memory="Shared_Sram",
        config=vela_config(),
    )
