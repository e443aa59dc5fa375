"""The workloads of an NPU: a group of operators, and one operation of it as tuning knows it."""

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


@dataclass(frozen=True)
class NpuOperation(Workload):
    """One operation of a group, as what records of its sizes are kept under.

    Attributes:
        operation: such as `conv2d`; see `targets.ethos_u.operation.Operation`.
        input_shape, second_shape, output_shape: height, width, channels; `second_shape` is empty
            where there is one operand.
        kernel, strides, dilation: height and width.
        padding: top, left, bottom, right.
        input_type, output_type: of the elements.
        table: whether it ends in a look-up table.
        upscale: how the input is doubled.
        accelerator, system, memory: names.
        group: identifies the group with all its operations, the configuration and the limit of
            SRAM; empty for any.
        place: number of the operation in the group; -1 for any.
    """

    operation: str
    input_shape: tuple[int, ...]
    second_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, ...]
    input_type: str
    output_type: str
    table: bool
    upscale: str
    accelerator: str
    system: str
    memory: str
    group: str = ""
    place: int = -1
