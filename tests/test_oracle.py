"""The oracles are what every numeric claim rests on: these tests hold them to plain arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tinyaot.compiler import oracle
from tinyaot.targets.errors import TinyaotError


@dataclass(frozen=True)
class Spec:
    shape: tuple[int, ...]
    dtype: str = "int8"
    scale: float | None = 0.5
    zero_point: int = -3


IMAGE = Spec((1, 12, 10, 3))


def test_inputs_repeat_and_a_larger_count_extends_a_smaller_one() -> None:
    few, many = oracle.random_inputs([IMAGE], 6, 7), oracle.random_inputs([IMAGE], 12, 7)
    np.testing.assert_array_equal(few, many[:6])
    other_seed = oracle.random_inputs([IMAGE], 12, 8)
    changed = [not np.array_equal(a, b) for a, b in zip(many, other_seed, strict=True)]
    assert changed == [index not in (2, 3, 4) for index in range(12)]


@pytest.mark.parametrize(
    ("dtype", "zero_point"), [("int8", -128), ("uint8", 128), ("int16", 0), ("int8", 127)]
)
def test_inputs_hold_the_extremes_and_differ(dtype: str, zero_point: int) -> None:
    info = np.iinfo(dtype)
    spec = Spec((1, 12, 10, 3), dtype, zero_point=zero_point)
    inputs = [one for (one,) in oracle.random_inputs([spec], 20)]
    assert all(one.shape == spec.shape and one.dtype == dtype for one in inputs)
    for index, value in ((2, zero_point), (3, info.min), (4, info.max)):
        assert np.all(inputs[index] == value)
    assert len({one.tobytes() for index, one in enumerate(inputs) if index != 2}) >= 19
    uniform = np.stack(inputs[7::3]).astype(float)
    assert np.ptp(uniform) > 0.98 * (info.max - info.min)


def test_wave_inputs_are_smooth() -> None:
    wave = oracle.random_inputs([Spec((1, 64, 64, 1))], 1)[0][0].astype(float)
    steps = np.abs(np.diff(wave, axis=1)).mean()
    shuffled = np.random.default_rng(0).permutation(wave.ravel()).reshape(wave.shape)
    assert steps < 0.3 * np.abs(np.diff(shuffled, axis=1)).mean()


def test_inputs_of_one_set_are_independent_of_each_other() -> None:
    first, second = oracle.random_inputs([IMAGE, IMAGE], 2)[1]
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 1, 3)])
def test_inputs_of_any_rank(shape: tuple[int, ...]) -> None:
    assert all(one.shape == shape for (one,) in oracle.random_inputs([Spec(shape)], 8))


@pytest.mark.parametrize("scale", [1.0, 0.1, 1 / 3, 1.17e-3, 97.3])
def test_quantize_undoes_dequantize(scale: float) -> None:
    spec = Spec((256,), "uint8", float(np.float32(scale)), 77)
    every_value = np.arange(256, dtype=np.uint8)
    real = oracle.dequantize(every_value, spec)
    assert real.dtype == np.float32
    assert real[77] == 0
    np.testing.assert_array_equal(oracle.quantize(real, spec), every_value)
    np.testing.assert_array_equal(oracle.quantize(np.array([-1e9, 1e9]), spec), [0, 255])


def fully_connected_tflite(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Writes an int8 FULLY_CONNECTED 6 -> 4 that rounds nothing; returns weight and bias."""
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    import flatbuffers
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    def tensor(name: str, shape: list[int], kind: int, buffer: int, scale: float, zero: int):
        quantization = schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [scale], [zero]
        result = schema.TensorT()
        result.name, result.shape, result.type, result.buffer = name, shape, kind, buffer
        result.quantization = quantization
        return result

    def buffer(data: np.ndarray | None = None):
        result = schema.BufferT()
        result.data = None if data is None else np.frombuffer(data.tobytes(), np.uint8)
        return result

    rng = np.random.default_rng(0)
    weight = rng.integers(-2, 3, (4, 6), dtype=np.int8)
    bias = rng.integers(-20, 20, 4, dtype=np.int32)
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", [1, 6], schema.TensorType.INT8, 0, 1.0, -3),
        tensor("w", [4, 6], schema.TensorType.INT8, 1, 1.0, 0),
        tensor("b", [4], schema.TensorType.INT32, 2, 1.0, 0),
        tensor("y", [1, 4], schema.TensorType.INT8, 0, 1.0, 5),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [buffer(), buffer(weight), buffer(bias)]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return weight, bias


def test_tflite_outputs_equal_integer_arithmetic(tmp_path: Path) -> None:
    weight, bias = fully_connected_tflite(tmp_path / "fc.tflite")
    inputs = oracle.random_inputs([Spec((1, 6))], 20)
    outputs = oracle.reference_outputs(tmp_path / "fc.tflite", inputs)
    for (x,), (y,) in zip(inputs, outputs, strict=True):
        expected = (x.astype(int) + 3) @ weight.T.astype(int) + bias + 5
        np.testing.assert_array_equal(y, expected.clip(-128, 127))
        assert y.dtype == np.int8


def test_tflite_inference_leaves_no_state(mlperf_tiny: Callable[[str], Path]) -> None:
    pytest.importorskip("tflite_micro", reason="the .tflite oracle is not installed")
    model = mlperf_tiny("streaming_wakeword_int8.tflite")
    inputs = oracle.random_inputs([Spec((1, 30, 1, 40), zero_point=-128)], 20)
    outputs = oracle.reference_outputs(model, inputs)
    np.testing.assert_array_equal(outputs, oracle.reference_outputs(model, inputs[::-1])[::-1])
    assert len({y.tobytes() for (y,) in outputs}) > 1


def convolution_onnx(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Writes a QDQ convolution of uint8 by int8 per channel; returns weight, its scales, bias."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    # Extreme weights: sums of pairs of products pass 16 bits.
    weight = rng.choice(np.array([-127, 127], np.int8), (4, 8, 3, 3))
    weight_scale = rng.uniform(0.001, 0.01, 4).astype(np.float32)
    bias = rng.integers(-5000, 5000, 4, dtype=np.int32)
    constants = {
        "x_scale": np.float32(0.25),
        "x_zero": np.uint8(128),
        "w": weight,
        "w_scale": weight_scale,
        "w_zero": np.zeros(4, np.int8),
        "b": bias,
        "b_scale": np.float32(0.25) * weight_scale,
        "b_zero": np.zeros(4, np.int32),
        "y_scale": np.float32(1.5),
        "y_zero": np.uint8(100),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "b_scale", "b_zero"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "y_scale", "y_zero"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "y_scale", "y_zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 4, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return weight, weight_scale, bias


@pytest.mark.parametrize("fuse_qdq", [True, False])
def test_onnx_outputs_equal_integer_arithmetic(tmp_path: Path, fuse_qdq: bool) -> None:
    """Fused kernels round the exact sum once; as written, in float, ties may fall elsewhere."""
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    weight, weight_scale, bias = convolution_onnx(tmp_path / "convolution.onnx")
    spec_in = Spec((1, 8, 6, 6), "uint8", 0.25, 128)
    spec_out = Spec((1, 4, 4, 4), "uint8", 1.5, 100)
    quantized = oracle.random_inputs([spec_in], 20)
    inputs = [[oracle.dequantize(x, spec_in)] for (x,) in quantized]
    outputs = oracle.reference_outputs(tmp_path / "convolution.onnx", inputs, fuse_qdq=fuse_qdq)

    multiplier = (np.float32(0.25) * weight_scale / np.float32(1.5)).reshape(1, 4, 1, 1)
    differing = 0
    for (x,), (y,) in zip(quantized, outputs, strict=True):
        centred = x.astype(np.int64) - spec_in.zero_point
        windows = np.lib.stride_tricks.sliding_window_view(centred, (3, 3), axis=(2, 3))
        total = np.einsum("nihwyx,oiyx->nohw", windows, weight) + bias.reshape(1, 4, 1, 1)
        scaled = total.astype(np.float32) * multiplier
        expected = (np.rint(scaled) + spec_out.zero_point).clip(0, 255)
        got = oracle.quantize(y, spec_out).astype(int)
        assert np.abs(got - expected).max() <= 1
        differing += np.count_nonzero(got != expected)
    assert differing == 0 if fuse_qdq else differing < 5


def test_a_crash_of_the_runtime_is_an_error_and_not_our_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fully_connected_tflite(tmp_path / "fc.tflite")
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    inputs = oracle.random_inputs([Spec((1, 6))], 1)
    with pytest.raises(TinyaotError, match=r"crashed \(SIGSEGV\)"):
        oracle.reference_outputs(tmp_path / "fc.tflite", inputs)


def test_what_the_runtime_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    fully_connected_tflite(tmp_path / "fc.tflite")
    (tmp_path / "cut.tflite").write_bytes((tmp_path / "fc.tflite").read_bytes()[:100])
    x = np.zeros((1, 6), np.int8)
    for name, inputs, reason in (
        ("cut.tflite", [x], r"TFLite Micro cannot run .*cut\.tflite"),
        ("fc.tflite", [x.astype(np.uint8)], "UINT8"),
        ("fc.tflite", [x[:, :5]], "imension mismatch"),
        ("fc.tflite", [x, x], "it has 1 inputs, but 2 were given"),
        ("fc.tflite", [], "it has 1 inputs, but 0 were given"),
    ):
        with pytest.raises(TinyaotError, match=reason) as caught:
            oracle.reference_outputs(tmp_path / name, [inputs])
        assert "\n" not in caught.value.message


def test_bad_paths_and_missing_packages_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TinyaotError, match=r"no such model file: .*none\.onnx"):
        oracle.reference_outputs(tmp_path / "none.onnx", [])
    with pytest.raises(TinyaotError, match=r"neither \.tflite nor \.onnx"):
        oracle.reference_outputs(tmp_path / "model.pt", [])
    (tmp_path / "some.tflite").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TinyaotError, match="not installed") as caught:
        oracle.reference_outputs(tmp_path / "some.tflite", [])
    assert "pip install 'tinyaot[oracle]'" in caught.value.hints
