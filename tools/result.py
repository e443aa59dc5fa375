"""What came of a run, printed for people or for machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyaot.tools.console import bytes_text, columns, facts, macs_text, stdout

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.table import Table

    from tinyaot.compiler import CompiledModel, Measurement
    from tinyaot.compiler.graph import Tensor

    Outputs = list[list[NDArray[Any]]]

_SHOWN_WHOLE = 4
_SHOWN_INFERENCES = 20


@dataclass(frozen=True)
class Difference:
    """How an array differs from the reference.

    Attributes:
        compared, differing: elements.
        largest: difference, in steps of the quantized values.
    """

    compared: int = 0
    differing: int = 0
    largest: int = 0

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.compared + other.compared,
            self.differing + other.differing,
            max(self.largest, other.largest),
        )


def compare(got: NDArray[Any], expected: NDArray[Any]) -> Difference:
    """Compares two integer arrays of one shape, element for element."""
    steps = np.abs(got.astype(np.int64) - expected.reshape(got.shape).astype(np.int64))
    return Difference(steps.size, int(np.count_nonzero(steps)), int(steps.max(initial=0)))


class Result:
    """A run of a compiled model, and what it should have computed if that was asked for."""

    def __init__(
        self, compiled: CompiledModel, measured: Measurement, expected: Outputs | None
    ) -> None:
        self._outputs = compiled.outputs
        self._report = compiled.report()
        self._measured = measured
        self._differences: list[list[Difference]] | None = None
        if expected is not None:
            self._differences = [
                [compare(*pair) for pair in zip(got, wanted, strict=True)]
                for got, wanted in zip(measured.outputs, expected, strict=True)
            ]

    @property
    def differing(self) -> int:
        """Elements that differ from the reference; 0 if nothing was compared."""
        return sum((one for row in self._differences or [] for one in row), Difference()).differing

    @property
    def _unit(self) -> str:
        """What is counted."""
        counter = self._measured.counter
        return "instructions" if counter in ("instructions", "") else f"cycles ({counter})"

    def document(self, seed: int | None) -> dict[str, Any]:
        """The JSON object. `instructions` are those of the first inference; what was not measured
        or compared is None."""
        report, measured = self._report, self._measured
        total = None
        if self._differences is not None:
            total = sum((one for row in self._differences for one in row), Difference())
        document: dict[str, Any] = {
            "model": report.model,
            "target": report.target,
            "board": measured.board,
            "count": len(measured.outputs),
            "seed": seed,
            "mismatched_elements": total and total.differing,
            "compared_elements": total and total.compared,
            "max_difference": total and total.largest,
            "instructions": measured.instructions[0] if measured.instructions else None,
            "counter": measured.counter,
            "macs": report.macs,
            "executed_macs": report.executed_macs,
            "arena_bytes": report.arena_bytes,
            "stack_bytes": measured.stack_bytes,
            "io_bytes": report.io_bytes,
            "flash_code_bytes": measured.flash_code_bytes,
            "flash_weight_bytes": measured.flash_weight_bytes,
            "notes": list(report.notes),
        }
        if measured.operator_instructions is not None:
            document["operators"] = [
                {
                    "node": operator.node,
                    "kind": operator.kind,
                    "macs": operator.macs,
                    "instructions": instructions,
                    "rule": operator.rule,
                    "sizes": operator.source,
                }
                for operator, instructions in zip(
                    report.operators, measured.operator_instructions, strict=True
                )
            ]
        return document

    def show(self, profile: bool) -> None:
        """Prints tables; `profile` says whether the operators should have been counted."""
        console = stdout()
        console.print(self._inferences())
        if self._measured.operator_instructions is not None:
            console.print()
            console.print(self._operators(self._measured.operator_instructions))
        console.print()
        console.print(self._costs(profile))
        if self._differences is None:
            return
        console.print()
        for tensor, column in zip(self._outputs, zip(*self._differences, strict=True), strict=True):
            total = sum(column, Difference())
            largest = f", by at most {total.largest}" if total.differing else ""
            console.print(
                f'output "{tensor.name}": {total.differing:,} of {total.compared:,} elements '
                f"differ from the reference{largest}"
            )

    def _inferences(self) -> Table:
        measured = self._measured
        table = columns("inference>", "output", f"{self._unit}>", "differing elements>")
        for index, outputs in enumerate(measured.outputs[:_SHOWN_INFERENCES]):
            cells = [
                _summary(array, one) for array, one in zip(outputs, self._outputs, strict=True)
            ]
            instructions = f"{measured.instructions[index]:,}" if measured.instructions else "-"
            differing = "not compared"
            if self._differences is not None:
                differing = f"{sum(self._differences[index], Difference()).differing:,}"
            table.add_row(str(index), "\n".join(cells), instructions, differing)
        if len(measured.outputs) > _SHOWN_INFERENCES:
            table.add_row("...", f"and {len(measured.outputs) - _SHOWN_INFERENCES} more")
        return table

    def _operators(self, counts: tuple[int, ...]) -> Table:
        table = columns(f"{self._unit}>", "share>", "MACs>", "per MAC>", "sizes", "operator")
        total = max(1, sum(counts))
        for operator, count in zip(self._report.operators, counts, strict=True):
            per_mac = f"{count / operator.macs:.2f}" if operator.macs else ""
            macs = f"{operator.macs:,}" if operator.macs else ""
            share = f"{count / total:.1%}"
            table.add_row(f"{count:,}", share, macs, per_mac, operator.source, operator.node)
        return table

    def _costs(self, profile: bool) -> Table:
        report, measured = self._report, self._measured
        table = facts(f"{report.model} for {report.target}, run on {measured.board}")
        where = "by the interpreter" if measured.board == "reference" else "on this machine"
        instructions = f"not counted {where}"
        if measured.instructions:
            first = measured.instructions[0]
            ratio = f" ({first / report.macs:.2f} per multiply-accumulate)" if report.macs else ""
            instructions = f"{first:,}{ratio}"
        table.add_row(self._unit, instructions)
        if profile and measured.operator_instructions is None:
            table.add_row("  per operator", f"not counted {where}")
        table.add_row("multiply-accumulates", macs_text(report))
        table.add_row("arena", bytes_text(report.arena_bytes))
        table.add_row("stack", bytes_text(measured.stack_bytes))
        table.add_row("inputs and outputs", bytes_text(report.io_bytes))
        table.add_row("flash, weights", bytes_text(measured.flash_weight_bytes))
        table.add_row("flash, code", bytes_text(measured.flash_code_bytes))
        for note in report.notes:
            table.add_row("note", note)
        return table


def _summary(array: NDArray[Any], tensor: Tensor) -> str:
    """A small output whole, of others the largest element; in real numbers where they are known."""
    real = array.reshape(-1).astype(np.float64)
    if tensor.scale is not None:
        real = (real - tensor.zero_point) * tensor.scale
    if real.size <= _SHOWN_WHOLE:
        return "[" + ", ".join(f"{value:.4g}" for value in real) + "]"
    place = np.unravel_index(int(real.argmax()), array.shape)
    index = ", ".join(str(axis) for axis in place)
    return f"largest at [{index}]: {real.max():.4g}; smallest {real.min():.4g}"
