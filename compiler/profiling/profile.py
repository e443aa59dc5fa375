"""A profile: counts of each operator, memory over time, flash by layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyaot.compiler.files import write_text
from tinyaot.compiler.memory.planner import Buffer
from tinyaot.compiler.profiling.bound import Bound, bound_of
from tinyaot.compiler.scheduling import Operator
from tinyaot.targets import Target
from tinyaot.targets.code_size import Code

if TYPE_CHECKING:
    from rich.table import Table

    from tinyaot.compiler.pipeline import Lowered


@dataclass(frozen=True)
class Quantity:
    """What was counted.

    Attributes:
        name: the unit, in the plural, such as `instructions`.
        source: what counted it.
    """

    name: str
    source: str


INSTRUCTIONS = Quantity("instructions", "QEMU with -icount, exact")


@dataclass(frozen=True)
class Counts:
    """Counts of one model on one device, wherever they come from.

    Attributes:
        quantity: what is counted.
        board: where it ran.
        runs: the whole inference, without any instrumentation, once for each run.
        operators: each operator of an instrumented run.
        stack_bytes: the deepest stack; None where it is not measured.
    """

    quantity: Quantity
    board: str
    runs: tuple[int, ...]
    operators: tuple[int, ...]
    stack_bytes: int | None


@dataclass(frozen=True)
class Flash:
    """Bytes of a linked image.

    Attributes:
        code, weights: of the whole model; see `ImageSize`.
        functions: where the code went; None where it is not known.
    """

    code: int
    weights: int
    functions: Code | None = None


@dataclass(frozen=True)
class OperatorProfile:
    """One operator.

    Attributes:
        index: in execution order.
        node: the model node.
        kind, rule: operator family, and the schedule rule that computes it.
        count: in the profile's quantity.
        macs: multiply-accumulates.
        bound: estimated instructions by kind of work.
        weight_bytes: constants; 0 for those that an earlier operator has already.
        code_bytes: its function and what that calls, as far as no earlier operator has it already;
            None if not known.
        function: name of its C function.
        call: the statement that calls it.
        arena_bytes: alive in the arena while it runs, its workspace included.
        workspace_bytes: its scratch memory.
    """

    index: int
    node: str
    kind: str
    rule: str
    count: int
    macs: int
    bound: Bound
    weight_bytes: int
    code_bytes: int | None
    function: str
    call: str
    arena_bytes: int
    workspace_bytes: int

    @property
    def on_npu(self) -> bool:
        """Whether the NPU computes it: the count is of the call alone."""
        return self.kind == "npu_region"

    @property
    def limit(self) -> str:
        """`compute`, `load`, `requantize` or `other`, see `bound.py`; or `npu`."""
        return "npu" if self.on_npu else self.bound.name(self.count)

    @property
    def macs_per_count(self) -> float | None:
        """None without multiply-accumulates of the core's own."""
        return self.macs / self.count if self.macs and self.count and not self.on_npu else None


@dataclass(frozen=True)
class Block:
    """A tensor or workspace in the arena: a rectangle of bytes and time.

    Attributes:
        name: of the tensor, or `workspace of` it.
        shape: such as `int8 1x25x5x64`; empty for a workspace.
        offset, size: bytes in the arena.
        first, last: operators that write it first and read it last, inclusive.
    """

    name: str
    shape: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Profile:
    """What one inference costs.

    Attributes:
        model, target, board: names.
        quantity: what is counted.
        runs: the count of each run of the whole inference, without instrumentation.
        operators: in execution order.
        blocks: what lies in the arena, by offset and lifetime.
        arena_bytes, state_bytes, io_bytes, stack_bytes: RAM; the stack is None if not measured.
        flash_code_bytes, flash_weight_bytes: of the linked image.
        sources: the C of each function.
        notes: what the user should know about how the model was read.
    """

    model: str
    target: str
    board: str
    quantity: Quantity
    runs: tuple[int, ...]
    operators: tuple[OperatorProfile, ...]
    blocks: tuple[Block, ...]
    arena_bytes: int
    state_bytes: int
    io_bytes: int
    stack_bytes: int | None
    flash_code_bytes: int
    flash_weight_bytes: int
    sources: dict[str, str]
    notes: tuple[str, ...]

    @property
    def total(self) -> int:
        """The least count of all runs."""
        return min(self.runs)

    @property
    def operator_total(self) -> int:
        """The sum over all operators; what is left of `total` is the entry function's own."""
        return sum(one.count for one in self.operators)

    def document(self) -> dict[str, Any]:
        """The profile as one JSON object; what is not known is None."""
        return {
            "model": self.model,
            "target": self.target,
            "board": self.board,
            "quantity": self.quantity.name,
            "quantity_source": self.quantity.source,
            "total": self.total,
            "runs": list(self.runs),
            "operator_total": self.operator_total,
            "macs": sum(one.macs for one in self.operators),
            "arena_bytes": self.arena_bytes,
            "state_bytes": self.state_bytes,
            "io_bytes": self.io_bytes,
            "stack_bytes": self.stack_bytes,
            "flash_code_bytes": self.flash_code_bytes,
            "flash_weight_bytes": self.flash_weight_bytes,
            "operators": [
                {
                    "index": one.index,
                    "node": one.node,
                    "kind": one.kind,
                    "rule": one.rule,
                    "function": one.function,
                    "count": one.count,
                    "share": one.count / max(1, self.operator_total),
                    "macs": one.macs,
                    "macs_per_count": one.macs_per_count,
                    "bound": one.limit,
                    "bound_instructions": one.bound.parts(),
                    "weight_bytes": one.weight_bytes,
                    "code_bytes": one.code_bytes,
                    "arena_bytes": one.arena_bytes,
                    "workspace_bytes": one.workspace_bytes,
                }
                for one in self.operators
            ],
            "memory": [dict(vars(block)) for block in self.blocks],
            "notes": list(self.notes),
        }

    def table(self) -> Table:
        """The operators as a table of rich."""
        from tinyaot.compiler.profiling.table import operator_table

        return operator_table(self)

    def save_html(self, path: str | Path) -> None:
        """Writes one self-contained page.

        Raises:
            TinyaotError: the file cannot be written.
        """
        from tinyaot.compiler.profiling.page import html_page

        write_text(Path(path), html_page(self))

    def save_trace(self, path: str | Path) -> None:
        """Writes a Chrome trace, for Perfetto and chrome://tracing; see `save_html`."""
        from tinyaot.compiler.profiling.trace import chrome_trace, json_text

        write_text(Path(path), json_text(chrome_trace(self)))

    def save_speedscope(self, path: str | Path) -> None:
        """Writes a speedscope file; see `save_html`."""
        from tinyaot.compiler.profiling.trace import json_text, speedscope

        write_text(Path(path), json_text(speedscope(self)))


def make_profile(lowered: Lowered, target: Target, counts: Counts, flash: Flash) -> Profile:
    """Joins what was counted with what the compiler knows.

    Args:
        lowered: the compiled model.
        target: the core it was compiled for.
        counts: as measured; `operators` in the order of `lowered.operators`.
        flash: of the image that was measured.
    """
    graph, layout = lowered.graph, lowered.layout
    blocks = tuple(
        Block(
            name=buffer.name,
            shape=_shape(lowered, buffer),
            offset=layout.plan.offsets[buffer.name],
            size=buffer.size,
            first=buffer.first,
            last=buffer.last,
        )
        for buffer in sorted(layout.buffers, key=lambda one: (one.first, one.last, one.name))
        if buffer.size
    )
    source = lowered.program.files[f"tinyaot_{graph.name}.c"]
    calls = _calls(source)
    functions = lowered.program.functions
    weights = _own_weights(lowered.operators)
    code = None if flash.functions is None else flash.functions.owned(functions)
    operators = tuple(
        OperatorProfile(
            index=index,
            node=operator.node.origin,
            kind=operator.node.workload.kind,
            rule=operator.rule,
            count=counts.operators[index],
            macs=operator.node.workload.macs,
            bound=bound_of(operator, graph, target),
            weight_bytes=weights[index],
            code_bytes=None if code is None else code[index],
            function=functions[index],
            call=calls.get(index, ""),
            arena_bytes=_alive(blocks, index),
            workspace_bytes=operator.function.workspace,
        )
        for index, operator in enumerate(lowered.operators)
    )
    ports = (*graph.inputs, *graph.outputs)
    return Profile(
        model=graph.name,
        target=target.name,
        board=counts.board,
        quantity=counts.quantity,
        runs=counts.runs,
        operators=operators,
        blocks=blocks,
        arena_bytes=layout.plan.size,
        state_bytes=sum(graph.tensors[state.tensor].nbytes for state in graph.states),
        io_bytes=sum(graph.tensors[name].nbytes for name in ports),
        stack_bytes=counts.stack_bytes,
        flash_code_bytes=flash.code,
        flash_weight_bytes=flash.weights,
        sources={name: function_source(source, name) for name in dict.fromkeys(functions)},
        notes=(*_npu_notes(operators, target, counts.quantity), *graph.notes),
    )


def _npu_notes(
    operators: Sequence[OperatorProfile], target: Target, quantity: Quantity
) -> tuple[str, ...]:
    regions = sum(one.on_npu for one in operators)
    if not regions or target.npu is None:
        return ()
    what = "region runs" if regions == 1 else "regions run"
    return (
        f"{regions} {what} on the {target.npu.name}: {quantity.name} are the core's, and the NPU's "
        "own work is not among them",
    )


def function_source(source: str, name: str) -> str:
    """The C of one kernel of the generated file, with the comment above it."""
    match = re.search(
        rf"^(?:/\*(?:(?!\*/).)*?\*/\n)?static \w+ {name}\(.*?^}}\n",
        source,
        re.DOTALL | re.MULTILINE,
    )
    return match[0] if match else ""


def _calls(source: str) -> dict[int, str]:
    """The statement that calls each operator."""
    pattern = r"^    TINYAOT_OPERATOR\((\d+), (?:status = )?(.*)\);$"
    found = re.findall(pattern, source, re.MULTILINE)
    return {int(index): f"{call};" for index, call in found}


def _shape(lowered: Lowered, buffer: Buffer) -> str:
    tensor = lowered.graph.tensors.get(buffer.name)
    return "" if tensor is None else f"{tensor.dtype} {'x'.join(map(str, tensor.shape))}"


def _alive(blocks: Sequence[Block], index: int) -> int:
    """Bytes of the arena in use at an operator; what is computed in place counts once."""
    alive = sorted(
        (one.offset, one.offset + one.size) for one in blocks if one.first <= index <= one.last
    )
    total = end = 0
    for begin, until in alive:
        total += max(0, until - max(begin, end))
        end = max(end, until)
    return total


def _own_weights(operators: Sequence[Operator]) -> list[int]:
    """Bytes of each operator's constants that no operator before it has: equal ones lie in flash
    once."""
    seen: set[tuple[str, bytes]] = set()
    sizes = []
    for operator in operators:
        size = 0
        for array in operator.constants.values():
            key = (array.dtype.str, array.tobytes())
            size += 0 if key in seen else array.nbytes
            seen.add(key)
        sizes.append(size)
    return sizes
