"""Joins operators on one int8 element each: a chain of them is one table, or one clamp.

Whatever maps an int8 to an int8 has 256 results, so its composition is exact and free:

- a chain of tables and changes of scale is one table;
- what only limits the result of the operator before it becomes that operator's clamp;
- what changes nothing is another name of its input.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.reference import evaluate_node
from tinyaot.schedules.workload import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Lookup,
    Mean,
    Multiply,
    Pool2D,
    Requantize,
    Reshape,
)

Table = NDArray[np.int8]

_CLAMPED = (Add, Conv2D, DepthwiseConv2D, FullyConnected, Mean, Multiply, Pool2D)

# A table is 256 bytes of flash: from this many elements on it saves more than it costs.
_TABLE_PAYS = 512

_VALUES = np.arange(-128, 128)


def fuse_tables(graph: Graph) -> Graph:
    """Rewrites node after node; each sees what became of those before it."""
    # What is kept between inferences changes while an inference runs: its reads stay in place.
    kept = {state.tensor for state in graph.states}
    reads = Counter(name for node in graph.nodes for name in (*node.inputs, *node.states))
    reads.update((*graph.outputs, *kept))
    shown = _shown(graph)
    nodes: list[Node | None] = []
    writers: dict[str, int] = {}
    for node in graph.nodes:
        table = None if kept.intersection((*node.inputs, node.output)) else _table_of(node)
        if table is not None:
            place = writers.get(node.inputs[0])
            source = None if place is None else nodes[place]
            joined = None
            if source is not None and reads[source.output] == 1 and not kept & {*source.inputs}:
                joined = _joined(source, node, table)
            if joined is not None and place is not None:
                nodes[place] = None
                node, table = joined, _table_of(joined)
            if table is not None:
                named = not kept and node.output not in shown
                node = _cheapest(node, table, named)
        writers[node.output] = len(nodes)
        nodes.append(node)
    left = tuple(node for node in nodes if node is not None)
    used = {*graph.inputs, *kept, *(node.output for node in left)}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in used}
    return replace(graph, nodes=left, tensors=tensors)


def _shown(graph: Graph) -> set[str]:
    """The outputs and what they are reshapes of, whose bytes no other tensor may own: an input's
    stay where they are, and two outputs have bytes of their own."""
    shown = set(graph.outputs)
    for node in reversed(graph.nodes):
        if isinstance(node.workload, Reshape) and node.output in shown:
            shown.add(node.inputs[0])
    return shown


def _table_of(node: Node) -> Table | None:
    """The results for -128 .. 127 of a node that maps int8 to int8 one by one, else None."""
    workload = node.workload
    if isinstance(workload, Lookup):
        return node.constants["table"].astype(np.int8)
    if isinstance(workload, Requantize) and workload.input_dtype == workload.output_dtype == "int8":
        whole = replace(node, workload=replace(workload, size=len(_VALUES)))
        return evaluate_node(whole, [_VALUES]).astype(np.int8)
    return None


def _joined(source: Node, node: Node, table: Table) -> Node | None:
    """A node and the one before it, which nothing else reads, as one; None if they are not."""
    origin = f"{source.origin}, {node.origin}"
    before = _table_of(source)
    if before is not None:
        both = table[before.astype(np.intp) + 128]
        return _lookup(replace(node, inputs=source.inputs, origin=origin), both)
    workload: Any = source.workload
    if not isinstance(workload, _CLAMPED):
        return None
    low, high = workload.clamp
    results = table[low + 128 : high + 129]
    clamp = int(results.min()), int(results.max())
    if not np.array_equal(results, np.clip(np.arange(low, high + 1), *clamp)):
        return None
    return replace(
        source, workload=replace(workload, clamp=clamp), output=node.output, origin=origin
    )


def _cheapest(node: Node, table: Table, named: bool) -> Node:
    """The node in another form; `named` says that its output may be a name of its input."""
    size: int = node.workload.size  # type: ignore[attr-defined]
    if named and np.array_equal(table, _VALUES):
        return Node(Reshape((size,), (size,)), node.inputs, node.output, {}, node.origin)
    pays = isinstance(node.workload, Requantize) and size >= _TABLE_PAYS
    return _lookup(node, table) if pays else node


def _lookup(node: Node, table: Table) -> Node:
    size: int = node.workload.size  # type: ignore[attr-defined]
    return Node(Lookup(size), node.inputs, node.output, {"table": table}, node.origin)
