"""One quantized operator as the rules see it: quantize(activation(op(operands)))."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import GraphBuilder, Value, identity
from tinyaot.compiler.legalize.fixed_point import activation_range
from tinyaot.compiler.legalize.onnx_call import onnx_call
from tinyaot.compiler.legalize.onnx_movement import movement_of
from tinyaot.compiler.legalize.onnx_place import Place
from tinyaot.compiler.legalize.relax_reader import (
    QuantizedConstant,
    RelaxReader,
    dtype_of,
    op_name,
)
from tinyaot.targets import TinyaotError


@dataclass(frozen=True)
class Context:
    """What every rule works with.

    Attributes:
        reader: the Relax function being read.
        builder: the graph being built.
        activation: turns a quantized Relax expression into its value.
        rounding: see `Workload`.
    """

    reader: RelaxReader
    builder: GraphBuilder
    activation: Callable[[Any], Value]
    rounding: str

    def operand(self, expr: Any, origin: str) -> Value:
        """The activation behind a float expression: a dequantize, moved or not.

        Raises:
            TinyaotError: the expression is not a quantized activation.
        """
        value = self.reader.value(expr)
        name = op_name(value)
        if name == "relax.dequantize":
            return self.dequantized(value, origin)
        movement = movement_of(value)
        if movement is None:
            raise TinyaotError(f"{origin} reads {describe(value)} that is not quantized")
        if name == "relax.nn.pad" and float(value.attrs.pad_value) != 0:
            raise TinyaotError(
                f"{origin} reads a tensor padded with {value.attrs.pad_value} before quantization",
                "quantize after the padding",
            )
        sources = [self.operand(operand, origin) for operand in movement.operands]
        if len({(source.scale, source.zero_point) for source in sources}) > 1:
            raise TinyaotError(
                f"{origin} reads {movement.name} of tensors with different scales",
                "quantize its result, or all its operands alike",
            )
        return movement.apply(Place(self.builder, self.reader, origin), sources)

    def dequantized(self, call: Any, origin: str) -> Value:
        """The activation under a dequantize, with the scale and zero point it is read with.

        Raises:
            TinyaotError: they are not one constant for the whole tensor, or it is a constant.
        """
        value = self.activation(call.args[0])
        scale, zero_point = (self.reader.constant(arg) for arg in call.args[1:3])
        if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
            raise TinyaotError(
                f"{origin} reads an activation with a scale per channel",
                "quantize activations per tensor",
            )
        shifted = stored_zero_point(zero_point, dtype_of(call.args[0]), origin)
        tensor = replace(value.tensor, scale=float(scale.reshape(-1)[0]), zero_point=shifted)
        return replace(value, tensor=tensor)


@dataclass(frozen=True)
class Group:
    """A float operator between dequantize and quantize, taken apart.

    Attributes:
        context: see `Context`.
        name: for the output tensor.
        origin: the model node, for people and errors.
        scale, zero_point, dtype: of the output.
        clamp: bounds of the quantized output, the fused activation included.
    """

    context: Context
    name: str
    origin: str
    scale: float
    zero_point: int
    dtype: str
    clamp: tuple[int, int]

    @property
    def reader(self) -> RelaxReader:
        """The Relax function being read."""
        return self.context.reader

    @property
    def builder(self) -> GraphBuilder:
        """The graph being built."""
        return self.context.builder

    @property
    def rounding(self) -> str:
        """How the model's reference kernels requantize, see `Workload`."""
        return self.context.rounding

    def operand(self, expr: Any) -> Value:
        """The activation behind a float expression; see `Context.operand`."""
        return self.context.operand(expr, self.origin)

    def constant(self, expr: Any) -> QuantizedConstant | None:
        """A dequantized constant operand; None if it is not one."""
        return self.reader.quantized_constant(expr)

    def output(self, shape: tuple[int, ...]) -> Tensor:
        """The output tensor, to be handed to `GraphBuilder.emit`."""
        return Tensor(self.name, shape, self.dtype, self.scale, self.zero_point)

    def done(self, tensor: Tensor, stored: tuple[int, ...] | None = None) -> Value:
        """The value of an emitted output tensor."""
        return Value(tensor, stored or identity(len(tensor.shape)))

    def unsupported(self, what: str, *hints: str) -> TinyaotError:
        """An error that names the model node."""
        return TinyaotError(f"{self.origin} {what}", *hints)


@dataclass(frozen=True)
class Body:
    """What stands inside a quantize: the operator and the bounds of its fused activation.

    Attributes:
        expr: the variable or expression of the operator.
        call: its definition.
        low, high: real bounds, infinite where there are none.
    """

    expr: Any
    call: Any
    low: float
    high: float

    def clamp(self, scale: float, zero_point: int, dtype: str) -> tuple[int, int]:
        """The bounds in quantized values."""
        return activation_range(self.low, self.high, scale, zero_point, dtype)


def peel_activation(reader: RelaxReader, expr: Any) -> Body:
    """Takes relu and clip off a float expression and keeps their bounds."""
    low, high = float("-inf"), float("inf")
    while True:
        call = reader.value(expr)
        name = op_name(call)
        if name == "relax.nn.relu":
            low = max(low, 0.0)
        elif name == "relax.nn.relu6":
            low, high = max(low, 0.0), min(high, 6.0)
        elif name == "relax.clip":
            low = max(low, scalar(reader, call.args[1]))
            high = min(high, scalar(reader, call.args[2]))
        else:
            return Body(reader.follow(expr), call, low, high)
        expr = call.args[0]


def describe(call: Any) -> str:
    """An expression's operator for messages, in ONNX's terms where it has any."""
    own = onnx_call(call)
    return own.kind if own is not None else op_name(call) or "a float tensor"


def zero_point_shift(dtype: str) -> int:
    """What uint8 activations lose on the way to int8, which they are inside the graph."""
    return 128 if dtype == "uint8" else 0


def stored_zero_point(zero_point: NDArray[np.generic], dtype: str, origin: str) -> int:
    """The zero point, a single element, of activations of a type inside the graph.

    Raises:
        TinyaotError: it is outside the type, or the type is no integer.
    """
    if not np.issubdtype(dtype, np.integer):
        raise TinyaotError(
            f"{origin} reads or writes {dtype} where quantized values are expected",
            "the file may be damaged: export the model again",
        )
    value = int(zero_point.reshape(-1)[0])
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise TinyaotError(
            f"{origin} reads or writes {dtype} with the zero point {value}",
            "the file may be damaged: export the model again",
        )
    return value - zero_point_shift(dtype)


def scalar(reader: RelaxReader, expr: Any) -> float:
    """A number that is a scalar constant in either of Relax's forms."""
    if isinstance(getattr(expr, "value", None), (int, float)):
        return float(expr.value)
    array = reader.constant(expr)
    if array is None or array.size != 1:
        raise TinyaotError(f"a bound or factor is not a constant: {expr}")
    return float(array.reshape(-1)[0])
