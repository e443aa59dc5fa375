"""Quantize the float network to int8 with ONNX Runtime: static, QDQ, per channel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from data import Images, load
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class _TrainingImages(CalibrationDataReader):  # type: ignore[misc]
    """The training images one at a time, as the static batch of one wants them."""

    def __init__(self, images: Images) -> None:
        self._images: Iterator[Images] = iter(images)

    def get_next(self) -> dict[str, Images] | None:
        image = next(self._images, None)
        return None if image is None else {"image": image[np.newaxis]}


def quantize(float_model: Path, out: Path) -> None:
    """Write the int8 QDQ form of `float_model` to `out`.

    Activations are int8 with a zero point, their ranges the smallest and greatest values that the
    training images give. Weights are int8, symmetric, with a scale per output channel. The same
    input gives the same bytes.
    """
    train_x, *_ = load()
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(float_model, prepared, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            out,
            _TrainingImages(train_x),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
