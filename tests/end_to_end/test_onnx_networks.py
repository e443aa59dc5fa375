"""Networks of the families that run on microcontrollers, quantized by ONNX Runtime's tools.

Every quantized tensor is compared with what ONNX Runtime makes of its operands, so that no tie
hides what follows it. Each network takes one way of quantizing it; together they take them all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from onnx_builder import quantize
from onnx_judge import judge
from onnx_networks import NETWORKS

from tinyaot.compiler import compile_model

FORMS = [
    # network, form, activations, weights, per channel, symmetric, opset
    ("mobilenet_v2", "QOperator", "uint8", "uint8", False, False, 17),
    ("efficientnet_lite", "QOperator", "uint8", "uint8", True, False, 17),
    ("u_net", "QDQ", "uint8", "uint8", False, False, 22),
    ("audio", "QOperator", "int8", "int8", True, False, 17),
    ("autoencoder", "QDQ", "uint8", "uint8", False, False, 23),
    ("autoencoder", "QDQ", "int8", "int4", True, False, 21),
    ("attention", "QDQ", "int8", "int8", True, False, 21),
]
LONG_FORMS = [
    ("mobilenet_v3", "QDQ", "uint8", "uint8", False, False, 17),
    ("efficientnet_lite", "QDQ", "int8", "int8", True, True, 21),
    ("u_net", "QDQ", "int8", "int8", True, False, 17),
    ("audio", "QDQ", "uint8", "uint8", False, False, 18),
    ("keyword_spotting", "QOperator", "uint8", "int8", True, False, 17),
    ("detector", "QDQ", "int8", "int8", False, True, 19),
]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no cc on the PATH")
@pytest.mark.parametrize(
    ("network", "form", "activations", "weights", "per_channel", "symmetric", "opset"),
    [*FORMS, *(pytest.param(*form, marks=pytest.mark.campaign) for form in LONG_FORMS)],
)
def test_network(
    network: str,
    form: str,
    activations: str,
    weights: str,
    per_channel: bool,
    symmetric: bool,
    opset: int,
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    path = quantize(
        NETWORKS[network](),
        tmp_path / "network.onnx",
        activations=activations,
        weights=weights,
        per_channel=per_channel,
        symmetric=symmetric,
        form=form,
        opset=opset,
    )
    _, problems = judge(path)
    assert not problems


def test_a_convolution_over_a_line_keeps_its_name(tmp_path: Path) -> None:
    """Though it is computed as one over an image."""
    pytest.importorskip("onnxruntime", reason="the .onnx oracle is not installed")
    compiled = compile_model(quantize(NETWORKS["audio"](), tmp_path / "audio.onnx"), "host")
    origins = {node.origin for node in compiled.graph.nodes if "conv" in node.workload.kind}
    assert len(origins) == 4
    assert all(origin.startswith("Conv #") for origin in origins)
