"""What the NPU's part of a model costs, operation by operation, and what Vela makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from tinyaot.compiler.npu.emit import CompiledRegion
from tinyaot.compiler.npu.estimate import estimate_stream
from tinyaot.compiler.npu.partition import Fallback, Partition
from tinyaot.compiler.npu.tuned import DEFAULT
from tinyaot.schedules.ethos_u.memory import usage
from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.ports import transferred_bytes
from tinyaot.targets.ethos_u.regor import CompiledNetwork


@dataclass(frozen=True)
class NpuOperation:
    """One command of the NPU.

    Attributes:
        origin: the model node.
        kind: such as `conv2d`.
        cycles: estimated, waiting for nothing.
        utilisation: share of the multipliers in use, 0 to 1.
        block: height, width, depth of the output block.
        sram_bytes: feature maps alive in the workspace.
        constant_bytes: weights and scales, encoded.
        copied: whether DMA brings them to SRAM before.
        bound: what takes longest: `compute`, `SRAM` or `flash`.
        source: where its sizes come from: "tuned" (a record of this operation), "nearest" (a record
            of one like it elsewhere), "given" by the caller, "default", or "Vela".
    """

    origin: str
    kind: str
    cycles: int
    utilisation: float
    block: tuple[int, int, int]
    sram_bytes: int
    constant_bytes: int
    copied: bool
    bound: str
    source: str


@dataclass(frozen=True)
class NpuReport:
    """All that the NPU does in one inference.

    Attributes:
        accelerator, system, memory: names.
        operations: in the order they run.
        cycles: estimated, transfers and waits included.
        sram_bytes: the most that a region takes of the SRAM beside the NPU: of the arena, without
            inputs and outputs, or of the NPU's own.
        flash_bytes: weights, tables and commands.
        dma_bytes: copied from flash to SRAM.
        fallbacks: what stays on the CPU.
        code: for each region who made its commands, and why that one.
    """

    accelerator: str
    system: str
    memory: str
    operations: tuple[NpuOperation, ...]
    cycles: int
    sram_bytes: int
    flash_bytes: int
    dma_bytes: int
    fallbacks: tuple[Fallback, ...]
    code: tuple[str, ...]


@dataclass(frozen=True)
class VelaFigures:
    """Vela's compilation of a whole network for the same system.

    Attributes:
        cycles: of its command stream, by the same estimate as ours.
        own_cycles: by Vela itself.
        sram_bytes, flash_bytes: as Vela reports them.
    """

    cycles: int
    own_cycles: int
    sram_bytes: int
    flash_bytes: int


def npu_report(parts: Partition, npu: Npu) -> NpuReport:
    """What the regions of a partition cost."""
    operations: list[NpuOperation] = []
    cycles = dma = flash = sram = 0
    for region in parts.regions.values():
        operations += _operations(region, npu)
        if region.network is not None and npu.family == "u85":
            cycles += region.network.cycles
            dma += transferred_bytes(region.stream)
        else:
            estimate = estimate_stream(region.stream, npu)
            cycles += estimate.cycles
            dma += estimate.dma_bytes
        flash += sum(array.nbytes for array in region.node.constants.values())
        sram = max(sram, region.sram_bytes)
    return NpuReport(
        npu.name,
        npu.system,
        npu.memory,
        tuple(operations),
        cycles,
        sram,
        flash,
        dma,
        parts.fallbacks,
        tuple(
            region.choice or ("own code" if region.generator == "own" else "Vela's code")
            for region in parts.regions.values()
        ),
    )


def _vela_operations(network: CompiledNetwork, npu: Npu) -> list[NpuOperation]:
    """As Vela schedules and estimates them; those that take no time are part of others."""
    result = []
    for one in network.operations:
        if not one.cycles or one.block is None:
            continue
        slowest = max(one.accesses, key=one.accesses.__getitem__, default="")
        waits = slowest and one.accesses[slowest] > one.npu_cycles
        result.append(
            NpuOperation(
                origin=f'{one.operator} "{one.name}"',
                kind=one.operator,
                cycles=one.cycles,
                utilisation=one.macs / (one.cycles * npu.macs * npu.cores),
                block=one.block,
                sram_bytes=one.staging_bytes,
                constant_bytes=0,
                copied=False,
                bound=slowest if waits else "compute",
                source="Vela",
            )
        )
    return result


def _operations(region: CompiledRegion, npu: Npu) -> list[NpuOperation]:
    if region.network is not None:
        return _vela_operations(region.network, npu)
    estimate = estimate_stream(region.stream, npu)
    own = [operation for operation, _ in region.operations]
    alive = usage(own, (*region.node.inputs, *region.node.outputs))
    result = []
    for (operation, choice), kernel, sram in zip(
        region.operations, estimate.kernels, alive, strict=True
    ):
        sources = (kernel.operation.weights, kernel.operation.scales)
        result.append(
            NpuOperation(
                operation.origin,
                operation.kind,
                kernel.cost.cycles,
                kernel.macs_per_cycle,
                choice.block,
                sram,
                sum(length for one in sources if one is not None for _, length in one.ranges),
                choice.copied,
                kernel.cost.bound,
                region.sources.get(operation.number, DEFAULT),
            )
        )
    return result


def vela_figures(network: bytes, npu: Npu) -> VelaFigures | None:
    """Vela's compilation of a TFLite file; None if it leaves something to the CPU.

    Raises:
        TinyaotError: Vela is not installed.
    """
    from tinyaot.targets.ethos_u.model import parse_driver_payload
    from tinyaot.targets.ethos_u.regor import compile_network

    config = npu.config_file.read_text(encoding="utf-8")
    try:
        compiled = compile_network(
            network,
            npu.name,
            macs=npu.macs,
            cores=npu.cores,
            system=npu.system,
            memory=npu.memory,
            config=config,
            optimise=npu.optimise,
            arena_bytes=npu.sram_limit,
        )
    except TinyaotError:
        return None
    cycles = compiled.cycles
    if npu.family != "u85":
        cycles = estimate_stream(parse_driver_payload(compiled.payload), npu).cycles
    return VelaFigures(
        cycles,
        compiled.cycles,
        compiled.sram_bytes,
        len(compiled.read_only) + len(compiled.payload),
    )
