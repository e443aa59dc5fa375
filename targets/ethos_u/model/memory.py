"""The memory image that a stream runs on, and what is known about each of its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.ethos_u.model.feature_map import FeatureMap
from tinyaot.targets.ethos_u.model.hardware import Hardware
from tinyaot.targets.ethos_u.model.ranges import Ranges, single

READ_ONLY, SCRATCH, FAST_SCRATCH = range(3)
REGION_NAMES = {0: "read-only", 1: "scratch", 2: "fast scratch"}
SHRAM = 256
"""Stands for the accelerator's shared RAM where a region is asked for."""

Fail = Callable[..., Exception]
"""Makes the error for the command at hand, from what is wrong and a word for its kind."""


def region_name(region: int) -> str:
    """How messages call a region."""
    if region == SHRAM:
        return "shared RAM"
    return f"region {region}" + (f" ({REGION_NAMES[region]})" if region in REGION_NAMES else "")


class _Region(NamedTuple):
    data: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    origin: int


class Memory:
    """The regions and the shared RAM.

    Regions may overlap, as they do where inputs and outputs lie in an arena: one byte is one byte.

    Args:
        regions: bytes by number of the base pointer; written in place.
        hardware: whose shared RAM.
        written: by region, the ranges (first, end) that hold data at the start. A region that is
            not named holds data everywhere, except scratch and fast scratch.
        check: whether reading what nothing wrote, and writing constants, is an error.
    """

    def __init__(
        self,
        regions: Mapping[int, Any],
        hardware: Hardware,
        written: Mapping[int, Sequence[tuple[int, int]]] | None,
        check: bool,
    ) -> None:
        self.check = check
        self._regions: dict[int, _Region] = {}
        arrays = {number: _bytes(data) for number, data in regions.items()}
        spans = sorted(
            (_pointer(array), _pointer(array) + len(array), number)
            for number, array in arrays.items()
        )
        start = end = 0
        group: list[int] = []
        groups: list[tuple[int, int, list[int]]] = []
        for first, last, number in spans:
            if group and first < end:
                group.append(number)
                end = max(end, last)
            else:
                group, start, end = [number], first, last
                groups.append((start, end, group))
            groups[-1] = (start, end, group)
        for start, end, members in groups:
            valid = np.zeros(end - start, np.bool_)
            for number in members:
                array = arrays[number]
                at = _pointer(array) - start
                # An origin far from zero keeps the addresses of different groups apart.
                self._regions[number] = _Region(array, valid[at : at + len(array)], _pointer(array))
        shram = np.zeros(hardware.shram_bytes, np.uint8)
        self._regions[SHRAM] = _Region(shram, np.zeros(len(shram), np.bool_), -(1 << 40))
        written = written or {}
        for number in arrays:
            whole = [] if number in (SCRATCH, FAST_SCRATCH) else [(0, len(arrays[number]))]
            for first, last in written.get(number, whole):
                self._regions[number].valid[first:last] = True

    def _region(self, region: int, fail: Fail) -> _Region:
        if region not in self._regions:
            present = ", ".join(str(one) for one in sorted(self._regions) if one != SHRAM)
            raise fail(f"there is no region {region}, only {present}", "address")
        return self._regions[region]

    def place(self, region: int, ranges: Ranges, fail: Fail) -> Ranges:
        """The same bytes in an address space that all regions share."""
        return ranges.shift(self._region(region, fail).origin)

    def _check_bounds(self, region: int, low: int, high: int, what: str, fail: Fail) -> _Region:
        entry = self._region(region, fail)
        if low < 0 or high > len(entry.data):
            raise fail(
                f"{what} at {low:#x} to {high:#x} is outside of {region_name(region)}, "
                f"which has {len(entry.data):#x} bytes",
                "address",
            )
        return entry

    def check_size(self, fm: FeatureMap, fail: Fail) -> None:
        """Fails if a feature map has more bytes than its region: before any address is computed.

        Raises:
            StreamError: it has.
        """
        height, width, depth = fm.shape
        size = len(self._region(fm.region, fail).data)
        if height * width * depth * fm.itemsize > size:
            raise fail(
                f"{fm.name} has {height} x {width} x {depth} elements of {fm.itemsize} bytes, "
                f"{region_name(fm.region)} has {size:#x} bytes",
                "address",
            )

    def read(self, fm: FeatureMap, fail: Fail) -> NDArray[np.int64]:
        """The elements of a feature map, minus its zero point.

        Raises:
            StreamError: a part of it is outside of its region, or was never written.
        """
        address = fm.addresses()
        low, high = int(address.min()), int(address.max()) + fm.itemsize
        entry = self._check_bounds(fm.region, low, high, fm.name, fail)
        if self.check:
            known = entry.valid[address]
            for byte in range(1, fm.itemsize):
                known &= entry.valid[address + byte]
            if not known.all():
                y, x, c = (int(one) for one in np.argwhere(~known)[0])
                raise fail(
                    f"{fm.name} reads memory that nothing wrote: {region_name(fm.region)} at "
                    f"{int(address[y, x, c]):#x}, element ({y}, {x}, {c})",
                    "unwritten",
                )
        return np.asarray(_gather(entry.data, address, fm.dtype) - fm.zero_point, np.int64)

    def write(self, fm: FeatureMap, values: NDArray[np.int64], fail: Fail) -> None:
        """Stores the elements of a feature map, which fit its type.

        Raises:
            StreamError: a part of it is outside of its region, or the region is read-only.
        """
        address = fm.addresses()
        low, high = int(address.min()), int(address.max()) + fm.itemsize
        entry = self._writable(fm.region, low, high, fm.name, fail)
        raw = np.ascontiguousarray(values.astype(fm.dtype)).view(np.uint8)
        raw = raw.reshape(*values.shape, fm.itemsize)
        for byte in range(fm.itemsize):
            entry.data[address + byte] = raw[..., byte]
            entry.valid[address + byte] = True

    def _writable(self, region: int, low: int, high: int, what: str, fail: Fail) -> _Region:
        entry = self._check_bounds(region, low, high, what, fail)
        if region == READ_ONLY and self.check:
            raise fail(f"{what} would write to {region_name(region)}", "address")
        return entry

    def load(
        self, region: int, address: int, length: int, what: str, fail: Fail
    ) -> NDArray[np.uint8]:
        """A copy of a range of bytes.

        Raises:
            StreamError: it is not in its region, or a part of it was never written.
        """
        entry = self._check_bounds(region, address, address + length, what, fail)
        if self.check:
            known = entry.valid[address : address + length]
            if not known.all():
                first = address + int(np.argmin(known))
                raise fail(
                    f"{what} reads memory that nothing wrote: {region_name(region)} at {first:#x}",
                    "unwritten",
                )
        return np.array(entry.data[address : address + length])

    def copy(
        self, source: tuple[int, int], destination: tuple[int, int], length: int, fail: Fail
    ) -> None:
        """Copies bytes, and what is known about them: one that nothing wrote stays such.

        Lengths are multiples of 16, so a transfer may read up to the next one behind a region.

        Raises:
            StreamError: they are not in their regions, or the destination is read-only.
        """
        region, first = source
        entry = self._region(region, fail)
        end = min(first + length, max(len(entry.data), first + length - 15))
        self._check_bounds(region, first, end, "the transfer", fail)
        data, valid = np.zeros(length, np.uint8), np.zeros(length, np.bool_)
        present = entry.data[first : first + length]
        data[: len(present)] = present
        valid[: len(present)] = entry.valid[first : first + length]
        region, first = destination
        target = self._writable(region, first, first + length, "the transfer", fail)
        target.data[first : first + length] = data
        target.valid[first : first + length] = valid

    def forget(self, first: int, end: int) -> None:
        """Shared RAM from `first` to before `end` was used as a buffer: it holds no table now."""
        self._regions[SHRAM].valid[max(first, 0) : max(end, 0)] = False

    def shram(self, first: int, length: int, fail: Fail) -> Ranges:
        """A range of shared RAM in the address space that all regions share."""
        return self.place(SHRAM, single(first, length), fail)


def _bytes(data: Any) -> NDArray[np.uint8]:
    if isinstance(data, np.ndarray):
        return data.reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def _pointer(array: NDArray[np.uint8]) -> int:
    return int(array.__array_interface__["data"][0])


def _gather(
    data: NDArray[np.uint8], address: NDArray[np.int64], dtype: np.dtype[Any]
) -> NDArray[np.int64]:
    if dtype.itemsize == 1:
        return np.asarray(data[address].view(dtype), np.int64)
    raw = data[address[..., None] + np.arange(dtype.itemsize)]
    return np.asarray(raw.view(dtype)[..., 0], np.int64)
