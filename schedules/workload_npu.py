"""The workload of a group of operators that runs on an NPU."""

from __future__ import annotations

from dataclasses import dataclass

from tinyaot.schedules.workload import Workload


@dataclass(frozen=True)
class NpuRegion(Workload):
    """A command stream that computes several outputs of several inputs at once.

    Constants stream, what the driver gets, and weights, both uint8. Base pointers are the weights,
    the workspace, the cache, and then inputs and outputs in order.

    Attributes:
        accelerator: name.
        input_sizes, output_sizes: bytes.
        workspace: bytes of scratch memory in the arena.
        cache: bytes of scratch memory in the NPU's own SRAM; 0 where the arena is there.
        operations: how many commands it has.
        done_macs: multiply-accumulates of the operators in it.
    """

    accelerator: str
    input_sizes: tuple[int, ...]
    output_sizes: tuple[int, ...]
    workspace: int
    cache: int
    operations: int
    done_macs: int

    @property
    def macs(self) -> int:
        return self.done_macs
