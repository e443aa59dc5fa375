"""Gives every node of a graph its kernel: the rule for the core, sizes, C and packed constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.codegen.c import CFunction, print_function
from tinyaot.compiler.codegen.lower import lower_kernel
from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu.kernel import region_kernel
from tinyaot.schedules.registry import Choice, Decisions, Kernel, choose
from tinyaot.schedules.workload import Constant, Reshape, Workload
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets import Target

DEFAULT, GIVEN = "default", "given"
"""Where an operator's sizes come from, if not from a tuning record: see `Pick`."""


@dataclass(frozen=True)
class Pick:
    """How to compute a workload.

    Attributes:
        rule: name of the schedule rule; the most specific one if None.
        decisions: values for its knobs; defaults for those that are left out.
        source: where this comes from, for the report.
    """

    rule: str | None
    decisions: Decisions
    source: str = GIVEN


@dataclass(frozen=True)
class Operator:
    """A node with its code.

    Attributes:
        node: what it computes.
        rule: name of the schedule rule.
        decisions: the values of the rule's knobs.
        kernel: in TIR; operators with equal kernels hold the same object.
        function: the kernel in C.
        constants: in the order and form of the kernel's parameters.
        source: where the rule and the sizes come from.
    """

    node: Node
    rule: str
    decisions: Decisions
    kernel: Kernel
    function: CFunction
    constants: Mapping[str, NDArray[np.generic]]
    source: str = DEFAULT


Built = dict[object, tuple[Kernel, CFunction]]
"""Kernels by the key of their choice."""


def schedule_graph(
    graph: Graph,
    target: Target,
    decisions: Mapping[Workload, Decisions | Pick] | None = None,
    built: Built | None = None,
) -> tuple[Operator, ...]:
    """The operators of a graph in execution order; reshapes and constants have no code.

    Args:
        graph: what to compute.
        target: its features choose the rules.
        decisions: sizes by workload; the rule's defaults where there are none. Where the constants
            of a node rule out the rule of a `Pick`, the defaults are taken.
        built: kernels that were built before; new ones are added.

    Raises:
        LookupError: no rule computes a node.
        ValueError: a decision is not valid for its workload.
    """
    kernels = {} if built is None else built
    operators = []
    for node in graph.nodes:
        workload = node.workload
        if isinstance(workload, (Constant, Reshape)):
            continue
        if isinstance(workload, NpuRegion):
            kernel, function = region_kernel(node, graph)
            operators.append(
                Operator(node, workload.accelerator, {}, kernel, function, dict(node.constants))
            )
            continue
        choice, source = _choose(node, target, (decisions or {}).get(workload))
        if choice.key not in kernels:
            kernel = choice.build()
            assert kernel.func is not None, "rules of the registry build TIR"
            kernels[choice.key] = (kernel, print_function(lower_kernel(kernel.func)))
        kernel, function = kernels[choice.key]
        constants = {
            name: np.ascontiguousarray(array)
            for name, array in kernel.pack(dict(node.constants)).items()
        }
        operators.append(
            Operator(node, choice.rule.name, choice.values, kernel, function, constants, source)
        )
    return tuple(operators)


def _choose(node: Node, target: Target, asked: Decisions | Pick | None) -> tuple[Choice, str]:
    """The choice for a node, and where it comes from."""
    constants = dict(node.constants)
    if isinstance(asked, Pick):
        try:
            choice = choose(
                node.workload, target.features, asked.decisions, constants, rule=asked.rule
            )
            return choice, asked.source
        except LookupError:
            asked = None
    return choose(node.workload, target.features, asked, constants), GIVEN if asked else DEFAULT
