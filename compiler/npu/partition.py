"""Splits a graph between the NPU and the CPU: groups of nodes become one node each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu.emit import FIRST_PORT, MOST_REGIONS, CompiledRegion
from tinyaot.compiler.npu.lower import lower
from tinyaot.compiler.npu.operands import Unsupported
from tinyaot.compiler.npu.region import RegionCompiler
from tinyaot.compiler.npu.subgraph import compile_group, vela_refusal
from tinyaot.compiler.npu.tuned import NpuRecords
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload import (
    Concatenate,
    Constant,
    Pad,
    Rearrange,
    Reshape,
    Transpose,
    Workload,
)
from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu
from tinyaot.targets.ethos_u.vela import architecture

_MOVES = (Concatenate, Pad, Rearrange, Reshape, Transpose)
_MOST_PORTS = MOST_REGIONS - FIRST_PORT


@dataclass(frozen=True)
class Fallback:
    """An operator that stays on the CPU.

    Attributes:
        origin: the model node.
        reason: why.
    """

    origin: str
    reason: str


@dataclass(frozen=True)
class Partition:
    """A graph whose groups for the NPU are single nodes.

    Attributes:
        graph: the rewritten graph.
        regions: the groups, by the first output of their node.
        fallbacks: what stays on the CPU; reshapes and constants cost nothing and are not listed.
    """

    graph: Graph
    regions: Mapping[str, CompiledRegion]
    fallbacks: tuple[Fallback, ...]

    def notes(self, accelerator: str) -> tuple[str, ...]:
        """A line for each operator that stays on the CPU."""
        return tuple(
            f"on the CPU, not on {accelerator}: {one.origin}: {one.reason}"
            for one in self.fallbacks
        )


def partition(
    graph: Graph,
    npu: Npu,
    decisions: Mapping[Workload, Decisions] | None = None,
    model: bytes = b"",
    records: NpuRecords | None = None,
) -> Partition:
    """Gives the NPU the largest connected groups that it computes exactly.

    Args:
        graph: after all other passes.
        npu: the accelerator.
        decisions: sizes by workload, as for the CPU.
        model: the file that the graph was read from; Vela's code generator works on TFLite files.
        records: what tuning has found for the NPU.

    Raises:
        TinyaotError: an operator stays on the CPU and `npu.only` forbids it.
    """
    groups, reasons = _split(graph, npu, model)
    taken = {index for group in groups for index in group}
    fallbacks = tuple(
        Fallback(node.origin, reasons[index])
        for index, node in enumerate(graph.nodes)
        if index not in taken and not isinstance(node.workload, (Constant, Reshape))
    )
    if npu.only and fallbacks:
        first = fallbacks[0]
        others = f" and {len(fallbacks) - 1} more" if len(fallbacks) > 1 else ""
        raise TinyaotError(
            f"{npu.name} cannot compute {first.origin}{others}: {first.reason}",
            "leave out --npu-only to compute it on the CPU",
        )
    regions = [_compile(graph, sorted(group), npu, decisions, model, records) for group in groups]
    return Partition(
        _rewritten(graph, groups, [region.node for region in regions]),
        {region.node.output: region for region in regions},
        fallbacks,
    )


def group_compilers(graph: Graph, npu: Npu) -> list[RegionCompiler]:
    """Our own code generator for each of the groups that the NPU gets, in order; for tuning."""
    groups, _ = _split(graph, npu, b"")
    return [
        RegionCompiler(
            [graph.nodes[index] for index in sorted(group)], graph, *_interface(graph, group), npu
        )
        for group in groups
    ]


def _split(graph: Graph, npu: Npu, model: bytes) -> tuple[list[set[int]], dict[int, str]]:
    """The groups for the NPU, and by index why other nodes are in none."""
    reasons = _reasons(graph, npu, model)
    groups = _trim(graph, _group(graph, reasons))
    for group in groups:
        if all(isinstance(graph.nodes[index].workload, _MOVES) for index in group):
            for index in group:
                reasons[index] = "only moves data, next to nothing that the NPU computes"
    return [group for group in groups if not group & reasons.keys()], reasons


def _reasons(graph: Graph, npu: Npu, model: bytes) -> dict[int, str]:
    """Why nodes are not for the NPU, by index; those that are, are not in it."""
    reasons = {}
    if npu.by_vela_alone:
        # A configuration that is not valid would look like a refusal of each operator.
        architecture(npu)
        return _refusals(graph, npu, model)
    for index, node in enumerate(graph.nodes):
        if isinstance(node.workload, Constant):
            reasons[index] = "is a constant"
            continue
        try:
            lower(node, graph)
        except Unsupported as reason:
            reasons[index] = str(reason)
    return reasons


def _refusals(graph: Graph, npu: Npu, model: bytes) -> dict[int, str]:
    """As `_reasons`, for code by Vela, which is asked about each operator of the file."""
    operators: dict[str, set[int]] = {}
    for index, node in enumerate(graph.nodes):
        if not isinstance(node.workload, Constant):
            operators.setdefault(node.origin, set()).add(index)
    reasons = {
        index: "is a constant"
        for index, node in enumerate(graph.nodes)
        if isinstance(node.workload, Constant)
    }
    for members in operators.values():
        nodes = [graph.nodes[index] for index in sorted(members)]
        reason = vela_refusal(nodes, graph, *_interface(graph, members), npu, model)
        if reason:
            reasons.update(dict.fromkeys(members, reason))
    return reasons


def _group(graph: Graph, reasons: Mapping[int, str]) -> list[set[int]]:
    """Connected groups; joining any two more would make a cycle through the CPU."""
    maker = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs}
    owner = list(range(len(graph.nodes)))
    for index, node in enumerate(graph.nodes):
        if index in reasons:
            continue
        for name in node.inputs:
            source = maker.get(name)
            if source is None or source in reasons or owner[source] == owner[index]:
                continue
            joined = [
                owner[source] if one in (owner[source], owner[index]) else one for one in owner
            ]
            members = {place for place, one in enumerate(joined) if one == owner[source]}
            if _acyclic(graph, maker, joined) and len(_ports(graph, members)) <= _MOST_PORTS:
                owner = joined
    groups: dict[int, set[int]] = {}
    for index, one in enumerate(owner):
        if index not in reasons:
            groups.setdefault(one, set()).add(index)
    return list(groups.values())


def _acyclic(graph: Graph, maker: Mapping[str, int], owner: Sequence[int]) -> bool:
    sources: dict[int, set[int]] = {one: set() for one in owner}
    for index, node in enumerate(graph.nodes):
        sources[owner[index]] |= {owner[maker[name]] for name in node.inputs if name in maker} - {
            owner[index]
        }
    done: set[int] = set()
    while len(done) < len(sources):
        ready = {one for one, needed in sources.items() if one not in done and needed <= done}
        if not ready:
            return False
        done |= ready
    return True


def _ports(graph: Graph, group: set[int]) -> list[str]:
    inputs, outputs = _interface(graph, group)
    return [*inputs, *outputs]


def _interface(graph: Graph, group: set[int]) -> tuple[list[str], list[str]]:
    """What a group reads from and writes to the outside, in order of execution."""
    made = {name for index in group for name in graph.nodes[index].outputs}
    inputs = dict.fromkeys(
        name
        for index in sorted(group)
        for name in graph.nodes[index].inputs
        if name not in made and name not in graph.constants
    )
    read = {
        name for index, node in enumerate(graph.nodes) if index not in group for name in node.inputs
    } | set(graph.outputs)
    outputs = [
        name for index in sorted(group) for name in graph.nodes[index].outputs if name in read
    ]
    return list(inputs), outputs


def _trim(graph: Graph, groups: list[set[int]]) -> list[set[int]]:
    """Takes reshapes at the ends out of their groups: there they are views of what is outside."""
    trimmed = []
    for group in groups:
        while True:
            inputs, outputs = _interface(graph, group)
            ends = {
                index
                for index in group
                if isinstance(graph.nodes[index].workload, Reshape)
                and (graph.nodes[index].inputs[0] in inputs or graph.nodes[index].output in outputs)
            }
            if not ends:
                break
            group = group - ends
        if group:
            trimmed += _components(graph, group)
    return trimmed


def _components(graph: Graph, group: set[int]) -> list[set[int]]:
    """A group is still connected, or falls apart where a reshape held it together."""
    rest, parts = set(group), []
    while rest:
        part = {min(rest)}
        while True:
            names = {n for i in part for n in (*graph.nodes[i].inputs, *graph.nodes[i].outputs)}
            grown = {i for i in rest if names & {*graph.nodes[i].inputs, *graph.nodes[i].outputs}}
            if grown <= part:
                break
            part |= grown
        parts.append(part)
        rest -= part
    return parts


def _compile(
    graph: Graph,
    group: Sequence[int],
    npu: Npu,
    decisions: Mapping[Workload, Decisions] | None,
    model: bytes,
    records: NpuRecords | None,
) -> CompiledRegion:
    inputs, outputs = _interface(graph, set(group))
    nodes = [graph.nodes[i] for i in group]
    return compile_group(nodes, graph, inputs, outputs, npu, decisions, model, records)


def _rewritten(graph: Graph, groups: Sequence[set[int]], nodes: Sequence[Node]) -> Graph:
    """The graph with each group as one node, in an order in which it can run."""
    place = {index: number for number, group in enumerate(groups) for index in group}
    units: list[Node] = []
    seen: set[int] = set()
    for index, node in enumerate(graph.nodes):
        if index not in place:
            units.append(node)
        elif place[index] not in seen:
            seen.add(place[index])
            units.append(nodes[place[index]])
    made = {name for node in units for name in node.outputs} - {
        state.tensor for state in graph.states
    }
    ready = set(graph.tensors) - made
    ordered: list[Node] = []
    while units:
        number = next(i for i, node in enumerate(units) if set(node.inputs) <= ready)
        node = units.pop(number)
        ordered.append(node)
        ready |= set(node.outputs)
    used = {
        *graph.inputs,
        *graph.outputs,
        *(state.tensor for state in graph.states),
        *(name for node in ordered for name in (*node.inputs, *node.outputs)),
    }
    read = {name for node in ordered for name in node.inputs} | set(graph.outputs)
    kept = [
        node for node in ordered if not isinstance(node.workload, Constant) or node.output in read
    ]
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in used}
    return replace(graph, nodes=tuple(kept), tensors=tensors)
