"""Sets of addresses as sorted, disjoint ranges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ranges(NamedTuple):
    """Sorted, disjoint ranges of addresses: `starts[i]` to before `ends[i]`."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """How many addresses are in the set."""
        return int((self.ends - self.starts).sum())

    def shift(self, offset: int) -> Ranges:
        """The same set, `offset` higher."""
        return Ranges(self.starts + offset, self.ends + offset)


def merge(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Ranges:
    """Ranges in any order, overlapping or not, as a set."""
    if len(starts) == 0:
        return Ranges(starts, ends)
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    first = np.concatenate(([True], starts[1:] > ends[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Ranges(starts[first], ends[last])


def single(start: int, length: int) -> Ranges:
    """One range."""
    return Ranges(np.array([start], np.int64), np.array([start + length], np.int64))


def overlap(one: Ranges, other: Ranges) -> int | None:
    """The lowest address that is in both sets; None if there is none."""
    if len(one.starts) == 0 or len(other.starts) == 0:
        return None
    # Of `other`, the first range that ends after a range of `one` starts.
    at = np.searchsorted(other.ends, one.starts, side="right")
    inside = at < len(other.starts)
    hit = inside & (other.starts[np.minimum(at, len(other.starts) - 1)] < one.ends)
    if not hit.any():
        return None
    index = int(np.argmax(hit))
    return max(int(one.starts[index]), int(other.starts[at[index]]))
