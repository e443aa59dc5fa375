"""What is tuned: the distinct workloads of models, with constants to compute with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.graph import Graph, Node
from tinyaot.compiler.legalize.fixed_point import softmax_exp_table
from tinyaot.compiler.tuning.signature import Signature, describe, signature
from tinyaot.compiler.tuning.space import search_space
from tinyaot.schedules.registry import find_rules, suitable_rules
from tinyaot.schedules.workload import (
    Add,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Pool2D,
    Reshape,
    Softmax,
    Workload,
)
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets import Target, TinyaotError, get_target

_HALF = 1 << 30

_MOST_DRAWS = 8
"""How often random constants are drawn until the most specific rule is exact for them."""


@dataclass(frozen=True, eq=False)
class Task:
    """One workload on one core.

    Attributes:
        workload: what is computed.
        target: the core.
        inputs: elements and type of each input.
        output: elements and type of the output.
        constants: of the first node with this workload; they decide which rules are exact.
        count: how often the models compute it.
    """

    workload: Workload
    target: Target
    inputs: tuple[tuple[int, str], ...]
    output: tuple[int, str]
    constants: dict[str, NDArray[np.generic]]
    count: int = 1

    @property
    def signature(self) -> Signature:
        """What is tuned as one."""
        return signature(self.workload)

    @property
    def name(self) -> str:
        """For people."""
        return describe(self.workload)


def model_graphs(models: Sequence[Path]) -> list[tuple[str, Graph]]:
    """Names and simplified graphs of model files.

    Raises:
        TinyaotError: a model cannot be read or compiled.
    """
    return [(path.stem, _read(path)[0]) for path in models]


def _read(path: Path) -> tuple[Graph, bytes]:
    """The simplified graph of a model, and its file."""
    from tinyaot.compiler.frontend import import_model
    from tinyaot.compiler.legalize import legalize
    from tinyaot.compiler.transform import simplify

    try:
        data = path.read_bytes()
        return simplify(legalize(import_model(data), "model")), data
    except OSError as error:
        raise TinyaotError(
            f"cannot read the model {path}: {error.strerror}", "check the path"
        ) from error
    except TinyaotError as error:
        raise TinyaotError(f"{path}: {error.message}", *error.hints) from error


def model_tasks(models: Sequence[Path], target: str | Target) -> list[Task]:
    """The tasks of model files, in the order of their operators; those with one candidate are left
    out, and what an NPU computes: see `tuning.npu`.

    Raises:
        TinyaotError: a model cannot be read or compiled, or the target is unknown.
    """
    from tinyaot.compiler.npu.partition import partition
    from tinyaot.compiler.transform import prepare_for_processor

    core = get_target(target) if isinstance(target, str) else target
    tasks: list[Task] = []
    for path in models:
        graph, data = _read(path)
        if core.npu is not None:
            # Beside our own code Vela's is not wanted here: it takes the same operators.
            data = data if core.npu.by_vela_alone else b""
            graph = partition(graph, core.npu, model=data).graph
        tasks += graph_tasks(prepare_for_processor(graph), core)
    return merge_tasks(tasks)


def graph_tasks(graph: Graph, target: Target) -> list[Task]:
    """A task for each node of a graph that can be computed in more than one way.

    Nodes that keep state are left out: what they compute depends on what came before.
    """
    return [
        _task(graph, node, target)
        for node in graph.nodes
        if not isinstance(node.workload, (Constant, NpuRegion, Reshape)) and not node.states
    ]


def merge_tasks(tasks: Iterable[Task]) -> list[Task]:
    """One task for all of a signature; those with nothing to choose are left out."""
    merged: dict[Signature, Task] = {}
    for task in tasks:
        first = merged.setdefault(task.signature, replace(task, count=0))
        merged[task.signature] = replace(first, count=first.count + task.count)
    return [
        task
        for task in merged.values()
        if search_space(task.workload, task.target.features, task.constants).size > 1
    ]


def workload_task(workload: Workload, target: Target) -> Task:
    """A task with random constants, as models have them: the first that the most specific rule is
    exact for, as it is for almost all.

    Raises:
        ValueError: what constants a workload of this kind has is not known here.
    """
    tasks = [_random_task(workload, target, 0)]
    while not _suits_best(tasks[-1]):
        if len(tasks) == _MOST_DRAWS:
            return tasks[0]
        tasks.append(_random_task(workload, target, len(tasks)))
    return tasks[-1]


def _suits_best(task: Task) -> bool:
    """Whether the most specific rule is exact for a task's constants."""
    features = task.target.features
    suitable, _ = next(suitable_rules(task.workload, features, task.constants))
    return suitable is find_rules(task.workload, features)[0]


def _random_task(workload: Workload, target: Target, seed: int) -> Task:
    rng = np.random.default_rng(seed)
    # Weights are spread evenly at first; most of those of trained layers are small.
    narrow = seed > 0
    sizes: tuple[int, ...]
    if isinstance(workload, Conv2D):
        outputs = workload.output_shape[3]
        window = (*workload.kernel, workload.input_shape[3] // workload.groups)
        constants = _layer(rng, narrow, (outputs, *window), outputs)
        sizes = math.prod(workload.input_shape), math.prod(workload.output_shape)
    elif isinstance(workload, DepthwiseConv2D):
        outputs = workload.output_shape[3]
        constants = _layer(rng, narrow, (*workload.kernel, outputs), outputs)
        sizes = math.prod(workload.input_shape), math.prod(workload.output_shape)
    elif isinstance(workload, FullyConnected):
        outputs = workload.output_size
        constants = _layer(rng, narrow, (outputs, workload.input_size), outputs)
        sizes = workload.batch * workload.input_size, workload.batch * outputs
    elif isinstance(workload, Pool2D):
        constants = {}
        sizes = math.prod(workload.input_shape), math.prod(workload.output_shape)
    elif isinstance(workload, Mean):
        constants = {}
        inner = workload.outer * workload.inner
        sizes = workload.reduced * inner, inner
    elif isinstance(workload, Add):
        constants = {}
        sizes = (workload.size,) * 3
    elif isinstance(workload, Softmax):
        constants = {"table": softmax_exp_table(0.05, 1.0)}
        sizes = (workload.rows * workload.depth,) * 2
    else:
        raise ValueError(f"a {workload.kind} needs the constants of a model")
    inputs = tuple((size, "int8") for size in sizes[:-1])
    return Task(workload, target, inputs, (sizes[-1], "int8"), constants)


def _layer(
    rng: np.random.Generator, narrow: bool, shape: tuple[int, ...], channels: int
) -> dict[str, NDArray[np.generic]]:
    """Weights, biases, and factors that bring the sums to the range of int8."""
    weight = rng.integers(-127, 128, shape)
    deviation = 74
    if narrow:
        deviation = 32
        weight = np.clip(np.rint(rng.normal(0, deviation, shape)), -127, 127)
    shift = -math.ceil(math.log2(deviation * math.sqrt(math.prod(shape) // channels)))
    return {
        "weight": weight.astype(np.int8),
        "bias": rng.integers(-3000, 3000, channels).astype(np.int32),
        "multiplier": rng.integers(_HALF, 2 * _HALF, channels).astype(np.int32),
        "shift": rng.integers(shift, shift + 2, channels).astype(np.int32),
    }


def _task(graph: Graph, node: Node, target: Target) -> Task:
    def of(name: str) -> tuple[int, str]:
        tensor = graph.tensors[name]
        return math.prod(tensor.shape), tensor.dtype

    inputs = tuple(map(of, node.inputs))
    return Task(node.workload, target, inputs, of(node.output), dict(node.constants))
