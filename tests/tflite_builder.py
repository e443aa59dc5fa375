"""Small quantized TFLite models for tests, made operator by operator.

    builder = TFLiteBuilder()
    x = builder.input((1, 8, 8, 3), scale=0.5, zero_point=-1)
    y = builder.conv2d(x, weight, bias, weight_scale=0.01, scale=0.1, padding="SAME")
    builder.output(builder.softmax(y))
    path.write_bytes(builder.build())

Methods take and return `Tensor`; what they write follows TFLite's quantization specification.
`operator` adds any other operator of the schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import ArrayLike, NDArray

PROBABILITY: dict[str, Any] = {"scale": 1 / 256, "zero_point": -128}
WIDE_PROBABILITY: dict[str, Any] = {"scale": 1 / 32768, "zero_point": 0}
"""The quantizations that TFLite prescribes for the outputs of SOFTMAX and LOGISTIC: of int8, and of
int16."""

# The first version of each operator's schema that has int8; others are left at 1.
_VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "PAD": 2,
    "PADV2": 2,
    "RELU": 2,
    "RELU6": 2,
    "SOFTMAX": 2,
    "TRANSPOSE": 2,
}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the model; real = scale * (q - zero_point).

    Attributes:
        index: in the file.
        shape: batch first, NHWC.
        dtype: numpy's name.
        scales: none, one, or one per channel of axis `channel_axis`.
        zero_point: 0 for tensors with a scale per channel.
    """

    index: int
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...] = ()
    zero_point: int = 0
    channel_axis: int = 0

    @property
    def scale(self) -> float:
        """The scale of a tensor that has one."""
        (scale,) = self.scales
        return scale

    @property
    def quantization(self) -> dict[str, Any]:
        """Arguments that give an output the quantization of this tensor."""
        return {"scale": self.scale, "zero_point": self.zero_point}


class TFLiteBuilder:
    """Collects tensors and operators; `build` writes the file."""

    def __init__(self) -> None:
        self._tensors: list[tuple[Tensor, str, int]] = []
        self._buffers: list[bytes] = [b""]
        self._operators: list[tuple[str, list[int], list[int], str, dict[str, Any]]] = []
        self._inputs: list[int] = []
        self._outputs: list[int] = []
        self._variables: set[int] = set()
        self._initial: list[tuple[str, int, Tensor]] = []

    def input(
        self,
        shape: Sequence[int],
        scale: float | None = None,
        zero_point: int = 0,
        dtype: str = "int8",
    ) -> Tensor:
        """A model input; without a scale it carries no quantization."""
        name = f"input_{len(self._inputs)}"
        tensor = self._tensor(name, shape, dtype, () if scale is None else (scale,), zero_point)
        self._inputs.append(tensor.index)
        return tensor

    def output(self, tensor: Tensor) -> None:
        """Makes a tensor a model output."""
        self._outputs.append(tensor.index)

    def rename(self, tensor: Tensor, name: str) -> None:
        """Gives a tensor another name; any text is valid."""
        _, _, buffer = self._tensors[tensor.index]
        self._tensors[tensor.index] = (tensor, name, buffer)

    def constant(
        self,
        values: NDArray[Any],
        scale: ArrayLike = (),
        zero_point: int = 0,
        channel_axis: int = 0,
    ) -> Tensor:
        """A tensor with data."""
        self._buffers.append(np.ascontiguousarray(values).tobytes())
        scales = tuple(float(one) for one in np.asarray(scale, np.float32).reshape(-1))
        return self._tensor(
            f"constant_{len(self._tensors)}",
            values.shape,
            values.dtype.name,
            scales,
            zero_point,
            channel_axis,
            len(self._buffers) - 1,
        )

    def _tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str,
        scales: tuple[float, ...],
        zero_point: int = 0,
        channel_axis: int = 0,
        buffer: int = 0,
    ) -> Tensor:
        tensor = Tensor(len(self._tensors), tuple(shape), dtype, scales, zero_point, channel_axis)
        self._tensors.append((tensor, name, buffer))
        return tensor

    def operator(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        *,
        scale: float | None = None,
        zero_point: int = 0,
        dtype: str | None = None,
        options: str = "",
        **fields: Any,
    ) -> Tensor:
        """Any operator with one output.

        Args:
            kind: its name in the schema, such as `CONV_2D`.
            inputs: None for an optional one that is left out.
            shape, scale, zero_point, dtype: of the output; None for int16 if that is the type of
                the first input, else int8.
            options: the name of its option table, such as `Conv2DOptions`.
            fields: of that table, such as `StrideH=2`; a tuple for a vector of integers.
        """
        (output,) = self.operators(
            *(kind, inputs, [shape]),
            scale=scale,
            zero_point=zero_point,
            dtype=dtype,
            options=options,
            **fields,
        )
        return output

    def operators(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shapes: Sequence[Sequence[int]],
        *,
        scale: float | None = None,
        zero_point: int = 0,
        dtype: str | None = None,
        options: str = "",
        **fields: Any,
    ) -> list[Tensor]:
        """Any operator with any number of outputs, quantized alike; see `operator`."""
        scales = () if scale is None else (scale,)
        if dtype is None:
            wide = bool(inputs) and inputs[0] is not None and inputs[0].dtype == "int16"
            dtype = "int16" if wide else "int8"
        stem = f"{kind.lower()}_{len(self._operators)}"
        outputs = [
            self._tensor(f"{stem}_{place}" if place else stem, shape, dtype, scales, zero_point)
            for place, shape in enumerate(shapes)
        ]
        indices = [-1 if tensor is None else tensor.index for tensor in inputs]
        places = [output.index for output in outputs]
        self._operators.append((kind, indices, places, options, fields))
        return outputs

    def variable_tensor(
        self, shape: Sequence[int], scale: float, zero_point: int = 0, dtype: str = "int8"
    ) -> Tensor:
        """A tensor that an operator such as SVDF keeps from one inference to the next."""
        tensor = self._tensor(f"variable_{len(self._tensors)}", shape, dtype, (scale,), zero_point)
        self._variables.add(tensor.index)
        return tensor

    def variable(self, name: str, initial: tuple[NDArray[Any], Tensor] | None = None) -> Tensor:
        """VAR_HANDLE: the handle of a resource variable.

        Args:
            name: of the variable.
            initial: the values that a CALL_ONCE gives it, and a tensor quantized like it; the
                call comes before all other operators.
        """
        if initial is not None:
            values, like = initial
            self._buffers.append(np.ascontiguousarray(values).tobytes())
            self._initial.append((name, len(self._buffers) - 1, like))
        return self.operator(
            *("VAR_HANDLE", [], (1,)),
            dtype="resource",
            options="VarHandleOptions",
            SharedName=name,
        )

    def read_variable(self, handle: Tensor, like: Tensor) -> Tensor:
        """READ_VARIABLE, with the shape, type and quantization of another tensor."""
        quantization = like.quantization if like.scales else {}
        return self.operator(
            *("READ_VARIABLE", [handle], like.shape),
            dtype=like.dtype,
            options="ReadVariableOptions",
            **quantization,
        )

    def assign_variable(self, handle: Tensor, value: Tensor) -> None:
        """ASSIGN_VARIABLE."""
        self.operators("ASSIGN_VARIABLE", [handle, value], [], options="AssignVariableOptions")

    def conv2d(
        self,
        x: Tensor,
        weight: NDArray[np.int8],
        bias: NDArray[np.integer[Any]] | None = None,
        *,
        weight_scale: ArrayLike,
        scale: float,
        zero_point: int = 0,
        strides: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: str = "VALID",
        activation: str = "NONE",
    ) -> Tensor:
        """CONV_2D; weight OHWI, its scale one number or one per output channel."""
        return self._convolution(
            *("CONV_2D", "Conv2DOptions", x, weight, bias, weight_scale, 0, scale, zero_point),
            *(strides, dilation, padding, activation),
        )

    def depthwise_conv2d(
        self,
        x: Tensor,
        weight: NDArray[np.int8],
        bias: NDArray[np.integer[Any]] | None = None,
        *,
        weight_scale: ArrayLike,
        scale: float,
        zero_point: int = 0,
        strides: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: str = "VALID",
        activation: str = "NONE",
    ) -> Tensor:
        """DEPTHWISE_CONV_2D; weight (1, KH, KW, channels * depth multiplier)."""
        return self._convolution(
            *("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"),
            *(x, weight, bias, weight_scale, 3, scale, zero_point),
            *(strides, dilation, padding, activation),
            DepthMultiplier=weight.shape[3] // x.shape[3],
        )

    def _convolution(
        self,
        kind: str,
        options: str,
        x: Tensor,
        weight: NDArray[np.int8],
        bias: NDArray[np.integer[Any]] | None,
        weight_scale: ArrayLike,
        channel_axis: int,
        scale: float,
        zero_point: int,
        strides: tuple[int, int],
        dilation: tuple[int, int],
        padding: str,
        activation: str,
        **fields: Any,
    ) -> Tensor:
        per_channel = np.size(weight_scale) > 1
        kernel = self.constant(
            weight, weight_scale, channel_axis=channel_axis if per_channel else 0
        )
        height, width = (
            output_size(*sizes, padding)
            for sizes in zip(x.shape[1:3], weight.shape[1:3], strides, dilation, strict=True)
        )
        # TFLite Micro's depthwise kernel crashes on a bias that is declared absent.
        return self.operator(
            kind,
            [x, kernel, self._bias(x, kernel, bias)][: 2 if bias is None else 3],
            (x.shape[0], height, width, weight.shape[channel_axis]),
            scale=scale,
            zero_point=zero_point,
            options=options,
            StrideH=strides[0],
            StrideW=strides[1],
            DilationHFactor=dilation[0],
            DilationWFactor=dilation[1],
            Padding=getattr(tflite.Padding, padding),
            FusedActivationFunction=getattr(tflite.ActivationFunctionType, activation),
            **fields,
        )

    def _bias(
        self, x: Tensor, weight: Tensor, bias: NDArray[np.integer[Any]] | None
    ) -> Tensor | None:
        if bias is None:
            return None
        return self.constant(bias, np.float32(x.scale) * np.float32(weight.scales))

    def fully_connected(
        self,
        x: Tensor,
        weight: NDArray[np.int8],
        bias: NDArray[np.integer[Any]] | None = None,
        *,
        weight_scale: ArrayLike,
        scale: float,
        zero_point: int = 0,
        activation: str = "NONE",
        keep_dims: bool = False,
    ) -> Tensor:
        """FULLY_CONNECTED; weight (outputs, depth)."""
        outputs, depth = weight.shape
        kernel = self.constant(weight, weight_scale)
        rows = int(np.prod(x.shape)) // depth
        return self.operator(
            "FULLY_CONNECTED",
            [x, kernel, self._bias(x, kernel, bias)],
            (*x.shape[:-1], outputs) if keep_dims else (rows, outputs),
            scale=scale,
            zero_point=zero_point,
            options="FullyConnectedOptions",
            FusedActivationFunction=getattr(tflite.ActivationFunctionType, activation),
            KeepNumDims=keep_dims,
        )

    def add(
        self, a: Tensor, b: Tensor, *, scale: float, zero_point: int = 0, activation: str = "NONE"
    ) -> Tensor:
        """ADD, broadcasting as numpy does."""
        return self.operator(
            "ADD",
            [a, b],
            np.broadcast_shapes(a.shape, b.shape),
            scale=scale,
            zero_point=zero_point,
            options="AddOptions",
            FusedActivationFunction=getattr(tflite.ActivationFunctionType, activation),
        )

    def average_pool2d(self, x: Tensor, kernel: tuple[int, int], **options: Any) -> Tensor:
        """AVERAGE_POOL_2D; options as for `max_pool2d`."""
        return self._pool("AVERAGE_POOL_2D", x, kernel, **options)

    def max_pool2d(self, x: Tensor, kernel: tuple[int, int], **options: Any) -> Tensor:
        """MAX_POOL_2D; options are strides, padding and activation."""
        return self._pool("MAX_POOL_2D", x, kernel, **options)

    def _pool(
        self,
        kind: str,
        x: Tensor,
        kernel: tuple[int, int],
        *,
        strides: tuple[int, int] = (1, 1),
        padding: str = "VALID",
        activation: str = "NONE",
    ) -> Tensor:
        height, width = (
            output_size(size, window, stride, 1, padding)
            for size, window, stride in zip(x.shape[1:3], kernel, strides, strict=True)
        )
        return self.operator(
            kind,
            [x],
            (x.shape[0], height, width, x.shape[3]),
            **x.quantization,
            options="Pool2DOptions",
            FilterHeight=kernel[0],
            FilterWidth=kernel[1],
            StrideH=strides[0],
            StrideW=strides[1],
            Padding=getattr(tflite.Padding, padding),
            FusedActivationFunction=getattr(tflite.ActivationFunctionType, activation),
        )

    def mean(
        self,
        x: Tensor,
        axes: Sequence[int] = (1, 2),
        *,
        scale: float,
        zero_point: int = 0,
        keep_dims: bool = False,
    ) -> Tensor:
        """MEAN over axes."""
        reduced = {axis % len(x.shape) for axis in axes}
        kept = [
            1 if axis in reduced else size
            for axis, size in enumerate(x.shape)
            if keep_dims or axis not in reduced
        ]
        return self.operator(
            "MEAN",
            [x, self.constant(np.array(axes, np.int32))],
            kept,
            scale=scale,
            zero_point=zero_point,
            options="ReducerOptions",
            KeepDims=keep_dims,
        )

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """RESHAPE."""
        target = self.constant(np.array(shape, np.int32))
        quantization = x.quantization if x.scales else {}
        return self.operator(
            "RESHAPE", [x, target], shape, dtype=x.dtype, options="ReshapeOptions", **quantization
        )

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """TRANSPOSE: output axis i is input axis `axes[i]`."""
        shape = [x.shape[axis] for axis in axes]
        order = self.constant(np.array(axes, np.int32))
        return self.operator(
            "TRANSPOSE", [x, order], shape, options="TransposeOptions", **x.quantization
        )

    def pad(
        self, x: Tensor, padding: Sequence[tuple[int, int]], value: int | None = None
    ) -> Tensor:
        """PAD with the real number 0, or PADV2 with a quantized value; (before, after) per axis."""
        shape = [size + sum(amounts) for size, amounts in zip(x.shape, padding, strict=True)]
        inputs = [x, self.constant(np.array(padding, np.int32))]
        if value is None:
            return self.operator("PAD", inputs, shape, options="PadOptions", **x.quantization)
        inputs.append(self.constant(np.array([value], np.int8), x.scale, x.zero_point))
        return self.operator("PADV2", inputs, shape, options="PadV2Options", **x.quantization)

    def softmax(self, x: Tensor, beta: float = 1.0) -> Tensor:
        """SOFTMAX over the last axis, with the scale and zero point that TFLite prescribes."""
        return self.operator(
            "SOFTMAX",
            [x],
            x.shape,
            **(WIDE_PROBABILITY if x.dtype == "int16" else PROBABILITY),
            options="SoftmaxOptions",
            Beta=beta,
        )

    def logistic(self, x: Tensor) -> Tensor:
        """LOGISTIC, with the scale and zero point that TFLite prescribes."""
        output = WIDE_PROBABILITY if x.dtype == "int16" else PROBABILITY
        return self.operator("LOGISTIC", [x], x.shape, **output)

    def squeeze(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """SQUEEZE: drops axes of size 1."""
        shape = [size for axis, size in enumerate(x.shape) if axis not in axes]
        return self.operator(
            *("SQUEEZE", [x], shape),
            options="SqueezeOptions",
            SqueezeDims=tuple(axes),
            **x.quantization,
        )

    def expand_dims(self, x: Tensor, axis: int) -> Tensor:
        """EXPAND_DIMS: a new axis of size 1."""
        place = self.constant(np.array([axis], np.int32))
        shape = (*x.shape[:axis], 1, *x.shape[axis:])
        return self.operator(
            *("EXPAND_DIMS", [x, place], shape), options="ExpandDimsOptions", **x.quantization
        )

    def relu(self, x: Tensor, *, scale: float, zero_point: int = 0, kind: str = "RELU") -> Tensor:
        """A stand-alone RELU, RELU6 or RELU_N1_TO_1."""
        return self.operator(kind, [x], x.shape, scale=scale, zero_point=zero_point)

    def quantize(
        self, x: Tensor, *, scale: float, zero_point: int = 0, dtype: str = "int8"
    ) -> Tensor:
        """QUANTIZE of a float tensor, or of a quantized one to another scale."""
        return self.operator(
            *("QUANTIZE", [x], x.shape),
            scale=scale,
            zero_point=zero_point,
            dtype=dtype,
            options="QuantizeOptions",
        )

    def dequantize(self, x: Tensor) -> Tensor:
        """DEQUANTIZE to float32."""
        return self.operator(
            "DEQUANTIZE", [x], x.shape, dtype="float32", options="DequantizeOptions"
        )

    def build(self) -> bytes:
        """The model as a TFLite flatbuffer."""
        b = flatbuffers.Builder(1024)
        operators = list(self._operators)
        if self._initial:
            call = ("CALL_ONCE", [], [], "CallOnceOptions", {"InitSubgraphIndex": 1})
            operators.insert(0, call)
        initial = {"ASSIGN_VARIABLE", "VAR_HANDLE"} if self._initial else set()
        kinds = sorted({kind for kind, *_ in operators} | initial)
        buffers = [
            _table(b, "Buffer", **({"Data": _data(b, data)} if data else {}))
            for data in self._buffers
        ]
        tensors = [
            self._write_tensor(b, *entry, variable=entry[0].index in self._variables)
            for entry in self._tensors
        ]
        written = [self._write_operator(b, kinds.index(kind), *rest) for kind, *rest in operators]
        codes = [_operator_code(b, kind) for kind in kinds]
        graph = _table(
            b,
            "SubGraph",
            Tensors=_offsets(b, tensors),
            Inputs=_integers(b, self._inputs),
            Outputs=_integers(b, self._outputs),
            Operators=_offsets(b, written),
            Name=b.CreateString("main"),
        )
        graphs = [graph, self._write_initial(b, kinds)] if self._initial else [graph]
        model = _table(
            b,
            "Model",
            Version=3,
            OperatorCodes=_offsets(b, codes),
            Subgraphs=_offsets(b, graphs),
            Description=b.CreateString("made by tests"),
            Buffers=_offsets(b, buffers),
        )
        b.Finish(model, file_identifier=b"TFL3")
        return bytes(b.Output())

    def _write_initial(self, b: Any, kinds: list[str]) -> int:
        """The subgraph that gives variables their initial values."""
        tensors, operators = [], []
        for name, buffer, like in self._initial:
            place = len(tensors)
            handle = Tensor(place, (1,), "resource")
            tensors.append(self._write_tensor(b, handle, f"handle_{place}", 0))
            tensors.append(self._write_tensor(b, like, f"initial_{place}", buffer))
            fields = {"SharedName": name}
            operators += [
                self._write_operator(
                    *(b, kinds.index("VAR_HANDLE"), [], [place], "VarHandleOptions", fields)
                ),
                self._write_operator(
                    *(b, kinds.index("ASSIGN_VARIABLE"), [place, place + 1], []),
                    *("AssignVariableOptions", {}),
                ),
            ]
        return _table(
            b,
            "SubGraph",
            Tensors=_offsets(b, tensors),
            Inputs=_integers(b, []),
            Outputs=_integers(b, []),
            Operators=_offsets(b, operators),
            Name=b.CreateString("initial"),
        )

    @staticmethod
    def _write_tensor(
        b: Any, tensor: Tensor, name: str, buffer: int, variable: bool = False
    ) -> int:
        fields: dict[str, Any] = {}
        if tensor.scales:
            zero_points = np.full(len(tensor.scales), tensor.zero_point, np.int64)
            fields["Quantization"] = _table(
                b,
                "QuantizationParameters",
                Scale=b.CreateNumpyVector(np.array(tensor.scales, np.float32)),
                ZeroPoint=b.CreateNumpyVector(zero_points),
                QuantizedDimension=tensor.channel_axis,
            )
        return _table(
            b,
            "Tensor",
            Shape=_integers(b, tensor.shape),
            Type=getattr(tflite.TensorType, tensor.dtype.upper()),
            Buffer=buffer,
            Name=b.CreateString(name),
            IsVariable=variable,
            **fields,
        )

    @staticmethod
    def _write_operator(
        b: Any,
        code: int,
        inputs: list[int],
        outputs: list[int],
        options: str,
        fields: dict[str, Any],
    ) -> int:
        entries: dict[str, Any] = {}
        if options:
            entries["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, options)
            entries["BuiltinOptions"] = _table(
                b,
                options,
                **{
                    name: _integers(b, value)
                    if isinstance(value, tuple)
                    else b.CreateString(value)
                    if isinstance(value, str)
                    else value
                    for name, value in fields.items()
                },
            )
        return _table(
            b,
            "Operator",
            OpcodeIndex=code,
            Inputs=_integers(b, inputs),
            Outputs=_integers(b, outputs),
            **entries,
        )


def output_size(size: int, window: int, stride: int, dilation: int, padding: str) -> int:
    """Extent of a sliding window's output along one axis, as TFLite's `ComputeOutSize` has it."""
    if padding == "SAME":
        return -(-size // stride)
    return (size - (window - 1) * dilation - 1) // stride + 1


def _table(b: Any, kind: str, **fields: Any) -> int:
    getattr(tflite, f"{kind}Start")(b)
    for name, value in fields.items():
        getattr(tflite, f"{kind}Add{name}")(b, value)
    end: int = getattr(tflite, f"{kind}End")(b)
    return end


def _operator_code(b: Any, kind: str) -> int:
    code = getattr(tflite.BuiltinOperator, kind)
    return _table(
        b,
        "OperatorCode",
        # 127 says that the code does not fit the old field.
        DeprecatedBuiltinCode=min(code, 127),
        Version=_VERSIONS.get(kind, 1),
        BuiltinCode=code,
    )


def _data(b: Any, data: bytes) -> int:
    """A byte vector, aligned as the schema demands."""
    b.StartVector(1, len(data), 16)
    b.head -= len(data)
    b.Bytes[b.head : b.head + len(data)] = data
    offset: int = b.EndVector()
    return offset


def _integers(b: Any, values: Sequence[int]) -> int:
    offset: int = b.CreateNumpyVector(np.array(values, np.int32))
    return offset


def _offsets(b: Any, values: Sequence[int]) -> int:
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependUOffsetTRelative(value)
    offset: int = b.EndVector()
    return offset
