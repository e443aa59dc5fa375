"""Whole networks by `ethosu.regor`, the compiler inside Arm's Vela: for U85, and to compare with.

The settings are those that Vela's own command line passes on.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyaot.targets.errors import TinyaotError

_ARCHITECTURES = {"ethos-u55": "EthosU55", "ethos-u65": "EthosU65", "ethos-u85": "EthosU85"}
_DTYPES = {1: "int8", 2: "int16", 4: "int32"}
UNLIMITED = 1 << 31
"""Bytes of SRAM for a network that may take any; without a number, regor cascades all it can."""


@dataclass(frozen=True)
class NetworkTensor:
    """An input or output in a region of the NPU.

    Attributes:
        region: number of the base pointer.
        address: bytes from there.
        nbytes: its size.
        shape: as regor has it, with leading ones.
        dtype: `int8`, `int16` or `int32`; regor does not tell unsigned ones.
        scale, zero_point: of the quantization; None and 0 if it has none.
    """

    region: int
    address: int
    nbytes: int
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int


@dataclass(frozen=True)
class NetworkOperation:
    """An operator as regor schedules it, and what it estimates.

    Attributes:
        operator: regor's name for its kind, such as `Conv2D`.
        name: of the output tensor.
        cycles: with waiting for memory.
        npu_cycles: of the NPU alone.
        macs: multiply-accumulates.
        block: height, width and depth of an output block; None if it has none.
        staging_bytes: SRAM in use meanwhile.
        accesses: cycles by name of the memory.
    """

    operator: str
    name: str
    cycles: int
    npu_cycles: int
    macs: int
    block: tuple[int, int, int] | None
    staging_bytes: int
    accesses: dict[str, int]


@dataclass(frozen=True)
class CompiledNetwork:
    """A network as one command stream.

    Attributes:
        payload: the stream with the driver's header, `COP1`.
        read_only: bytes of region 0.
        scratch_bytes: size of region 1.
        fast_scratch_bytes: size of region 2.
        inputs, outputs: in the order of the network.
        cycles: estimated, with waiting for memory.
        npu_cycles: estimated, of the NPU alone.
        sram_bytes: peak of SRAM in use.
        macs: multiply-accumulates.
        operations: in the order they run.
    """

    payload: bytes
    read_only: bytes
    scratch_bytes: int
    fast_scratch_bytes: int
    inputs: tuple[NetworkTensor, ...]
    outputs: tuple[NetworkTensor, ...]
    cycles: int
    npu_cycles: int
    sram_bytes: int
    macs: int
    operations: tuple[NetworkOperation, ...]


def compile_network(
    network: bytes,
    accelerator: str,
    *,
    macs: int,
    cores: int,
    system: str,
    memory: str,
    config: str,
    optimise: str = "performance",
    arena_bytes: int | None = None,
    form: str = "TFLITE",
    separate_io: bool = True,
) -> CompiledNetwork:
    """Compiles a network all of whose operators the NPU runs.

    Args:
        network: a flatbuffer.
        accelerator: such as `ethos-u85-256`.
        macs: multiply-accumulates of one core in a cycle.
        cores: how many.
        system: section `System_Config.<system>` of `config`.
        memory: section `Memory_Mode.<memory>` of it.
        config: text of a configuration file of Vela.
        optimise: `performance` or `size`.
        arena_bytes: SRAM it may take; None for no limit.
        form: of the network: `TFLITE` or `TOSA`.
        separate_io: whether inputs are in region 3 and outputs in region 4, or both in scratch.

    Returns:
        The stream and all it needs.

    Raises:
        TinyaotError: Vela is not installed, or regor refuses the network; says why.
    """
    compiled = _compile(
        network,
        accelerator,
        _system(macs, cores, system, memory, config),
        _options(optimise, arena_bytes, separate_io, "Raw"),
        form,
    )
    report = compiled.perf_report
    return CompiledNetwork(
        payload=bytes(compiled.command_stream),
        read_only=bytes(compiled.read_only.data),
        scratch_bytes=int(compiled.scratch.size),
        fast_scratch_bytes=int(compiled.scratch_fast.size),
        inputs=tuple(_tensor(tensor) for tensor in compiled.inputs),
        outputs=tuple(_tensor(tensor) for tensor in compiled.outputs),
        cycles=int(report.totalCycles),
        npu_cycles=int(report.npuCycles),
        sram_bytes=sum(
            int(used.peakUsage) for name, used in report.memories.items() if str(name) == "Sram"
        ),
        macs=int(report.macCount),
        operations=_operations(compiled.opt_database.tables),
    )


def compile_tflite(
    network: bytes,
    accelerator: str,
    *,
    macs: int,
    cores: int,
    system: str,
    memory: str,
    config: str,
    optimise: str = "performance",
    arena_bytes: int | None = None,
) -> bytes:
    """As Vela's command line: a TFLite file whose NPU parts are custom operators.

    Arguments and errors are those of `compile_network`.
    """
    compiled = _compile(
        network,
        accelerator,
        _system(macs, cores, system, memory, config),
        _options(optimise, arena_bytes, False, "TFLite"),
        "TFLITE",
    )
    return bytes(compiled.model)


def _compile(network: bytes, accelerator: str, system: str, options: str, form: str) -> Any:
    try:
        from ethosu import regor
    except ImportError as error:
        raise TinyaotError(
            f"Ethos-U needs Arm's Vela: {error}",
            "install what it needs: pip install 'tinyaot[ethos-u]'",
        ) from error
    architecture = _ARCHITECTURES[accelerator.rsplit("-", 1)[0]]
    # A failure's reason is in what regor prints, not in what it raises.
    with _captured() as output:
        try:
            return regor.compile(
                architecture, network, form, system, options=options, verbose=False
            )
        except (RuntimeError, ValueError) as error:
            said = output().decode(errors="replace").strip().splitlines()
            reason = " ".join([str(error), *said[-1:]]).strip()
    raise TinyaotError(f"Vela cannot compile this for {accelerator}: {reason}")


@contextlib.contextmanager
def _captured() -> Iterator[Any]:
    """Keeps from the terminal what C code prints; yields a function that returns it."""
    with tempfile.TemporaryFile() as file:
        kept = [(stream, os.dup(stream)) for stream in (1, 2)]
        for stream, _ in kept:
            os.dup2(file.fileno(), stream)

        def output() -> bytes:
            file.seek(0)
            return file.read()

        try:
            yield output
        finally:
            for stream, copy in kept:
                os.dup2(copy, stream)
                os.close(copy)


def _system(macs: int, cores: int, system: str, memory: str, config: str) -> str:
    return (
        f"[architecture]\nmacs={macs}\ncores={cores}\n"
        f"[vela]\nsystem_config_name={system}\nmemory_mode_name={memory}\n{config}"
    )


def _options(optimise: str, arena_bytes: int | None, separate_io: bool, output: str) -> str:
    limit = UNLIMITED if arena_bytes is None else arena_bytes
    return (
        f"[compiler]\noutput_format={output}\ncop_format=COP1\nenable_db=true\n"
        f"[scheduler]\noptimize={optimise.capitalize()}\narena_size_limit={limit}\n"
        f"separate_io_regions={str(separate_io).lower()}\ncpu_tensor_alignment=16\n"
    )


def _tensor(tensor: Any) -> NetworkTensor:
    return NetworkTensor(
        region=int(tensor.region),
        address=int(tensor.address),
        nbytes=int(tensor.size),
        shape=tuple(int(extent) for extent in tensor.shape),
        dtype=_DTYPES.get(int(tensor.element_size), "int8"),
        scale=float(tensor.scale[0]) if len(tensor.scale) else None,
        zero_point=int(tensor.zero_point[0]) if len(tensor.zero_point) else 0,
    )


def _rows(tables: Any, name: str) -> list[dict[str, str]]:
    table = tables.get(name)
    return (
        [] if table is None else [dict(zip(table.header, row, strict=True)) for row in table.data]
    )


def _operations(tables: Any) -> tuple[NetworkOperation, ...]:
    blocks = {
        row["id"]: (int(row["ofm_block_h"]), int(row["ofm_block_w"]), int(row["ofm_block_c"]))
        for row in _rows(tables, "perf_debug_main")
    }
    return tuple(
        NetworkOperation(
            operator=row["operator"],
            name=row["name"],
            cycles=int(row["op_cycles"]),
            npu_cycles=int(row["npu_cycles"]),
            macs=int(row["mac_count"]),
            block=blocks.get(row["id"]),
            staging_bytes=int(row["staging_usage"]),
            accesses={
                name.removesuffix("_ac"): int(value)
                for name, value in row.items()
                if name.endswith("_ac")
            },
        )
        for row in _rows(tables, "perf")
    )


def vela_config() -> str:
    """Text of the configuration file that comes with Vela.

    Raises:
        TinyaotError: Vela is not installed.
    """
    try:
        import ethosu.vela
    except ImportError as error:
        raise TinyaotError(
            f"Ethos-U needs Arm's Vela: {error}",
            "install what it needs: pip install 'tinyaot[ethos-u]'",
        ) from error
    folder = Path(ethosu.vela.__file__).parent.parent
    return (folder / "config_files" / "Arm" / "vela.ini").read_text(encoding="utf-8")
