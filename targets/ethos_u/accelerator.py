"""Ethos-U accelerators and the systems around them, as Vela's configuration files describe them."""

from __future__ import annotations

import configparser
import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinyaot.targets.data import load_toml, unknown_name
from tinyaot.targets.errors import TinyaotError

_INSTALL = "install what it needs: pip install 'tinyaot[ethos-u]'"


@dataclass(frozen=True)
class Npu:
    """An accelerator in a system.

    Attributes:
        name: such as `ethos-u55-128`.
        title: the name in running text.
        family: `u55`, `u65` or `u85`.
        macs: multiply-accumulates of one core in a cycle.
        cores: how many.
        system: section `System_Config.<system>` of the configuration: clock, ports, latencies.
        memory: section `Memory_Mode.<memory>`: which port leads to constants, arena and cache.
        config: the configuration file; None for the one that comes with Vela.
        optimise: `performance`, or `size` for less SRAM.
        arena_size: bytes of SRAM that the model may take; None for no limit.
        codegen: `own`, `vela`, or `best` for the one with fewer estimated cycles.
        only: whether an operator that it cannot run is an error.
    """

    name: str
    title: str
    family: str
    macs: int
    cores: int
    system: str
    memory: str
    config: Path | None = None
    optimise: str = "performance"
    arena_size: int | None = None
    codegen: str = "best"
    only: bool = False

    @property
    def sram_limit(self) -> int | None:
        """Bytes of SRAM that there are for the model: `arena_size`, or else `arena_cache_size` of
        the memory mode; None if neither says so.

        Raises:
            TinyaotError: the memory mode has no number there.
        """
        return self.arena_size if self.arena_size is not None else _cache_size(self)

    @property
    def by_vela_alone(self) -> bool:
        """Whether Vela makes all commands: by choice, or as for U85 for want of code of our own."""
        return self.codegen == "vela" or self.family == "u85"

    @property
    def config_file(self) -> Path:
        """The configuration file in use.

        Raises:
            TinyaotError: Vela is not installed.
        """
        return self.config if self.config is not None else _vela_config()


@functools.cache
def _cache_size(npu: Npu) -> int | None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(npu.config_file.read_text(encoding="utf-8"))
    section, seen = f"Memory_Mode.{npu.memory}", set[str]()
    while parser.has_section(section) and section not in seen:
        seen.add(section)
        if parser.has_option(section, "arena_cache_size"):
            text = parser.get(section, "arena_cache_size")
            if not text.strip().isdecimal():
                raise TinyaotError(
                    f"arena_cache_size of {section} in {npu.config_file} is {text!r}",
                    "give it in bytes",
                )
            return int(text)
        section = parser.get(section, "inherit", fallback="")
    return None


@functools.cache
def _accelerators() -> dict[str, Npu]:
    data = load_toml(Path(__file__).parent / "accelerators.toml")
    return {name: Npu(name=name, **entry) for name, entry in data.items()}


def list_npus() -> tuple[str, ...]:
    """Names of all accelerators, from the smallest to the largest of each family."""
    return tuple(_accelerators())


def get_npu(name: str) -> Npu:
    """The accelerator of that name in its default system.

    Raises:
        TinyaotError: there is none; the hints name the closest one and list them all.
    """
    try:
        return _accelerators()[name]
    except KeyError:
        raise unknown_name("accelerator", name, list_npus()) from None


def configure(
    npu: Npu,
    *,
    system: str | None = None,
    memory: str | None = None,
    config: Path | None = None,
    optimise: str = "performance",
    arena_size: int | None = None,
    codegen: str = "best",
    only: bool = False,
) -> Npu:
    """The accelerator in another system; arguments as the attributes of `Npu`.

    Raises:
        TinyaotError: the file is missing or damaged, or has no such section; lists those it has.
    """
    for what, value, valid in (
        ("mode of optimisation", optimise, ("performance", "size")),
        ("code generator", codegen, ("own", "vela", "best")),
    ):
        if value not in valid:
            raise unknown_name(what, value, valid)
    if arena_size is not None and arena_size <= 0:
        raise TinyaotError(f"an arena of {arena_size} bytes", "give its size in bytes")
    changed = replace(
        npu,
        system=system or npu.system,
        memory=memory or npu.memory,
        config=config,
        optimise=optimise,
        arena_size=arena_size,
        codegen=codegen,
        only=only,
    )
    if system is None and memory is None and config is None:
        return changed
    sections = _sections(changed.config_file)
    for kind, title, name in (
        ("System_Config", "system configuration", changed.system),
        ("Memory_Mode", "memory mode", changed.memory),
    ):
        names = [one.removeprefix(f"{kind}.") for one in sections if one.startswith(f"{kind}.")]
        if not names:
            raise TinyaotError(
                f"{changed.config_file} has no {title}", "give one in the form of Vela's vela.ini"
            )
        if name not in names:
            raise unknown_name(title, name, names)
    return changed


def _sections(path: Path) -> Sequence[str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise TinyaotError(
            f"cannot read the NPU configuration {path}: {error.strerror}", "check the path"
        ) from error
    except (configparser.Error, UnicodeDecodeError) as error:
        text = str(error).splitlines()[0]
        raise TinyaotError(
            f"{path} is not a configuration file: {text}", "give one in the form of Vela's vela.ini"
        ) from error
    return parser.sections()


@functools.cache
def _vela_config() -> Path:
    spec = importlib.util.find_spec("ethosu")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "config_files" / "Arm" / "vela.ini"
        if path.exists():
            return path
    raise TinyaotError("Ethos-U needs Arm's Vela, which is not installed", _INSTALL)
