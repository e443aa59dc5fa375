"""ONNX operators that reach legalization as themselves: `tinyaot.onnx.<Operator>` calls.

The frontend passes the operands as Relax expressions, float or quantized, and a JSON text with the
node as it stands in the file. A rule gets all that as an `OnnxCall`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from tvm import relax

from tinyaot.compiler.legalize.relax_reader import op_name, shape_of

_PREFIX = "tinyaot.onnx."


@dataclass(frozen=True)
class OnnxCall:
    """One output of an ONNX operator.

    Attributes:
        call: the Relax call.
        kind: the operator, such as `LeakyRelu`.
    """

    call: Any
    kind: str

    @cached_property
    def _description(self) -> dict[str, Any]:
        description: dict[str, Any] = json.loads(str(self.call.args[-1].value))
        return description

    @cached_property
    def node(self) -> onnx.NodeProto:
        """The node as in the file."""
        return onnx.NodeProto.FromString(bytes.fromhex(self._description["node"]))

    @property
    def opset(self) -> int:
        """The version of ONNX's operators that the model uses."""
        return int(self._description["opset"])

    @property
    def place(self) -> int:
        """Which output of the operator this is."""
        return int(self._description["place"])

    @cached_property
    def operands(self) -> tuple[Any, ...]:
        """The inputs as Relax expressions; None where one is left out."""
        given = self.call.args[1:-1]
        return tuple(None if isinstance(arg, relax.Tuple) else arg for arg in given)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return shape_of(self.call)

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the node: a number, a text, or a list of numbers."""
        for one in self.node.attribute:
            if one.name == name:
                value = helper.get_attribute_value(one)
                return value.decode() if isinstance(value, bytes) else value
        return default


def onnx_call(expr: Any) -> OnnxCall | None:
    """The operator behind such a call; None for any other expression."""
    if op_name(expr) != "relax.call_pure_packed":
        return None
    symbol = str(expr.args[0].global_symbol)
    return OnnxCall(expr, symbol.removeprefix(_PREFIX)) if symbol.startswith(_PREFIX) else None


def real_constant(reader: Any, expr: Any) -> NDArray[Any] | None:
    """The value of a constant, dequantized in float32 where it is quantized; None if not one."""
    plain = reader.constant(expr)
    if plain is not None:
        return np.asarray(plain)
    value = reader.value(expr)
    name = op_name(value)
    if name in ("relax.reshape", "relax.permute_dims"):
        inner = real_constant(reader, value.args[0])
        if inner is None:
            return None
        if name == "relax.reshape":
            return inner.reshape(shape_of(value))
        axes = value.attrs.axes
        return inner.transpose(None if axes is None else [int(axis) for axis in axes])
    if name != "relax.dequantize":
        return None
    values, scale, zero_point = (reader.constant(arg) for arg in value.args[:3])
    if values is None or scale is None or zero_point is None:
        return None
    if scale.size > 1:
        along = [1] * values.ndim
        along[int(value.attrs.axis) % values.ndim] = -1
        scale, zero_point = scale.reshape(along), zero_point.reshape(along)
    elif scale.ndim:
        scale, zero_point = scale.reshape(()), zero_point.reshape(())
    centred = values.astype(np.int64) - zero_point.astype(np.int64)
    return np.asarray(centred.astype(np.float32) * scale.astype(np.float32))
