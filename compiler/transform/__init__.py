"""Graph passes: each takes a graph and returns one that computes the same values."""

from __future__ import annotations

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.transform.constant_channels import remove_constant_channels
from tinyaot.compiler.transform.dead_nodes import remove_dead_nodes
from tinyaot.compiler.transform.fold_padding import fold_padding
from tinyaot.compiler.transform.fuse_tables import fuse_tables
from tinyaot.compiler.transform.transposed_convolution import split_transposed_convolutions

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

PROCESSOR_PASSES = (
    # An NPU computes them as they are.
    split_transposed_convolutions,
)


def simplify(graph: Graph) -> Graph:
    """Runs the passes that help every target, in order."""
    for graph_pass in PASSES:
        graph = graph_pass(graph)
    return graph


def prepare_for_processor(graph: Graph) -> Graph:
    """Rewrites what is left for the processor into what its schedules do best."""
    for graph_pass in PROCESSOR_PASSES:
        graph = graph_pass(graph)
    return graph
