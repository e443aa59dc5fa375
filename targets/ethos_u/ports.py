"""A base pointer for each input and output of a stream that has one for all inputs and outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.ethos_u.regor import CompiledNetwork, NetworkTensor

FIRST_PORT, REGIONS = 3, 8
"""The region of the first input; how many there can be."""

_KERNELS = (0x002, 0x003, 0x005, 0x006, 0x007)
_DMA_START, _DMA_LENGTH = 0x010, 0x032
_PAYLOAD, _CODE = 0x4000, 0x3FF
_COMMAND_STREAM = 2
# Of what each operation addresses: the register of its region, and those of its addresses. U55,
# U65 and U85 have the same; see the interface headers of Arm's ethos-u-core-driver.
_KERNEL_SIDES = (
    (0x10F, (0x000, 0x001, 0x002, 0x003)),
    (0x18F, (0x080, 0x081, 0x082, 0x083)),
    (0x11F, (0x010, 0x011, 0x012, 0x013)),
)
_DMA_SIDES = ((0x130, (0x030,)), (0x131, (0x031,)))
_DEFERRED = {(False, region) for region, _ in (*_KERNEL_SIDES, *_DMA_SIDES)} | {
    (True, base) for _, bases in (*_KERNEL_SIDES, *_DMA_SIDES) for base in bases
}


def separate_ports(network: CompiledNetwork) -> bytes:
    """The payload of a network with every input and output in a region of its own.

    Inputs are in regions 3 and on, outputs in those after them. Registers of regions and addresses
    are set where they are used, all others stay where they are.

    Raises:
        TinyaotError: there are more inputs and outputs than regions.
    """
    tensors = (*network.inputs, *network.outputs)
    if len(tensors) > REGIONS - FIRST_PORT:
        raise TinyaotError(
            f"{len(tensors)} inputs and outputs, an NPU has base pointers for "
            f"{REGIONS - FIRST_PORT}"
        )
    if all(
        (tensor.region, tensor.address) == (FIRST_PORT + index, 0)
        for index, tensor in enumerate(tensors)
    ):
        return network.payload
    words = np.frombuffer(network.payload, "<u4").tolist()
    start = _stream_start(words)
    stream = _Rewriter(tensors).rewrite(words[start:])
    length = len(stream)
    words[start - 1] = _COMMAND_STREAM | (length >> 16) << 8 | (length & 0xFFFF) << 16
    return np.array(words[:start] + stream, "<u4").tobytes()


def _stream_start(words: list[int]) -> int:
    at = 1
    while words[at] & 0xFF != _COMMAND_STREAM:
        at += 3 if words[at] & 0xFF == 1 else 1
    return at + 1


class _Rewriter:
    def __init__(self, tensors: tuple[NetworkTensor, ...]) -> None:
        self._tensors = tensors
        self._wanted: dict[tuple[bool, int], int] = {}
        self._set: dict[tuple[bool, int], int] = {}
        self._words: list[int] = []

    def rewrite(self, stream: list[int]) -> list[int]:
        at = 0
        while at < len(stream):
            word = stream[at]
            code, has_payload = word & _CODE, bool(word & _PAYLOAD)
            size = 2 if has_payload else 1
            key = (has_payload, code)
            if key in _DEFERRED:
                value = (stream[at + 1] | (word >> 16) << 32) if has_payload else word >> 16
                self._wanted[key] = value
            else:
                if not has_payload and code in _KERNELS:
                    self._place(_KERNEL_SIDES)
                elif not has_payload and code == _DMA_START:
                    self._place(_DMA_SIDES)
                self._words += stream[at : at + size]
            at += size
        return self._words

    def _place(self, sides: tuple[tuple[int, tuple[int, ...]], ...]) -> None:
        for region_code, bases in sides:
            region = self._wanted.get((False, region_code))
            if region is None:
                continue
            addresses = [self._wanted.get((True, base)) for base in bases]
            number, origin, end = region, 0, 1 << 40
            for index, tensor in enumerate(self._tensors):
                first = addresses[0] or 0
                inside = tensor.address <= first < tensor.address + tensor.nbytes
                if region == tensor.region and inside:
                    number, origin = FIRST_PORT + index, tensor.address
                    end = tensor.address + tensor.nbytes
            self._emit((False, region_code), number)
            for base, address in zip(bases, addresses, strict=True):
                if address is not None:
                    used = origin <= address < end
                    self._emit((True, base), address - origin if used else 0)

    def _emit(self, key: tuple[bool, int], value: int) -> None:
        if self._set.get(key) == value:
            return
        self._set[key] = value
        has_payload, code = key
        if has_payload:
            self._words += [code | _PAYLOAD | value >> 32 << 16, value & 0xFFFFFFFF]
        else:
            self._words.append(code | value << 16)


def transferred_bytes(stream: NDArray[np.uint32]) -> int:
    """Bytes that a stream's transfers move, each of one dimension; of U85 too."""
    words = stream.tolist()
    at = length = total = 0
    while at < len(words):
        has_payload, code = bool(words[at] & _PAYLOAD), words[at] & _CODE
        if has_payload and code == _DMA_LENGTH:
            length = words[at + 1]
        elif not has_payload and code == _DMA_START:
            total += length
        at += 2 if has_payload else 1
    return total
