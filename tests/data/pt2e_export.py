"""Makes pt2e.onnx: a small network quantized and exported by PyTorch's current flow.

    python -m venv V && V/bin/pip install torch==2.13.0 torchao==0.18.0 onnxscript==0.7.2
    V/bin/python pt2e_export.py pt2e.onnx

It has what mobile networks have: strided, depthwise and pointwise convolutions with batch
normalization, ReLU6 and hard-swish, a squeeze-and-excitation branch, a residual sum, a
concatenation, pooling, a dense layer. Weights and calibration data are random.
"""

from __future__ import annotations

import sys

import torch
from torch import nn
from torch.nn import functional
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.testing.pt2e._xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)

SHAPE = (1, 3, 16, 16)


class Block(nn.Module):
    """Convolution, batch normalization."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


class Network(nn.Module):
    """See the module's docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Block(3, 8, 3, stride=2)
        self.depthwise = Block(8, 8, 3, groups=8)
        self.pointwise = Block(8, 16, 1)
        self.squeeze = nn.Conv2d(16, 8, 1)
        self.excite = nn.Conv2d(8, 16, 1)
        self.residual = nn.Conv2d(16, 16, 3, padding=1)
        self.dense = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.hardswish(self.stem(x))
        x = functional.relu6(self.depthwise(x))
        x = torch.relu(self.pointwise(x))
        scale = torch.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1)))
        x = x * torch.sigmoid(self.excite(scale))
        x = torch.relu(x + self.residual(x))
        x = functional.max_pool2d(x, 2)
        x = torch.cat([x, functional.max_pool2d(x, 3, stride=1, padding=1)], dim=1)
        return self.dense(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def main(path: str) -> None:
    """Writes the model."""
    torch.manual_seed(0)
    network = Network().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    example = (torch.randn(SHAPE),)
    config = get_symmetric_quantization_config(is_per_channel=True)
    quantizer = XNNPACKQuantizer().set_global(config)
    prepared = prepare_pt2e(torch.export.export(network, example).module(), quantizer)
    for _ in range(8):
        prepared(torch.randn(SHAPE))
    exported = torch.export.export(convert_pt2e(prepared), example)
    torch.onnx.export(exported, dynamo=True).save(path)


if __name__ == "__main__":
    main(sys.argv[1])
