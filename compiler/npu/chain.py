"""Fixed-point formulas as element-wise operations on int32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.ethos_u.operation import FeatureMap, Operation, Scale

_LIMITS = (-128, 127)
"""Of a clamp, which results of 32 bits do not go through."""

FRACTION = (1 << 30, 31)
"""What a product of two Q0.31 fractions is scaled by."""


class Chain:
    """Operations on int32, one after the other, each on the results of those before."""

    def __init__(self, name: str, origin: str) -> None:
        self.operations: list[Operation] = []
        self._name = name
        self._origin = origin

    def constant(self, value: int) -> tuple[FeatureMap, dict[str, NDArray[Any]]]:
        """One number, as what an operand is read from."""
        name = f"int32 {value}"
        return (
            FeatureMap(name, (1, 1, 1), (1, 1, 1), dtype="int32"),
            {name: np.array([value], np.int32)},
        )

    def add(
        self,
        kind: str,
        ifm: FeatureMap,
        ifm2: FeatureMap | int | None = None,
        *,
        ofm: FeatureMap | None = None,
        scale: Scale | None = None,
        **options: Any,
    ) -> FeatureMap:
        """Adds an operation; returns its result, which has the first operand's shape."""
        constants: dict[str, NDArray[Any]] = {}
        if isinstance(ifm2, int):
            ifm2, constants = self.constant(ifm2)
        if ofm is None:
            name = f"{self._name} step {len(self.operations)}"
            ofm = FeatureMap(name, ifm.shape, ifm.shape, dtype="int32")
        self.operations.append(
            Operation(
                kind,
                ifm,
                ofm,
                ifm2,
                scale=scale,
                constants=constants,
                origin=self._origin,
                **{"clamp": _LIMITS, **options},
            )
        )
        return ofm
