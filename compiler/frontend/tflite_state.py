"""What a TFLite model keeps from one inference to the next: resource variables, variable tensors.

VAR_HANDLE names a resource variable, READ_VARIABLE and ASSIGN_VARIABLE copy from and to it, and
CALL_ONCE runs a subgraph that gives initial values before the first inference. SVDF and LSTM
operators keep theirs in tensors that are marked as variable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from tinyaot.compiler.frontend.imported import Port, StateVariable
from tinyaot.targets import TinyaotError

WITHOUT_CODE = frozenset({"CALL_ONCE", "VAR_HANDLE"})
"""Operators that are done with when the model has been read."""

_OPERATORS = tflite.BuiltinOperator
_DTYPES = {
    tflite.TensorType.INT8: "int8",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.INT64: "int64",
    tflite.TensorType.BOOL: "bool",
}


def variable_names(graph: Any, names: Sequence[str], model: Any) -> dict[int, str]:
    """The variables of a subgraph: by the index of a tensor that stands for it, its name."""
    variables = {
        index: names[index]
        for index in range(graph.TensorsLength())
        if graph.Tensors(index).IsVariable()
    }
    for operator in _operators(graph, model, _OPERATORS.VAR_HANDLE):
        options = _options(operator, tflite.VarHandleOptions)
        words = [options.Container(), options.SharedName()]
        key = "/".join(word.decode(errors="replace") for word in words if word)
        variables[int(operator.Outputs(0))] = key or names[int(operator.Outputs(0))]
    return variables


def read_states(model: Any, names: Sequence[str]) -> tuple[StateVariable, ...]:
    """The variables of a model with their initial values.

    Args:
        model: the flatbuffer.
        names: of the main subgraph's tensors.

    Raises:
        TinyaotError: a variable has a type that is not supported, or an initial value that is not
            a constant.
    """
    graph = model.Subgraphs(0)
    variables = variable_names(graph, names, model)
    # A handle tells neither shape nor type: the tensors that are read and written do.
    shown = {name: graph.Tensors(index) for index, name in variables.items()}
    for operator in _operators(graph, model, _OPERATORS.ASSIGN_VARIABLE):
        shown[variables[int(operator.Inputs(0))]] = graph.Tensors(operator.Inputs(1))
    for operator in _operators(graph, model, _OPERATORS.READ_VARIABLE):
        shown[variables[int(operator.Inputs(0))]] = graph.Tensors(operator.Outputs(0))
    initial: dict[str, NDArray[np.generic]] = {}
    for operator in _operators(graph, model, _OPERATORS.CALL_ONCE):
        options = _options(operator, tflite.CallOnceOptions)
        initial |= _initial_values(model, options.InitSubgraphIndex())
    used = {
        variables[int(operator.Inputs(place))]
        for operator in map(graph.Operators, range(graph.OperatorsLength()))
        for place in range(operator.InputsLength())
        if int(operator.Inputs(place)) in variables
    }
    return tuple(_state(name, shown[name], initial.get(name)) for name in sorted(used))


def _state(name: str, tensor: Any, initial: NDArray[np.generic] | None) -> StateVariable:
    dtype = _DTYPES.get(tensor.Type())
    shape = tuple(int(size) for size in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
    if dtype is None or (shape and min(shape) < 1):
        raise TinyaotError(
            f'the variable "{name}" has a type or shape that is not supported',
            f"variables may be {', '.join(_DTYPES.values())} of a fixed shape",
        )
    quantization = tensor.Quantization()
    scale, zero_point = None, 0
    if quantization is not None and quantization.ScaleLength() == 1:
        scale, zero_point = float(quantization.Scale(0)), int(quantization.ZeroPoint(0))
    if initial is None:
        # TFLite Micro starts at the real number 0 for int8, and with zero bytes for the others.
        initial = np.full(shape, zero_point if dtype == "int8" else 0, dtype)
    elif initial.size != math.prod(shape) or initial.dtype.name != dtype:
        raise TinyaotError(
            f'the variable "{name}" is {dtype} {list(shape)} and starts as '
            f"{initial.dtype} {list(initial.shape)}",
            "the file may be damaged",
        )
    return StateVariable(Port(name, shape, dtype, scale, zero_point), initial.reshape(shape))


def _operators(graph: Any, model: Any, wanted: int) -> list[Any]:
    found = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        if max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) == wanted:
            found.append(operator)
    return found


def _options(operator: Any, kind: Any) -> Any:
    options, table = kind(), operator.BuiltinOptions()
    if table is not None:
        options.Init(table.Bytes, table.Pos)
        return options
    raise TinyaotError("an operator on a variable has no options", "the file may be damaged")


def _initial_values(model: Any, index: int) -> dict[str, NDArray[np.generic]]:
    """What the subgraph of a CALL_ONCE assigns."""
    if not 0 < index < model.SubgraphsLength():
        raise TinyaotError(f"CALL_ONCE calls subgraph {index}", "the file may be damaged")
    graph = model.Subgraphs(index)
    names = [f"tensor_{place}" for place in range(graph.TensorsLength())]
    variables = variable_names(graph, names, model)
    assignments = _operators(graph, model, _OPERATORS.ASSIGN_VARIABLE)
    handles = _operators(graph, model, _OPERATORS.VAR_HANDLE)
    if len(assignments) + len(handles) != graph.OperatorsLength():
        raise TinyaotError(
            "CALL_ONCE computes the initial values of variables",
            "initial values must be constants",
        )
    values = {}
    for operator in assignments:
        tensor = graph.Tensors(operator.Inputs(1))
        data = model.Buffers(tensor.Buffer()).DataAsNumpy()
        dtype = _DTYPES.get(tensor.Type())
        name = variables[int(operator.Inputs(0))]
        if isinstance(data, int) or dtype is None:
            raise TinyaotError(
                f'the variable "{name}" starts as something that is not a constant',
                "initial values must be integer constants",
            )
        values[name] = np.frombuffer(data.tobytes(), dtype)
    return values
