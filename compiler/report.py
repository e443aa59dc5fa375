"""What is known of a compiled model, and of a run of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class OperatorReport:
    """What one operator is and holds.

    Attributes:
        node: the model node.
        kind: operator family.
        rule: the schedule rule that computes it.
        decisions: values of the rule's knobs, and what it derives from the constants.
        source: where rule and decisions come from: "tuned" (a record of this workload), "nearest"
            (a record of one near it), "default", or "given" by the caller.
        macs: multiply-accumulates of one inference.
        weight_bytes: constants in flash.
        workspace_bytes: scratch memory in the arena.
    """

    node: str
    kind: str
    rule: str
    decisions: Mapping[str, int]
    source: str
    macs: int
    weight_bytes: int
    workspace_bytes: int


@dataclass(frozen=True)
class Report:
    """What a model costs, as far as it is known without running it; bytes.

    Attributes:
        model, target: names.
        macs: multiply-accumulates of one inference of the model as it was given.
        executed_macs: those that are left after channels without effect are removed.
        arena_bytes: RAM for activations and workspaces.
        state_bytes: RAM for what is kept between inferences.
        arena_lower_bound_bytes: the largest set of them alive at once.
        io_bytes: inputs and outputs, which the caller provides.
        flash_weight_bytes: constants.
        operators: in execution order.
        notes: what the user should know about how the model was read.
    """

    model: str
    target: str
    macs: int
    executed_macs: int
    arena_bytes: int
    arena_lower_bound_bytes: int
    state_bytes: int
    io_bytes: int
    flash_weight_bytes: int
    operators: tuple[OperatorReport, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Measurement:
    """Outputs and costs of running a model; see `RunResult` for the counts.

    Attributes:
        outputs: for each inference, one array per model output.
        board: where it ran; `host` for the developer's own machine, `reference` for the numpy
            interpreter.
        instructions: per inference, or None where they are not counted.
        operator_instructions: per operator, if asked for.
        stack_bytes: deepest stack, or None where it is not measured.
        flash_code_bytes, flash_weight_bytes: of the linked image, if there is one.
        counter: what `instructions` are: on a board's own silicon `dwt` or `systick`, which count
            processor cycles.
    """

    outputs: list[list[NDArray[Any]]]
    board: str
    instructions: tuple[int, ...] | None
    operator_instructions: tuple[int, ...] | None
    stack_bytes: int | None
    flash_code_bytes: int | None
    flash_weight_bytes: int | None
    counter: str = "instructions"
