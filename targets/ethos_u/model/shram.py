"""How operations use the accelerator's shared RAM, and whether they fit.

From the start: banks for the output, the input in two buffers, the accumulators in two buffers, and
in the last two banks the look-up tables. The sizes follow Vela's `architecture_allocator.py`.
"""

from __future__ import annotations

from tinyaot.targets.ethos_u.model.hardware import (
    BANK_BYTES,
    MAX_BLOCK,
    OUTPUT_BANKS,
    SUBKERNEL,
    Hardware,
)
from tinyaot.targets.ethos_u.model.memory import Fail
from tinyaot.targets.ethos_u.model.operation import NEAREST, Operation


def _round_up(value: int, multiple: int) -> int:
    return value + -value % multiple


def _buffers(nbytes: int, granule: int) -> int:
    """Banks of a double buffer."""
    return _round_up(-(-nbytes // BANK_BYTES) * 2, granule)


def input_banks(hardware: Hardware, op: Operation) -> int:
    """Banks that the input of one output block takes."""
    bits = 8 * op.ifm.itemsize
    extents = []
    one_row = op.ofm.shape[0] == 1 and op.kernel.area[0] == 1
    for axis in range(2):
        block = 1 if axis == 0 and one_row else op.block[axis]
        area = min(op.kernel.area[axis], SUBKERNEL)
        needed = (block - 1) * op.kernel.stride[axis] + area + (op.upscale == NEAREST)
        extents.append(_round_up(-(-needed // (2 if op.upscale else 1)), hardware.ofm_block[axis]))
    depth = op.block[2]
    if op.kind == "conv" or op.mode == "reduce_sum":
        widest = 16 if op.kernel.part_kernel or bits == 16 else 32
        depth = min(op.ifm.shape[2], widest)
        depth = _round_up(depth, 4 if bits == 16 else hardware.ifm_depth)
    nbytes = extents[0] * extents[1] * _round_up(depth * bits // 8, 8)
    return _buffers(nbytes, hardware.ifm_granule[bits])


def accumulator_banks(hardware: Hardware, op: Operation) -> int:
    """Banks that the accumulators of one output block take."""
    if op.kind == "elementwise":
        return 0
    height, width, depth = op.block
    # Where the output has one row, the second row of micro-blocks is not used.
    if op.ofm.shape[0] == 1 and op.kernel.area[0] == 1 and hardware.ofm_block[0] == 2:
        height = 1
    nbytes = height * width * _round_up(depth, 8) * op.accumulator_bits // 8
    return _buffers(nbytes, hardware.accumulator_granule[op.accumulator_bits])


def used_end(hardware: Hardware, op: Operation) -> int:
    """The first byte of shared RAM that the operation leaves as it is."""
    reserved = max(2 if op.uses_table else 0, hardware.reserved_end_banks)
    end = op.input_end if op.kind == "elementwise" else op.accumulator_start
    return (
        min(max(op.input_end, end + accumulator_banks(hardware, op)), hardware.banks - reserved)
        * BANK_BYTES
    )


def check(hardware: Hardware, op: Operation, fail: Fail) -> None:
    """Fails if the block or its place in shared RAM cannot be.

    Raises:
        StreamError: the block is not made of micro-blocks, or the buffers overlap or do not fit.
    """
    for axis, name in enumerate(("height", "width", "depth")):
        if op.block[axis] % hardware.ofm_block[axis] or op.block[axis] > MAX_BLOCK[axis]:
            raise fail(
                f"the block's {name} {op.block[axis]} is not a multiple of "
                f"{hardware.ofm_block[axis]} up to {MAX_BLOCK[axis]}",
                "block",
            )
    end = hardware.banks - max(2 if op.uses_table else 0, hardware.reserved_end_banks)
    needed = input_banks(hardware, op)
    input_end = op.input_end
    if op.ifm2 is not None:
        if op.input2_start + needed > op.input_end:
            raise fail(
                f"the second input needs {needed} banks of shared RAM, "
                f"{op.input2_start} to {op.input_end} are set aside",
                "shram",
            )
        input_end = op.input2_start
    if input_end - OUTPUT_BANKS < needed:
        raise fail(
            f"the input needs {needed} banks of shared RAM, "
            f"{OUTPUT_BANKS} to {input_end} are set aside",
            "shram",
        )
    if op.kind == "elementwise":
        if op.input_end > end:
            raise fail(f"the input buffers end at bank {op.input_end}, of {end} there are", "shram")
        return
    if op.input_end > op.accumulator_start:
        raise fail(
            f"the input buffers end at bank {op.input_end}, "
            f"above the accumulators' start {op.accumulator_start}",
            "shram",
        )
    accumulators = accumulator_banks(hardware, op)
    if op.accumulator_start + accumulators > end:
        raise fail(
            f"accumulators need {accumulators} banks of shared RAM, "
            f"from {op.accumulator_start} on there are {end - op.accumulator_start}",
            "shram",
        )
