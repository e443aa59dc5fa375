"""The command in-process, and small models for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_builder import TFLiteBuilder

from tinyaot.tools.main import main


@dataclass(frozen=True)
class Done:
    """How the command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object that is all of stdout."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        return document

    @property
    def errors(self) -> list[str]:
        """The lines of stderr without progress."""
        return [line for line in self.stderr.splitlines() if not line.endswith(" ...")]


Command = Callable[..., Done]


@pytest.fixture
def tinyaot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Runs the command in an empty folder of its own."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        stdout, stderr = capfd.readouterr()
        return Done(status, stdout, stderr)

    return run


def classifier() -> bytes:
    """int8 in and out: convolution, depthwise convolution, pool, dense layer, softmax."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return rng.integers(-127, 128, shape, np.int8)

    b = TFLiteBuilder()
    x = b.input((1, 12, 11, 3), 0.05, -3)
    y = b.conv2d(
        x, weight(4, 3, 3, 3), np.arange(4, dtype=np.int32), weight_scale=[0.01, 0.02, 0.01, 0.03],
        scale=0.3, zero_point=-128, strides=(2, 2), padding="SAME", activation="RELU",
    )  # fmt: skip
    y = b.depthwise_conv2d(y, weight(1, 3, 3, 4), weight_scale=0.01, scale=0.9, padding="SAME")
    y = b.average_pool2d(y, (2, 2), strides=(2, 2))
    y = b.reshape(y, (1, 36))
    y = b.fully_connected(y, weight(10, 36), weight_scale=0.01, scale=1.5, zero_point=4)
    b.output(b.softmax(y))
    return b.build()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small.tflite"
    path.write_bytes(classifier())
    return path
