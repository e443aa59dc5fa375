"""Tuning of an NPU's operations: candidates are judged by the estimate of the whole group.

What an operation's knobs are worth depends on those of the others: a copy takes the flash's port
from other copies, a cascade makes room for them. So the search moves one operation at a time from
the best that is known of all (coordinate descent), each candidate is a command stream that Vela's
cycle model prices and the functional model runs, and it goes on as long as a round gains.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph
from tinyaot.compiler.npu.estimate import StreamEstimate, estimate_stream
from tinyaot.compiler.npu.partition import group_compilers
from tinyaot.compiler.npu.plan import BLOCK, BRICKS, CASCADE, COPIED, SLICES, STRIPE
from tinyaot.compiler.npu.region import RegionCompiler
from tinyaot.compiler.npu.simulate import run_region
from tinyaot.compiler.npu.tuned import RULE, NpuRecords, knobs_of
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.tuning.records import (
    BUILD,
    OK,
    WRONG,
    Record,
    append_records,
    best_npu_record,
    read_log,
)
from tinyaot.schedules.ethos_u.blocks import pack, ranked_blocks
from tinyaot.schedules.registry import Decisions
from tinyaot.schedules.workload_npu import NpuOperation
from tinyaot.targets import TinyaotError
from tinyaot.targets.ethos_u.accelerator import Npu, configure, get_npu

_INPUTS = 2
_BLOCKS = 6
"""The cheapest blocks that are tried, and the cheapest of each depth beside them."""
_SLICES = (1, 2, 3, 4, 8)
_LENGTHS = (2, 3, 5, 8)
_HEIGHTS = (2, 4, 8)
_SHARE = 0.004
"""Operations with a smaller share of the cycles are left as they are."""
_DEFAULT_TRIALS = 24
"""For each operation."""

Knobs = dict[int, Decisions]
Frozen = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Trial:
    """What became of a candidate."""

    status: str
    cycles: int | None = None
    workspace: int = 0
    error: str = ""

    def better(self, other: Trial) -> bool:
        """Whether it has fewer cycles, or as many and needs less SRAM."""
        if self.cycles is None or other.cycles is None:
            return other.cycles is None and self.cycles is not None
        return (self.cycles, self.workspace) < (other.cycles, other.workspace)


@dataclass
class GroupState:
    """A group of operations, and the best that is known of it.

    Attributes:
        name: for people.
        compiler: makes its commands.
        npu: the accelerator.
        inputs, expected: bytes of the group's inputs and outputs, for each set of inputs.
        default, best: results of the default and of the best knobs.
        knobs: the best, by number of the operation.
        trials: candidates so far, those of the log included.
        limit: how many there may be.
    """

    name: str
    compiler: RegionCompiler
    npu: Npu
    inputs: list[list[NDArray[Any]]]
    expected: list[list[bytes]]
    default: Trial = Trial(BUILD)
    best: Trial = Trial(BUILD)
    knobs: Knobs = field(default_factory=dict)
    trials: int = 0
    limit: int = 0

    def evaluate(self, knobs: Knobs) -> Trial:
        """Compiles, estimates and runs a candidate, with all sets of inputs if it is the best so
        far and else with one."""
        try:
            region = self.compiler.compile(knobs)
        except ValueError as error:
            return Trial(BUILD, error=str(error))
        workspace = region.sram_bytes
        trial = Trial(OK, estimate_stream(region.stream, self.npu).cycles, workspace)
        count = len(self.inputs) if trial.better(self.best) else 1
        try:
            for inputs, expected in zip(self.inputs[:count], self.expected, strict=False):
                if [one.tobytes() for one in run_region(region.node, inputs)] != expected:
                    return Trial(WRONG, None, workspace, "differs from the reference")
        except TinyaotError as error:
            return Trial(WRONG, None, workspace, error.message)
        return trial

    def places(self) -> list[int]:
        """The operations that are worth tuning, the one with the most cycles first."""
        region = self.compiler.compile(self.knobs)
        estimate = estimate_stream(region.stream, self.npu)
        cycles: dict[int, int] = {}
        for (one, _), kernel in zip(region.operations, estimate.kernels, strict=True):
            cycles[one.number] = cycles.get(one.number, 0) + kernel.cost.cycles
        least = _SHARE * _total(estimate)
        chosen = [number for number, count in cycles.items() if count >= least]
        return sorted(chosen, key=lambda number: (-cycles[number], number))


def npu_groups(models: Sequence[tuple[str, Graph]], npu: Npu) -> list[GroupState]:
    """The groups of some models that the NPU computes with our own code.

    Args:
        models: names and graphs, simplified.
        npu: the accelerator; none for which Vela alone makes code.
    """
    states: list[GroupState] = []
    for name, graph in models:
        compilers = group_compilers(graph, npu)
        sets = [_random_inputs(graph, seed) for seed in range(_INPUTS)] if compilers else []
        values = [_values(graph, inputs) for inputs in sets]
        for compiler in compilers:
            states.append(
                GroupState(
                    f"{name}: {compiler.nodes[0].origin}",
                    compiler,
                    npu,
                    [[one[tensor] for tensor in compiler.inputs] for one in values],
                    [[one[tensor].tobytes() for tensor in compiler.outputs] for one in values],
                )
            )
    return states


class NpuTuner:
    """Tunes groups one after the other; all that is measured goes to the log at once."""

    def __init__(
        self,
        states: Sequence[GroupState],
        trials: int | None,
        log: Path | None,
        report: Callable[[GroupState, str], None] = lambda state, text: None,
    ) -> None:
        """Prepares.

        Args:
            states: what to tune.
            trials: of all groups together, those in the log included; None for some an operation.
            log: the file; what it has is not measured again.
            report: called after each candidate, with a line on what was found.
        """
        self._states = states
        self._trials = trials
        self._log = log
        self._report = report
        self._known: dict[object, list[Record]] = {}

    def run(self) -> Sequence[GroupState]:
        """Tunes until a round gains nothing or the trials are used up.

        What was measured before an interrupt is in the log; the same call goes on from there.

        Raises:
            TinyaotError: the log cannot be read or written, or Vela is missing.
        """
        if self._log is not None and self._log.exists():
            for record in read_log(self._log).records:
                self._known.setdefault(record.workload, []).append(record)
        left = self._trials
        for state in self._states:
            self._tune(state, left)
            if left is not None:
                left = max(left - state.trials, 0)
        return self._states

    def _tune(self, state: GroupState, left: int | None) -> None:
        state.default = state.best = state.evaluate({})
        if state.default.cycles is None:
            raise TinyaotError(f"{state.name}: {state.default.error}", "this is a bug in tinyaot")
        self._resume(state)
        places = state.places()
        state.limit = _DEFAULT_TRIALS * len(places) if left is None else left
        tried = {
            (place, _frozen(record.knobs))
            for place in places
            for record in self._records(state, place)
        }
        state.trials = len(tried)
        for place in places:
            if (place, ()) not in tried and state.trials < state.limit:
                tried.add((place, ()))
                state.trials += 1
                self._keep(state, place, {}, state.default)
        self._report(state, f"default: {state.default.cycles:,} cycles")
        try:
            self._descend(state, tried)
        finally:
            # The best of each operation is that of the best of all, and costs what all cost: a
            # candidate that was measured beside others may seem to be as good, and the first ones
            # were measured before the others had gained.
            for place in places:
                best = best_npu_record(self._records(state, place))
                found = dict(state.knobs.get(place, {})), state.best.cycles
                if best is not None and (best.knobs, best.cost) != found:
                    self._keep(state, place, found[0], state.best)

    def _descend(self, state: GroupState, tried: set[tuple[int, Frozen]]) -> None:
        improved = True
        while improved and state.trials < state.limit:
            improved = False
            waiting = {place: _moves(state, place) for place in state.places()}
            # In turn, so that few trials reach all operations.
            while waiting and state.trials < state.limit:
                for place in list(waiting):
                    knobs = next(waiting[place], None)
                    if knobs is None:
                        del waiting[place]
                        continue
                    if (place, _frozen(knobs)) in tried or state.trials >= state.limit:
                        continue
                    tried.add((place, _frozen(knobs)))
                    improved |= self._try(state, place, knobs)
            # Beside what was found, what did not gain may gain now.
            tried.clear()

    def _try(self, state: GroupState, place: int, knobs: Decisions) -> bool:
        trial = {**state.knobs, place: knobs}
        result = state.evaluate(trial)
        state.trials += 1
        self._keep(state, place, knobs, result)
        gained = result.workspace <= state.default.workspace and result.better(state.best)
        if gained:
            state.best, state.knobs = result, trial
        text = " ".join(f"{name}={value}" for name, value in sorted(knobs.items()))
        self._report(state, f"#{place} {text}: {result.cycles or result.error}")
        return gained

    def _resume(self, state: GroupState) -> None:
        """Begins with the best that the log has."""
        knobs: Knobs = {}
        for place in range(len(state.compiler.workloads)):
            best = best_npu_record(self._records(state, place))
            if best is not None and best.knobs:
                knobs[place] = dict(best.knobs)
        if knobs:
            result = state.evaluate(knobs)
            if result.workspace <= state.default.workspace and result.better(state.best):
                state.best, state.knobs = result, knobs

    def _records(self, state: GroupState, place: int) -> list[Record]:
        return self._known.get(state.compiler.workloads[place], [])

    def _keep(self, state: GroupState, place: int, knobs: Decisions, result: Trial) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        record = Record(
            core=state.npu.name,
            workload=state.compiler.workloads[place],
            rule=RULE,
            knobs=dict(knobs),
            metric="cycles",
            status=result.status,
            cost=result.cycles,
            workspace=result.workspace,
            in_place=False,
            default=not knobs and not state.knobs,
            optimize="",
            toolchain=f"ethos-u-vela {metadata.version('ethos-u-vela')}",
            tinyaot=metadata.version("tinyaot"),
            date=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            error=result.error,
        )
        self._known.setdefault(record.workload, []).append(record)
        if self._log is not None:
            append_records(self._log, [record])


def verify_npu_records(
    records: Sequence[Record], models: Sequence[tuple[str, Graph]]
) -> list[tuple[Record, str | None]]:
    """Compiles the groups of models with the best records of their operations.

    Args:
        records: of operations on NPUs.
        models: names and graphs.

    Returns:
        For each record what is wrong, empty if nothing is; None if it was not checked: the group is
        of no model, another record is better, or it has no cost.
    """
    problems: dict[int, str] = {}
    systems = {
        (one.accelerator, one.system, one.memory): None
        for record in records
        if isinstance(one := record.workload, NpuOperation)
    }
    for name, system, memory in systems:
        npu = configure(get_npu(name), system=system, memory=memory, codegen="own")
        for state in npu_groups(models, npu):
            ours = [record for record in records if record.workload in state.compiler.workloads]
            if not ours:
                continue
            found = NpuRecords(tuple(ours)).picks(state.compiler.planner, state.compiler.workloads)
            result = state.evaluate(knobs_of(found[0]))
            for workload in state.compiler.workloads:
                best = best_npu_record([one for one in ours if one.workload == workload])
                if best is None:
                    continue
                problems[id(best)] = f"{result.status}: {result.error}"
                if result.status == OK:
                    same = result.cycles == best.cost
                    problems[id(best)] = "" if same else f"costs {result.cycles}, not {best.cost}"
    return [(record, problems.get(id(record))) for record in records]


def _moves(state: GroupState, place: int) -> Iterator[Decisions]:
    """Other knobs for an operation: one or two changed, what gains most often first."""
    one = state.compiler.planner.operations[place]
    now = dict(state.knobs.get(place, {}))
    if one.weights is not None:
        for count in _SLICES:
            knobs = {**now, COPIED: 1, SLICES: count}
            if _is_valid(state, place, knobs):
                yield knobs
        yield {**now, COPIED: 0, SLICES: 1}
    sizes = state.compiler.planner.sizes(one)
    ranked = ranked_blocks(one, state.npu, bool(sizes and now.get(COPIED, 1)), sizes)
    depths: set[int] = set()
    for rank, block in enumerate(ranked):
        if rank < _BLOCKS or block[2] not in depths:
            yield {**now, BLOCK: pack(block)}
        depths.add(block[2])
    for value in (0, 1):
        knobs = {**now, BRICKS: value}
        if _is_valid(state, place, knobs):
            yield knobs
    bare = {knob: value for knob, value in now.items() if knob not in (CASCADE, STRIPE)}
    if bare != now:
        yield bare
    for length in _LENGTHS:
        for height in _HEIGHTS:
            knobs = {**bare, CASCADE: length, STRIPE: height}
            if height < one.ofm.shape[0] and _is_valid(state, place, knobs):
                yield knobs
    yield {}


def _is_valid(state: GroupState, place: int, knobs: Decisions) -> bool:
    try:
        state.compiler.planner.check(place, knobs)
    except ValueError:
        return False
    return True


def _frozen(knobs: Decisions) -> Frozen:
    return tuple(sorted(knobs.items()))


def _total(estimate: StreamEstimate) -> int:
    return sum(kernel.cost.cycles for kernel in estimate.kernels)


def _random_inputs(graph: Graph, seed: int) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    arrays = []
    for name in graph.inputs:
        tensor = graph.tensors[name]
        if tensor.dtype == "bool":
            arrays.append(rng.integers(0, 2, tensor.shape).astype(bool))
            continue
        limits = np.iinfo(tensor.dtype)
        arrays.append(
            rng.integers(limits.min, limits.max, tensor.shape, tensor.dtype, endpoint=True)
        )
    return arrays


def _values(graph: Graph, inputs: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """All tensors as operators read them."""
    return {
        **evaluate(graph, inputs),
        **{state.tensor: state.initial for state in graph.states},
        **graph.constants,
    }
