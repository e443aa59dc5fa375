"""Benchmark figures to compare with: a JSON file of instructions by model and target.

The format, version 1: `{"format": 1, "name": ..., "source": ..., "results": [...]}` where each
result has `model` (the file's stem), `target` and `instructions`, and may have `macs`,
`arena_bytes`, `stack_bytes`, `flash_code_bytes` and `layers`, a list of `index`, `kind` and
`instructions` by operator of the model file. A list alone, as `bench --json` writes it, is read as
the results of a baseline without name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyaot.targets import TinyaotError

_FORMAT = 1
PEERS = Path(__file__).parent / "baselines" / "tflm_cmsis_nn.json"
"""TensorFlow Lite Micro with CMSIS-NN on MLPerf Tiny; the source is named in the file."""


@dataclass(frozen=True)
class Baseline:
    """Figures by model and target.

    Attributes:
        name: for headings.
        results: by (model, target).
    """

    name: str
    results: Mapping[tuple[str, str], Mapping[str, Any]]

    def instructions(self, model: str, target: str) -> int | None:
        """Instructions of one inference; None where the baseline does not know."""
        result = self.results.get((model, target))
        return None if result is None else int(result["instructions"])

    def layer(self, model: str, target: str, index: int) -> int | None:
        """Instructions of the model file's operator with that index, or None."""
        for layer in self.results.get((model, target), {}).get("layers", ()):
            if layer.get("index") == index:
                return int(layer["instructions"])
        return None


def load_baseline(path: Path) -> Baseline:
    """Reads a baseline.

    Raises:
        TinyaotError: the file cannot be read or is not a baseline of a known version.
    """
    hint = "give a file that `tinyaot bench --json` wrote, or one in the format of the manual"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"cannot read the baseline {path}: {error.strerror}"
        raise TinyaotError(message, "check the path") from error
    except ValueError as error:
        raise TinyaotError(f"the baseline {path} is not JSON: {error}", hint) from error
    if isinstance(document, list):
        document = {"format": _FORMAT, "name": path.stem, "results": document}
    try:
        if document["format"] != _FORMAT:
            raise TinyaotError(
                f"the baseline {path} has format {document['format']}, not {_FORMAT}", hint
            )
        results = {
            (str(result["model"]), str(result["target"])): result
            for result in document["results"]
            if int(result["instructions"]) > 0
        }
        return Baseline(str(document["name"]), results)
    except (KeyError, TypeError, ValueError) as error:
        raise TinyaotError(f"the baseline {path} is not a baseline: {error!r}", hint) from error


def geometric_mean(ratios: Iterable[float]) -> float | None:
    """The geometric mean; None of no ratios."""
    logarithms = [math.log(ratio) for ratio in ratios]
    return math.exp(math.fsum(logarithms) / len(logarithms)) if logarithms else None
