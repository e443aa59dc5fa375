"""Graph passes: each takes a graph and returns one that computes the same values."""

from __future__ import annotations

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.transform.constant_channels import remove_constant_channels
from tinyaot.compiler.transform.dead_nodes import remove_dead_nodes

PASSES = (
    # Frontends convert what no output needs, such as the unclamped half of a fused activation.
    remove_dead_nodes,
    # Pruned channels cost as much as any other until they are gone.
    remove_constant_channels,
)


def simplify(graph: Graph) -> Graph:
    """Runs all graph passes in order."""
    for graph_pass in PASSES:
        graph = graph_pass(graph)
    return graph
