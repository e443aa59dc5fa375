"""Float networks, quantized by ONNX Runtime's tools, compute what ONNX Runtime computes.

A value next to a tie may be rounded the other way, and what follows it then differs too: the
single operators are held to the last bit in test_onnx_operators.py, here the share is bounded.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_builder import (
    Network,
    QdqModel,
    Quantization,
    mobile_network,
    quantize,
    residual_network,
)

from tinyaot.compiler import CompiledModel, compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import TinyaotError

# One rounding next to a tie can move the scores of one inference in thirty.
LARGEST_SHARE = 0.035
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "digits"
NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "residual": lambda: residual_network(softmax=False),
    "mobile": mobile_network,
}
INT8 = Quantization("int8", 0.05, 3)
UINT8 = Quantization("uint8", 0.05, 120)

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")


@pytest.fixture(autouse=True)
def onnx_runtime() -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")


def differences(compiled: CompiledModel, path: Path, inputs: list[Any], on: str) -> Any:
    """Steps by which each value differs from ONNX Runtime's."""
    got = compiled.measure(inputs, on=on).outputs
    expected = compiled.reference(path, inputs)
    return np.concatenate(
        [
            (a.astype(int) - b.astype(int)).reshape(-1)
            for one, other in zip(got, expected, strict=True)
            for a, b in zip(one, other, strict=True)
        ]
    )


def kinds(compiled: CompiledModel) -> list[str]:
    return [node.workload.kind for node in compiled.graph.nodes]


@needs_cc
@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("per_channel", [True, False], ids=["per-channel", "per-tensor"])
@pytest.mark.parametrize("activations", ["int8", "uint8"])
@pytest.mark.parametrize("network", NETWORKS)
def test_network(
    network: str,
    activations: str,
    per_channel: bool,
    symmetric: bool,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    path = quantize(
        NETWORKS[network](),
        tmp_path / f"{network}.onnx",
        activations=activations,
        per_channel=per_channel,
        symmetric=symmetric,
    )
    compiled = compile_model(path, "host")
    steps = differences(compiled, path, random_inputs(compiled.inputs, 30), "host")
    share = np.count_nonzero(steps) / steps.size
    record_property("differs from ONNX Runtime", f"{np.count_nonzero(steps)} of {steps.size}")
    assert share <= LARGEST_SHARE
    # Everything between the input and the output is NHWC: only the input's pixels move.
    assert kinds(compiled).count("transpose") == 1
    assert {tensor.dtype for tensor in compiled.graph.tensors.values()} == {"int8"}


@pytest.mark.parametrize(
    ("network", "target"), [("residual", "cortex-m0plus"), ("mobile", "cortex-m55")]
)
def test_network_on_an_emulated_core(network: str, target: str, tmp_path: Path) -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on the PATH")
    path = quantize(NETWORKS[network](), tmp_path / f"{network}.onnx")
    compiled = compile_model(path, target)
    assert not differences(compiled, path, random_inputs(compiled.inputs, 6), "qemu").any()
    report = compiled.report()
    assert report.arena_bytes <= 1.05 * report.arena_lower_bound_bytes


@needs_cc
def test_weights_of_type_uint8(tmp_path: Path) -> None:
    """With their zero point in the middle they are int8 weights by another name."""
    path = tmp_path / "mobile.onnx"
    types = {"activations": "uint8", "weights": "uint8"}
    quantize(mobile_network(), path, **types, WeightSymmetric=True)
    compiled = compile_model(path, "host")
    steps = differences(compiled, path, random_inputs(compiled.inputs, 30), "host")
    assert np.count_nonzero(steps) / steps.size <= LARGEST_SHARE


@needs_cc
def test_softmax_at_the_end_is_within_a_step(tmp_path: Path) -> None:
    """ONNX Runtime's own softmax on integers is not rounded to nearest; ours is."""
    path = quantize(residual_network(), tmp_path / "residual.onnx")
    compiled = compile_model(path, "host")
    steps = differences(compiled, path, random_inputs(compiled.inputs, 30), "host")
    assert np.abs(steps).max() <= 1


@needs_cc
def test_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """The demo's network on the test set's images: the same scores and so the same labels."""
    pytest.importorskip("sklearn", reason="the demo's data is not installed")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    try:
        from data import load
        from quantize import quantize as quantize_digits
    finally:
        for name in ("data", "quantize"):
            sys.modules.pop(name, None)
    path = tmp_path / "digits.onnx"
    quantize_digits(EXAMPLES / "digits_float.onnx", path)
    compiled = compile_model(path, "host")
    _, _, images, labels = load()
    inputs = [[image[np.newaxis]] for image in images]
    steps = differences(compiled, path, inputs, "host")
    record_property("differs from ONNX Runtime", f"{np.count_nonzero(steps)} of {steps.size}")
    assert np.count_nonzero(steps) / steps.size <= LARGEST_SHARE
    scores = np.concatenate([one[0] for one in compiled.measure(inputs, on="host").outputs])
    assert np.mean(scores.argmax(axis=1) == labels) > 0.98


@needs_cc
def test_flattened_images_keep_the_order_of_the_model(tmp_path: Path) -> None:
    """A dense layer's weights are reordered; whatever else reads a flattened image sees NCHW."""
    net = Network((1, 3, 6, 5), seed=5)
    x = net.flatten(net.conv(net.input, 4, 3))
    moved = net.flatten(net.transpose(net.conv(net.input, 4, 3), (0, 1, 3, 2)))
    model = net.model(net.gemm(x, 7), x, moved, net.gemm(moved, 5))
    path = quantize(model, tmp_path / "flat.onnx")
    compiled = compile_model(path, "host")
    assert not differences(compiled, path, random_inputs(compiled.inputs, 6), "host").any()


@needs_cc
def test_transposes_are_shared_and_end_at_the_input(tmp_path: Path) -> None:
    """Two branches from one NCHW input; their sum is an output and so NCHW again."""
    net = Network((1, 3, 6, 6), seed=6)
    model = net.model(net.add(net.conv(net.input, 4, 3), net.conv(net.input, 4, 1)))
    path = quantize(model, tmp_path / "branches.onnx")
    compiled = compile_model(path, "host")
    assert kinds(compiled) == ["transpose", "conv2d", "conv2d", "add", "transpose"]
    assert not differences(compiled, path, random_inputs(compiled.inputs, 6), "host").any()


@pytest.mark.parametrize("q", [INT8, UINT8], ids=lambda q: q.dtype)
@pytest.mark.parametrize("as_float", [False, True], ids=["quantized", "float"])
def test_types_at_the_edge(q: Quantization, as_float: bool, tmp_path: Path) -> None:
    """Integer ports keep their type; float ones are the int8 that the kernels use."""
    model = QdqModel()
    x = model.input((1, 4), q, as_float=as_float)
    model.output(model.operator("Relu", x), q, (1, 4), as_float=as_float)
    path = tmp_path / "edge.onnx"
    onnx.save(model.model(), path)
    compiled = compile_model(path, "host")
    dtype = "int8" if as_float else q.dtype
    shift = q.zero_point - (128 if (q.dtype, dtype) == ("uint8", "int8") else 0)
    for port in (*compiled.inputs, *compiled.outputs):
        assert (port.dtype, port.scale, port.zero_point) == (dtype, np.float32(q.scale), shift)


def opset_model(opset: int) -> onnx.ModelProto:
    """Axes are attributes in some, inputs in others; so are what may be left out."""
    model = QdqModel(opset)
    x = model.input((1, 3, 7, 6), UINT8)
    clipped = model.operator("Clip", x, "", model.constant(np.float32(2.0)))
    model.output(clipped, UINT8, (1, 3, 7, 6))
    axes = [2, 3]
    if opset < 18:
        mean = model.operator("ReduceMean", x, axes=axes, keepdims=0)
    else:
        mean = model.operator("ReduceMean", x, model.constant(np.array(axes)), keepdims=0)
    model.output(mean, INT8, (1, 3))
    # SAME padding of 3x3 with stride 2: more at the end of the rows than at their beginning.
    weight = model.weight(
        np.arange(-54, 54, 2, dtype=np.int8).reshape(2, 3, 3, 3), np.float32(0.01)
    )
    conv = model.operator("Conv", x, weight, strides=[2, 2], auto_pad="SAME_UPPER")
    model.output(conv, INT8, (1, 2, 4, 3))
    conv = model.operator("Conv", x, weight, strides=[2, 2], auto_pad="SAME_LOWER")
    model.output(conv, INT8, (1, 2, 4, 3))
    # A pool whose last windows reach beyond the image.
    pooled = model.operator("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    model.output(pooled, UINT8, (1, 3, 4, 3))
    return model.model()


@needs_cc
@pytest.mark.parametrize("opset", [13, 18, 21, 24, 27])
def test_opsets(opset: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(opset_model(opset), path)
    compiled = compile_model(path, "host")
    assert not differences(compiled, path, random_inputs(compiled.inputs, 6), "host").any()


@needs_cc
def test_newest_opset(tmp_path: Path) -> None:
    """The onnx package may know a newer one than ONNX Runtime: it means the same."""
    results = []
    for opset in (21, onnx.defs.onnx_opset_version()):
        path = tmp_path / "model.onnx"
        onnx.save(opset_model(opset), path)
        compiled = compile_model(path, "host")
        results.append(compiled.measure(random_inputs(compiled.inputs, 6), on="host").outputs)
    for one, other in zip(*results, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@needs_cc
def test_movement_of_quantized_tensors(tmp_path: Path) -> None:
    """Tools also write Pad and its kin outside of the dequantize-quantize pairs."""
    model = QdqModel()
    quantized = model.quantize(model.input((1, 2, 3, 4), UINT8), UINT8)
    widths = model.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1]))
    padded = model.operator("Pad", quantized, widths, model.constant(np.uint8(120)))
    moved = model.operator("Transpose", padded, perm=[0, 2, 3, 1])
    model.output(model.dequantize(moved, UINT8), UINT8, (1, 4, 7, 2))
    path = tmp_path / "model.onnx"
    onnx.save(model.model(), path)
    compiled = compile_model(path, "host")
    assert not differences(compiled, path, random_inputs(compiled.inputs, 6), "host").any()


def float_operator(path: Path) -> None:
    model = QdqModel()
    x = model.operator("Relu", model.operator("Softmax", model.input((1, 4), INT8)))
    model.output(model.operator("Softmax", x), INT8, (1, 4))
    onnx.save(model.model(), path)


def unquantized_output(path: Path) -> None:
    model = QdqModel()
    model.output(model.operator("Softmax", model.input((1, 4), INT8)), INT8, (1, 4))
    proto = model.model()
    proto.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("softmax_1", onnx.TensorProto.FLOAT, (1, 4))
    )
    onnx.save(proto, path)


def two_quantizations(path: Path) -> None:
    net = Network((1, 4), seed=7)
    quantize(net.model(net.gemm(net.input, 3)), path)
    proto = onnx.load(path)
    (first,) = [node for node in proto.graph.node if node.input[0] == "image"]
    other = onnx.helper.make_node(
        "QuantizeLinear", ["image", "other_scale", first.input[2]], ["other"]
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(3.5), "other_scale"))
    proto.graph.node.append(other)
    proto.graph.output.append(
        onnx.helper.make_tensor_value_info("other", onnx.TensorProto.INT8, (1, 4))
    )
    onnx.save(proto, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (float_operator, "Softmax #.* reads relax.nn.relu that is not quantized"),
        (unquantized_output, 'output "softmax_1" is float and not dequantized'),
        (two_quantizations, 'input "image" is quantized in two ways'),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_supported_is_said(
    write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    write(path)
    with pytest.raises(TinyaotError, match=message):
        compile_model(path, "host")
