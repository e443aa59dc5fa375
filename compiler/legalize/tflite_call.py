"""TFLite operators that reach legalization as themselves: `tinyaot.tflite.<OPERATOR>` calls.

The frontend passes quantized operands, constants among them, and a JSON text with the operator's
options and every tensor's quantization. A rule gets all that as a `TFLiteCall`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Tensor
from tinyaot.compiler.legalize.builder import Value, identity
from tinyaot.compiler.legalize.fixed_point import activation_range
from tinyaot.compiler.legalize.group import Context
from tinyaot.compiler.legalize.relax_reader import dtype_of, op_name, shape_of
from tinyaot.schedules.workload import Workload
from tinyaot.targets import TinyaotError

_PREFIX = "tinyaot.tflite."

Rule = Callable[["TFLiteCall"], Value]

# Fused activations by their code in the schema, and the real bounds of those that clamp.
_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
_BOUNDS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}


def tflite_kind(call: Any) -> str:
    """The operator of such a call, for example `LOGISTIC`; empty for any other expression."""
    if op_name(call) != "relax.call_pure_packed":
        return ""
    symbol = str(call.args[0].global_symbol)
    return symbol.removeprefix(_PREFIX) if symbol.startswith(_PREFIX) else ""


@dataclass(frozen=True)
class TFLiteCall:
    """One output of a TFLite operator.

    Attributes:
        context: see `Context`.
        call: the Relax call.
        name: for the output tensor.
        origin: the model node, for people and errors.
    """

    context: Context
    call: Any
    name: str
    origin: str

    @cached_property
    def _description(self) -> dict[str, Any]:
        description: dict[str, Any] = json.loads(str(self.call.args[-1].value))
        return description

    @property
    def options(self) -> Mapping[str, Any]:
        """The operator's options by their names in TFLite's schema."""
        options: Mapping[str, Any] = self._description["options"]
        return options

    @property
    def dtype(self) -> str:
        """The type of input 0 inside the graph, where uint8 is int8."""
        dtype = dtype_of(self._argument(0))
        return "int8" if dtype == "uint8" else dtype

    @property
    def place(self) -> int:
        """Which output of the operator this is."""
        return int(self._description["place"])

    @property
    def input_count(self) -> int:
        """Inputs in the file, omitted ones included."""
        return len(self._description["inputs"])

    def _argument(self, index: int) -> Any:
        if index >= self.input_count:
            raise self.unsupported(
                f"has no input {index}", "the file may be damaged: convert again"
            )
        return self.call.args[1 + index]

    def constant(self, index: int) -> NDArray[Any] | None:
        """An input that is known, as stored in the file; None if it is computed from inputs."""
        expr = self._argument(index)
        known = self.context.reader.constant(expr)
        if known is not None or self.context.reader.value(expr) in self.context.reader.params:
            return known
        # What other operators make of constants is known too.
        value = self.context.builder.known.get(self.tensor(index).name)
        if value is not None and dtype_of(expr) == "uint8":
            return (value.astype(np.int16) + 128).astype(np.uint8)
        return value

    def tensor(self, index: int) -> Tensor:
        """An input in the model's axis order; one that is known becomes a constant tensor."""
        return self.context.builder.in_model_order(self.value(index), self.origin)

    def value(self, index: int) -> Value:
        """An input in any order of its axes."""
        expr = self._argument(index)
        known = self.context.reader.constant(expr)
        if known is None:
            return self.context.activation(expr)
        scale, zero_point, dtype = None, 0, known.dtype.name
        if self._description["inputs"][index] is not None:
            scale, zero_point = self.input_quantization(index)
        if dtype == "uint8":
            known, dtype = (known.astype(np.int16) - 128).astype(np.int8), "int8"
        tensor = Tensor(f"{self.name}_input_{index}", known.shape, dtype, scale, zero_point)
        return self.done(self.context.builder.constant(known, tensor, self.origin))

    def numbers(self, index: int) -> list[int]:
        """The elements of an input that must be known, such as axes or sizes.

        Raises:
            TinyaotError: it is computed at run time.
        """
        known = self.constant(index)
        if known is None:
            raise self.unsupported(
                f"computes its input {index} at run time, on which the shape of its output depends",
                "make it a constant when exporting the model",
            )
        return [int(value) for value in known.reshape(-1)]

    def input_quantization(self, index: int) -> tuple[float, int]:
        """Scale and zero point of an input, the zero point as of the tensor inside the graph."""
        inputs = self._description["inputs"]
        known = inputs[index] if index < len(inputs) else None
        if known is None or len(known["scale"]) != 1:
            raise self.unsupported(f"has input {index} without one scale for the whole tensor")
        shift = 128 if dtype_of(self._argument(index)) == "uint8" else 0
        return float(known["scale"][0]), int(known["zero_point"][0]) - shift

    def has_input(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < self.input_count and 0 not in self.input_shapes[index]

    def scales(self, index: int) -> NDArray[np.float64]:
        """The scales of an input, one or one for each channel."""
        return self._quantized(index, "scale").astype(np.float64)

    def zero_points(self, index: int) -> list[int]:
        """The zero points of an input, one or one for each channel, as in the file."""
        return [int(value) for value in self._quantized(index, "zero_point")]

    def _quantized(self, index: int, field: str) -> NDArray[Any]:
        known = self._description["inputs"][index]
        if known is None:
            raise self.unsupported(f"has input {index} without quantization")
        return np.array(known[field])

    @property
    def output_scale(self) -> float:
        """The scale of the output, which must have one."""
        known = self._description["output"]
        if known is None or len(known["scale"]) != 1:
            raise self.unsupported("has an output without one scale for the whole tensor")
        return float(known["scale"][0])

    def clamp(self, activation: str = "") -> tuple[int, int]:
        """The bounds of the output in quantized values.

        Args:
            activation: such as `RELU6`; the fused one if it is left out.
        """
        if not activation:
            code = int(self.options.get("FusedActivationFunction", 0))
            activation = _ACTIVATIONS[code] if code < len(_ACTIVATIONS) else str(code)
        if activation not in _BOUNDS:
            raise self.unsupported(
                f"has the fused activation {activation}",
                "fused activations may be RELU, RELU6 and RELU_N1_TO_1",
            )
        output = self.output()
        return activation_range(
            *_BOUNDS[activation], self.output_scale, output.zero_point, output.dtype
        )

    def padding(
        self,
        input_shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        kernel: tuple[int, int],
        strides: tuple[int, int],
        dilation: tuple[int, int],
    ) -> tuple[int, int, int, int]:
        """Padding (top, left, bottom, right) of a window on NHWC images, as the operator's
        option `Padding` says; source: TFLite's `kernels/padding.h`.

        Raises:
            TinyaotError: the output has another size than TFLite gives it.
        """
        same = int(self.options["Padding"]) == 0
        before, after = [], []
        for axis, (window, stride, step) in enumerate(
            zip(kernel, strides, dilation, strict=True), start=1
        ):
            size, reach = input_shape[axis], (window - 1) * step + 1
            if min(window, stride, step) < 1:
                raise self.unsupported("has a window, stride or dilation of 0")
            expected = -(-size // stride) if same else (size - reach) // stride + 1
            if output_shape[axis] != expected or expected < 1:
                raise self.unsupported(
                    f"has an output of shape {output_shape} where its window gives {expected} on "
                    f"axis {axis}",
                    "the file may be damaged: export it again",
                )
            total = max((expected - 1) * stride + reach - size, 0) if same else 0
            before.append(total // 2)
            after.append(total - total // 2)
        return before[0], before[1], after[0], after[1]

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the inputs."""
        return [shape_of(argument) for argument in self.call.args[1:-1]]

    def output(self) -> Tensor:
        """The output tensor, to be handed to `emit`; uint8 is int8 inside the graph."""
        dtype, known = dtype_of(self.call), self._description["output"]
        scale, zero_point = None, 0
        if known is not None:
            scale, zero_point = float(known["scale"][0]), int(known["zero_point"][0])
        if dtype == "uint8":
            dtype, zero_point = "int8", zero_point - 128
        return Tensor(self.name, shape_of(self.call), dtype, scale, zero_point)

    def emit(
        self,
        workload: Workload,
        inputs: tuple[Tensor, ...],
        constants: Mapping[str, NDArray[np.generic]] | None = None,
        states: tuple[Tensor, ...] = (),
    ) -> Value:
        """Adds the node that computes the output."""
        builder = self.context.builder
        output = self.output()
        return self.done(builder.emit(workload, inputs, output, self.origin, constants, states))

    def state(self, index: int) -> Tensor:
        """An input that keeps its value from one inference to the next."""
        inputs = self._description["inputs"]
        known = inputs[index] if index < len(inputs) else None
        if known is None or "state" not in known:
            raise self.unsupported(f"needs a variable as input {index}", "export the model again")
        return self.context.builder.states[known["state"]]

    def done(self, tensor: Tensor) -> Value:
        """The value of a tensor that holds the output."""
        return Value(tensor, identity(len(tensor.shape)))

    def unsupported(self, what: str, *hints: str) -> TinyaotError:
        """An error that names the model node."""
        return TinyaotError(f"{self.origin} {what}", *hints)


def by_type(**rules: Rule) -> Rule:
    """A rule that is another one for each type of input 0; `types` of the result names them."""

    def rule(call: TFLiteCall) -> Value:
        if call.dtype not in rules:
            raise call.unsupported(
                f"works on {call.dtype}", f"supported types are {', '.join(rules)}"
            )
        return rules[call.dtype](call)

    rule.types = tuple(rules)  # type: ignore[attr-defined]
    return rule
