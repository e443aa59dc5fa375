"""Measuring candidates: many in one image, each checked against the reference.

An image holds some candidates of one task. Each reads its own copy of the input and its output is
copied away, so that kernels that can compute in place do. One run gives all outputs and counts each
operator. Where an image fails as a whole it is split, until the candidates that are to blame are
alone.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.codegen.c import print_function
from tinyaot.compiler.codegen.lower import lower_kernel
from tinyaot.compiler.codegen.module import emit_program
from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.memory.layout import plan_memory
from tinyaot.compiler.reference import evaluate
from tinyaot.compiler.scheduling import Operator, schedule_graph
from tinyaot.compiler.tuning.boards import run_on_board
from tinyaot.compiler.tuning.records import BUILD, CRASH, HANG, OK, WRONG, Record
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.compiler.tuning.tasks import Task
from tinyaot.schedules.registry import Rule, suitable_rules
from tinyaot.schedules.workload import Requantize
from tinyaot.targets import (
    Image,
    TinyaotError,
    build_image,
    compiler_version,
    estimate_cycles,
    get_target,
    run_image,
)
from tinyaot.targets.command import time_limit
from tinyaot.targets.errors import MissingError, TimeLimitError

_HALF = 1 << 30
_INT8 = (-128, 127)

_IMAGE_CONSTANTS = 1 << 20
"""Bytes of weights that one image may hold, so that it fits the flash of the emulated boards."""
_IMAGE_OUTPUTS = 1 << 20

_BUILD_SECONDS = 120.0
"""Time limit of each command that builds an image."""

_MOST_TASKS = 64
_references: dict[str, list[NDArray[Any]]] = {}
_rules: dict[str, dict[str, tuple[Rule, dict[str, int]]]] = {}

_HOST_SECONDS = 0.2
"""How long a candidate runs for a measurement in seconds."""


@dataclass(frozen=True)
class Setting:
    """How candidates are built and measured.

    Attributes:
        metric: one of `METRICS`; seconds are those of the developer's own machine, or of a board.
        optimize: the C compiler's flag.
        timeout: seconds that a candidate may run on this machine.
        on: the board to run on, see `find_board`; the emulator or this machine if empty.
        board: the board behind a GDB server.
    """

    metric: str = "instructions"
    optimize: str = "-O2"
    timeout: float = 20.0
    on: str = ""
    board: str | None = None

    @property
    def by_operator(self) -> bool:
        """Whether each operator is counted, so that candidates can share an image."""
        return self.metric == "instructions" or bool(self.on)


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate; see the fields of `Record`."""

    candidate: Candidate
    status: str
    cost: float | None = None
    workspace: int = 0
    in_place: bool = False
    error: str = ""


def measure(task: Task, candidates: Sequence[Candidate], setting: Setting) -> list[Outcome]:
    """Builds and runs candidates of one task; a pure function that other processes can call.

    Raises:
        MissingError: nothing can be measured here: the toolchain or the emulator is missing, there
            is no model of the core's timing, or the disk is full.
    """
    built: list[tuple[Candidate, Operator]] = []
    outcomes: dict[Candidate, Outcome] = {}
    for candidate in candidates:
        try:
            built.append((candidate, _operator(task, candidate)))
        except Exception as error:  # whatever a rule raises is this candidate's end, not ours
            outcomes[candidate] = Outcome(candidate, BUILD, error=_one_line(error))
    for image in _images(task, built, len(built) if setting.by_operator else 1):
        for outcome in _measure_image(task, image, setting):
            outcomes[outcome.candidate] = outcome
    return [outcomes[candidate] for candidate in candidates]


def make_record(task: Task, outcome: Outcome, setting: Setting, default: Candidate) -> Record:
    """The record of an outcome, made now and here."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return Record(
        core=task.target.core,
        workload=task.workload,
        rule=outcome.candidate.rule,
        knobs=dict(outcome.candidate.knobs),
        metric=setting.metric,
        status=outcome.status,
        cost=outcome.cost,
        workspace=outcome.workspace,
        in_place=outcome.in_place,
        default=outcome.candidate == default,
        optimize=setting.optimize,
        toolchain=toolchain(task.target.core),
        tinyaot=metadata.version("tinyaot"),
        date=now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        error=outcome.error,
    )


@functools.cache
def toolchain(target: str) -> str:
    """The C compiler for a target and its version; see `compiler_version`."""
    return compiler_version(get_target(target))


def _images(
    task: Task, built: list[tuple[Candidate, Operator]], most: int
) -> list[list[tuple[Candidate, Operator]]]:
    """Candidates in groups that fit an image."""
    images: list[list[tuple[Candidate, Operator]]] = []
    constants = outputs = 0
    for one in built:
        size = sum(array.nbytes for array in one[1].constants.values())
        full = constants + size > _IMAGE_CONSTANTS or outputs + task.output[0] > _IMAGE_OUTPUTS
        if not images or full or len(images[-1]) >= most:
            images.append([])
            constants = outputs = 0
        images[-1].append(one)
        constants += size
        outputs += task.output[0]
    return images


def _measure_image(
    task: Task, built: Sequence[tuple[Candidate, Operator]], setting: Setting
) -> list[Outcome]:
    """Outcomes of candidates in one image; if it fails, of its halves."""
    with (
        tempfile.TemporaryDirectory(prefix="tinyaot-tune-") as folder,
        time_limit(_BUILD_SECONDS),
    ):
        status = BUILD
        try:
            graph = _graph(task, len(built), copies=setting.by_operator)
            operators = _with_copies(graph, task, [operator for _, operator in built])
            program = emit_program(graph, operators, plan_memory(graph, operators), task.target)
            inputs = [[array.tobytes() for array in one] * len(built) for one in _inputs(task)]
            own = [index for index, one in enumerate(operators) if one.node.output[0] == "y"]
            timeout = setting.timeout * len(built)
            if setting.on:
                status = CRASH
                results, counts = run_on_board(
                    program,
                    task.target,
                    setting.on,
                    setting.board,
                    directory=Path(folder),
                    optimize=setting.optimize,
                    inputs=inputs,
                    timeout=timeout,
                )
                costs = [counts[index] for index in own]
            else:
                image = build_image(
                    program,
                    task.target,
                    directory=Path(folder),
                    profile=setting.by_operator,
                    optimize=(setting.optimize,),
                )
                status = CRASH
                results, costs = _METRICS[setting.metric](image, inputs, own, timeout)
        except MissingError:
            raise
        except (TinyaotError, subprocess.TimeoutExpired) as error:
            if len(built) > 1:
                half = len(built) // 2
                return [
                    outcome
                    for part in (built[:half], built[half:])
                    for outcome in _measure_image(task, part, setting)
                ]
            if isinstance(error, TimeLimitError):
                status = HANG
            return [Outcome(built[0][0], status, error=_one_line(error))]
    expected = _expected(task)
    outcomes = []
    for place, (candidate, operator) in enumerate(built):
        wrong = [
            number
            for number, (outputs, right) in enumerate(zip(results, expected, strict=True))
            if outputs[place] != right.tobytes()
        ]
        outcomes.append(
            Outcome(
                candidate,
                WRONG if wrong else OK,
                None if wrong else costs[place],
                operator.function.workspace,
                0 in operator.kernel.in_place_inputs,
                f"differs from the reference on input {wrong[0]}" if wrong else "",
            )
        )
    return outcomes


def _operator(task: Task, candidate: Candidate) -> Operator:
    """The kernel of a candidate with its packed constants."""
    rules = _suitable(task)
    if candidate.rule not in rules:
        raise ValueError(f"{candidate.rule} is not exact for these constants")
    rule, derived = rules[candidate.rule]
    values = {**dict(candidate.knobs), **derived}
    kernel = rule.build(task.workload, values)
    constants = {
        name: np.ascontiguousarray(array) for name, array in kernel.pack(task.constants).items()
    }
    function = print_function(lower_kernel(kernel.func))
    return Operator(_node(task, 0), rule.name, values, kernel, function, constants)


def _suitable(task: Task) -> dict[str, tuple[Rule, dict[str, int]]]:
    """The rules for a task, and what they derive from its constants; kept, as all candidates need
    it."""
    key = _key(task)
    if key not in _rules:
        if len(_rules) >= _MOST_TASKS:
            _rules.clear()
        found = suitable_rules(task.workload, task.target.features, task.constants)
        _rules[key] = {rule.name: (rule, derived) for rule, derived in found}
    return _rules[key]


def _key(task: Task) -> str:
    """What tasks with equal results have in common."""
    digest = hashlib.sha256(f"{task.target.core} {task.workload.key()}".encode())
    for array in task.constants.values():
        digest.update(array.tobytes())
    return digest.hexdigest()


def _node(task: Task, index: int) -> Node:
    sources = tuple(f"x{index}_{place}" for place in range(len(task.inputs)))
    return Node(task.workload, sources, f"y{index}", task.constants, origin=f"y{index}")


def _graph(task: Task, count: int, *, copies: bool) -> Graph:
    """A graph that computes the task some times, on copies of its inputs.

    Tensors of other types than int8 are never copied.
    """
    tensors: dict[str, Tensor] = {}
    all_nodes: list[Node] = []
    inputs: list[str] = []
    outputs: list[str] = []

    def tensor(name: str, size: int, dtype: str) -> str:
        tensors[name] = Tensor(name, (size,), dtype)
        return name

    for index in range(count):
        node = _node(task, index)
        for source, (size, dtype) in zip(node.inputs, task.inputs, strict=True):
            name = source
            if copies and dtype == "int8":
                name = f"in_{source}"
                all_nodes.append(_copy(name, tensor(source, size, dtype), size))
            inputs.append(tensor(name, size, dtype))
        all_nodes.append(node)
        size, dtype = task.output
        name = tensor(node.output, size, dtype)
        if copies and dtype == "int8":
            all_nodes.append(_copy(name, tensor(f"out_{name}", size, dtype), size))
            name = f"out_{name}"
        outputs.append(name)
    return Graph("tuning", tensors, tuple(inputs), tuple(outputs), tuple(all_nodes))


def _copy(source: str, output: str, size: int) -> Node:
    workload = Requantize(size, "int8", "int8", 0, 0, _HALF, 1, _INT8)
    return Node(workload, (source,), output, origin=output)


def _with_copies(graph: Graph, task: Task, operators: Sequence[Operator]) -> list[Operator]:
    """The operators of a graph: those given, each in its place, and the copies around them."""
    own = {f"y{index}": operator for index, operator in enumerate(operators)}
    copies = replace(graph, nodes=tuple(node for node in graph.nodes if node.output not in own))
    scheduled = {one.node.output: one for one in schedule_graph(copies, task.target)}
    return [
        replace(own[node.output], node=node) if node.output in own else scheduled[node.output]
        for node in graph.nodes
    ]


def _inputs(task: Task) -> list[list[NDArray[Any]]]:
    """An input with many values between, and one of nothing but the extremes."""
    rng = np.random.default_rng(len(task.workload.key()))

    def values(size: int, dtype: str, extremes: bool) -> NDArray[Any]:
        if dtype == "bool":
            return rng.integers(0, 2, size).astype(dtype)
        limits = np.iinfo(dtype)
        if extremes:
            return rng.choice(np.array([limits.min, limits.max]), size).astype(dtype)
        return rng.integers(limits.min, limits.max, size, dtype=dtype, endpoint=True)

    return [
        [values(size, dtype, extremes) for size, dtype in task.inputs] for extremes in (False, True)
    ]


def _expected(task: Task) -> list[NDArray[Any]]:
    """What the reference computes for each input; kept, as many images need it."""
    key = _key(task)
    if key not in _references:
        if len(_references) >= _MOST_TASKS:
            _references.clear()
        node = _node(task, 0)
        tensors = {
            name: Tensor(name, (size,), dtype)
            for name, (size, dtype) in zip(
                (*node.inputs, node.output), (*task.inputs, task.output), strict=True
            )
        }
        graph = Graph("tuning", tensors, node.inputs, (node.output,), (node,))
        _references[key] = [evaluate(graph, one)[node.output] for one in _inputs(task)]
    return _references[key]


Results = tuple[Sequence[Sequence[bytes]], list[float]]
"""The outputs for each input, and the cost of each candidate."""


def _instructions(
    image: Image, inputs: list[list[bytes]], operators: list[int], timeout: float
) -> Results:
    """Counted by the emulator, operator by operator."""
    result = run_image(image, inputs, timeout=timeout)
    assert result.operator_instructions is not None
    return result.outputs, [float(result.operator_instructions[index]) for index in operators]


def _cycles(
    image: Image, inputs: list[list[bytes]], operators: list[int], timeout: float
) -> Results:
    """Estimated from the core's model, for an image of one candidate."""
    result = run_image(image, inputs, timeout=timeout)
    cycles = estimate_cycles(image, inputs[0])
    if cycles is None:
        raise MissingError(
            f"there is no model of the timing of {image.target.core}", "--metric instructions"
        )
    return result.outputs, [float(cycles)]


def _seconds(
    image: Image, inputs: list[list[bytes]], operators: list[int], timeout: float
) -> Results:
    """Timed here, for an image of one candidate: many inferences less one."""

    def timed(count: int) -> tuple[Sequence[Sequence[bytes]], float]:
        begin = time.perf_counter()
        result = run_image(image, [inputs[k % len(inputs)] for k in range(count)], timeout=timeout)
        return result.outputs[: len(inputs)], time.perf_counter() - begin

    outputs, once = timed(len(inputs))
    count = 2 * len(inputs)
    while True:
        _, many = timed(count)
        if many - once > _HOST_SECONDS or count >= 1 << 16:
            break
        count *= 4
    seconds = min(timed(count)[1] for _ in range(2)) - min(once, timed(len(inputs))[1])
    return outputs, [max(seconds, 0.0) / (count - len(inputs))]


_METRICS: dict[str, Callable[[Image, list[list[bytes]], list[int], float], Results]] = {
    "instructions": _instructions,
    "cycles": _cycles,
    "seconds": _seconds,
}


def _one_line(error: BaseException) -> str:
    text = error.message if isinstance(error, TinyaotError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]
