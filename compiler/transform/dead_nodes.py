"""Removes operators whose results nothing reads."""

from __future__ import annotations

from dataclasses import replace

from tinyaot.compiler.graph import Graph


def remove_dead_nodes(graph: Graph) -> Graph:
    """Keeps the nodes that an output or a state depends on, and the tensors they touch."""
    needed = {*graph.outputs, *(state.tensor for state in graph.states)}
    kept = []
    for node in reversed(graph.nodes):
        if node.output in needed or node.states:
            needed.update((*node.inputs, node.output))
            kept.append(node)
    needed.update(graph.inputs)
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in needed}
    layers = tuple(layer for layer in graph.layers if layer.tensor in needed)
    return replace(graph, nodes=tuple(reversed(kept)), tensors=tensors, layers=layers)
