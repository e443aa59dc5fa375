"""`tinyaot check`: every operator is listed, whatever is wrong with the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper
from tflite_builder import TFLiteBuilder

if TYPE_CHECKING:
    from conftest import Command


def mixed(path: Path) -> Path:
    """Operators that run, that need no code, and that are refused for three reasons."""
    b = TFLiteBuilder()
    x, other = b.input((1, 4, 4, 2), 0.1), b.input((1, 4, 4, 2), 0.2)
    b.output(b.logistic(x))
    shape = b.operator("SHAPE", [x], (4,), dtype="int32", options="ShapeOptions", OutType=2)
    b.output(shape)
    b.output(b.reshape(b.max_pool2d(x, (2, 2)), (1, 18)))
    joined = b.operator(
        *("CONCATENATION", [x, other], (1, 4, 4, 4)),
        scale=0.1,
        options="ConcatenationOptions",
        Axis=3,
    )
    b.output(b.operator("LOGISTIC", [joined], (1, 4, 4, 4), scale=1 / 256, zero_point=-128))
    b.output(b.operator("WHERE", [x], (3, 4), dtype="int64"))
    b.output(b.operator("ABS", [b.dequantize(x)], x.shape, dtype="float32"))
    path.write_bytes(b.build())
    return path


def test_every_operator_has_a_verdict(tinyaot: Command, tmp_path: Path) -> None:
    path = mixed(tmp_path / "mixed.tflite")
    done = tinyaot("check", path, "--target", "cortex-m4", "--json")
    assert done.status == 1
    assert not done.document["supported"]
    verdicts = {one["node"].split(" #")[0]: one for one in done.document["operators"]}
    assert [one["node"].split(" #")[0] for one in done.document["operators"]] == [
        *("LOGISTIC", "SHAPE", "MAX_POOL_2D", "RESHAPE", "CONCATENATION", "LOGISTIC", "WHERE"),
        *("DEQUANTIZE", "ABS"),
    ]
    (rule,) = verdicts["LOGISTIC"]["runs_as"]
    assert rule.endswith(".lookup")
    assert verdicts["SHAPE"]["runs_as"] == ["folded"]
    assert verdicts["RESHAPE"]["runs_as"] == ["view"]
    assert verdicts["MAX_POOL_2D"]["supported"]
    assert "different scales" in verdicts["CONCATENATION"]["reason"]
    assert verdicts["CONCATENATION"]["hints"]
    assert "not supported" in verdicts["WHERE"]["reason"]
    assert "float32" in verdicts["ABS"]["reason"]


def test_a_model_that_is_supported(tinyaot: Command, model: Path) -> None:
    done = tinyaot("check", model)
    assert done.status == 0
    assert "6 of 6 operators are supported on cortex-m4" in done.stdout
    assert "NOT SUPPORTED" not in done.stdout


def test_reasons_are_printed_with_what_to_do(tinyaot: Command, tmp_path: Path) -> None:
    done = tinyaot("check", mixed(tmp_path / "mixed.tflite"))
    assert done.status == 1
    assert "NOT SUPPORTED" in done.stdout
    assert "  try: quantize its inputs and output alike" in done.stdout
    assert "operators are supported on cortex-m4" in done.stdout


def test_an_unreadable_file_is_an_error(tinyaot: Command, tmp_path: Path) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))
    assert tinyaot("check", path).status == 2
    assert tinyaot("check", tmp_path / "missing.tflite").status == 2


def test_operators_of_an_onnx_file_that_is_not_imported(tinyaot: Command, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "dequantize"),
        helper.make_node("NonZero", ["d"], ["y"], "places"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, 4])],
        [
            helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]),
            helper.make_tensor("z", TensorProto.INT8, [], [0]),
        ],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    done = tinyaot("check", path, "--json")
    assert done.status == 1
    supported = {one["node"]: one["supported"] for one in done.document["operators"]}
    assert supported == {
        'QuantizeLinear #0 "quantize"': True,
        'DequantizeLinear #1 "dequantize"': True,
        'NonZero #2 "places"': False,
    }
