"""Runs a partitioned graph: regions in the functional model, other nodes in the interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu.emit import CACHE, CONSTANTS, FIRST_PORT, WORKSPACE
from tinyaot.compiler.reference import evaluate_node
from tinyaot.schedules.workload_npu import NpuRegion

Array = NDArray[Any]


def simulate(
    graph: Graph, inputs: Sequence[Array], states: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """The value of every tensor for one set of inputs; arguments as `reference.evaluate`.

    Raises:
        StreamError: a command stream does what the hardware would not bear.
    """
    values: dict[str, Array] = dict(zip(graph.inputs, inputs, strict=True))
    for state in graph.states:
        values[state.tensor] = state.initial if states is None else states[state.tensor]
    for node in graph.nodes:
        if isinstance(node.workload, NpuRegion):
            results: Sequence[Any] = run_region(node, [values[name] for name in node.inputs])
            names = node.outputs
        else:
            operands = [values[name] for name in (*node.inputs, *node.states)]
            result: Any = evaluate_node(node, operands)
            results = result if node.states else (result,)
            names = (node.output, *node.states)
        for name, array in zip(names, results, strict=True):
            tensor = graph.tensors[name]
            if isinstance(node.workload, NpuRegion):
                array = array.view(tensor.dtype)
            values[name] = array.reshape(tensor.shape).astype(tensor.dtype)
    return values


def run_region(node: Node, inputs: Sequence[Array]) -> list[NDArray[np.uint8]]:
    """The bytes of the outputs of a region, computed in the functional model.

    Args:
        node: with the workload `NpuRegion`.
        inputs: of the node.

    Raises:
        StreamError: the command stream does what the hardware would not bear.
    """
    from tinyaot.targets.ethos_u.model import parse_driver_payload, run_stream

    workload = node.workload
    assert isinstance(workload, NpuRegion)
    regions = {
        CONSTANTS: node.constants["weights"].copy(),
        WORKSPACE: np.zeros(max(workload.workspace, 16), np.uint8),
        CACHE: np.zeros(max(workload.cache, 16), np.uint8),
    }
    ports = [np.frombuffer(array.tobytes(), np.uint8).copy() for array in inputs]
    outputs = [np.zeros(size, np.uint8) for size in workload.output_sizes]
    regions |= {FIRST_PORT + index: port for index, port in enumerate((*ports, *outputs))}
    stream = parse_driver_payload(node.constants["stream"].tobytes())
    first_output = FIRST_PORT + len(ports)
    written: dict[int, list[tuple[int, int]]] = {
        first_output + index: [] for index in range(len(outputs))
    }
    run_stream(stream, regions, workload.accelerator, written=written)
    return outputs
