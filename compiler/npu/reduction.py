"""Means, sums, extremes and softmax as the NPU's operations."""

from __future__ import annotations

import numpy as np

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu.operands import (
    MOST_PARTS,
    POOL_SIDE,
    ROUNDING,
    Unsupported,
    feature_map,
    hardware_factor,
    kernel_sides,
)
from tinyaot.compiler.npu.softmax import softmax_operations
from tinyaot.schedules.workload import Mean, Softmax
from tinyaot.targets.ethos_u.operation import Operation


def mean(node: Node, graph: Graph) -> list[Operation]:
    """A depthwise convolution with ones, the division in its scale."""
    w = node.workload
    assert isinstance(w, Mean)
    source, target = graph.tensors[node.inputs[0]], graph.tensors[node.output]
    if w.outer > MOST_PARTS:
        raise Unsupported(f"a mean of {w.outer} separate parts")
    factor = hardware_factor((w.multiplier, w.shift))
    if (w.reduced * 255) << max(w.shift, 0) >= 2**31:
        raise Unsupported("sums may leave 32 bits")
    side = kernel_sides(w.reduced)
    return [
        Operation(
            "depthwise",
            feature_map(
                source,
                (*side, w.inner),
                w.input_zero_point,
                offset=index * w.reduced * w.inner,
            ),
            feature_map(target, (1, 1, w.inner), w.output_zero_point, offset=index * w.inner),
            kernel=side,
            weights=np.ones((*side, w.inner), np.int8),
            bias=np.zeros(w.inner, np.int32),
            scales=np.tile(np.array(factor, np.int64), (w.inner, 1)),
            clamp=w.clamp,
            rounding=ROUNDING[w.rounding],
            origin=node.origin,
        )
        for index in range(w.outer)
    ]


def softmax(node: Node, graph: Graph) -> list[Operation]:
    """Softmax in integers; see `softmax_operations`."""
    w = node.workload
    assert isinstance(w, Softmax)
    if w.depth > POOL_SIDE:
        raise Unsupported(f"softmax over {w.depth} values: the NPU takes {POOL_SIDE}")
    shape = (w.rows, 1, w.depth)
    return softmax_operations(
        feature_map(graph.tensors[node.inputs[0]], shape),
        feature_map(graph.tensors[node.output], shape, -128),
        node.constants["table"].astype(np.int32),
        node.origin,
    )
