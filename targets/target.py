"""Targets: the cores that generated code is scheduled and compiled for."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from tinyaot.targets.data import load_toml, unknown_name
from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu, get_npu

FAMILIES = ("host", "cortex_m")
"""The folders of `targets/` that hold a `cores.toml` and know how to build and run an image."""

FEATURES = {
    "thumb2": "the 32-bit Thumb instructions: constants, shifted operands, if-then blocks",
    "smull": "32x32 -> 64 bit multiply in one instruction",
    "hardware_divide": "32-bit integer divide in one instruction",
    "unaligned_access": "16 and 32-bit loads and stores at any address",
    "dsp": "16-bit SIMD: SXTB16, SMLAD and their kin",
    "mve": "M-profile vector extension (Helium), integer, with low-overhead loops",
    "fpu": "floating-point registers, which integer code can spill to",
}
"""What schedules may ask of a target, and what each word means."""


@dataclass(frozen=True)
class Target:
    """A core to compile for. Schedules look at `features`, never at `name`.

    Attributes:
        name: what the user types, such as `cortex-m4`.
        title: the name in running text.
        family: folder of `targets/` that builds and runs its images, one of `FAMILIES`.
        cpu: the C compiler's name for the core; empty on the host.
        architecture: instruction set architecture, such as `armv7e-m`.
        flags: C compiler flags that select the core and its calling convention.
        features: subset of `FEATURES`.
        registers: general-purpose registers that an inner loop can keep values in.
        board: name of the emulated board that runs it by default; None on the host.
        also_runs_on: cores that are no targets and execute its code.
        npu: the accelerator beside it; None for none.
    """

    name: str
    title: str
    family: str
    cpu: str
    architecture: str
    flags: tuple[str, ...]
    features: frozenset[str]
    registers: int
    board: str | None
    also_runs_on: tuple[str, ...] = ()
    npu: Npu | None = None

    @property
    def core(self) -> str:
        """The name of the core alone."""
        return self.name.partition("+")[0]


@functools.cache
def _targets() -> dict[str, Target]:
    targets: dict[str, Target] = {}
    for family in FAMILIES:
        cores = load_toml(Path(__file__).parent / family / "cores.toml")
        for name, core in cores.items():
            targets[name] = Target(
                name=name,
                title=core["title"],
                family=family,
                cpu=core["cpu"],
                architecture=core["architecture"],
                flags=tuple(core["flags"]),
                features=frozenset(core["features"]),
                registers=core["registers"],
                board=core.get("board"),
                also_runs_on=tuple(core.get("also_runs_on", ())),
            )
    return targets


def get_target(name: str) -> Target:
    """The target of that name, such as `cortex-m4` or `cortex-m55+ethos-u55-128`.

    Raises:
        TinyaotError: there is none; the hints name one whose code runs on that core, or the
            closest one and all.
    """
    core, plus, npu = name.partition("+")
    if core not in _targets():
        for other in _targets().values():
            if core in other.also_runs_on:
                raise TinyaotError(
                    f"{core} is no target of its own", f"take {other.name}: its code runs on it"
                )
        raise unknown_name("target", core, list_targets())
    target = _targets()[core]
    return replace(target, name=name, npu=get_npu(npu)) if plus else target


def list_targets() -> tuple[str, ...]:
    """Names of all targets: the host first, then from the smallest core to the largest."""
    return tuple(_targets())
