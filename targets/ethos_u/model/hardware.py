"""What the functional model must know of an accelerator.

The numbers are those of Arm's Vela (`architecture_features.py`), which is where Arm publishes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tinyaot.targets.data import unknown_name

BANK_BYTES = 1024
"""Size of a bank of shared RAM."""
OUTPUT_BANKS = 2
"""Banks at the start of shared RAM that buffer the output."""
LUT_BYTES = 2048
"""Size of the tables at the end of shared RAM, in slots of `LUT_SLOT_BYTES`."""
LUT_SLOT_BYTES = 256
MAX_BLOCK = (32, 64, 128)
"""Height, width and depth of the largest output block."""
MAX_BLOCKDEP = 3
SUBKERNEL = 8
"""Kernels are computed in parts of at most this height and width, dilation included."""


@dataclass(frozen=True)
class Hardware:
    """An Ethos-U55 or U65.

    Attributes:
        name: such as `ethos-u55-128`.
        cores: how many cores share the output channels.
        ofm_block: height, width and depth of a micro-block, of which output blocks are multiples.
        ifm_depth: depth of an input micro-block; its height and width are those of `ofm_block`.
        banks: banks of shared RAM a core has.
        ifm_granule: by bits of an input element, the banks an input buffer is a multiple of.
        accumulator_granule: likewise, by bits of an accumulator.
        outstanding_dma: transfers that may be under way at once.
        unaligned_dma: whether transfers between external addresses may have any alignment.
    """

    name: str
    cores: int
    ofm_block: tuple[int, int, int]
    ifm_depth: int
    banks: int
    ifm_granule: Mapping[int, int]
    accumulator_granule: Mapping[int, int]
    outstanding_dma: int
    unaligned_dma: bool

    @property
    def shram_bytes(self) -> int:
        """Bytes of shared RAM that a core has."""
        return self.banks * BANK_BYTES

    @property
    def lut_address(self) -> int:
        """Where the tables start in shared RAM."""
        return self.shram_bytes - LUT_BYTES

    @property
    def reserved_end_banks(self) -> int:
        """Banks at the end that only tables may use: of the small accelerators none."""
        return 2 if self.banks > 16 else 0


def _hardware(
    name: str,
    ofm_block: tuple[int, int, int],
    banks: int,
    ifm_granules: tuple[int, int, int],
    accumulator_granules: tuple[int, int],
    cores: int = 1,
) -> Hardware:
    u65 = name.startswith("ethos-u65")
    return Hardware(
        name=name,
        cores=cores,
        ofm_block=ofm_block,
        ifm_depth=8,
        banks=banks,
        ifm_granule=dict(zip((8, 16, 32), ifm_granules, strict=True)),
        accumulator_granule=dict(zip((32, 40), accumulator_granules, strict=True)),
        outstanding_dma=2 if u65 else 1,
        unaligned_dma=u65,
    )


_HARDWARE = {
    hardware.name: hardware
    for hardware in (
        _hardware("ethos-u55-32", (1, 1, 4), 16, (2, 2, 4), (4, 4)),
        _hardware("ethos-u55-64", (1, 1, 8), 16, (2, 2, 4), (4, 8)),
        _hardware("ethos-u55-128", (1, 2, 8), 24, (4, 4, 8), (8, 12)),
        _hardware("ethos-u55-256", (2, 2, 8), 48, (8, 8, 16), (16, 20)),
        _hardware("ethos-u65-256", (2, 2, 8), 48, (8, 8, 16), (16, 20)),
        _hardware("ethos-u65-512", (2, 2, 8), 48, (8, 8, 16), (16, 20), cores=2),
    )
}

ACCELERATORS = tuple(_HARDWARE)
"""Names of the accelerators that the functional model runs, the smallest first."""


def get_hardware(name: str) -> Hardware:
    """The accelerator of that name.

    Raises:
        TinyaotError: there is none that the model runs.
    """
    try:
        return _HARDWARE[name]
    except KeyError:
        raise unknown_name("accelerator of the functional model", name, ACCELERATORS) from None
