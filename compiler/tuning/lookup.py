"""From tuning records to what the compiler takes for each node of a graph.

A workload takes the fastest record of its signature whose memory fits: no pick makes the arena
larger than it is with the defaults, so that records buy speed with memory only where some is idle.
A workload without a record takes the pick of the nearest one whose knobs are valid for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.memory.layout import MemoryLayout, plan_memory
from tinyaot.compiler.npu.plan import KNOBS
from tinyaot.compiler.npu.tuned import RULE, NpuRecords
from tinyaot.compiler.scheduling import Built, Operator, Pick, schedule_graph
from tinyaot.compiler.tuning.records import (
    METRICS,
    Record,
    pareto_front,
    read_log,
    shipped_log,
)
from tinyaot.compiler.tuning.signature import Signature, signature
from tinyaot.schedules.registry import Space, find_rules
from tinyaot.schedules.workload import Constant, Reshape, Workload
from tinyaot.schedules.workload_npu import NpuOperation, NpuRegion
from tinyaot.targets import Target, get_target

_UNTUNED = (Constant, NpuRegion, Reshape)

TUNED, NEAREST = "tuned", "nearest"
"""Sources of picks: a record of the workload, or of one near it."""

_WORTH = 0.995
"""The share of the default's cost that a pick must stay below: the C compiler's choices in the code
around a kernel make up for the rest."""

_REACH = 2.0
"""The farthest that sizes are carried over, in octaves; see `Signature.distance`."""


@dataclass(frozen=True)
class Records:
    """The records for one core.

    Attributes:
        groups: by signature; of each candidate the latest record.
        notes: what could not be used.
        npu: the records of operations on NPUs.
    """

    groups: Mapping[Signature, tuple[Record, ...]]
    notes: tuple[str, ...] = ()
    npu: NpuRecords = field(default_factory=NpuRecords)

    def options(
        self, workload: Workload, features: frozenset[str], rules: Set[str]
    ) -> tuple[list[Pick], str]:
        """Picks for a workload, the fastest first, and the note of a record that no longer applies.

        The first ones need more memory than the later ones. None means the default.

        Args:
            workload: what to compute.
            features: of the core.
            rules: those that compute it by default. Records beside another default say nothing:
                their constants rule out what these allow, or they are older than a rule.
        """
        wanted = signature(workload)
        if wanted in self.groups and _have_default(self.groups[wanted], rules):
            picks, stale = _picks(self.groups[wanted], workload, features, TUNED)
            return picks, "" if not stale else wanted.structure[0]
        near = sorted(
            (distance, index)
            for index, other in enumerate(self.groups)
            if (distance := wanted.distance(other)) <= _REACH
        )
        groups = list(self.groups.values())
        for _, index in near:
            if not _have_default(groups[index], rules):
                continue
            picks, _ = _picks(groups[index], workload, features, NEAREST)
            if picks:
                return picks, ""
        return [], ""


def load_records(
    core: str, logs: Sequence[Path] = (), *, shipped: bool = True, optimize: str = "-O2"
) -> Records:
    """The records for a core from the shipped log and from the user's, whose later lines win.

    Of several metrics of one workload the most real one counts. Records of other C compiler
    flags count only for workloads that have no others.

    Raises:
        TinyaotError: a log cannot be read.
    """
    paths = list(logs)
    if shipped and (own := shipped_log(core)) is not None:
        paths.insert(0, own)
    groups: dict[Signature, dict[object, Record]] = {}
    notes: list[str] = []
    npu: list[Record] = []
    for path in paths:
        log = read_log(path)
        notes += log.notes
        for record in log.records:
            if isinstance(record.workload, NpuOperation):
                npu.append(record)
            elif record.core == core:
                key = (record.candidate, record.metric, record.optimize)
                groups.setdefault(record.signature, {})[key] = record
    kept = {wanted: _comparable(group.values(), optimize) for wanted, group in groups.items()}
    return Records(kept, tuple(notes), NpuRecords(tuple(npu)))


def tuned_picks(
    graph: Graph, target: Target, records: Records, built: Built
) -> tuple[dict[Workload, Pick], list[str]]:
    """What to take for each workload of a graph, and notes for the user.

    Args:
        graph: what to compile.
        target: the core.
        records: for it.
        built: kernels that were built before; new ones are added.
    """
    if not records.groups:
        return {}, []
    defaults = schedule_graph(graph, target, built=built)
    rules: dict[Workload, set[str]] = {}
    for one in defaults:
        if not isinstance(one.node.workload, _UNTUNED):
            rules.setdefault(one.node.workload, set()).add(one.rule)
    options: dict[Workload, list[Pick]] = {}
    stale: list[str] = []
    for workload, names in rules.items():
        options[workload], old = records.options(workload, target.features, names)
        stale += [old] if old else []
    notes = []
    if stale:
        notes.append(
            f"the tuning records of {len(stale)} workloads ({', '.join(sorted(set(stale)))}) name "
            "knobs that no longer exist: `tinyaot log prune` drops them, `tinyaot tune` renews them"
        )
    if not any(options.values()):
        return {}, notes
    budget = _Budget(graph, defaults)
    picks: dict[Workload, Pick] = {}
    for workload, choices in options.items():
        nodes = [index for index, one in enumerate(defaults) if one.node.workload == workload]
        for pick in choices:
            tried = schedule_graph(
                replace(graph, nodes=tuple(defaults[index].node for index in nodes)),
                target,
                {workload: pick},
                built,
            )
            if all(budget.allows(index, one) for index, one in zip(nodes, tried, strict=True)):
                picks[workload] = pick
                break
    # Lifetimes say what must fit; holes between buffers may still make the arena larger.
    while picks:
        operators = schedule_graph(graph, target, picks, built)
        if plan_memory(graph, operators).plan.size <= budget.size:
            break
        growth = {
            one.node.workload: one.function.workspace - before.function.workspace
            for one, before in zip(operators, defaults, strict=True)
            if one.node.workload in picks
        }
        del picks[max(growth, key=lambda workload: growth[workload])]
    return picks, notes


class _Budget:
    """What each operator may take of the arena without making it larger."""

    def __init__(self, graph: Graph, operators: Sequence[Operator]) -> None:
        layout = plan_memory(graph, operators)
        self.size = layout.plan.size
        self._operators = operators
        self._outputs = [graph.tensors[one.node.output].nbytes for one in operators]
        self._aliased = layout.aliased
        self._others = [
            self._alive(index, layout) - one.function.workspace
            for index, one in enumerate(operators)
        ]

    def allows(self, index: int, operator: Operator) -> bool:
        """Whether an operator in the place of the index-th fits."""
        before = self._operators[index]
        needs = operator.function.workspace
        if index in self._aliased and not operator.kernel.in_place_inputs:
            needs += self._outputs[index]
        return needs <= before.function.workspace or self._others[index] + needs <= self.size

    def _alive(self, index: int, layout: MemoryLayout) -> int:
        """Bytes alive at an operator, what overlays another counted once."""
        alive = {one.name: one.size for one in layout.buffers if one.first <= index <= one.last}
        for pair in layout.plan.in_place:
            if pair.output in alive and pair.input in alive:
                smaller = min(pair.output, pair.input, key=lambda name: alive[name])
                alive[smaller] = 0
        return sum(alive.values())


def applies(record: Record) -> bool:
    """Whether the rule and the knobs of a record exist for its workload."""
    if isinstance(record.workload, NpuOperation):
        return record.rule == RULE and record.knobs.keys() <= set(KNOBS)
    rules = find_rules(record.workload, get_target(record.core).features)
    rule = next((rule for rule in rules if rule.name == record.rule), None)
    return rule is not None and _are_valid(record.knobs, rule.space(record.workload))


def _are_valid(knobs: Mapping[str, int], space: Space) -> bool:
    return space.keys() == knobs.keys() and all(knobs[knob] in space[knob] for knob in space)


def _comparable(records: Iterable[Record], optimize: str) -> tuple[Record, ...]:
    records = list(records)
    same = [record for record in records if record.optimize == optimize] or records
    for metric in reversed(METRICS):
        if found := tuple(record for record in same if record.metric == metric):
            return found
    return ()


def _have_default(records: Sequence[Record], rules: Set[str]) -> bool:
    """Whether a workload's default is computed by these rules and no other, as far as is known."""
    return all(rules == {record.rule} for record in records if record.default)


def _picks(
    records: Sequence[Record], workload: Workload, features: frozenset[str], source: str
) -> tuple[list[Pick], bool]:
    """What records say for a workload, and whether the best of them no longer applies.

    The default of one workload says nothing about the sizes of another: it stands for the other's
    own.
    """
    rules = {rule.name: rule for rule in find_rules(workload, features)}
    default = min(
        (record.cost for record in records if record.default and record.cost is not None),
        default=math.inf,
    )
    picks: list[Pick] = []
    stale = False
    for record in pareto_front(records):
        assert record.cost is not None
        if record.default or record.cost > _WORTH * default:
            picks.append(Pick(None, {}, source))
            break
        rule = rules.get(record.rule)
        if rule is None or not _are_valid(record.knobs, rule.space(workload)):
            stale = True
            continue
        picks.append(Pick(record.rule, record.knobs, source))
    return picks, stale
