"""C that calls Arm's driver functions runs on the host and in QEMU, on a model behind a stub."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vela_streams import compile_by_vela, draw_inputs, run_network

from tinyaot.targets import Port, Program, TinyaotError, build_image, get_target, run_image
from tinyaot.targets.ethos_u.regor import CompiledNetwork

Find = Callable[[str], Path]
ACCELERATOR = "ethos-u55-128"

HEADER = """\
#include <stdint.h>
struct tinyaot_npu_inputs { const int8_t *in; };
struct tinyaot_npu_outputs { int8_t *out; };
int32_t tinyaot_npu_run(const struct tinyaot_npu_inputs *in, const struct tinyaot_npu_outputs *out);
"""
SOURCE = """\
#include "ethosu_driver.h"
#include "tinyaot_npu.h"

static const uint32_t payload[] __attribute__((aligned(16))) = {{{payload}}};
static const uint8_t weights[] __attribute__((aligned(16))) = {{{weights}}};
static uint8_t arena[{arena}] __attribute__((aligned(16)));
static uint8_t input[{input}] __attribute__((aligned(16)));
static uint8_t output[{output}] __attribute__((aligned(16)));

int32_t tinyaot_npu_run(const struct tinyaot_npu_inputs *in, const struct tinyaot_npu_outputs *out)
{{
    for (uint32_t at = 0; at < sizeof input; at++) {{
        input[at] = (uint8_t)in->in[at];
    }}
    uint64_t base[5] = {{(uintptr_t)weights, (uintptr_t)arena, (uintptr_t)arena,
                        (uintptr_t)input + {skew}, (uintptr_t)output}};
    const size_t sizes[5] = {{sizeof weights, sizeof arena, 0, sizeof input, sizeof output}};
    struct ethosu_driver *driver = ethosu_reserve_driver();
    if (driver == 0 || ethosu_reserve_driver() != 0) {{
        return -2;
    }}
    const int failed = ethosu_invoke_v3(driver, payload, sizeof payload, base, sizes, 5, 0);
    ethosu_release_driver(driver);
    for (uint32_t at = 0; at < sizeof output; at++) {{
        out->out[at] = (int8_t)output[at];
    }}
    return failed;
}}
"""


def program(network: CompiledNetwork, payload: bytes, skew: int = 0) -> Program:
    source = SOURCE.format(
        payload=", ".join(str(word) for word in np.frombuffer(payload, "<u4")),
        weights=", ".join(str(byte) for byte in network.read_only),
        arena=network.scratch_bytes,
        input=network.inputs[0].nbytes,
        output=network.outputs[0].nbytes,
        skew=skew,
    )
    return Program(
        name="npu",
        files={"tinyaot_npu.h": HEADER, "tinyaot_npu.c": source},
        inputs=(Port("in", "int8_t", network.inputs[0].nbytes),),
        outputs=(Port("out", "int8_t", network.outputs[0].nbytes),),
        operators=(),
        npu=ACCELERATOR,
    )


def target_or_skip(name: str) -> str:
    tools = ("cc",) if name == "host" else ("arm-none-eabi-gcc", "qemu-system-arm")
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    return name


@pytest.mark.parametrize("name", ["host", "cortex-m55"])
def test_two_inferences(mlperf_tiny: Find, tmp_path: Path, name: str) -> None:
    path = mlperf_tiny("kws_int8.tflite")
    network = compile_by_vela(path.read_bytes(), ACCELERATOR)
    inputs = draw_inputs(path, network, 2)
    target = get_target(target_or_skip(name))
    image = build_image(program(network, network.payload), target, directory=tmp_path)
    result = run_image(image, [[one[0].tobytes()] for one in inputs])
    for one, outputs in zip(inputs, result.outputs, strict=True):
        assert list(outputs) == run_network(network, ACCELERATOR, one)[0]


def test_a_stream_that_the_model_refuses(mlperf_tiny: Find, tmp_path: Path) -> None:
    network = compile_by_vela(mlperf_tiny("kws_int8.tflite").read_bytes(), ACCELERATOR)
    words = np.frombuffer(network.payload, "<u4").copy()
    words[-1] = 0x0001  # an interrupt in the place of OP_STOP
    target = get_target(target_or_skip("host"))
    image = build_image(program(network, words.tobytes()), target, directory=tmp_path)
    with pytest.raises(TinyaotError, match="no OP_STOP"):
        run_image(image, [[bytes(network.inputs[0].nbytes)]])


def test_an_accelerator_without_model(mlperf_tiny: Find, tmp_path: Path) -> None:
    network = compile_by_vela(mlperf_tiny("kws_int8.tflite").read_bytes(), ACCELERATOR)
    target = get_target(target_or_skip("host"))
    made = program(network, network.payload)
    made = Program(**{**vars(made), "npu": "ethos-u85-256"})
    image = build_image(made, target, directory=tmp_path)
    with pytest.raises(TinyaotError, match="no functional model of ethos-u85-256"):
        run_image(image, [[bytes(network.inputs[0].nbytes)]])


@pytest.mark.parametrize("what", ["payload", "address"])
def test_what_the_driver_itself_refuses(mlperf_tiny: Find, tmp_path: Path, what: str) -> None:
    network = compile_by_vela(mlperf_tiny("kws_int8.tflite").read_bytes(), ACCELERATOR)
    payload = network.payload if what == "address" else b"COP2" + network.payload[4:]
    made = program(network, payload, skew=4 if what == "address" else 0)
    image = build_image(made, get_target(target_or_skip("host")), directory=tmp_path)
    with pytest.raises(TinyaotError, match="npu returned -1 on inference 0"):
        run_image(image, [[bytes(network.inputs[0].nbytes)]])
