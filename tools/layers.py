"""Every layer of a model beside the reference: which tensor differs first, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinyaot.tools.console import columns, stdout
from tinyaot.tools.result import Difference, compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinyaot.compiler.layers import LayerValues


class LayerResult:
    """The layers of a run, in execution order, each compared with the reference."""

    def __init__(self, layers: Sequence[LayerValues]) -> None:
        self._layers = layers
        self._differences = [compare(layer.got, layer.expected) for layer in layers]

    @property
    def differing(self) -> int:
        """Elements that differ, in all layers."""
        return sum(self._differences, Difference()).differing

    def document(self) -> dict[str, Any]:
        """The part of the JSON object; `first_difference` is None where all is equal."""
        return {
            "layers": [
                {
                    "node": layer.node,
                    "tensor": layer.name,
                    "shape": list(layer.shape),
                    "mismatched_elements": difference.differing,
                    "compared_elements": difference.compared,
                    "max_difference": difference.largest,
                }
                for layer, difference in zip(self._layers, self._differences, strict=True)
            ],
            "first_difference": self._first(),
        }

    def show(self, differs: bool) -> None:
        """Prints a line a layer, and the first difference; `differs` says whether the outputs of
        the model as it is compiled differ."""
        table = columns("elements>", "differing>", "by at most>", "layer")
        for layer, difference in zip(self._layers, self._differences, strict=True):
            table.add_row(
                f"{difference.compared:,}",
                f"{difference.differing:,}",
                f"{difference.largest:,}" if difference.differing else "",
                layer.node,
            )
        stdout().print(table)
        first = self._first()
        stdout().print()
        if first is not None:
            stdout().print(
                f'first to differ: {first["node"]}, tensor "{first["tensor"]}": element '
                f"{first['index']} of inference {first['inference']} is {first['got']} and not "
                f"{first['expected']}"
            )
        elif differs:
            stdout().print(
                "no layer differs when each has memory of its own: "
                "layers that share memory disturb each other"
            )
        else:
            stdout().print(f"none of {len(self._layers)} layers differs")

    def _first(self) -> dict[str, Any] | None:
        for layer, difference in zip(self._layers, self._differences, strict=True):
            if difference.differing:
                inference, place = map(int, np.argwhere(layer.got != layer.expected)[0])
                index = np.unravel_index(layer.elements[place], layer.shape)
                return {
                    "node": layer.node,
                    "tensor": layer.name,
                    "inference": inference,
                    "index": [int(axis) for axis in index],
                    "got": int(layer.got[inference, place]),
                    "expected": int(layer.expected[inference, place]),
                }
        return None
