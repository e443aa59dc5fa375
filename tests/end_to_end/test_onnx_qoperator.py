"""ONNX's QOperator form computes what ONNX Runtime's own quantized kernels compute.

Both round to nearest but for values next to a tie, which float and fixed point may see differently,
and for ONNX Runtime's softmax, whose exponentials are rounded.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import TinyaotError

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")

CONTRIB = "com.microsoft"
# Of all outputs, those that may be rounded the other way. Averages of six are often ties.
SHARE, SHARE_OF_TIES = 0.02, 0.1


class QModel:
    """Single quantized operators side by side, from one seed, int8 or uint8."""

    def __init__(self, dtype: str, opset: int = 17) -> None:
        self.dtype, self.opset = np.dtype(dtype), opset
        self.rng = np.random.default_rng(4)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def parameters(self, scale: float | None = None, zero_point: int | None = None) -> list[str]:
        info = np.iinfo(self.dtype)
        if scale is None:
            scale = self.rng.uniform(0.02, 0.1)
        if zero_point is None:
            zero_point = int(self.rng.integers(info.min + 60, info.max - 60))
        return [self.constant(np.float32(scale)), self.constant(self.dtype.type(zero_point))]

    def input(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}"
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def operator(
        self, kind: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any
    ) -> None:
        domain = "" if kind in ("QLinearConv", "QLinearMatMul") else CONTRIB
        name = f"y{len(self.outputs)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        element = helper.np_dtype_to_tensor_dtype(self.dtype)
        self.outputs.append(helper.make_tensor_value_info(name, element, shape))

    def weights(self, shape: tuple[int, ...], scale: float | None = None) -> list[str]:
        """Weights of the activations' type, symmetric, so that they fit int8."""
        middle = 128 if self.dtype == np.uint8 else 0
        values = (self.rng.integers(-127, 128, shape) + middle).astype(self.dtype)
        return [
            self.constant(values),
            self.constant(np.float32(scale or 0.01)),
            self.constant(self.dtype.type(middle)),
        ]

    def save(self, path: Path) -> Path:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.constants)
        imports = [helper.make_opsetid("", self.opset), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=imports)
        model.ir_version = 8
        onnx.save(model, path)
        return path


def conv(m: QModel) -> None:
    x = [m.input(1, 3, 8, 7), *m.parameters(0.05)]
    bias = m.constant(m.rng.integers(-3000, 3000, 4).astype(np.int32))
    weights = m.weights((4, 3, 3, 3))
    m.operator(
        "QLinearConv", [*x, *weights, *m.parameters(0.2), bias], (1, 4, 7, 7), pads=[1, 1, 0, 1]
    )
    m.operator(
        "QLinearConv",
        [*x, *weights, *m.parameters(0.2)],
        (1, 4, 2, 3),
        strides=[2, 2],
        dilations=[2, 1],
    )


def conv_per_channel(m: QModel) -> None:
    x = [m.input(1, 4, 6, 6), *m.parameters(0.05)]
    values, _, _ = m.weights((4, 1, 3, 3))
    scales = m.constant(np.float32([0.02, 0.01, 0.03, 0.005]))
    middle = m.constant(np.full(4, 128 if m.dtype == np.uint8 else 0, m.dtype))
    m.operator(
        "QLinearConv", [*x, values, scales, middle, *m.parameters(0.1)], (1, 4, 4, 4), group=4
    )


def matmul(m: QModel) -> None:
    x = [m.input(3, 20), *m.parameters(0.05)]
    m.operator("QLinearMatMul", [*x, *m.weights((20, 7)), *m.parameters(0.2)], (3, 7))


def matmul_by_weights_off_centre(m: QModel) -> None:
    """Weights less their zero point do not fit int8; a batch of matrices is no dense layer."""
    info = np.iinfo(m.dtype)
    values = m.constant(m.rng.integers(info.min, info.max, (2, 20, 7)).astype(m.dtype))
    weights = [values, m.constant(np.float32(0.01)), m.constant(m.dtype.type(info.max - 30))]
    x = [m.input(2, 3, 20), *m.parameters(0.05)]
    m.operator("QLinearMatMul", [*x, *weights, *m.parameters(0.3)], (2, 3, 7))


def matmul_by_columns_off_centre(m: QModel) -> None:
    """Each column has a scale and a zero point of its own."""
    info = np.iinfo(m.dtype)
    values = m.constant(m.rng.integers(info.min, info.max, (20, 7)).astype(m.dtype))
    scales = m.constant(m.rng.uniform(0.005, 0.02, 7).astype(np.float32))
    zero_points = m.constant(m.rng.integers(info.min, info.max, 7).astype(m.dtype))
    x = [m.input(3, 20), *m.parameters(0.05)]
    m.operator("QLinearMatMul", [*x, values, scales, zero_points, *m.parameters(0.3)], (3, 7))


def conv_by_weights_off_centre(m: QModel) -> None:
    """Weights less their zero point do not fit int8; with groups, padding and a bias."""
    info = np.iinfo(m.dtype)
    values = m.constant(m.rng.integers(info.min, info.max, (6, 2, 3, 2)).astype(m.dtype))
    weights = [values, m.constant(np.float32(0.01)), m.constant(m.dtype.type(info.max - 30))]
    bias = m.constant(m.rng.integers(-3000, 3000, 6).astype(np.int32))
    x = [m.input(1, 4, 8, 7), *m.parameters(0.05)]
    m.operator(
        "QLinearConv",
        [*x, *weights, *m.parameters(0.2), bias],
        (1, 6, 4, 8),
        group=2,
        strides=[2, 1],
        pads=[1, 1, 1, 1],
    )


def gemm(m: QModel) -> None:
    x = [m.input(2, 20), *m.parameters(0.05)]
    bias = m.constant(m.rng.integers(-3000, 3000, 7).astype(np.int32))
    inputs = [*x, *m.weights((7, 20)), bias, *m.parameters(0.2)]
    m.operator("QGemm", inputs, (2, 7), transB=1)


def add(m: QModel) -> None:
    a, b = m.input(1, 4, 5, 3), m.input(1, 4, 5, 3)
    inputs = [a, *m.parameters(), b, *m.parameters(), *m.parameters(0.12)]
    m.operator("QLinearAdd", inputs, (1, 4, 5, 3))


def mul(m: QModel) -> None:
    a, b = m.input(1, 4, 5, 3), m.input(1, 4, 1, 1)
    inputs = [a, *m.parameters(0.05), b, *m.parameters(0.05), *m.parameters(0.1)]
    m.operator("QLinearMul", inputs, (1, 4, 5, 3))


def average_pool(m: QModel) -> None:
    x, q = m.input(1, 4, 8, 7), m.parameters()
    m.operator("QLinearAveragePool", [x, *q, *q], (1, 4, 3, 6), kernel_shape=[3, 2], strides=[2, 1])


def average_pool_to_another_scale(m: QModel) -> None:
    x = [m.input(1, 4, 8, 7), *m.parameters(0.05), *m.parameters(0.04)]
    m.operator("QLinearAveragePool", x, (1, 4, 7, 6), kernel_shape=[2, 2])


def global_average_pool(m: QModel) -> None:
    x = [m.input(1, 5, 6, 7), *m.parameters(0.05), *m.parameters(0.03)]
    m.operator("QLinearGlobalAveragePool", x, (1, 5, 1, 1))


def concat(m: QModel) -> None:
    parts = [m.input(1, 3, 4, 4), *m.parameters(), m.input(1, 5, 4, 4), *m.parameters()]
    m.operator("QLinearConcat", [*m.parameters(), *parts], (1, 8, 4, 4), axis=1)


def sigmoid(m: QModel) -> None:
    low = np.iinfo(m.dtype).min
    inputs = [m.input(1, 50), *m.parameters(0.08), *m.parameters(1 / 256, low)]
    m.operator("QLinearSigmoid", inputs, (1, 50))


def leaky_relu(m: QModel) -> None:
    inputs = [m.input(1, 4, 5), *m.parameters(), *m.parameters()]
    m.operator("QLinearLeakyRelu", inputs, (1, 4, 5), alpha=0.2)


def softmax(m: QModel) -> None:
    low = np.iinfo(m.dtype).min
    inputs = [m.input(4, 17), *m.parameters(0.08), *m.parameters(1 / 256, low)]
    m.operator("QLinearSoftmax", inputs, (4, 17), axis=1, opset=m.opset)


OPERATORS = (
    conv,
    conv_per_channel,
    matmul,
    matmul_by_weights_off_centre,
    matmul_by_columns_off_centre,
    conv_by_weights_off_centre,
    gemm,
    add,
    mul,
    average_pool,
    average_pool_to_another_scale,
    global_average_pool,
    concat,
    sigmoid,
    leaky_relu,
    softmax,
)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_operator(
    operator: Callable[[QModel], None],
    dtype: str,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    model = QModel(dtype)
    operator(model)
    path = model.save(tmp_path / "model.onnx")
    compiled = compile_model(path, "host")
    inputs = random_inputs(compiled.inputs, 12)
    outputs = compiled.measure(inputs, on="host").outputs
    steps = np.concatenate(
        [
            (a.astype(int) - b.astype(int)).reshape(-1)
            for one, other in zip(outputs, compiled.reference(path, inputs), strict=True)
            for a, b in zip(one, other, strict=True)
        ]
    )
    record_property("differs from ONNX Runtime", f"{np.count_nonzero(steps)} of {steps.size}")
    assert np.abs(steps).max() <= 1
    share = SHARE_OF_TIES if operator in (average_pool, softmax) else SHARE
    assert np.count_nonzero(steps) <= share * steps.size


def dynamic(m: QModel) -> None:
    x = m.input(1, 8)
    m.nodes.append(helper.make_node("DequantizeLinear", [x, *m.parameters()], ["real"]))
    m.nodes.append(helper.make_node("DynamicQuantizeLinear", ["real"], ["q", "s", "z"]))
    m.outputs.append(helper.make_tensor_value_info("q", TensorProto.UINT8, (1, 8)))


def where(m: QModel) -> None:
    condition = m.constant(np.array([True, False]))
    inputs = [condition, m.input(2), *m.parameters(), m.input(2), *m.parameters(), *m.parameters()]
    m.operator("QLinearWhere", inputs, (2,))


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (dynamic, "DynamicQuantizeLinear .* computes quantization ranges at run time"),
        (where, "QLinearWhere"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_supported_is_said(
    operator: Callable[[QModel], None], message: str, tmp_path: Path
) -> None:
    model = QModel("uint8")
    operator(model)
    with pytest.raises(TinyaotError, match=message):
        compile_model(model.save(tmp_path / "model.onnx"), "host")
