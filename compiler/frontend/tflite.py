"""TFLite flatbuffer -> Relax, through TVM's importer.

What the file says is checked here; operators are read by `tflite_converter.py`.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Any
from unittest import mock

import tflite
from tvm.relax.frontend.tflite import tflite_frontend

from tinyaot.compiler.frontend.imported import (
    Imported,
    ModelNode,
    Port,
    Problem,
    close_blocks,
)
from tinyaot.compiler.frontend.tflite_converter import Converter, first_line, unreadable
from tinyaot.compiler.frontend.tflite_operators import SUPPORTED
from tinyaot.compiler.frontend.tflite_state import read_states
from tinyaot.compiler.frontend.tflite_tensors import (
    FLOAT_TYPES,
    TYPE_NAMES,
    check_tensors,
    static_shape,
    tensor_name,
    unique_names,
)
from tinyaot.targets import TinyaotError

_EDGE_OPERATORS = ("QUANTIZE", "DEQUANTIZE")
_OPERATOR_NAMES: dict[int, str] = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if type(code) is int
}


def is_tflite(data: bytes) -> bool:
    """Whether the bytes carry TFLite's file identifier."""
    return data[4:8] == b"TFL3"


def import_tflite(data: bytes, problems: list[Problem] | None = None) -> Imported:
    """Reads a quantized TFLite model.

    Args:
        data: the flatbuffer.
        problems: see `import_model`.

    Returns:
        A Relax module in the form dequantize -> op -> quantize, with what the user should know.

    Raises:
        TinyaotError: the file is damaged, a float model, or uses something unsupported.
    """
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        nodes = _describe_nodes(model, problems)
        unique = unique_names(model.Subgraphs(0))
        check_tensors(model.Subgraphs(0), unique)
        inputs, outputs, notes = _ports(model)
        states = read_states(model, unique)
    except TinyaotError:
        raise
    except Exception as error:
        raise TinyaotError(
            f"the TFLite file is damaged: {first_line(error)}", "export or download it again"
        ) from error
    converters: list[Converter] = []

    def converter(*args: Any) -> Converter:
        converters.append(Converter(*args, nodes=nodes, problems=problems))
        return converters[-1]

    with mock.patch.object(tflite_frontend, "get_tensor_name", lambda _, index: unique[index]):
        try:
            module = tflite_frontend.from_tflite(model, op_converter=converter)
        except Exception as error:
            if converters:
                close_blocks(converters[0].bb)
            if isinstance(error, TinyaotError):
                raise
            where = converters[0].current if converters else "the model's inputs"
            raise unreadable(where, error) from error
    results = _results(model.Subgraphs(0), unique)
    return Imported(module, tuple(nodes), inputs, outputs, notes, "double", states, results)


def _results(graph: Any, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The names of the tensors that each operator writes."""
    operators = map(graph.Operators, range(graph.OperatorsLength()))
    return tuple(
        tuple(names[index] for index in _indices(operator.OutputsAsNumpy()))
        for operator in operators
    )


def result_names(data: bytes) -> list[str]:
    """The names of all tensors that operators write, as in `Imported.results`."""
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    return [name for names in _results(graph, unique_names(graph)) for name in names]


def with_outputs(data: bytes, names: Sequence[str]) -> bytes:
    """A copy of a TFLite file whose outputs are other tensors.

    The new vector of outputs is appended, and the field of the main subgraph points to it.

    Args:
        data: the flatbuffer.
        names: of tensors, as in `Imported.results`.
    """
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    places = {name: index for index, name in enumerate(unique_names(graph))}
    padded = bytearray(data) + bytes(-len(data) % 4)
    outputs = [places[name] for name in names]
    vector = struct.pack(f"<{1 + len(outputs)}i", len(outputs), *outputs)
    # Outputs are the third field; its offset is from where it stands.
    field = graph._tab.Pos + graph._tab.Offset(8)
    padded[field : field + 4] = struct.pack("<I", len(padded) - field)
    return bytes(padded + vector)


def _operator_name(model: Any, operator: Any) -> str:
    code = model.OperatorCodes(operator.OpcodeIndex())
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if builtin == tflite.BuiltinOperator.CUSTOM:
        custom = code.CustomCode()
        return f"CUSTOM({custom.decode(errors='replace') if custom else ''})"
    return _OPERATOR_NAMES.get(builtin, f"operator code {builtin}")


def _describe_nodes(model: Any, problems: list[Problem] | None) -> list[ModelNode]:
    """Every operator of the main subgraph; refuses, or notes, what cannot be compiled."""
    graph = model.Subgraphs(0)
    nodes: list[ModelNode] = []
    unsupported: list[str] = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        name = _operator_name(model, operator)
        named = operator.Outputs(0) if operator.OutputsLength() else -1
        if named < 0 and operator.InputsLength():
            named = operator.Inputs(0)
        node = ModelNode(name, index, tensor_name(graph.Tensors(named)) if named >= 0 else "")
        nodes.append(node)
        if name not in SUPPORTED:
            unsupported.append(str(node))
            if problems is not None:
                problems.append(Problem(str(node), _unsupported([str(node)])))
        for position in range(operator.InputsLength()):
            if operator.Inputs(position) < 0 or name in _EDGE_OPERATORS:
                continue
            tensor = graph.Tensors(operator.Inputs(position))
            kind = TYPE_NAMES.get(tensor.Type(), "unknown")
            if kind in FLOAT_TYPES:
                error = TinyaotError(
                    f"{node} computes in {kind.lower()}: this is not a fully quantized model",
                    "convert with full-integer quantization (int8 activations and weights) and "
                    "a representative data set",
                )
                if problems is None:
                    raise error
                problems.append(Problem(str(node), error))
    if unsupported and problems is None:
        raise _unsupported(unsupported)
    return nodes


def _unsupported(nodes: Sequence[str]) -> TinyaotError:
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return TinyaotError(
        f"operator not supported: {', '.join(nodes[:3])}{more}",
        f"supported are {', '.join(sorted(SUPPORTED))}",
    )


def _ports(model: Any) -> tuple[tuple[Port, ...], tuple[Port, ...], tuple[str, ...]]:
    """Inputs, outputs and notes; refuses shapes that are not known."""
    graph = model.Subgraphs(0)
    names = unique_names(graph)
    notes: list[str] = []

    def port(index: int, role: str) -> Port:
        tensor = graph.Tensors(index)
        name = names[index]
        shape = static_shape(tensor)
        signature = shape
        if tensor.ShapeSignatureLength() == len(shape) and shape:
            signature = tuple(int(size) for size in tensor.ShapeSignatureAsNumpy())
        for axis, (size, declared) in enumerate(itertools.zip_longest(shape, signature)):
            if size < 1 or (declared == -1 and axis > 0 and size != 1):
                raise TinyaotError(
                    f'{role} "{name}" has a dynamic shape {list(signature)}',
                    "fix every dimension when converting the model",
                )
        if signature and signature[0] == -1:
            notes.append(f'{role} "{name}": dynamic batch set to {shape[0]}')
        quantization = tensor.Quantization()
        scale, zero_point = None, 0
        if quantization is not None and quantization.ScaleLength() == 1:
            scale, zero_point = float(quantization.Scale(0)), int(quantization.ZeroPoint(0))
        dtype = TYPE_NAMES.get(tensor.Type(), "unknown").lower()
        return Port(name, shape, dtype, scale, zero_point)

    inputs = tuple(port(int(index), "input") for index in _indices(graph.InputsAsNumpy()))
    outputs = tuple(port(int(index), "output") for index in _indices(graph.OutputsAsNumpy()))
    if not inputs or not outputs:
        raise TinyaotError("the model has no inputs or no outputs", "export it again")
    return inputs, outputs, tuple(notes)


def _indices(array: Any) -> list[int]:
    return [] if isinstance(array, int) else [int(index) for index in array]
