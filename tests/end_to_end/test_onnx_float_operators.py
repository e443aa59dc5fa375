"""Float operators between dequantize and quantize, against ONNX Runtime's float kernels.

Each case is one operator as exporters write it, with activations and constants from a seed. Its
quantized result may be beyond the middle between two steps by float32's rounding only; judged by
the same code as the node tests of the onnx package, of which a sample is run too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_backend
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes
from onnx_backend import Form, judge_form, wrapped

from tinyaot.compiler import compile_model

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")

IMAGE = (1, 4, 6, 5)
Case = Callable[["Operator"], None]


class Operator:
    """One node under construction: activations first, then constants."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(7)
        self.names: list[str] = []
        self.activations: dict[str, Any] = {}
        self.constants: list[Any] = []
        self.kind, self.attributes, self.outputs, self.opset = "", {}, 1, 22
        self.shape: tuple[int, ...] | None = None

    def activation(self, *shape: int, scale: float = 2.0) -> Operator:
        name = f"x{len(self.activations)}"
        self.activations[name] = self.rng.normal(0, scale, shape).astype(np.float32)
        self.names.append(name)
        return self

    def constant(self, value: Any) -> Operator:
        name = f"c{len(self.constants)}"
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        self.constants.append(numpy_helper.from_array(array, name))
        self.names.append(name)
        return self

    def omitted(self) -> Operator:
        self.names.append("")
        return self

    def node(
        self,
        kind: str,
        outputs: int = 1,
        opset: int = 22,
        shape: tuple[int, ...] | None = None,
        **attributes: Any,
    ) -> Operator:
        """The operator; with the shape of its output where ONNX cannot infer it."""
        self.shape = shape
        self.kind, self.attributes, self.outputs, self.opset = kind, attributes, outputs, opset
        return self

    def form(self) -> Form:
        names = [f"y{place}" for place in range(self.outputs)]
        node = helper.make_node(self.kind, self.names, names, **self.attributes)
        graph = helper.make_graph(
            [node],
            "operator",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
                for name, array in self.activations.items()
            ],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape)
                if self.shape
                else helper.make_empty_tensor_value_info(name)
                for name in names
            ],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 10
        return wrapped(infer_shapes(model), self.activations)


def x(*shape: int) -> Operator:
    return Operator().activation(*(shape or IMAGE))


def rows(count: int) -> Any:
    return np.random.default_rng(8).normal(1, 0.7, (count, 1, 1))


CASES = {
    **{
        kind: (lambda kind=kind: x().node(kind))
        for kind in (
            "Abs Ceil Celu Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Mish"
            " Neg Relu Round Selu Sigmoid Sign Sin Softplus Softsign Tanh"
        ).split()
    },
    "LeakyRelu alpha": lambda: x().node("LeakyRelu", alpha=0.3),
    "HardSigmoid of PyTorch": lambda: x().node("HardSigmoid", alpha=1 / 6),
    "Clip": lambda: x().constant(-1.0).constant(1.5).node("Clip"),
    "Clip from below": lambda: x().constant(-1.0).node("Clip"),
    "PRelu": lambda: x().constant(rows(4)).node("PRelu"),
    "Mul by a number": lambda: x().constant(0.37).node("Mul"),
    "Mul by channel": lambda: x().constant(rows(4)).node("Mul"),
    "Add by channel": lambda: x().constant(rows(4)).node("Add"),
    "Add positions": lambda: x(1, 3, 8).constant(rows(24).reshape(1, 3, 8)).node("Add"),
    "Sub a number": lambda: x().constant(0.5).node("Sub"),
    "Sub from a number": lambda: Operator().constant(0.5).activation(*IMAGE).node("Sub"),
    "Div by a number": lambda: x().constant(3.0).node("Div"),
    "Div by channel": lambda: x().constant(2 + np.abs(rows(4))).node("Div"),
    "Pow": lambda: x().constant(2.0).node("Pow"),
    "BatchNormalization": lambda: (
        x()
        .constant(rows(4).reshape(-1))
        .constant(rows(4).reshape(-1))
        .constant(rows(4).reshape(-1))
        .constant(np.abs(rows(4)).reshape(-1))
        .node("BatchNormalization")
    ),
    "Add": lambda: x().activation(*IMAGE).node("Add"),
    "Add broadcast": lambda: x().activation(1, 4, 1, 1).node("Add"),
    "Add broadcast both": lambda: x(1, 4, 1, 5).activation(6, 1).node("Add"),
    "Sub": lambda: x().activation(*IMAGE).node("Sub"),
    "Mul": lambda: x().activation(*IMAGE).node("Mul"),
    "Mul broadcast": lambda: x().activation(1, 4, 1, 1).node("Mul"),
    "Mul rank": lambda: x().activation(5).node("Mul"),
    "Max": lambda: x().activation(*IMAGE, scale=1.0).node("Max"),
    "Min of three": lambda: x().activation(*IMAGE).activation(1, 1, 6, 5).node("Min"),
    "Concat": lambda: x().activation(1, 3, 6, 5, scale=1.0).node("Concat", axis=1),
    "Concat with a constant": lambda: x(1, 2, 3).constant(rows(3).reshape(1, 1, 3)).node(
        "Concat", axis=1
    ),
    "Split": lambda: x(1, 6, 4, 3).node("Split", 3, axis=1, num_outputs=3),
    "Split unevenly": lambda: x(1, 6, 4, 3).constant(np.array([1, 5])).node("Split", 2, axis=1),
    "Slice": lambda: (
        x()
        .constant(np.array([1, 4]))
        .constant(np.array([3, -9]))
        .constant(np.array([1, 3]))
        .constant(np.array([1, -2]))
        .node("Slice")
    ),
    "Gather": lambda: x().constant(np.array([3, 0, 0])).node("Gather", axis=1),
    "Gather one": lambda: x().constant(np.array(2)).node("Gather", axis=2),
    "Tile": lambda: x(1, 2, 3).constant(np.array([1, 2, 3])).node("Tile"),
    "Expand": lambda: x(1, 4, 1, 5).constant(np.array([2, 4, 3, 5])).node("Expand"),
    "Pad zeros": lambda: x().constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])).node("Pad"),
    "Pad reflect": lambda: x().constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])).node(
        "Pad", mode="reflect"
    ),
    "Pad edge": lambda: x().constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])).node("Pad", mode="edge"),
    "DepthToSpace": lambda: x(1, 8, 3, 2).node("DepthToSpace", blocksize=2),
    "DepthToSpace CRD": lambda: x(1, 8, 3, 2).node("DepthToSpace", blocksize=2, mode="CRD"),
    "SpaceToDepth": lambda: x(1, 2, 6, 4).node("SpaceToDepth", blocksize=2),
    "Resize nearest": lambda: x().omitted().constant(np.array([1.0, 1, 2, 3])).node(
        "Resize", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "Resize to sizes": lambda: (
        x().omitted().omitted().constant(np.array([1, 4, 9, 4])).node("Resize")
    ),
    "Resize linear": lambda: (
        x().omitted().constant(np.array([1.0, 1, 2, 3])).node("Resize", mode="linear")
    ),
    "Resize linear to sizes": lambda: (
        x()
        .omitted()
        .omitted()
        .constant(np.array([1, 4, 9, 4]))
        .node("Resize", mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    ),
    "Resize linear to the corners": lambda: (
        x(1, 3, 7)
        .omitted()
        .omitted()
        .constant(np.array([1, 3, 12]))
        .node("Resize", mode="linear", coordinate_transformation_mode="align_corners")
    ),
    "Transpose": lambda: x().node("Transpose", perm=[0, 3, 1, 2]),
    "ReduceMean": lambda: x().constant(np.array([1, 3])).node("ReduceMean"),
    "ReduceSum": lambda: x().constant(np.array([2, 3])).node("ReduceSum", keepdims=0),
    "ReduceMax": lambda: x().constant(np.array([1])).node("ReduceMax"),
    "ReduceMin": lambda: x().constant(np.array([-1])).node("ReduceMin", keepdims=0),
    "ArgMax": lambda: x(3, 11).node("ArgMax", axis=1, keepdims=0),
    "ArgMin of channels": lambda: x().node("ArgMin", axis=1),
    "Greater than a number": lambda: x().constant(0.3).node("Greater"),
    "ReduceL1": lambda: x().constant(np.array([2, 3])).node("ReduceL1", keepdims=0),
    "ReduceL2": lambda: x().constant(np.array([1])).node("ReduceL2"),
    "ReduceLogSum": lambda: (
        x(2, 40).constant(np.array([1])).node("ReduceLogSum", keepdims=0)
    ),
    "ReduceLogSumExp": lambda: x().constant(np.array([0, 3])).node("ReduceLogSumExp"),
    "ReduceSumSquare": lambda: x().constant(np.array([1, 2])).node("ReduceSumSquare"),
    "LogSoftmax": lambda: x(3, 11).node("LogSoftmax"),
    "LogSoftmax of channels": lambda: x().node("LogSoftmax", axis=1),
    "LayerNormalization": lambda: (
        x(2, 7, 16).constant(rows(16).reshape(-1)).constant(rows(16).reshape(-1)).node(
            "LayerNormalization", axis=-1
        )
    ),
    "LayerNormalization of an image": lambda: (
        x().constant(rows(120).reshape(4, 6, 5)).node("LayerNormalization", axis=1, epsilon=0.1)
    ),
    "RMSNormalization": lambda: (
        x(5, 24).constant(rows(24).reshape(-1)).node("RMSNormalization", opset=23)
    ),
    "InstanceNormalization": lambda: (
        x().constant(rows(4).reshape(-1)).constant(rows(4).reshape(-1)).node(
            "InstanceNormalization"
        )
    ),
    "GroupNormalization": lambda: (
        x(1, 6, 5, 3).constant(rows(6).reshape(-1)).constant(rows(6).reshape(-1)).node(
            "GroupNormalization", shape=(1, 6, 5, 3), num_groups=2
        )
    ),
    "LpNormalization": lambda: x().node("LpNormalization", axis=1),
    "MeanVarianceNormalization": lambda: (
        x(2, 3, 4, 5).node("MeanVarianceNormalization", shape=(2, 3, 4, 5))
    ),
    "GlobalMaxPool": lambda: x().node("GlobalMaxPool"),
    "GlobalAveragePool of a line": lambda: x(1, 3, 9).node("GlobalAveragePool"),
    "MaxPool ceil": lambda: x().node("MaxPool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool dilated": lambda: x(1, 3, 9, 8).node(
        "MaxPool", kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 0, 1, 1]
    ),
    "MaxPool of a line": lambda: x(1, 3, 9).node("MaxPool", kernel_shape=[2], strides=[2]),
    "MaxPool SAME": lambda: x().node(
        "MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"
    ),
    "AveragePool": lambda: x().node("AveragePool", kernel_shape=[2, 2], strides=[2, 1]),
    "AveragePool padded": lambda: x().node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "AveragePool counts padding": lambda: x().node(
        "AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
    ),
    "AveragePool dilated": lambda: x(1, 3, 9, 8).node(
        "AveragePool", kernel_shape=[2, 2], dilations=[2, 3]
    ),
    "AveragePool ceil": lambda: x().node(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1
    ),
    "Softmax over channels": lambda: x(2, 5, 3).node("Softmax", axis=1),
    "Conv of a line": lambda: x(1, 3, 12).constant(rows(18).reshape(2, 3, 3)).node(
        "Conv", strides=[2], pads=[1, 1]
    ),
    "Conv in groups": lambda: x(1, 4, 6, 6).constant(rows(6 * 2 * 9).reshape(6, 2, 3, 3)).node(
        "Conv", group=2, auto_pad="SAME_LOWER"
    ),
    "Gemm": lambda: x(2, 6).constant(rows(24).reshape(4, 6)).constant(rows(4).reshape(4)).node(
        "Gemm", transB=1
    ),
    "ConvTranspose": lambda: (
        x(1, 3, 5, 4)
        .constant(rows(3 * 2 * 9).reshape(3, 2, 3, 3))
        .constant(rows(2).reshape(2))
        .node("ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    ),
    "ConvTranspose in groups": lambda: x(1, 4, 5, 4)
    .constant(rows(4 * 1 * 6).reshape(4, 1, 2, 3))
    .node("ConvTranspose", strides=[2, 3], dilations=[2, 1], group=2),
    "ConvTranspose of a line": lambda: x(1, 3, 5).constant(rows(24).reshape(3, 2, 4)).node(
        "ConvTranspose", strides=[2]
    ),
    "MatMul of activations": lambda: x(2, 3, 6).activation(2, 6, 4).node("MatMul"),
    "MatMul broadcast": lambda: x(2, 1, 3, 6).activation(4, 6, 5).node("MatMul"),
    "MatMul": lambda: x(2, 3, 6).constant(rows(24).reshape(6, 4)).node("MatMul"),
    "Dropout": lambda: x().node("Dropout"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    outcome = judge_form(name, (), CASES[name]().form(), tmp_path)
    assert outcome.status == "pass", outcome.reason


def test_sample_of_the_backend_tests(tmp_path: Path) -> None:
    """One in forty, and all of the quantized operators: none is wrong, none crashes."""
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    chosen = [
        case
        for number, case in enumerate(onnx_backend.cases())
        if number % 40 == 0 or "linear_" in case.name or "linearconv" in case.name
    ]
    outcomes = [onnx_backend.judge(case, tmp_path) for case in chosen]
    bad = [outcome for outcome in outcomes if outcome.status in ("wrong", "crash")]
    assert not bad
    assert sum(outcome.status == "pass" for outcome in outcomes) >= 20


FINE: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "a clip outside the output's range": ("Clip", [np.float32(-0.7), np.float32(-0.6)], {}),
    "a bias of many steps": (
        "LayerNormalization",
        [np.ones(16, np.float32), np.full(16, -1, np.float32)],
        {"axis": -1},
    ),
    "logarithms of many steps": (
        "ReduceLogSumExp",
        [np.array([0], np.int64)],
        {"keepdims": 1},
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_outputs_in_steps_far_finer_than_their_values(name: str, tmp_path: Path) -> None:
    """Sums of large terms of opposite signs, or bounds that no output reaches."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    kind, constants, attributes = FINE[name]
    names = [f"c{place}" for place in range(len(constants))]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "input_scale", "zero"], ["real"]),
        helper.make_node(kind, ["real", *names], ["y"], **attributes),
        helper.make_node("QuantizeLinear", ["y", "output_scale", "zero"], ["output"]),
    ]
    values = {"input_scale": np.float32(0.05), "output_scale": np.float32(1e-5), "zero": np.int8(0)}
    initializers = [
        numpy_helper.from_array(np.asarray(value), key)
        for key, value in (values | dict(zip(names, constants, strict=True))).items()
    ]
    ports = [
        helper.make_tensor_value_info(port, TensorProto.INT8, (1, 16)) for port in ("x", "output")
    ]
    graph = helper.make_graph(nodes, "fine", ports[:1], ports[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    path = tmp_path / "fine.onnx"
    path.write_bytes(model.SerializeToString())
    array = np.arange(-120, 120, 15, dtype=np.int8).reshape(1, 16)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": array})
    compiled = compile_model(path, "host")
    for on in ("reference", "host"):
        np.testing.assert_array_equal(compiled.run(array, on=on)[0], expected)
