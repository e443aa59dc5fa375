"""Kernels and DMA transfers in time: transfers run beside kernels and share the flash's port with
what kernels read there themselves."""

from __future__ import annotations

import math

from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.cost_model import Cost

MOST_KERNELS = 2
"""That the command processor has begun and not seen end."""
_MOST_TRANSFERS = {"u55": 1, "u65": 2}


class Timeline:
    """When kernels and transfers begin and end; the command processor runs ahead of both."""

    def __init__(self, npu: Npu) -> None:
        self._now = 0
        self._kernels: list[tuple[int, int, float]] = []
        self._pending: list[tuple[int, int, bool]] = []
        self._transfers: list[int] = []
        self._most = _MOST_TRANSFERS.get(npu.family, 1)

    def kernel(self, cost: Cost) -> tuple[int, int]:
        """Issues a kernel; returns when it begins and ends."""
        if len(self._kernels) >= MOST_KERNELS:
            self._now = max(self._now, self._kernels[-MOST_KERNELS][1])
        begin = max(self._now, self._kernels[-1][1] if self._kernels else 0)
        end = begin + cost.cycles
        self._kernels.append((begin, end, cost.constants / max(cost.cycles, 1)))
        return begin, end

    def transfer(self, cycles: int, from_flash: bool) -> None:
        """Issues a transfer."""
        if len(self._pending) >= self._most:
            self._finish(len(self._pending) - self._most + 1)
        self._pending.append((self._now, cycles, from_flash))

    def wait_kernels(self, outstanding: int) -> None:
        """Waits until at most so many kernels run."""
        if len(self._kernels) > outstanding:
            self._now = max(self._now, self._kernels[-1 - outstanding][1])

    def wait_transfers(self, outstanding: int) -> None:
        """Waits until at most so many transfers run."""
        self._finish(max(0, len(self._pending) - outstanding))

    def end(self) -> int:
        """When all is done."""
        self._finish(len(self._pending))
        return max([self._now, *(end for _, end, _ in self._kernels)])

    def _finish(self, count: int) -> None:
        for _ in range(count):
            issued, cycles, from_flash = self._pending.pop(0)
            begin = max(issued, self._transfers[-1] if self._transfers else 0)
            self._transfers.append(self._ending(begin, cycles) if from_flash else begin + cycles)
            self._now = max(self._now, self._transfers[-1])

    def _ending(self, begin: int, cycles: int) -> int:
        """When a transfer that begins then has had its cycles of the flash's port."""
        now, left = begin, float(cycles)
        for first, end, used in self._kernels:
            if end <= now:
                continue
            if first > now:
                idle = min(left, first - now)
                left -= idle
                now += math.ceil(idle)
            free = (end - now) * (1.0 - min(used, 1.0))
            if free >= left:
                return now + math.ceil(left / max(1.0 - used, 1e-9))
            left -= free
            now = end
        return now + math.ceil(left)
