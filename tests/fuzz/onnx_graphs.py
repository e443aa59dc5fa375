"""Random quantized ONNX graphs: chains and small DAGs of operators, in QDQ or QOperator form.

A graph is drawn from a seed, one operator a step. Each operator is run by ONNX Runtime on the
values so far, which gives its shape and the range to quantize it to, as calibration does. The
first n steps of a seed are the same whatever the length, so that a failing graph is shrunk by
taking fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Step = Callable[["_Drawing"], str | None]

MOST_STEPS = 5
OPSET = 21
_CONTRIB = "com.microsoft"
_MOST_ELEMENTS = 3000
_UNARY = (
    "Abs Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Mish Neg Relu Selu Sigmoid"
    " Sin Softplus Softsign Sqrt Tanh"
).split()
_QLINEAR = {
    "Add": _CONTRIB,
    "Conv": "",
    "GlobalAveragePool": _CONTRIB,
    "LeakyRelu": _CONTRIB,
    "MatMul": "",
    "Mul": _CONTRIB,
    "Sigmoid": _CONTRIB,
}


class Batch:
    """Graphs side by side in one model; the tensors of a graph begin with its seed."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "graphs", self.inputs, self.outputs, self.initializers
        )
        return _model(graph)


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(_CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 10
    return model


@dataclass(frozen=True)
class _Tensor:
    """A quantized activation: its integers' name, its parameters' names, and its real values."""

    quantized: str
    parameters: tuple[str, str]
    real: str
    values: Array


@dataclass
class _Drawing:
    """A graph on its way."""

    batch: Batch
    seed: int
    rng: np.random.Generator
    dtype: np.dtype[Any]
    weight_dtype: np.dtype[Any]
    qoperator: bool
    tensors: dict[str, _Tensor] = field(default_factory=dict)
    count: int = 0

    @property
    def x(self) -> str:
        """The newest tensor."""
        return list(self.tensors)[-1]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].values.shape

    def name(self) -> str:
        self.count += 1
        return f"g{self.seed}_{self.count}"

    def constant(self, values: Any) -> str:
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        name = self.name()
        self.batch.initializers.append(numpy_helper.from_array(array, name))
        return name

    def pair(self, low: int, high: int) -> list[int]:
        return [int(one) for one in self.rng.integers(low, high + 1, 2)]

    def maybe(self, chance: float) -> bool:
        return bool(self.rng.random() < chance)

    def parameters(self, values: Array) -> tuple[str, str, np.float32, int]:
        """Scale and zero point for a range of values: at times too narrow, or off centre."""
        info = np.iinfo(self.dtype)
        finite = values[np.isfinite(values)].astype(np.float64)
        low, high = min(finite.min(initial=0), 0.0), max(finite.max(initial=0), 0.0)
        if self.maybe(0.2):
            low, high = low * self.rng.uniform(0.3, 2), high * self.rng.uniform(0.3, 2)
        scale = np.float32(max((high - low) / 255, 1e-5))
        zero_point = int(np.clip(np.rint(info.min - low / scale), info.min, info.max))
        names = self.constant(scale), self.constant(np.array(zero_point, self.dtype))
        return *names, scale, zero_point

    def quantize(self, real: Array, value: str = "", q: Any = None) -> _Tensor:
        """Quantizes a float tensor, or takes a quantized input, and dequantizes it."""
        scale_name, zero_name, scale, zero_point = q or self.parameters(real)
        quantized = self.name()
        if value:
            self.batch.nodes.append(
                helper.make_node("QuantizeLinear", [value, scale_name, zero_name], [quantized])
            )
        return self._tensor(quantized, (scale_name, zero_name), scale, zero_point, real)

    def _tensor(
        self,
        quantized: str,
        names: tuple[str, str],
        scale: np.float32,
        zero_point: int,
        real: Array,
    ) -> _Tensor:
        info = np.iinfo(self.dtype)
        dequantized = self.name()
        self.batch.nodes.append(
            helper.make_node("DequantizeLinear", [quantized, *names], [dequantized])
        )
        with np.errstate(all="ignore"):
            steps = np.nan_to_num(np.rint(real / scale)) + zero_point
        values = (np.clip(steps, info.min, info.max) - zero_point).astype(np.float32) * scale
        return _Tensor(quantized, names, dequantized, values.astype(np.float32))

    def weights(self, shape: tuple[int, ...], depth: int, axis: int) -> tuple[str, ...]:
        """Quantized constants: their names, those of their parameters, the dequantized name."""
        rng, info = self.rng, np.iinfo(self.weight_dtype)
        channels = shape[axis] if self.maybe(0.5) else 1
        values = rng.integers(info.min, info.max + 1, shape).astype(self.weight_dtype)
        middle = 128 if self.weight_dtype == np.uint8 else 0
        zero_point = middle
        if self.maybe(0.3):
            zero_point = int(rng.integers(info.min, info.max + 1))
        elif self.weight_dtype == np.int8:
            values = np.maximum(values, -127)
        scale = rng.uniform(0.5, 2, channels) / (74 * np.sqrt(max(depth, 1)))
        scales = scale.astype(np.float32) if channels > 1 else np.float32(scale[0])
        zeros = np.full(np.shape(scales), zero_point, self.weight_dtype)
        names = [self.constant(values), self.constant(scales), self.constant(zeros)]
        real = self.name()
        self.batch.nodes.append(helper.make_node("DequantizeLinear", names, [real], axis=axis))
        return (*names, real)

    def bias(self, x: str, weights: tuple[str, ...], channels: int) -> tuple[str, str]:
        """int32 constants in steps of the product of both scales: quantized, dequantized."""
        by_name = {one.name: numpy_helper.to_array(one) for one in self.batch.initializers}
        scale = by_name[self.tensors[x].parameters[0]] * by_name[weights[1]]
        scales = np.broadcast_to(scale, (channels,)).astype(np.float32)
        steps = np.rint(self.rng.normal(0, 0.5, channels) / scales).astype(np.int32)
        names = [self.constant(steps), self.constant(scales), self.constant(np.zeros_like(steps))]
        real = self.name()
        self.batch.nodes.append(helper.make_node("DequantizeLinear", names, [real], axis=0))
        return names[0], real

    def operator(
        self,
        kind: str,
        inputs: list[str],
        *,
        weights: tuple[str, ...] = (),
        bias: tuple[str, str] | None = None,
        same: bool = False,
        **attributes: Any,
    ) -> str | None:
        """One operator with its result quantized; None if that is too large.

        Args:
            kind: of the float operator.
            inputs: tensors made so far, and names of constants; "" where one is left out.
            weights, bias: of `weights` and `bias`, after the inputs.
            same: the result has the scale of the first input.
            attributes: of the node.
        """
        t = self.tensors
        operands = [t[name].real if name in t else name for name in inputs]
        operands += [weights[3]] if weights else []
        operands += [bias[1]] if bias else []
        result = self.name()
        node = helper.make_node(kind, operands, [result], **attributes)
        values = self._run(node, inputs)
        if values is None or values.size > _MOST_ELEMENTS or not values.size:
            return None
        first = t[inputs[0]]
        domain = _QLINEAR.get(kind)
        q = self._known(first) if same else self.parameters(values)
        if self.qoperator and domain is not None and all(name in t for name in inputs):
            operands = [one for name in inputs for one in (t[name].quantized, *t[name].parameters)]
            operands += weights[:3] if weights else []
            operands += q[:2]
            operands += [bias[0]] if bias else []
            quantized = self.name()
            self.batch.nodes.append(
                helper.make_node(
                    f"QLinear{kind}", operands, [quantized], domain=domain, **attributes
                )
            )
            tensor = self._tensor(quantized, q[:2], q[2], q[3], values)
        else:
            self.batch.nodes.append(node)
            low, high = 0.0, 6.0
            if kind in ("Conv", "Gemm", "MatMul", "Add", "ConvTranspose") and self.maybe(0.4):
                clipped = self.name()
                relu = self.maybe(0.5)
                bounds = [] if relu else [self.constant(low), self.constant(high)]
                self.batch.nodes.append(
                    helper.make_node("Relu" if relu else "Clip", [result, *bounds], [clipped])
                )
                result = clipped
            tensor = self.quantize(values, result, q)
        self.tensors[tensor.quantized] = tensor
        return tensor.quantized

    def _known(self, tensor: _Tensor) -> tuple[str, str, np.float32, int]:
        by_name = {one.name: numpy_helper.to_array(one) for one in self.batch.initializers}
        scale, zero_point = (by_name[name] for name in tensor.parameters)
        return *tensor.parameters, np.float32(scale), int(zero_point)

    def _run(self, node: onnx.NodeProto, inputs: list[str]) -> Array | None:
        """The node's result on the real values so far; None if ONNX Runtime rejects it."""
        known = {tensor.real: tensor.values for tensor in self.tensors.values()}
        names = [name for name in dict.fromkeys(node.input) if name in known]
        made = [one for one in self.batch.nodes if one.output[0] in node.input]
        made = [one for one in made if one.output[0] not in known]
        graph = helper.make_graph(
            [*made, node],
            "operator",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, known[name].shape)
                for name in names
            ],
            [helper.make_empty_tensor_value_info(node.output[0])],
            self.batch.initializers,
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(_model(graph).SerializeToString(), options)
            values = session.run(None, {name: known[name] for name in names})[0]
        except Exception:
            return None
        return np.asarray(values)


def draw_graph(batch: Batch, seed: int, steps: int | None = None) -> None:
    """Adds the graph of a seed to a batch, its unread tensors as outputs.

    Args:
        batch: receives it.
        seed: decides everything.
        steps: operators at most; if None a length that the seed decides.
    """
    rng = np.random.default_rng(seed)
    dtype = np.dtype(rng.choice(["int8", "uint8"]))
    qoperator = bool(rng.random() < 0.3)
    # Of QOperator form ONNX Runtime has kernels for weights of the activations' type.
    weight_dtype = dtype if qoperator else np.dtype(rng.choice(["int8", "int8", "uint8"]))
    own = Batch()
    drawing = _Drawing(own, seed, rng, dtype, weight_dtype, qoperator)
    rank = int(rng.choice([2, 3, 4, 4, 4]))
    shape = (1 if rng.random() < 0.8 else 2, *(int(one) for one in rng.integers(1, 9, rank - 1)))
    values = rng.normal(0, rng.choice([0.3, 1, 3]), shape).astype(np.float32)
    first = drawing.quantize(values)
    own.inputs.append(
        helper.make_tensor_value_info(
            first.quantized, helper.np_dtype_to_tensor_dtype(dtype), shape
        )
    )
    drawing.tensors[first.quantized] = first
    length = int(rng.integers(1, MOST_STEPS + 1)) if steps is None else steps
    taken, tries = 0, 0
    while taken < length and tries < 60:
        tries += 1
        step = _STEPS[int(rng.integers(len(_STEPS)))]
        before = len(own.nodes), len(own.initializers)
        if step(drawing) is None:
            del own.nodes[before[0] :], own.initializers[before[1] :]
        else:
            taken += 1
    _finish(drawing)
    batch.nodes += own.nodes
    batch.initializers += own.initializers
    batch.inputs += own.inputs
    batch.outputs += own.outputs


def _finish(drawing: _Drawing) -> None:
    """Keeps what leads to the newest tensor, and makes it the output."""
    batch, last = drawing.batch, drawing.x
    needed, kept = {last}, []
    for node in reversed(batch.nodes):
        if node.output[0] in needed:
            needed |= set(node.input)
            kept.append(node)
    batch.nodes[:] = kept[::-1]
    batch.initializers[:] = [one for one in batch.initializers if one.name in needed]
    if not kept:
        # A graph of one copy.
        batch.nodes.append(helper.make_node("Identity", [last], [f"{last}_copy"]))
        drawing.tensors[f"{last}_copy"] = drawing.tensors[last]
        last = f"{last}_copy"
    kind = helper.np_dtype_to_tensor_dtype(drawing.dtype)
    shape = drawing.tensors[last].values.shape
    batch.outputs.append(helper.make_tensor_value_info(last, kind, shape))


def _conv(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    axes = len(shape) - 2
    if axes not in (1, 2):
        return None
    inputs = shape[1]
    depthwise = d.maybe(0.3)
    groups = inputs if depthwise else int(d.rng.choice([g for g in (1, 1, 2) if inputs % g == 0]))
    outputs = (
        groups * int(d.rng.integers(1, 4)) if depthwise or groups > 1 else int(d.rng.integers(1, 9))
    )
    kernel = [int(one) for one in d.rng.integers(1, 4, axes)]
    dilations = [int(one) for one in d.rng.choice([1, 1, 1, 2], axes)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [int(one) for one in d.rng.choice([1, 1, 2, 3], axes)],
        "dilations": dilations,
        "group": groups,
    }
    mode = d.rng.random()
    if mode < 0.5:
        attributes["pads"] = [int(d.rng.integers(0, size)) for size in kernel * 2]
    elif mode < 0.7 and dilations == [1] * axes:
        attributes["auto_pad"] = str(d.rng.choice(["SAME_UPPER", "SAME_LOWER"]))
    depth = inputs // groups * int(np.prod(kernel))
    weights = d.weights((outputs, inputs // groups, *kernel), depth, 0)
    bias = d.bias(d.x, weights, outputs) if d.maybe(0.7) else None
    return d.operator("Conv", [d.x], weights=weights, bias=bias, **attributes)


def _conv_transpose(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    axes = len(shape) - 2
    if axes not in (1, 2) or d.maybe(0.5):
        return None
    groups = shape[1] if d.maybe(0.2) else 1
    outputs = int(d.rng.integers(1, 6))
    kernel = [int(one) for one in d.rng.integers(1, 5, axes)]
    strides = [int(one) for one in d.rng.choice([1, 2, 2, 3], axes)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "group": groups}
    if d.maybe(0.4):
        attributes["pads"] = [int(d.rng.integers(0, (size + 1) // 2)) for size in kernel] * 2
    if d.maybe(0.3):
        attributes["output_padding"] = [int(d.rng.integers(0, stride)) for stride in strides]
    depth = shape[1] // groups * int(np.prod(kernel))
    per_tensor = groups > 1
    weights = d.weights((shape[1], outputs, *kernel), depth, 1)
    if per_tensor and np.prod(_initializer(d, weights[1]).shape) > 1:
        return None
    bias = d.bias(d.x, weights, outputs * groups) if d.maybe(0.6) and not per_tensor else None
    return d.operator("ConvTranspose", [d.x], weights=weights, bias=bias, **attributes)


def _initializer(d: _Drawing, name: str) -> Array:
    return next(numpy_helper.to_array(one) for one in d.batch.initializers if one.name == name)


def _dense(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    depth, outputs = shape[-1], int(d.rng.integers(1, 12))
    if len(shape) == 2 and not d.qoperator and d.maybe(0.6):
        weights = d.weights((outputs, depth), depth, 0)
        bias = d.bias(d.x, weights, outputs) if d.maybe(0.7) else None
        return d.operator("Gemm", [d.x], weights=weights, bias=bias, transB=1)
    return d.operator("MatMul", [d.x], weights=d.weights((depth, outputs), depth, 1))


def _matmul(d: _Drawing) -> str | None:
    left = d.shape(d.x)
    if len(left) < 2:
        return None
    fitting = [
        name
        for name in d.tensors
        if len(d.shape(name)) == len(left) and d.shape(name)[-2] == left[-1]
    ]
    if not fitting:
        return None
    return d.operator("MatMul", [d.x, str(d.rng.choice(fitting))])


def _binary(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    fitting = []
    for name in d.tensors:
        try:
            whole = np.broadcast_shapes(shape, d.shape(name))
        except ValueError:
            continue
        fitting += [name] if whole == shape or d.maybe(0.3) else []
    other = str(d.rng.choice(fitting or [d.x]))
    pair = [d.x, other] if d.maybe(0.5) else [other, d.x]
    return d.operator(str(d.rng.choice(["Add", "Add", "Mul", "Sub", "Max", "Min"])), pair)


def _by_constant(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    sizes = [int(d.rng.choice([1, size])) for size in shape]
    values = d.rng.normal(0, 1, sizes if d.maybe(0.6) else ())
    kind = str(d.rng.choice(["Add", "Mul", "Sub", "Div", "PRelu"]))
    if kind == "Div":
        values = np.sign(values + 1e-3) * (np.abs(values) + 0.3)
    return d.operator(kind, [d.x, d.constant(values)])


def _unary(d: _Drawing) -> str | None:
    kind = str(d.rng.choice(_UNARY))
    attributes = {"alpha": float(d.rng.uniform(0.05, 0.5))} if kind == "LeakyRelu" else {}
    return d.operator(kind, [d.x], same=kind == "Identity", **attributes)


def _clip(d: _Drawing) -> str | None:
    low, high = sorted(float(one) for one in d.rng.normal(0, 1, 2))
    return d.operator("Clip", [d.x, d.constant(np.float32(low)), d.constant(np.float32(high))])


def _pool(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    axes = len(shape) - 2
    if axes not in (1, 2):
        return None
    kernel = [int(d.rng.integers(1, 4)) for _ in range(axes)]
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [int(d.rng.integers(1, 4)) for _ in range(axes)],
    }
    average = d.maybe(0.5)
    if d.maybe(0.5):
        attributes["pads"] = [int(d.rng.integers(0, size)) for size in kernel * 2]
    elif d.maybe(0.4) and not average:
        attributes["ceil_mode"] = 1
    if any(stride > size for stride, size in zip(attributes["strides"], kernel, strict=True)):
        # Rounded up or padded, the last windows may hold only padding: ONNX Runtime drops some of
        # them, or divides by their size of zero.
        attributes = {"kernel_shape": kernel, "strides": kernel}
    return d.operator("AveragePool" if average else "MaxPool", [d.x], same=True, **attributes)


def _global_pool(d: _Drawing) -> str | None:
    if len(d.shape(d.x)) < 3:
        return None
    maximum = d.maybe(0.3)
    kind = "GlobalMaxPool" if maximum else "GlobalAveragePool"
    return d.operator(kind, [d.x], same=maximum)


def _reduce(d: _Drawing) -> str | None:
    rank = len(d.shape(d.x))
    count = int(d.rng.integers(1, rank + 1))
    axes = np.sort(d.rng.permutation(rank)[:count]).astype(np.int64)
    kind = str(
        d.rng.choice(
            "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare"
            " ReduceLogSumExp".split()
        )
    )
    keep = int(count == rank or d.maybe(0.6))
    return d.operator(kind, [d.x, d.constant(axes)], keepdims=keep)


def _softmax(d: _Drawing) -> str | None:
    kind = "Softmax" if d.maybe(0.7) else "LogSoftmax"
    return d.operator(kind, [d.x], axis=int(d.rng.integers(0, len(d.shape(d.x)))))


def _normalize(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    if len(shape) < 2:
        return None
    if d.maybe(0.6) or len(shape) < 3:
        axis = int(d.rng.integers(1, len(shape)))
        scale, bias = (d.constant(d.rng.normal(1, 0.5, shape[axis:])) for _ in range(2))
        return d.operator("LayerNormalization", [d.x, scale, bias], axis=axis)
    scale, bias = (d.constant(d.rng.normal(1, 0.5, shape[1:2])) for _ in range(2))
    return d.operator("InstanceNormalization", [d.x, scale, bias])


def _transpose(d: _Drawing) -> str | None:
    order = [int(axis) for axis in d.rng.permutation(len(d.shape(d.x)))]
    return d.operator("Transpose", [d.x], same=True, perm=order)


def _reshape(d: _Drawing) -> str | None:
    shape = list(d.shape(d.x))
    if len(shape) < 2:
        return None
    place = int(d.rng.integers(1, len(shape)))
    target = [*shape[:place], -1] if d.maybe(0.5) else [*shape[:place], 1, *shape[place:]]
    if len(target) > 5:
        return None
    return d.operator("Reshape", [d.x, d.constant(np.array(target, np.int64))], same=True)


def _concat(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    axis = int(d.rng.integers(len(shape)))
    fitting = [
        name
        for name in d.tensors
        if len(d.shape(name)) == len(shape)
        and all(
            one == other or place == axis
            for place, (one, other) in enumerate(zip(d.shape(name), shape, strict=True))
        )
    ]
    return d.operator("Concat", [d.x, str(d.rng.choice(fitting))], axis=axis)


def _slice(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    axis = int(d.rng.integers(len(shape)))
    bounds = sorted(int(one) for one in d.rng.integers(0, shape[axis] + 1, 2))
    step = int(d.rng.choice([1, 1, 2, -1]))
    if step < 0:
        bounds = [bounds[1] - 1, bounds[0] - 1 - shape[axis]]
    given = [d.constant(np.array([one], np.int64)) for one in (*bounds, axis, step)]
    return d.operator("Slice", [d.x, *given], same=True)


def _gather(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    axis = int(d.rng.integers(len(shape)))
    indices = d.rng.integers(0, shape[axis], int(d.rng.integers(1, 5)))
    return d.operator("Gather", [d.x, d.constant(indices)], same=True, axis=axis)


def _pad(d: _Drawing) -> str | None:
    widths = d.rng.integers(0, 3, 2 * len(d.shape(d.x)))
    mode = str(d.rng.choice(["constant", "constant", "edge", "reflect"]))
    return d.operator("Pad", [d.x, d.constant(widths)], same=True, mode=mode)


def _resize(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    if len(shape) != 4:
        return None
    scales = d.constant(np.array([1, 1, *(float(one) for one in d.rng.choice([1, 2, 3], 2))]))
    if d.maybe(0.5):
        return d.operator("Resize", [d.x, "", scales], same=True, mode="nearest")
    mode = str(d.rng.choice(["half_pixel", "align_corners", "asymmetric"]))
    return d.operator(
        "Resize", [d.x, "", scales], mode="linear", coordinate_transformation_mode=mode
    )


def _batch_normalization(d: _Drawing) -> str | None:
    shape = d.shape(d.x)
    if len(shape) < 2:
        return None
    given = [d.constant(d.rng.normal(0.5, 0.5, shape[1])) for _ in range(3)]
    variance = d.constant(d.rng.uniform(0.3, 2, shape[1]))
    return d.operator("BatchNormalization", [d.x, *given, variance])


_STEPS: tuple[Step, ...] = (
    _conv,
    _conv,
    _conv,
    _conv_transpose,
    _dense,
    _dense,
    _matmul,
    _binary,
    _binary,
    _by_constant,
    _unary,
    _unary,
    _clip,
    _pool,
    _pool,
    _global_pool,
    _reduce,
    _softmax,
    _normalize,
    _transpose,
    _reshape,
    _concat,
    _slice,
    _gather,
    _pad,
    _resize,
    _batch_normalization,
)
