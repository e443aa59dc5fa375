"""What would become of every operator of a model, without compiling it to C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinyaot.compiler.frontend.imported import ModelNode, Problem
from tinyaot.compiler.graph import Graph
from tinyaot.schedules.registry import choose
from tinyaot.schedules.workload import Constant, Reshape
from tinyaot.targets import Target, TinyaotError

FOLDED, VIEW, ELSEWHERE, UNSEEN = "folded", "view", "part of another operator", "not looked at"


@dataclass(frozen=True)
class Verdict:
    """What becomes of one operator of the model.

    Attributes:
        node: the operator, for example `CONV_2D #3 "model/conv1"`.
        runs_as: names of the schedule rules that compute it; "folded" if it is computed at compile
            time, "view" if its bytes are those of its input, "part of another operator" if it has
            no code of its own, "not looked at" if its type is supported and the importer stopped at
            another operator. Empty if it is not supported.
        reason, hints: why it is not supported, and what to do; empty if it is.
    """

    node: str
    runs_as: tuple[str, ...]
    reason: str = ""
    hints: tuple[str, ...] = ()

    @property
    def supported(self) -> bool:
        """Whether it can be compiled."""
        return not self.reason


def check_model(data: bytes, target: Target) -> tuple[Verdict, ...]:
    """Looks at every operator of a model, whatever is wrong with the others.

    Args:
        data: the bytes of a TFLite or ONNX file.
        target: its features choose the schedule rules.

    Returns:
        A verdict for each operator in the order of the file; if they are fine, what is wrong with
        the model's inputs and outputs.

    Raises:
        TinyaotError: the file cannot be read, so that nothing can be said of its operators.
    """
    # Here, and not above: what these import takes longer than the command's help may.
    from tinyaot.compiler.frontend import import_model
    from tinyaot.compiler.frontend.onnx import list_problems
    from tinyaot.compiler.frontend.tflite import is_tflite
    from tinyaot.compiler.legalize import legalize
    from tinyaot.compiler.transform import simplify

    problems: list[Problem] = []
    try:
        imported = import_model(data, problems)
    except TinyaotError as error:
        if is_tflite(data):
            raise
        return _not_imported(*list_problems(data, error))
    graph = legalize(imported, "model", problems)
    names = list(dict.fromkeys(str(node) for node in imported.nodes))
    if not problems:
        graph = simplify(graph)
    runs = _runs(graph, target, problems)
    found: dict[str, TinyaotError] = {}
    for problem in problems:
        # An operator that reads what could not be computed is not to blame.
        node = next((name for name in names if name in problem.error.message), problem.node)
        found.setdefault(node, problem.error)
    if not any(name in found for name in names):
        # What is wrong with an output is else wrong with the operator that makes it.
        names += found
    return tuple(_verdict(name, runs.get(name, [ELSEWHERE]), found.get(name)) for name in names)


def _not_imported(nodes: Sequence[ModelNode], problems: Sequence[Problem]) -> tuple[Verdict, ...]:
    errors = {problem.node: problem.error for problem in problems}
    return tuple(_verdict(str(node), [UNSEEN], errors.get(str(node))) for node in nodes)


def _verdict(name: str, runs: Sequence[str], error: TinyaotError | None) -> Verdict:
    if error is None:
        return Verdict(name, tuple(dict.fromkeys(runs)))
    reason = error.message.replace(name, "").strip(" :")
    return Verdict(name, (), reason, tuple(error.hints))


def _runs(graph: Graph, target: Target, problems: list[Problem]) -> dict[str, list[str]]:
    """The rules that compute the graph nodes of each model node."""
    runs: dict[str, list[str]] = {}
    for node in graph.nodes:
        if isinstance(node.workload, Constant):
            name = FOLDED
        elif isinstance(node.workload, Reshape):
            name = VIEW
        else:
            try:
                name = choose(node.workload, target.features, None, dict(node.constants)).rule.name
            except LookupError as error:
                problems.append(Problem(node.origin, TinyaotError(f"{node.origin}: {error}")))
                continue
        runs.setdefault(node.origin, []).append(name)
    for names in runs.values():
        computed = [name for name in names if name not in (FOLDED, VIEW)]
        names[:] = computed or names
    return runs
