"""The whole lowering, one line a step, in reading order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tinyaot.compiler.codegen.module import emit_program
from tinyaot.compiler.codegen.verify import verify_program
from tinyaot.compiler.frontend import import_model
from tinyaot.compiler.frontend.imported import Port
from tinyaot.compiler.graph import Graph
from tinyaot.compiler.legalize import legalize
from tinyaot.compiler.memory.layout import MemoryLayout, check_size, plan_memory
from tinyaot.compiler.npu.partition import Partition, partition
from tinyaot.compiler.scheduling import Built, Operator, Pick, schedule_graph
from tinyaot.compiler.transform import prepare_for_processor, simplify
from tinyaot.compiler.tuning.lookup import Records, tuned_picks
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload import Workload
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets import Program, Target, TinyaotError
from tinyaot.targets.ethos_u.vela import has_cache

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Lowered:
    """What every stage of the pipeline made.

    Attributes:
        inputs: as the model file declares them.
        macs: multiply-accumulates of the model as it was given.
        portable: the graph after all passes but the partition: the CPU can compute all of it.
        graph: after all graph passes.
        partition: what the NPU computes; None if the target has none.
        operators: its nodes with their kernels.
        layout: where tensors lie.
        program: the C.
        decisions: schedule sizes by workload, given or tuned.
        notes: what the user should know about the tuning records.
    """

    inputs: tuple[Port, ...]
    macs: int
    portable: Graph
    graph: Graph
    partition: Partition | None
    operators: tuple[Operator, ...]
    layout: MemoryLayout
    program: Program
    decisions: Mapping[Workload, Decisions | Pick]
    notes: tuple[str, ...] = ()


def lower(
    data: bytes,
    name: str,
    target: Target,
    *,
    decisions: Mapping[Workload, Decisions] | None = None,
    records: Records | None = None,
    dump: Path | None = None,
    progress: Progress = lambda step: None,
) -> Lowered:
    """Compiles a model file to C.

    Args:
        data: the bytes of a TFLite or ONNX file.
        name: C identifier of the model.
        target: the core.
        decisions: schedule sizes by workload.
        records: what tuning has found, for the workloads that `decisions` does not name.
        dump: a folder that receives the form after each step as text.
        progress: called with the name of each step before it runs.

    Raises:
        TinyaotError: the model cannot be compiled; says which node and what to do.
    """
    dumped = _Dump(dump)
    progress("import")
    imported = import_model(data)
    dumped.write("import.relax", lambda: imported.module.script(show_meta=False))
    progress("legalize")
    graph = legalize(imported, name)
    dumped.write("legalize.txt", graph.format)
    macs = sum(node.workload.macs for node in graph.nodes)
    progress("simplify")
    graph = simplify(graph)
    dumped.write("simplify.txt", graph.format)
    portable, parts = graph, None
    if target.npu is not None:
        progress("partition")
        parts = partition(graph, target.npu, decisions, data, records.npu if records else None)
        graph = parts.graph
        dumped.write("partition.txt", graph.format)
    graph = prepare_for_processor(graph)
    progress("schedule")
    built: Built = {}
    picks, notes = tuned_picks(graph, target, records or Records({}), built)
    chosen: dict[Workload, Decisions | Pick] = {**picks, **(decisions or {})}
    operators = schedule_graph(graph, target, chosen, built)
    dumped.write("schedule.tir", lambda: "\n".join(_kernel_text(op) for op in operators))
    progress("plan memory")
    layout = plan_memory(graph, operators)
    dumped.write("memory.txt", layout.format)
    if parts is not None:
        _check_memory(parts, layout, target)
    progress("emit")
    program = emit_program(graph, operators, layout, target)
    for file in program.files:
        dumped.write(file, functools.partial(program.files.__getitem__, file))
    progress("verify")
    verify_program(program)
    regions = parts.regions.values() if parts is not None else ()
    on_npu = (note for region in regions for note in region.notes)
    notes = [*(records.notes if records else ()), *notes, *on_npu]
    return Lowered(
        imported.inputs,
        macs,
        portable,
        graph,
        parts,
        operators,
        layout,
        program,
        chosen,
        tuple(notes),
    )


def _check_memory(parts: Partition, layout: MemoryLayout, target: Target) -> None:
    """Holds a model against the SRAM beside the NPU: the arena, or the NPU's own.

    Raises:
        TinyaotError: it needs more.
    """
    npu = target.npu
    if npu is None or npu.sram_limit is None:
        return
    if not has_cache(npu):
        # `arena_cache_size` of the memory mode is an aim, `arena_size` a limit.
        if npu.arena_size is not None:
            check_size(layout, npu.arena_size)
        return
    for region in parts.regions.values():
        if isinstance(region.node.workload, NpuRegion):
            needed = region.node.workload.cache
            if needed > npu.sram_limit:
                raise TinyaotError(
                    f"{region.node.origin} needs {needed} bytes of the NPU's SRAM and there are "
                    f"{npu.sram_limit}",
                    "take tinyaot's own code, which keeps to what there is: --npu-codegen own",
                )


def _kernel_text(operator: Operator) -> str:
    values = f"{dict(operator.decisions)} ({operator.source})"
    head = f"# {operator.node.origin}: {operator.rule} {values}"
    func = operator.kernel.func
    return f"{head}\n{operator.function.body if func is None else func.script()}\n"


class _Dump:
    """Writes the form after each step, numbered in order, if a folder is given."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._count = 0

    def write(self, name: str, text: Callable[[], str]) -> None:
        if self._folder is None:
            return
        path = self._folder / f"{self._count:02}_{name}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
        except OSError as error:
            raise TinyaotError(
                f"cannot write {path}: {error.strerror}", "choose another folder for the dump"
            ) from error
        self._count += 1
