"""Graph passes: each takes a graph and returns one that computes the same values."""

from __future__ import annotations

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.transform.dead_nodes import remove_dead_nodes

PASSES = (
    # Frontends convert what no output needs, such as the unclamped half of a fused activation.
    remove_dead_nodes,
)


def simplify(graph: Graph) -> Graph:
    """Runs all graph passes in order."""
    for graph_pass in PASSES:
        graph = graph_pass(graph)
    return graph
