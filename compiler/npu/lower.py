"""Workloads as operations of the NPU: what it computes exactly, or why it does not.

A rule gets a node and returns its operations on whole tensors, named as in the graph. What the NPU
would compute with other rounding than the workload's is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.npu import elementwise, movement, reduction, resize, windows
from tinyaot.compiler.npu.operands import LARGEST, Unsupported
from tinyaot.schedules.workload import (
    Add,
    Concatenate,
    Conv2D,
    DepthwiseConv2D,
    Extremum,
    FullyConnected,
    LinearResize,
    Lookup,
    Mean,
    Multiply,
    Pad,
    Pool2D,
    Rearrange,
    Requantize,
    Reshape,
    ResizeBilinear,
    Softmax,
    Transpose,
    Workload,
)
from tinyaot.schedules.workload_elementwise import Binary, QuantizedBinary
from tinyaot.schedules.workload_reduction import Reduce, ReduceExtreme
from tinyaot.schedules.workload_sequence import TransposeConv2D
from tinyaot.schedules.workload_wide import WideConv2D, WidePool2D, WideRamp, WideRequantize
from tinyaot.targets.ethos_u.operation import Operation

Rule = Callable[[Node, Graph], list[Operation]]


def lower(node: Node, graph: Graph) -> list[Operation]:
    """The operations of a node, in order; none for a reshape.

    Raises:
        Unsupported: the NPU does not compute it, or not exactly.
    """
    rule = _RULES.get(type(node.workload))
    if rule is None:
        raise Unsupported(f"{node.workload.kind} is not among the NPU's operators")
    for name in (*node.inputs, node.output):
        dtype = graph.tensors[name].dtype
        if dtype not in ("int8", "uint8", "int16"):
            raise Unsupported(f"{node.workload.kind} of {dtype}")
    states = {state.tensor for state in graph.states}
    if node.states or states & {*node.inputs, node.output}:
        raise Unsupported("keeps a state between inferences")
    if isinstance(node.workload, Reshape):
        return []
    operations = rule(node, graph)
    for operation in operations:
        for fm in (*operation.inputs, operation.ofm):
            if max(fm.shape) > LARGEST:
                raise Unsupported(f"{fm.shape} is too large: the NPU's axes end at {LARGEST}")
    return operations


_RULES: dict[type[Workload], Rule] = {
    Add: elementwise.add,
    Binary: elementwise.extremum,
    Concatenate: movement.concatenate,
    Conv2D: windows.conv2d,
    DepthwiseConv2D: windows.depthwise,
    Extremum: elementwise.extremum,
    FullyConnected: windows.fully_connected,
    LinearResize: resize.linear,
    Lookup: elementwise.lookup,
    Mean: reduction.mean,
    Multiply: elementwise.multiply,
    Pad: movement.pad,
    Pool2D: windows.pool2d,
    QuantizedBinary: elementwise.quantized_binary,
    Rearrange: movement.rearrange,
    Reduce: reduction.reduce,
    ReduceExtreme: reduction.extreme,
    Requantize: elementwise.requantize,
    Reshape: lambda node, graph: [],
    ResizeBilinear: resize.bilinear,
    Softmax: reduction.softmax,
    Transpose: movement.transpose,
    TransposeConv2D: windows.transpose_conv2d,
    WideConv2D: windows.wide_conv2d,
    WidePool2D: windows.pool2d,
    WideRamp: elementwise.ramp,
    WideRequantize: elementwise.wide_requantize,
}
