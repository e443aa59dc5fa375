"""The learned cost model: gradient-boosted trees that rank the candidates of a workload."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.tuning.features import Features
from tinyaot.targets.errors import TinyaotError

_KNEE, _SLOPE = math.log2(1.3), 0.1
"""Costs above 1.3 times the default's count for little when learning: how bad a candidate is does
not matter, and a few percent between good ones do."""

_ROUNDS = 60
_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 5,
    "eta": 0.2,
    "min_child_weight": 1,
    "lambda": 0.5,
    "tree_method": "exact",
    "nthread": 1,
    "seed": 0,
}


class CostModel:
    """Predicts the cost of candidates relative to their workload's default, as a logarithm.

    One model serves all workloads of a core: what is learned of one helps with the next.
    """

    def __init__(self) -> None:
        self._xgboost = _import_xgboost()
        self._names: list[str] = []
        self._booster: Any = None

    @property
    def trained(self) -> bool:
        """Whether it has seen anything yet."""
        return self._booster is not None

    def fit(self, samples: Sequence[tuple[Features, float]]) -> None:
        """Learns anew from features and costs relative to the default's."""
        self._names = sorted({name for features, _ in samples for name in features})
        labels = _compressed(np.log2([max(cost, 1e-9) for _, cost in samples]))
        matrix = self._xgboost.DMatrix(self._matrix(features for features, _ in samples), labels)
        self._booster = self._xgboost.train(_PARAMETERS, matrix, _ROUNDS)

    def predict(self, candidates: Iterable[Features]) -> NDArray[np.float64]:
        """log2 of the cost relative to the default's."""
        assert self._booster is not None, "fit comes first"
        matrix = self._xgboost.DMatrix(self._matrix(candidates))
        return _expanded(self._booster.predict(matrix))

    def _matrix(self, candidates: Iterable[Features]) -> NDArray[np.float32]:
        rows = [[one.get(name, math.nan) for name in self._names] for one in candidates]
        return np.array(rows, dtype=np.float32).reshape(-1, len(self._names))


def _compressed(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(costs, _KNEE + _SLOPE * (costs - _KNEE))


def _expanded(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(labels, _KNEE + (labels - _KNEE) / _SLOPE)


def _import_xgboost() -> Any:
    try:
        import xgboost
    except ImportError:
        raise TinyaotError(
            "the learned cost model needs the package xgboost, which is not installed",
            "pip install 'tinyaot[tune]'",
            "or search without it: --search random, --search grid",
        ) from None
    return xgboost
