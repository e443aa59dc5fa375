"""Random quantized TFLite graphs: chains and small DAGs of operators on int8, on int16, or on both
by turns; valid by construction.

A graph is drawn from a seed, one operator a step. The first n steps of a seed are the same
whatever the length, so that a failing graph is shrunk by taking fewer steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tflite_builder import Tensor, TFLiteBuilder

Step = Callable[["_Drawing"], Tensor | None]

MOST_STEPS = 6
_MOST_ELEMENTS = 6000
_ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")


@dataclass
class _Drawing:
    """A graph on its way: the builder, the random source, and the tensors made so far."""

    builder: TFLiteBuilder
    rng: np.random.Generator
    made: list[Tensor] = field(default_factory=list)

    @property
    def x(self) -> Tensor:
        """The newest tensor."""
        return self.made[-1]

    @property
    def dtype(self) -> str:
        """The newest tensor's type, which is that of the next one but for QUANTIZE."""
        return self.x.dtype

    def scale(self, dtype: str = "") -> float:
        """Of a tensor of a type; of the newest one's if none is named."""
        scale = np.exp(self.rng.uniform(np.log(0.004), np.log(0.5)))
        return float(np.float32(scale / (256 if (dtype or self.dtype) == "int16" else 1)))

    def zero_point(self, dtype: str = "") -> int:
        """As `scale`; TFLite has none on int16."""
        value = int(self.rng.choice([-128, 127, 0, *self.rng.integers(-128, 128, 5)]))
        return 0 if (dtype or self.dtype) == "int16" else value

    def output(self) -> dict[str, Any]:
        """A quantization for an output of the newest tensor's type."""
        return {"scale": self.scale(), "zero_point": self.zero_point()}

    def activation(self) -> str:
        return str(self.rng.choice(_ACTIVATIONS))

    def pair(self, low: int, high: int) -> tuple[int, int]:
        first, second = self.rng.integers(low, high + 1, 2)
        return int(first), int(second)

    def padding(self) -> str:
        return str(self.rng.choice(["SAME", "VALID"]))

    def weights(self, shape: tuple[int, ...], axis: int, depth: int) -> dict[str, object]:
        """Weights, bias and scales that spread sums over the output's range."""
        rng, channels = self.rng, shape[axis]
        largest = int(rng.choice([2, 40, 127]))
        weight = rng.integers(-largest, largest + 1, shape).astype(np.int8)
        if rng.random() < 0.2:
            # Pruned channels, which the compiler removes.
            dead = [slice(None)] * len(shape)
            dead[axis] = slice(0, max(1, channels // 2))
            weight[tuple(dead)] = 0
        scale = self.scale()
        deviation = 74 * (256 if self.dtype == "int16" else 1)
        spread = deviation * max(1.0, float(weight.std())) * np.sqrt(max(depth, 1))
        count = channels if rng.random() < 0.7 else 1
        ratio = np.exp(rng.uniform(np.log(0.2), np.log(5), count))
        weight_scale = np.float32(scale * deviation / spread / self.x.scale * ratio)
        bias = None
        if rng.random() < 0.8:
            bias = rng.normal(0, spread, channels).round().clip(-(2**30), 2**30)
            bias = bias.astype(np.int64 if self.dtype == "int16" else np.int32)
        return {
            "weight": weight,
            "bias": bias,
            "weight_scale": weight_scale,
            "scale": scale,
            "zero_point": self.zero_point(),
            "activation": self.activation(),
        }


def draw_graph(builder: TFLiteBuilder, seed: int, steps: int | None = None) -> Tensor:
    """Adds the graph of a seed to a builder, as a component of its own.

    Args:
        builder: gets one input and the operators.
        seed: of the graph.
        steps: how many operators at most; the seed's own number if None.

    Returns:
        The result, which is not yet an output of the model.
    """
    rng = np.random.default_rng(seed)
    drawing = _Drawing(builder, rng)
    shape = (1, *(int(size) for size in rng.integers(1, 11, 2)), int(rng.integers(1, 13)))
    if rng.random() < 0.15:
        shape = (int(rng.integers(2, 4)), *shape[1:])
    dtype = "int16" if rng.random() < 0.25 else "int8"
    drawing.made.append(
        builder.input(shape, drawing.scale(dtype), drawing.zero_point(dtype), dtype)
    )
    own = int(rng.integers(1, MOST_STEPS + 1))
    for _ in range(own if steps is None else min(steps, own)):
        _take_step(drawing)
    if len(drawing.made) == 1:
        drawing.made.append(_requantize(drawing))
    return drawing.x


def _take_step(drawing: _Drawing) -> None:
    for choice in drawing.rng.permutation(len(_STEPS)):
        result = _STEPS[choice](drawing)
        if result is not None:
            drawing.made.append(result)
            return


def _alike(drawing: _Drawing) -> list[Tensor]:
    """The tensors of the newest one's shape and type, itself among them."""
    x = drawing.x
    return [one for one in drawing.made if (one.shape, one.dtype) == (x.shape, x.dtype)]


def _fits(drawing: _Drawing, shape: tuple[int, ...]) -> bool:
    return 0 < np.prod(shape) <= _MOST_ELEMENTS


def _window(drawing: _Drawing, most: int) -> tuple[tuple[int, int], tuple[int, int], str] | None:
    """Kernel, strides and padding that leave at least one output."""
    kernel, strides, padding = drawing.pair(1, most), drawing.pair(1, 3), drawing.padding()
    if padding == "VALID" and (kernel[0] > drawing.x.shape[1] or kernel[1] > drawing.x.shape[2]):
        return None
    return kernel, strides, padding


def _conv2d(drawing: _Drawing) -> Tensor | None:
    x = drawing.x
    if len(x.shape) != 4:
        return None
    window = _window(drawing, 4)
    channels = int(drawing.rng.integers(1, 13))
    if window is None:
        return None
    kernel, strides, padding = window
    dilation = (1, 1)
    if strides == (1, 1) and drawing.rng.random() < 0.2 and padding == "SAME":
        dilation = drawing.pair(1, 2)
    shape = (channels, *kernel, x.shape[3])
    weights = drawing.weights(shape, 0, kernel[0] * kernel[1] * x.shape[3])
    return drawing.builder.conv2d(
        x,
        strides=strides,
        padding=padding,
        dilation=dilation,
        **weights,  # type: ignore[arg-type]
    )


def _depthwise(drawing: _Drawing) -> Tensor | None:
    x = drawing.x
    if len(x.shape) != 4:
        return None
    window = _window(drawing, 4)
    multiplier = int(drawing.rng.choice([1, 1, 1, 2, 3]))
    if window is None:
        return None
    kernel, strides, padding = window
    # TFLite has one stride for both axes of a depthwise convolution in its optimized kernels.
    shape = (1, *kernel, x.shape[3] * multiplier)
    weights = drawing.weights(shape, 3, kernel[0] * kernel[1])
    return drawing.builder.depthwise_conv2d(
        x,
        strides=(strides[0], strides[0]),
        padding=padding,
        **weights,  # type: ignore[arg-type]
    )


def _fully_connected(drawing: _Drawing) -> Tensor | None:
    x = drawing.x
    depth = x.shape[-1]
    outputs = int(drawing.rng.integers(1, 33))
    if len(x.shape) == 4:
        depth = int(np.prod(x.shape[1:]))
        if depth > 400:
            return None
        flat = drawing.builder.reshape(x, (x.shape[0], depth))
        drawing.made.append(flat)
        x = flat
    weights = drawing.weights((outputs, depth), 0, depth)
    return drawing.builder.fully_connected(x, **weights)  # type: ignore[arg-type]


def _pool(drawing: _Drawing) -> Tensor | None:
    x = drawing.x
    if len(x.shape) != 4:
        return None
    window = _window(drawing, 4)
    average = drawing.rng.random() < 0.5
    if window is None:
        return None
    kernel, strides, padding = window
    pool = drawing.builder.average_pool2d if average else drawing.builder.max_pool2d
    return pool(x, kernel, strides=strides, padding=padding, activation=drawing.activation())


def _add(drawing: _Drawing) -> Tensor | None:
    same = _alike(drawing)
    other = same[int(drawing.rng.integers(len(same)))]
    if other is drawing.x and drawing.rng.random() < 0.7:
        return None
    return drawing.builder.add(
        drawing.x, other, activation=drawing.activation(), **drawing.output()
    )


def _mean(drawing: _Drawing) -> Tensor | None:
    if len(drawing.x.shape) != 4 or drawing.rng.random() < 0.5:
        return None
    keep_dims = bool(drawing.rng.random() < 0.5)
    return drawing.builder.mean(drawing.x, (1, 2), keep_dims=keep_dims, **drawing.output())


def _pad(drawing: _Drawing) -> Tensor | None:
    x = drawing.x
    if len(x.shape) != 4:
        return None
    amounts = [(0, 0), drawing.pair(0, 2), drawing.pair(0, 2), (0, 0)]
    shape = tuple(size + sum(pair) for size, pair in zip(x.shape, amounts, strict=True))
    return drawing.builder.pad(x, amounts) if _fits(drawing, shape) else None


def _transpose(drawing: _Drawing) -> Tensor | None:
    if drawing.rng.random() < 0.6:
        return None
    order = drawing.rng.permutation(len(drawing.x.shape))
    return drawing.builder.transpose(drawing.x, [int(axis) for axis in order])


def _softmax(drawing: _Drawing) -> Tensor | None:
    if drawing.rng.random() < 0.6:
        return None
    return drawing.builder.softmax(drawing.x)


def _logistic(drawing: _Drawing) -> Tensor | None:
    if drawing.rng.random() < 0.6:
        return None
    return drawing.builder.logistic(drawing.x)


def _requantize(drawing: _Drawing) -> Tensor:
    dtype = drawing.dtype
    if drawing.rng.random() < 0.2:
        dtype = "int8" if dtype == "int16" else "int16"
    scale, zero_point = drawing.scale(dtype), drawing.zero_point(dtype)
    return drawing.builder.quantize(drawing.x, scale=scale, zero_point=zero_point, dtype=dtype)


def _binary(drawing: _Drawing) -> Tensor | None:
    """With a tensor of the same shape, or broadcast with the channels of a constant."""
    x, rng = drawing.x, drawing.rng
    kind = str(rng.choice(["SUB", "MUL", "SQUARED_DIFFERENCE", "MAXIMUM", "MINIMUM"]))
    extreme = kind in ("MAXIMUM", "MINIMUM")
    alike = _alike(drawing)
    other = alike[int(rng.integers(len(alike)))]
    if rng.random() < 0.5 or (extreme and other.quantization != x.quantization):
        limits = np.iinfo(x.dtype)
        values = rng.integers(limits.min, limits.max + 1, x.shape[-1:]).astype(x.dtype)
        scale = x.scale if extreme else drawing.scale()
        zero_point = x.zero_point if extreme else drawing.zero_point()
        other = drawing.builder.constant(values, scale, zero_point)
    words = {"MAXIMUM": "MaximumMinimum", "MINIMUM": "MaximumMinimum"}
    output = x.quantization
    if not extreme:
        output = drawing.output()
        # Sums and differences are scaled by a factor below 1.
        largest = max(x.scale, other.scale)
        output["scale"] = max(output["scale"], largest / 2**10)
        if kind == "SQUARED_DIFFERENCE":
            output["scale"] = max(output["scale"], 4 * largest**2)
    title = words.get(kind, "".join(word.title() for word in kind.split("_")))
    return drawing.builder.operator(kind, [x, other], x.shape, options=f"{title}Options", **output)


def _function(drawing: _Drawing) -> Tensor | None:
    """A function of one variable; those with an output quantization of their own are elsewhere."""
    x, rng = drawing.x, drawing.rng
    kind = str(rng.choice(["ABS", "ELU", "LEAKY_RELU", "RELU", "TANH"]))
    output = drawing.output()
    if kind == "TANH":
        output = {"scale": 1 / (32768 if drawing.dtype == "int16" else 128), "zero_point": 0}
    if kind == "ELU" and drawing.dtype == "int16":
        return None
    options = {"LEAKY_RELU": ("LeakyReluOptions", {"Alpha": float(rng.uniform(0, 1))})}
    name, fields = options.get(kind, ("", {}))
    return drawing.builder.operator(kind, [x], x.shape, options=name, **output, **fields)


def _numbers(drawing: _Drawing, values: object) -> Tensor:
    return drawing.builder.constant(np.array(values, np.int32))


def _slice(drawing: _Drawing) -> Tensor | None:
    """STRIDED_SLICE with strides of both signs, or SLICE."""
    x, rng = drawing.x, drawing.rng
    if rng.random() < 0.5:
        return None
    begin = [int(rng.integers(0, size)) for size in x.shape]
    extent = [
        int(rng.integers(1, size - first + 1)) for first, size in zip(begin, x.shape, strict=True)
    ]
    if rng.random() < 0.4:
        operands = [x, _numbers(drawing, begin), _numbers(drawing, extent)]
        options = "SliceOptions"
        return drawing.builder.operator(
            "SLICE", operands, extent, options=options, **x.quantization
        )
    steps = [int(rng.integers(1, 4)) for _ in x.shape]
    ends = [first + size for first, size in zip(begin, extent, strict=True)]
    operands = [x, *(_numbers(drawing, values) for values in (begin, ends, steps))]
    shape = [-(-size // step) for size, step in zip(extent, steps, strict=True)]
    return drawing.builder.operator(
        *("STRIDED_SLICE", operands, shape), options="StridedSliceOptions", **x.quantization
    )


def _concatenation(drawing: _Drawing) -> Tensor | None:
    x, rng = drawing.x, drawing.rng
    axis = int(rng.integers(len(x.shape)))
    shape = [size * (2 if place == axis else 1) for place, size in enumerate(x.shape)]
    if rng.random() < 0.5 or not _fits(drawing, tuple(shape)):
        return None
    return drawing.builder.operator(
        *("CONCATENATION", [x, x], shape),
        options="ConcatenationOptions",
        Axis=axis,
        **x.quantization,
    )


def _extreme(drawing: _Drawing) -> Tensor | None:
    """REDUCE_MAX along one axis."""
    x, rng = drawing.x, drawing.rng
    axis = int(rng.integers(len(x.shape)))
    if rng.random() < 0.6 or len(x.shape) < 2 or drawing.dtype == "int16":
        return None
    shape = [1 if place == axis else size for place, size in enumerate(x.shape)]
    return drawing.builder.operator(
        *("REDUCE_MAX", [x, _numbers(drawing, [axis])], shape),
        options="ReducerOptions",
        KeepDims=True,
        **x.quantization,
    )


def _resize(drawing: _Drawing) -> Tensor | None:
    x, rng = drawing.x, drawing.rng
    if len(x.shape) != 4 or rng.random() < 0.5:
        return None
    size = drawing.pair(1, 9)
    shape = (x.shape[0], *size, x.shape[3])
    kind, name = (
        ("RESIZE_BILINEAR", "ResizeBilinearOptions"),
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    )[1 if drawing.dtype == "int16" else int(rng.integers(2))]
    centers = bool(rng.random() < 0.5)
    return drawing.builder.operator(
        *(kind, [x, _numbers(drawing, size)], shape),
        options=name,
        HalfPixelCenters=centers,
        **x.quantization,
    )


_STEPS: tuple[Step, ...] = (
    _add,
    _binary,
    _concatenation,
    _conv2d,
    _depthwise,
    _extreme,
    _fully_connected,
    _function,
    _logistic,
    _mean,
    _pad,
    _pool,
    _requantize,
    _resize,
    _slice,
    _softmax,
    _transpose,
)
