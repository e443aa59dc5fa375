"""The functional model: runs a command stream on a memory image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.ethos_u.model import shram
from tinyaot.targets.ethos_u.model.arithmetic import LUT_FIRST
from tinyaot.targets.ethos_u.model.compute import Constants, compute
from tinyaot.targets.ethos_u.model.hardware import (
    LUT_BYTES,
    LUT_SLOT_BYTES,
    Hardware,
    get_hardware,
)
from tinyaot.targets.ethos_u.model.hazards import Access, Schedule
from tinyaot.targets.ethos_u.model.memory import SHRAM, Fail, Memory, region_name
from tinyaot.targets.ethos_u.model.operation import Operation, Registers
from tinyaot.targets.ethos_u.model.ranges import Ranges, overlap, single
from tinyaot.targets.ethos_u.model.stream import Command, StreamError, decode_stream
from tinyaot.targets.ethos_u.model.weights import (
    SCALE_BYTES,
    decode_scales,
    decode_weights,
    weight_order,
)

_TABLE_BYTES = {8: 256, 16: 2048, 32: 1024}


@dataclass(frozen=True)
class TracedOperation:
    """A kernel that was run.

    Attributes:
        index: of its command.
        operation: what it was.
        macs: multiply-accumulates.
        constant_bytes: weights and scales that it read.
    """

    index: int
    operation: Operation
    macs: int
    constant_bytes: int


@dataclass(frozen=True)
class Transfer:
    """A transfer by DMA that was run: regions as in the stream, `SHRAM` for shared RAM."""

    index: int
    source: tuple[int, int]
    destination: tuple[int, int]
    length: int


@dataclass(frozen=True)
class Trace:
    """What a stream did.

    Attributes:
        commands: how many there are.
        operations: its kernels in order.
        transfers: its transfers in order.
    """

    commands: int
    operations: tuple[TracedOperation, ...]
    transfers: tuple[Transfer, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all kernels."""
        return sum(one.macs for one in self.operations)

    @property
    def dma_bytes(self) -> int:
        """Bytes of all transfers."""
        return sum(one.length for one in self.transfers)


Observer = Callable[[TracedOperation, NDArray[np.int64]], None]
"""Called after each kernel with its output, of shape height, width, depth."""


def run_stream(
    stream: NDArray[np.uint32],
    regions: Mapping[int, Any],
    accelerator: str,
    *,
    check: bool = True,
    written: Mapping[int, Sequence[tuple[int, int]]] | None = None,
    observe: Observer | None = None,
) -> Trace:
    """Runs a register command stream, bit-exact.

    Args:
        stream: its words, without the driver's payload around it.
        regions: by number of the base pointer (0 read-only, 1 scratch, 2 fast scratch, 3 and on
            inputs and outputs) the bytes, as `bytearray` or `uint8`; changed in place. Arrays may
            share memory.
        accelerator: such as `ethos-u55-128`.
        check: whether to look for what hardware would show as wrong data: memory read before it is
            written, missing waits, too large a BLOCKDEP, shared RAM that overlaps, constants
            written. Addresses outside of regions are errors in any case.
        written: by region, the ranges (first, end) that hold data at the start. A region that is
            not named holds data everywhere, except 1 and 2, which then hold none.
        observe: called after each kernel.

    Returns:
        What was run.

    Raises:
        StreamError: the stream is damaged, or does what it must not; names the command at fault.
        TinyaotError: there is no such accelerator, or Vela is not installed.
    """
    machine = _Machine(get_hardware(accelerator), regions, written, check, observe)
    commands = decode_stream(stream)
    for command in commands:
        if machine.stopped:
            raise StreamError(command.index, command.text, "the stream goes on after OP_STOP")
        machine.step(command)
    if not machine.stopped:
        raise StreamError(None, "", f"the stream has no OP_STOP after its {len(commands)} commands")
    return Trace(len(commands), tuple(machine.operations), tuple(machine.transfers))


class _Machine:
    def __init__(
        self,
        hardware: Hardware,
        regions: Mapping[int, Any],
        written: Mapping[int, Sequence[tuple[int, int]]] | None,
        check: bool,
        observe: Observer | None,
    ) -> None:
        self._hardware = hardware
        self._memory = Memory(regions, hardware, written, check)
        self._registers = Registers(hardware)
        self._schedule = Schedule(hardware)
        self._check = check
        self._observe = observe
        self.operations: list[TracedOperation] = []
        self.transfers: list[Transfer] = []
        self.stopped = False

    def step(self, command: Command) -> None:
        """Runs one command."""

        def fail(problem: str, kind: str = "stream") -> StreamError:
            return StreamError(command.index, command.text, problem, kind)

        if command.name.startswith("SET_"):
            self._registers.set(command)
        elif command.name in ("OP_CONV", "OP_DEPTHWISE", "OP_POOL", "OP_ELEMENTWISE"):
            self._kernel(command, fail)
        elif command.name == "OP_DMA_START":
            self._transfer(command, fail)
        elif command.name == "OP_KERNEL_WAIT":
            self._schedule.wait_kernels(command.parameter)
        elif command.name == "OP_DMA_WAIT":
            self._schedule.wait_transfers(command.parameter)
        elif command.name == "OP_STOP":
            self.stopped = True

    def _kernel(self, command: Command, fail: Fail) -> None:
        op = self._registers.operation(command, fail)
        for fm in (op.ifm, op.ifm2, op.ofm):
            if fm is not None:
                self._memory.check_size(fm, fail)
        if self._check:
            shram.check(self._hardware, op, fail)
        constants, sources = self._constants(op, fail)
        if self._check:
            access = self._access(command, op, sources, fail)
            self._schedule.start_kernel(access, fail)
            self._schedule.check_blockdep(op, command, self._memory, fail)
        ifm = self._memory.read(op.ifm, fail)
        ifm2 = None if op.ifm2 is None else self._memory.read(op.ifm2, fail)
        result = compute(op, ifm, ifm2, constants, fail)
        self._memory.write(op.ofm, result, fail)
        if not op.uses_table:
            self._memory.forget(0, shram.used_end(self._hardware, op))
        traced = TracedOperation(
            command.index,
            op,
            op.macs,
            sum(length for region, _, length in sources if region != SHRAM),
        )
        self.operations.append(traced)
        if self._observe is not None:
            self._observe(traced, result)

    def _access(
        self, command: Command, op: Operation, sources: Sequence[tuple[int, int, int]], fail: Fail
    ) -> Access:
        place = self._memory.place
        inputs = [place(fm.region, fm.ranges(), fail) for fm in (op.ifm, op.ifm2) if fm is not None]
        reads = [
            place(region, single(address, length), fail) for region, address, length in sources
        ]
        output = place(op.ofm.region, op.ofm.ranges(), fail)
        self._check_in_place(op, output, inputs, reads, fail)
        buffers = self._memory.shram(0, shram.used_end(self._hardware, op), fail)
        return Access(command, (*inputs, *reads), (output, buffers))

    def _check_in_place(
        self,
        op: Operation,
        output: Ranges,
        inputs: Sequence[Ranges],
        constants: Sequence[Ranges],
        fail: Fail,
    ) -> None:
        if any(overlap(output, one) is not None for one in constants):
            raise fail("OFM overwrites the operation's own constants", "overlap")
        for fm, one in zip((op.ifm, op.ifm2), inputs, strict=False):
            if fm is None or overlap(output, one) is None:
                continue
            same = fm.itemsize == op.ofm.itemsize and fm.shape == op.ofm.shape
            if op.kind == "elementwise" and same and fm.region == op.ofm.region:
                same = bool((fm.addresses() == op.ofm.addresses()).all())
            if op.kind != "elementwise" or not same:
                raise fail(f"OFM overwrites the operation's own {fm.name}", "overlap")

    def _constants(self, op: Operation, fail: Fail) -> tuple[Constants, list[tuple[int, int, int]]]:
        """What the operation reads besides its inputs, and where: region, address, length."""
        sources: list[tuple[int, int, int]] = []
        weights = bias = multiplier = shift = table = None
        if op.weights is not None and op.scales is not None:
            weights = self._weights(op, sources, fail)
            bias, multiplier, shift = self._scales(op, sources, fail)
        if op.uses_table:
            table = self._table(op, sources, fail)
        return Constants(weights, bias, multiplier, shift, table), sources

    def _channels(self, op: Operation, core: int) -> int:
        """How many output channels a core computes."""
        return len(range(core, op.ofm.shape[2], op.cores))

    def _weights(
        self, op: Operation, sources: list[tuple[int, int, int]], fail: Fail
    ) -> NDArray[np.int16]:
        assert op.weights is not None
        depthwise = op.kind == "depthwise"
        inner = (*op.kernel.size, 1 if depthwise else op.ifm.shape[2])
        weights = np.zeros((op.ofm.shape[2], *inner), np.int16)
        for core, (address, length) in enumerate(op.weights.ranges):
            channels = self._channels(op, core)
            what = f"WEIGHT{core or ''}"
            if not channels:
                continue
            data = self._memory.load(op.weights.region, address, length, what, fail)
            sources.append((op.weights.region, address, length))
            order = weight_order(
                self._hardware,
                core,
                (channels, *inner),
                op.block[2],
                cores=op.cores,
                depthwise=depthwise,
                part_kernel=op.kernel.part_kernel,
                bits=8 * op.ifm.itemsize,
                dilation=op.kernel.dilation,
            )
            try:
                weights[core :: op.cores] = decode_weights(data.tobytes(), order)
            except ValueError as error:
                raise fail(f"the weights at {address:#x} do not fit: {error}", "weights") from error
        return weights

    def _scales(
        self, op: Operation, sources: list[tuple[int, int, int]], fail: Fail
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        assert op.scales is not None
        records = np.zeros((3, op.ofm.shape[2]), np.int64)
        for core, (address, length) in enumerate(op.scales.ranges):
            channels = self._channels(op, core)
            needed = channels * SCALE_BYTES
            if not channels:
                continue
            if length < needed or length >= needed + 16:
                raise fail(
                    f"SCALE{core or ''}_LENGTH is {length}; {channels} channels have {needed} "
                    "bytes, rounded up to 16",
                    "weights",
                )
            data = self._memory.load(op.scales.region, address, needed, f"SCALE{core or ''}", fail)
            sources.append((op.scales.region, address, needed))
            records[:, core :: op.cores] = decode_scales(data, channels)
        return records[0], records[1], records[2]

    def _table(
        self, op: Operation, sources: list[tuple[int, int, int]], fail: Fail
    ) -> NDArray[np.uint8]:
        length = _TABLE_BYTES[op.table_bits]
        slot = op.activation - LUT_FIRST
        if slot * LUT_SLOT_BYTES % length or slot * LUT_SLOT_BYTES + length > LUT_BYTES:
            raise fail(
                f"a table of {length} bytes cannot start at slot {slot} of {LUT_SLOT_BYTES} bytes",
                "shram",
            )
        address = self._hardware.lut_address + slot * LUT_SLOT_BYTES
        table = self._memory.load(SHRAM, address, length, "the look-up table", fail)
        sources.append((SHRAM, address, length))
        return table

    def _transfer(self, command: Command, fail: Fail) -> None:
        ends = []
        for side in ("SRC", "DST"):
            word = self._registers.short(f"DMA0_{side}_REGION", fail)
            if word >> 9:
                raise fail("transfers of more than one dimension are not supported", "unsupported")
            region = SHRAM if word & 0x100 else word & 0xFF
            ends.append((region, self._registers.address(f"DMA0_{side}", fail)))
        length = self._registers.address("DMA0_LEN", fail)
        source, destination = ends
        if command.parameter:
            raise fail("only channel 0 and mode 0 exist", "register")
        aligned = not self._hardware.unaligned_dma
        for name, (region, address) in (("DMA0_SRC", source), ("DMA0_DST", destination)):
            if (aligned or region == SHRAM) and address % 16:
                raise fail(f"{name} {address:#x} is not aligned to 16", "alignment")
        if (aligned or destination[0] == SHRAM) and length % 16:
            raise fail(f"DMA0_LEN {length} is not a multiple of 16", "alignment")
        if not length:
            raise fail("the transfer has no length", "register")
        if destination[0] == SHRAM and destination[1] < self._hardware.lut_address and self._check:
            raise fail(
                f"the transfer to {region_name(SHRAM)} at {destination[1]:#x} "
                f"is below its tables at {self._hardware.lut_address:#x}",
                "shram",
            )
        if self._check:
            place = self._memory.place
            access = Access(
                command,
                (place(source[0], single(source[1], length), fail),),
                (place(destination[0], single(destination[1], length), fail),),
            )
            self._schedule.start_transfer(access, fail)
        self._memory.copy(source, destination, length, fail)
        self.transfers.append(Transfer(command.index, source, destination, length))
