"""Train the small float network and write digits_float.onnx.

Needs PyTorch (made with 2.13), which tinyaot does not depend on: `pip install torch onnx
onnxruntime scikit-learn && python train.py`. Takes some 20 seconds on one core.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import onnx
import torch
from data import load
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.fusion import fuse_conv_bn_eval

Layer = tuple[str, nn.Module]

OUT = Path(__file__).with_name("digits_float.onnx")
SEED = 0
EPOCHS = 60
BATCH = 64


def block(name: str, inputs: int, outputs: int, kernel: int, groups: int = 1) -> list[Layer]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [
        (name, convolution),
        (f"{name}_norm", nn.BatchNorm2d(outputs)),
        (f"{name}_relu", nn.ReLU()),
    ]


def network() -> nn.Sequential:
    """About 10,600 parameters: a convolution, two depthwise-separable blocks, a classifier."""
    layers: list[Layer] = [
        *block("conv", 1, 32, 3),
        *block("depthwise1", 32, 32, 3, groups=32),
        *block("pointwise1", 32, 64, 1),
        ("pool", nn.MaxPool2d(2)),
        *block("depthwise2", 64, 64, 3, groups=64),
        *block("pointwise2", 64, 96, 1),
        ("average", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("classify", nn.Linear(96, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def without_batch_norm(model: nn.Sequential) -> nn.Sequential:
    """The same function with each batch normalization folded into the convolution before it."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in model.eval().named_children():
        if isinstance(layer, nn.BatchNorm2d):
            before = next(reversed(layers))
            layers[before] = fuse_conv_bn_eval(layers[before], layer)
        else:
            layers[name] = layer
    return nn.Sequential(layers)


def train(images: Tensor, labels: Tensor) -> nn.Sequential:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = network()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}")
    return without_batch_norm(model)


def main() -> None:
    train_x, train_y, test_x, test_y = map(torch.from_numpy, load())
    model = train(train_x, train_y)
    with torch.no_grad():
        for name, images, labels in (("train", train_x, train_y), ("test", test_x, test_y)):
            correct = int((model(images).argmax(1) == labels).sum())
            print(f"{name}: {correct} of {len(labels)} ({100 * correct / len(labels):.1f} %)")
    torch.onnx.export(
        model,
        (torch.zeros(1, 1, 8, 8),),
        OUT,
        input_names=["image"],
        output_names=["scores"],
        opset_version=17,
        dynamo=False,
    )
    onnx.checker.check_model(onnx.load(OUT), full_check=True)
    print(f"{OUT}: {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
