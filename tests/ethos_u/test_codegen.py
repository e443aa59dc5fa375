"""Vela's code in the place of our own: groups cut out of their file, and who makes the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder
from vela_streams import compile_by_vela, read_output

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs, reference_outputs
from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.model import parse_driver_payload, run_stream
from tinyaot.targets.ethos_u.ports import separate_ports

Find = Callable[[str], Path]


@pytest.fixture(autouse=True)
def vela() -> None:
    pytest.importorskip("ethosu.regor", reason="Arm's Vela is not installed")


def two_ports(path: Path) -> Path:
    """Two inputs and two outputs, of different sizes."""
    b = TFLiteBuilder()
    x, y = b.input((1, 8, 8, 16), 0.1, 3), b.input((1, 8, 8, 16), 0.2, -5)
    total = b.operator("ADD", [x, y], (1, 8, 8, 16), scale=0.25, options="AddOptions")
    b.output(total)
    b.output(b.max_pool2d(total, (2, 2)))
    path.write_bytes(b.build())
    return path


def test_every_port_in_a_region_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    path = two_ports(tmp_path / "two.tflite")
    network = compile_by_vela(path.read_bytes(), "ethos-u55-128")
    stream = parse_driver_payload(separate_ports(network))
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, (1, 8, 8, 16), np.int8) for _ in range(2)]
    regions = {0: np.frombuffer(bytearray(network.read_only) or bytearray(16), np.uint8)}
    regions[1] = np.zeros(network.scratch_bytes + 16, np.uint8)
    for index, one in enumerate(inputs):
        regions[3 + index] = one.reshape(-1).view(np.uint8).copy()
    for index, tensor in enumerate(network.outputs):
        regions[5 + index] = np.zeros(tensor.nbytes, np.uint8)
    run_stream(stream, regions, "ethos-u55-128", written={5: [], 6: []})
    expected = reference_outputs(path, [inputs])[0]
    for index, one in enumerate(expected):
        assert regions[5 + index].tobytes() == one.tobytes()


def test_one_port_stays_as_it_is(mlperf_tiny: Find) -> None:
    network = compile_by_vela(mlperf_tiny("kws_int8.tflite").read_bytes(), "ethos-u55-128")
    assert separate_ports(network) == network.payload
    assert read_output({4: np.zeros(12, np.uint8)}, network.outputs[0]) == bytes(12)


@pytest.mark.parametrize("codegen", ["vela", "best"])
def test_a_model_by_vela(mlperf_tiny: Find, codegen: str) -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    path = mlperf_tiny("kws_int8.tflite")
    compiled = compile_model(path, "host+ethos-u55-128", npu={"codegen": codegen})
    inputs = random_inputs(compiled.inputs, 2)
    expected = compiled.reference(path, inputs)
    got = compiled.measure(inputs, on="host").outputs
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_u85_is_compiled_by_vela(mlperf_tiny: Find, tmp_path: Path) -> None:
    compiled = compile_model(mlperf_tiny("kws_int8.tflite"), "cortex-m55+ethos-u85-256")
    compiled.save(tmp_path / "kws.tar")
    with pytest.raises(TinyaotError, match="no functional model of ethos-u85-256"):
        compiled.measure(random_inputs(compiled.inputs, 1))


def test_what_vela_refuses_stays_on_the_cpu(tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    b = TFLiteBuilder()
    x = b.input((1, 8, 8, 16), 0.1, 3)
    pooled = b.max_pool2d(x, (2, 2))
    b.output(b.operator("L2_NORMALIZATION", [pooled], pooled.shape, scale=1 / 128))
    path = tmp_path / "mixed.tflite"
    path.write_bytes(b.build())
    compiled = compile_model(path, "host+ethos-u55-128", npu={"codegen": "vela"})
    calls = [node.origin for node in compiled.graph.nodes]
    assert any("ethos-u55-128" in one for one in calls), calls
    assert any(one.startswith("L2_NORMALIZATION") for one in calls), calls
    inputs = random_inputs(compiled.inputs, 2)
    expected = compiled.reference(path, inputs)
    got = compiled.measure(inputs, on="host").outputs
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
