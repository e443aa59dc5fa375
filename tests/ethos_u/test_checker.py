"""The checks beside the functional model name the command at fault; Vela's streams raise none."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from npu_mutations import noticed, sample
from numpy.typing import NDArray
from vela_streams import compile_by_vela, memory_of

from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.model import (
    StreamError,
    disassemble,
    parse_driver_payload,
    run_stream,
)
from tinyaot.targets.ethos_u.model.stream import Command, decode_stream

Find = Callable[[str], Path]
ACCELERATOR = "ethos-u55-128"


class Planted:
    """The stream of ResNet8, to be damaged and run."""

    def __init__(self, path: Path) -> None:
        self.network = compile_by_vela(path.read_bytes(), ACCELERATOR)
        self.stream = parse_driver_payload(self.network.payload)
        self.commands = decode_stream(self.stream)

    def find(self, name: str, chosen: Callable[[Command], bool] = lambda _: True) -> Command:
        return next(one for one in self.commands if one.name == name and chosen(one))

    def set(self, command: Command, value: int) -> NDArray[np.uint32]:
        """The stream with another parameter, or another payload if the command has one."""
        stream = self.stream.copy()
        at = command.offset // 4
        if command.payload is None:
            stream[at] = (int(stream[at]) & 0xFFFF) | value << 16
        else:
            stream[at + 1] = value
        return stream

    def run(self, stream: NDArray[np.uint32], accelerator: str = ACCELERATOR) -> None:
        data = np.zeros(self.network.inputs[0].nbytes, np.uint8)
        regions, written = memory_of(self.network, [data])
        run_stream(stream, regions, accelerator, written=written)

    def error(self, stream: NDArray[np.uint32]) -> StreamError:
        with pytest.raises(StreamError) as caught:
            self.run(stream)
        return caught.value


@pytest.fixture
def planted(mlperf_tiny: Find) -> Planted:
    return Planted(mlperf_tiny("resnet8_int8.tflite"))


def next_kernel(planted: Planted, command: Command) -> int:
    """Index of the kernel that a setting is for."""
    kernels = ("OP_CONV", "OP_DEPTHWISE", "OP_POOL", "OP_ELEMENTWISE")
    rest = planted.commands[command.index :]
    return next(one.index for one in rest if one.name in kernels)


def test_every_wait_is_needed(planted: Planted) -> None:
    waits = [one for one in planted.commands if one.name.endswith("_WAIT")]
    assert {one.name for one in waits} == {"OP_DMA_WAIT", "OP_KERNEL_WAIT"}
    for wait in waits:
        error = planted.error(planted.set(wait, 15))
        assert error.kind == "wait"
        assert error.index is not None
        assert error.index > wait.index
        assert wait.name.removeprefix("OP_") in error.problem


def test_blockdep(planted: Planted) -> None:
    settings = [one for one in planted.commands if one.name == "SET_BLOCKDEP"]
    ends = [*(one.index for one in settings[1:]), len(planted.commands)]
    raised = [
        (setting, end, planted.set(setting, 3))
        for setting, end in zip(settings[1:], ends[1:], strict=True)
        if setting.parameter < 3
    ]
    caught: list[tuple[Command, int, StreamError]] = []
    for setting, end, stream in raised:
        try:
            planted.run(stream)
        except StreamError as error:
            caught.append((setting, end, error))
    # Vela is at times more careful than the exact areas ask for.
    assert len(caught) >= max(4, 0.8 * len(raised))
    for setting, end, error in caught:
        assert error.kind == "blockdep"
        # The setting stays as it is until the next one.
        assert setting.index < (error.index or 0) < end


@pytest.mark.parametrize(
    ("name", "value", "kind", "says"),
    [
        ("SET_IFM_BASE0", 0x7FFFF0, "address", "outside of region 3"),
        ("SET_OFM_REGION", 0, "address", "would write to region 0"),
        ("SET_OFM_REGION", 7, "address", "no region 7"),
        ("SET_OFM_BASE0", 8, "alignment", "aligned to 16"),
        ("SET_WEIGHT_BASE", 8, "alignment", "aligned to 16"),
        ("SET_DMA0_LEN", 40, "alignment", "multiple of 16"),
        ("SET_AB_START", 23, "shram", "accumulators need"),
        ("SET_IFM_IB_END", 3, "shram", "the input needs"),
        ("SET_OFM_BLK_DEPTH_M1", 11, "block", "multiple of 8"),
        ("SET_OFM_BLK_WIDTH_M1", 65, "block", "up to 64"),
        ("SET_BLOCKDEP", 4, "register", "more than 3"),
        ("SET_OFM_HEIGHT_M1", 60000, "address", "elements"),
        ("SET_IFM_PAD_TOP", 9, "shape", "less than the kernel"),
        ("SET_ACTIVATION", 9, "register", "reserved"),
        ("SET_SCALE_LENGTH", 16, "weights", "16 channels have 160 bytes"),
    ],
)
def test_planted(planted: Planted, name: str, value: int, kind: str, says: str) -> None:
    setting = planted.find(name)
    error = planted.error(planted.set(setting, value))
    assert error.kind == kind
    assert says in error.problem
    assert error.message.startswith(f"command {error.index} (")


def test_unwritten_memory(planted: Planted) -> None:
    regions, _ = memory_of(planted.network, [np.zeros(planted.network.inputs[0].nbytes, np.uint8)])
    with pytest.raises(StreamError, match="reads memory that nothing wrote: region 3") as caught:
        run_stream(planted.stream, regions, ACCELERATOR, written={3: []})
    assert caught.value.kind == "unwritten"
    run_stream(planted.stream, regions, ACCELERATOR, written={3: []}, check=False)


def test_table_that_was_overwritten(planted: Planted) -> None:
    """A look-up table is lost to a transfer that goes elsewhere."""
    into = [one for one in planted.commands if one.name == "SET_DMA0_DST" if one.payload]
    table = next(one for one in into if one.payload == 22 * 1024)
    error = planted.error(planted.set(table, 21 * 1024))
    assert error.kind == "shram"
    error = planted.error(planted.set(table, 23 * 1024))
    assert error.kind == "unwritten"
    assert "look-up table" in error.problem


def test_the_form_of_a_stream(planted: Planted) -> None:
    stop = planted.commands[-1]
    assert "no OP_STOP" in planted.error(planted.stream[:-1]).problem
    assert "goes on after" in planted.error(np.append(planted.stream, stop.parameter << 16)).problem
    assert "is no command" in planted.error(np.append(planted.stream[:-1], 0x3FF)).problem
    assert "before its payload" in planted.error(planted.stream[:2]).problem
    with pytest.raises(TinyaotError, match="unknown accelerator"):
        planted.run(planted.stream, "ethos-u99")


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b"", "not a whole number of words"),
        (b"COP1COP", "not a whole number of words"),
        (b"COP2" + bytes(28), "does not start with COP1"),
        (b"COP1" + bytes([5, 0, 0, 0]), "holds no command stream"),
        (b"COP1" + bytes([2, 0, 9, 0]), "ends after 0 of 9 words"),
        (b"COP1" + bytes([4, 0, 0, 0]), "DUMP_SHRAM"),
    ],
)
def test_damaged_payloads(payload: bytes, says: str) -> None:
    with pytest.raises(StreamError, match=says):
        parse_driver_payload(payload)


def test_disassembly_is_the_stream(planted: Planted) -> None:
    lines = disassemble(planted.stream, ACCELERATOR)
    assert len(lines) == len(planted.commands)
    offsets = [int(line.split()[1], 16) for line in lines]
    assert all(b - a in (4, 8) for a, b in itertools.pairwise(offsets))


def test_mutations(mlperf_tiny: Find) -> None:
    """A sample of npu_mutations.py, which also is the campaign; in a process without threads."""
    arguments = mlperf_tiny("resnet8_int8.tflite"), ACCELERATOR, 36, 3
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        functional, hazards = pool.apply(sample, arguments)
    found, total = noticed(functional)
    assert total >= 36
    assert found >= 0.9 * total
    assert hazards["wait left out"]["nothing"] == 0
