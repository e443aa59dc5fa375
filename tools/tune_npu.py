"""The part of `tinyaot tune` that is for an NPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinyaot.tools.console import columns, stderr, stdout

if TYPE_CHECKING:
    from tinyaot.compiler.graph import Graph
    from tinyaot.compiler.tuning.npu import GroupState
    from tinyaot.targets.ethos_u.accelerator import Npu

_LINE_SECONDS = 5.0


def tune_npu(
    models: Sequence[tuple[str, Graph]], npu: Npu, trials: int | None, log: Path
) -> int | None:
    """Tunes what the NPU computes of some models, and prints what was found.

    Args:
        models: names and graphs.
        npu: the accelerator.
        trials: that may be made; None for some an operation.
        log: where results go.

    Returns:
        The trials that were made, those in the log included; None if the NPU computes nothing that
        can be tuned.
    """
    from tinyaot.compiler.tuning.npu import NpuTuner, npu_groups

    states = [] if npu.by_vela_alone else npu_groups(models, npu)
    if not states:
        return None
    report = _Lines()
    NpuTuner(states, trials, log, report).run()
    table = columns("on the NPU", "tried>", "default>", "best>", "saved>", "SRAM>", "best>")
    for state in states:
        default, best = state.default.cycles, state.best.cycles
        assert default is not None
        assert best is not None
        table.add_row(
            state.name,
            str(state.trials),
            f"{default:,}",
            f"{best:,}",
            f"{1 - best / max(default, 1):.1%}",
            f"{state.default.workspace:,}",
            f"{state.best.workspace:,}",
        )
    stdout().print(table)
    stdout().print("cycles are estimates of Vela's cycle model for all operations of a group")
    return sum(state.trials for state in states)


class _Lines:
    """A line now and then."""

    def __init__(self) -> None:
        self._last = -_LINE_SECONDS

    def __call__(self, state: GroupState, text: str) -> None:
        now = time.monotonic()
        if state.trials < state.limit and now - self._last < _LINE_SECONDS:
            return
        self._last = now
        best = f"best {state.best.cycles:,} cycles of {state.default.cycles:,}"
        stderr().print(
            f"{state.name}: {state.trials} of {state.limit} trials, {best}, last: {text}",
            soft_wrap=True,
            markup=False,
        )
