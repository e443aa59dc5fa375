"""Graph passes: each takes a graph and returns one that computes the same values."""

from __future__ import annotations

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.transform.constant_channels import remove_constant_channels
from tinyaot.compiler.transform.dead_nodes import remove_dead_nodes
from tinyaot.compiler.transform.fold_padding import fold_padding
from tinyaot.compiler.transform.fuse_tables import fuse_tables

PASSES = (
    # Frontends convert what no output needs, such as the unclamped half of a fused activation.
    remove_dead_nodes,
    # A convolution skips its border; a padded copy costs memory and a pass.
    fold_padding,
    # Pruned channels cost as much as any other until they are gone.
    remove_constant_channels,
    # Last, as no channel can be removed through a table.
    fuse_tables,
)


def simplify(graph: Graph) -> Graph:
    """Runs all graph passes in order."""
    for graph_pass in PASSES:
        graph = graph_pass(graph)
    return graph
