"""Gives every node of a graph its kernel: the rule for the core, sizes, C and packed constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.codegen.c import CFunction, print_function
from tinyaot.compiler.codegen.lower import lower_kernel
from tinyaot.compiler.graph import Graph, Node
from tinyaot.schedules.registry import Decisions, Kernel, choose
from tinyaot.schedules.workload import Constant, Reshape, Workload
from tinyaot.targets import Target


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
    """

    node: Node
    rule: str
    decisions: Decisions
    kernel: Kernel
    function: CFunction
    constants: Mapping[str, NDArray[np.generic]]


def schedule_graph(
    graph: Graph, target: Target, decisions: Mapping[Workload, Decisions] | None = None
) -> tuple[Operator, ...]:
    """The operators of a graph in execution order; reshapes and constants have no code.

    Args:
        graph: what to compute.
        target: its features choose the rules.
        decisions: sizes by workload; the rule's defaults where there are none.

    Raises:
        LookupError: no rule computes a node.
        ValueError: a decision is not valid for its workload.
    """
    kernels: dict[object, tuple[Kernel, CFunction]] = {}
    operators = []
    for node in graph.nodes:
        workload = node.workload
        if isinstance(workload, (Constant, Reshape)):
            continue
        choice = choose(
            workload, target.features, (decisions or {}).get(workload), dict(node.constants)
        )
        if choice.key not in kernels:
            kernel = choice.build()
            kernels[choice.key] = (kernel, print_function(lower_kernel(kernel.func)))
        kernel, function = kernels[choice.key]
        constants = {
            name: np.ascontiguousarray(array)
            for name, array in kernel.pack(dict(node.constants)).items()
        }
        operators.append(
            Operator(node, choice.rule.name, choice.values, kernel, function, constants)
        )
    return tuple(operators)
