"""What may run at the same time, and whether it may.

Kernels start in order, and up to BLOCKDEP block jobs of the kernel before may still run when one
starts; transfers run beside kernels until a wait. Both limits, and the order of blocks, are as in
Vela's `register_command_stream_util.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tinyaot.targets.ethos_u.model.feature_map import Box, FeatureMap
from tinyaot.targets.ethos_u.model.hardware import SUBKERNEL, Hardware
from tinyaot.targets.ethos_u.model.memory import Fail, Memory
from tinyaot.targets.ethos_u.model.operation import Operation
from tinyaot.targets.ethos_u.model.ranges import Ranges, overlap
from tinyaot.targets.ethos_u.model.stream import Command

_OUTSTANDING_KERNELS = 2


@dataclass(frozen=True)
class Access:
    """A kernel or a transfer, and the addresses it reads and writes."""

    command: Command
    reads: tuple[Ranges, ...]
    writes: tuple[Ranges, ...]


@dataclass
class Schedule:
    """Kernels and transfers that may still be under way."""

    hardware: Hardware
    kernels: list[Access] = field(default_factory=list)
    transfers: list[Access] = field(default_factory=list)
    last: tuple[Command, Operation] | None = None

    def wait_kernels(self, outstanding: int) -> None:
        """KERNEL_WAIT: at most so many kernels are under way after it."""
        del self.kernels[: max(len(self.kernels) - outstanding, 0)]

    def wait_transfers(self, outstanding: int) -> None:
        """DMA_WAIT: at most so many transfers are under way after it."""
        del self.transfers[: max(len(self.transfers) - outstanding, 0)]

    def start_kernel(self, access: Access, fail: Fail) -> None:
        """A kernel starts.

        Raises:
            StreamError: it touches what a transfer under way writes, or writes what one reads.
        """
        self._conflicts(access, self.transfers, "DMA_WAIT", fail)
        self.kernels.append(access)
        del self.kernels[: max(len(self.kernels) - _OUTSTANDING_KERNELS, 0)]

    def start_transfer(self, access: Access, fail: Fail) -> None:
        """A transfer starts.

        Raises:
            StreamError: it touches what a kernel under way writes, or writes what one reads.
        """
        self._conflicts(access, self.kernels, "KERNEL_WAIT", fail)
        self.transfers.append(access)
        del self.transfers[: max(len(self.transfers) - self.hardware.outstanding_dma, 0)]

    def _conflicts(self, access: Access, under_way: list[Access], wait: str, fail: Fail) -> None:
        for other in under_way:
            for verb, ours, theirs in (
                ("reads what it writes", access.reads, other.writes),
                ("writes what it reads", access.writes, other.reads),
                ("writes what it writes", access.writes, other.writes),
            ):
                if any(overlap(one, two) is not None for one in ours for two in theirs):
                    raise fail(
                        f"no {wait} since command {other.command.index} "
                        f"({other.command.text}), and this one {verb}",
                        "wait",
                    )

    def check_blockdep(self, op: Operation, command: Command, memory: Memory, fail: Fail) -> None:
        """Whether this kernel may start while the last blocks of the one before still run.

        Raises:
            StreamError: it may read what is not written yet.
        """
        if self.last is not None and op.blockdep:
            earlier, before = self.last
            job = _blockdep_conflict(self.hardware, before, op, memory, fail)
            if job is not None:
                raise fail(
                    f"BLOCKDEP {op.blockdep} lets job {job[0]} run beside output block {job[1]} "
                    f"from the end of command {earlier.index} ({earlier.text}), "
                    f"whose result it reads; {job[0] + job[1]} would not",
                    "blockdep",
                )
        self.last = (command, op)


def _blockdep_conflict(
    hardware: Hardware, before: Operation, op: Operation, memory: Memory, fail: Fail
) -> tuple[int, int] | None:
    inputs = [fm for fm in (op.ifm, op.ifm2) if fm is not None]
    written = _place(memory, before.ofm, None, fail)
    inputs = [fm for fm in inputs if overlap(_place(memory, fm, None, fail), written) is not None]
    for job in range(op.blockdep):
        for fm in inputs:
            box = _input_box(hardware, op, fm, job)
            if box is None:
                continue
            reads = _place(memory, fm, box, fail)
            for back in range(op.blockdep - job):
                block = _block_box(before, -1 - back)
                if block is None:
                    break
                if overlap(reads, _place(memory, before.ofm, block, fail)) is not None:
                    return job, back
    return None


def _place(memory: Memory, fm: FeatureMap, box: Box | None, fail: Fail) -> Ranges:
    return memory.place(fm.region, fm.ranges(box), fail)


def _block_box(op: Operation, index: int) -> Box | None:
    """An output block, from the start or (negative) the end: depth runs fastest, then width."""
    counts = [-(-extent // block) for extent, block in zip(op.ofm.shape, op.block, strict=True)]
    total = counts[0] * counts[1] * counts[2]
    index = index + total if index < 0 else index
    if not 0 <= index < total:
        return None
    z = index % counts[2]
    x = index // counts[2] % counts[1]
    y = index // (counts[2] * counts[1])
    height, width, depth = op.block
    return (
        y * height,
        (y + 1) * height,
        x * width,
        (x + 1) * width,
        z * depth,
        (z + 1) * depth,
    )


def _input_box(hardware: Hardware, op: Operation, fm: FeatureMap, job: int) -> Box | None:
    """What a block job reads: of a convolution one slice of the input's depth."""
    depth = fm.shape[2]
    sliced = op.kind == "conv" or op.mode == "reduce_sum"
    step = min(256 // (8 * fm.itemsize), depth + -depth % hardware.ifm_depth)
    slices = -(-depth // step) if sliced else 1
    block = _block_box(op, job // slices)
    if block is None:
        return None
    rows_columns = []
    for axis in range(2):
        first, end = block[2 * axis], min(block[2 * axis + 1], op.ofm.shape[axis])
        if fm.shape[axis] == 1:
            rows_columns += [0, 1]
            continue
        low = first * op.kernel.stride[axis] - op.kernel.padding[axis]
        high = (
            (end - 1) * op.kernel.stride[axis]
            - op.kernel.padding[axis]
            + min(op.kernel.area[axis], SUBKERNEL)
        )
        if op.upscale:
            low, high = low // 2, -(-high // 2)
        rows_columns += [low, high]
    if sliced:
        c0 = job % slices * step
        channels = (c0, c0 + step)
    else:
        channels = (0, 1) if depth == 1 else (block[4], block[5])
    return (*rows_columns, *channels)  # type: ignore[return-value]
