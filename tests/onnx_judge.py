"""Compares every quantized tensor of an ONNX model with what ONNX Runtime makes of its operands.

Comparing outputs alone lets a tie that is rounded the other way pass for, or hide, a mistake in
what follows. Here the model is cut at each quantized tensor: ONNX Runtime computes it from the
values that the compiled model has for the tensors before it. In QDQ form the real number that is
quantized is known, and the result must be the nearest step to it, up to the rounding of float32. In
QOperator form ONNX Runtime's own kernels may round a tie the other way.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tinyaot.compiler import compile_model
from tinyaot.compiler.compiled import CompiledModel
from tinyaot.compiler.oracle import dequantize, random_inputs
from tinyaot.compiler.reference import evaluate

Array = NDArray[Any]

# Steps beyond the middle between two steps.
TOLERANCE = 2e-3
# The share of a tensor of ONNX Runtime's own kernels that may be rounded the other way.
SHARE = 0.12

_INTEGER = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16)


@dataclass(frozen=True)
class Cut:
    """One quantized tensor.

    Attributes:
        name: of the tensor.
        operator: that computes it, for people.
        computed: the tensor of the cut model to compare with.
        scale, zero_point: where `computed` is the real number; None where it is the integer.
    """

    name: str
    operator: str
    computed: str
    scale: Array | None
    zero_point: Array | None


def judge(
    path: Path, count: int = 4, target: str = "host", on: str = "host"
) -> tuple[CompiledModel, list[str]]:
    """Compiles the model with all its quantized tensors as outputs and compares them.

    Args:
        path: of an ONNX model in QDQ or QOperator form.
        count: of inferences.
        target, on: as for `tinyaot run`.

    Returns:
        The compiled model, and what is wrong in words: nothing if all is well.

    Raises:
        TinyaotError: the model is refused.
    """
    model = onnx.load(path)
    exposed, cut_model, cuts = _cut(model)
    exposed_path = path.with_suffix(".exposed.onnx")
    onnx.save(exposed, exposed_path)
    compiled = compile_model(exposed_path, target)
    inputs = random_inputs(compiled.inputs, count)
    outputs = compiled.measure(inputs, on=on).outputs
    names = [value.name for value in exposed.graph.output]
    plain = evaluate(compiled.graph, inputs[0])
    problems: dict[str, str] = {}
    for name, tensor, array in zip(names, compiled.outputs, outputs[0], strict=True):
        if not np.array_equal(plain[tensor.name], array):
            problems[name] = f'"{name}": the numpy interpreter computes something else'
    session = _session(cut_model)
    given_names = {value.name for value in session.get_inputs()}
    computed_names = list(dict.fromkeys(cut.computed for cut in cuts))
    for given, got in zip(inputs, outputs, strict=True):
        values = dict(zip(names, got, strict=True))
        feeds = {f"{name}/given": array for name, array in values.items()}
        for value, tensor, array in zip(model.graph.input, compiled.inputs, given, strict=True):
            is_float = value.type.tensor_type.elem_type == TensorProto.FLOAT
            feeds[value.name] = dequantize(array, tensor) if is_float else array
        feeds = {name: array for name, array in feeds.items() if name in given_names}
        results = dict(zip(computed_names, session.run(computed_names, feeds), strict=True))
        for cut in cuts:
            problem = _compare(values[cut.name], results[cut.computed], cut)
            if problem and cut.name not in problems:
                problems[cut.name] = f'{cut.operator} "{cut.name}": {problem}'
    return compiled, list(problems.values())


def _compare(got: Array, computed: Array, cut: Cut) -> str:
    if got.shape != computed.shape:
        return f"shape {got.shape}, expected {computed.shape}"
    if cut.scale is None or cut.zero_point is None:
        difference = np.abs(got.astype(np.int64) - computed.astype(np.int64))
        differing = np.count_nonzero(difference)
        if difference.max(initial=0) > 1:
            return f"off by {difference.max()}"
        # A tie in a small tensor is no share to speak of.
        allowed = max(2.0, SHARE * got.size)
        return f"{differing} of {got.size} off by one" if differing > allowed else ""
    limits = np.iinfo(got.dtype)
    steps = computed.astype(np.float64) / cut.scale.astype(np.float64) + cut.zero_point
    known = ~np.isnan(steps)
    steps = np.clip(steps, limits.min, limits.max)
    far = np.abs(got - steps)[known].max(initial=0)
    return f"{far:.4f} steps from the real result" if far > 0.5 + TOLERANCE else ""


def _cut(model: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto, list[Cut]]:
    """The model with its quantized tensors as outputs; cut at them; and what to compare."""
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    types = _types(model)
    cuts: list[Cut] = []
    given: dict[str, onnx.ValueInfoProto] = {}
    known = set(constants)
    for node in model.graph.node:
        if all(name in known or not name for name in node.input):
            known |= set(node.output)
            continue
        name = node.output[0]
        qoperator = bool(re.match("QLinear|QGemm", node.op_type))
        if node.op_type != "QuantizeLinear" and not qoperator:
            continue
        scale, zero_point = (
            (None, None) if qoperator else (constants[node.input[1]], constants[node.input[2]])
        )
        source = f"{node.input[0]}/real" if node.op_type == "QuantizeLinear" else name
        cuts.append(Cut(name, node.op_type, source, scale, zero_point))
        given[name] = types[name]
    exposed, cut_model = onnx.ModelProto(), onnx.ModelProto()
    exposed.CopyFrom(model)
    cut_model.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    del exposed.graph.output[:]
    for value in [*model.graph.output, *(types[name] for name in given if name not in outputs)]:
        if value.type.tensor_type.elem_type in _INTEGER or value.name not in outputs:
            exposed.graph.output.append(value)
    _feed(cut_model, given, cuts, types)
    return exposed, cut_model, cuts


def _feed(
    model: onnx.ModelProto,
    given: Mapping[str, onnx.ValueInfoProto],
    cuts: Sequence[Cut],
    types: Mapping[str, onnx.ValueInfoProto],
) -> None:
    """Lets readers of quantized tensors read inputs of the model instead; cuts are outputs."""
    graph = model.graph
    for node in graph.node:
        node.input[:] = [f"{name}/given" if name in given else name for name in node.input]
    for name, value in given.items():
        port = graph.input.add()
        port.CopyFrom(value)
        port.name = f"{name}/given"
    del graph.output[:]
    for computed in dict.fromkeys(cut.computed for cut in cuts):
        if computed.endswith("/real"):
            name = computed.removesuffix("/real")
            graph.node.append(helper.make_node("Identity", [name], [computed]))
            shown = f"{name}/given" if name in given else name
            graph.node[-1].input[0] = shown
            graph.output.append(helper.make_tensor_value_info(computed, TensorProto.FLOAT, None))
        else:
            graph.output.append(types[computed])


def _types(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Types of all integer tensors, as one inference shows them."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = _session(shown)
    feeds = {
        value.name: np.zeros(
            [size if isinstance(size, int) else 1 for size in value.shape],
            helper.tensor_dtype_to_np_dtype(
                next(
                    one.type.tensor_type.elem_type
                    for one in model.graph.input
                    if one.name == value.name
                )
            ),
        )
        for value in session.get_inputs()
    }
    found = {}
    for name, array in zip(names, session.run(names, feeds), strict=True):
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        found[name] = helper.make_tensor_value_info(name, kind, array.shape)
    return found


def _session(model: onnx.ModelProto) -> Any:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    def session(*, precise: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        if precise:
            # Else x86 CPUs that lack VNNI saturate sums of uint8 by int8 products at 16 bits.
            options.add_session_config_entry("session.x64quantprecision", "1")
        else:
            level = onnxruntime.GraphOptimizationLevel
            options.graph_optimization_level = level.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(model.SerializeToString(), options)

    if any(re.match("QLinear|QGemm", node.op_type) for node in model.graph.node):
        # That option turns some int8 operators into forms that have no kernel.
        with contextlib.suppress(states.Fail, states.NotImplemented):
            return session(precise=True)
    return session(precise=False)
