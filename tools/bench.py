"""`tinyaot bench`: instructions and memory of models on cores, beside a baseline."""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinyaot.targets import TinyaotError
from tinyaot.tools.baseline import PEERS, Baseline, geometric_mean, load_baseline
from tinyaot.tools.console import columns, progress, stdout
from tinyaot.tools.model import compile_file
from tinyaot.tools.npu_bench import DEFAULT_TARGETS, npu_documents, show_npu
from tinyaot.tools.options import Debug, Optimization, Optimize, Tuned, TuningLog, Verbose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinyaot.compiler.oracle import Array

Document = dict[str, Any]


def bench_command(
    models: Annotated[
        list[Path], typer.Argument(help="Quantized .tflite or .onnx files.", show_default=False)
    ],
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", metavar="TARGET", help="A core; may be given several times."
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Figures to compare with; TFLM with CMSIS-NN, as shipped, if not given.",
            show_default=False,
        ),
    ] = None,
    per_layer: Annotated[bool, typer.Option("--per-layer", help="Show each operator.")] = False,
    optimize: Optimize = Optimization.balanced,
    tuning_log: TuningLog = None,
    tuned: Tuned = True,
    against_default: Annotated[
        bool,
        typer.Option(
            "--against-default",
            help="Measure each model also without tuning records, and show the ratio.",
        ),
    ] = False,
    npu: Annotated[
        bool,
        typer.Option(
            "--npu",
            help="Compare command streams with those of Arm's Vela, for performance and size: "
            "estimated cycles, SRAM, flash. Targets have an NPU: cortex-m55+ethos-u55-128.",
        ),
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a list with an object per model and target; - for stdout.",
            show_default=False,
        ),
    ] = None,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Measure models on emulated cores: instructions, memory, ratios to a baseline."""
    if npu:
        with progress() as step:
            compared = npu_documents(
                models, targets or DEFAULT_TARGETS, step, tuning_log, tuned, against_default
            )
        if json is None or str(json) != "-":
            show_npu(compared)
        if json is not None:
            _write(compared, json)
        return
    known = load_baseline(baseline or PEERS)
    documents: list[Document] = []
    with progress() as step:
        for target in targets or ["cortex-m4"]:
            for model in models:
                document = _measure(model, target, optimize.value, step, tuning_log, tuned)
                if against_default:
                    plain = _measure(model, target, optimize.value, step, None, False)
                    document["default_instructions"] = plain["instructions"]
                    document["default_arena_bytes"] = plain["arena_bytes"]
                documents.append(document)
    if json is None or str(json) != "-":
        _show(documents, known, per_layer)
        if against_default:
            stdout().print()
            _show_gain(documents)
    if json is not None:
        _write(documents, json)


def _measure(
    model: Path,
    target: str,
    optimize: str,
    step: Callable[[str], None],
    tuning_logs: list[Path] | None,
    tuned: bool,
) -> Document:
    """One model on one core: compiled, run once on a random input, each operator counted."""
    from tinyaot.compiler.oracle import random_inputs
    from tinyaot.tools.result import Result

    step(f"{model.stem} on {target}{'' if tuned else ' without tuning'}")
    compiled = compile_file(model, target, None, None, optimize, lambda _: None, tuning_logs, tuned)
    on = "host" if compiled.target.family == "host" else "qemu"
    inputs: Sequence[list[Array]] = random_inputs(compiled.inputs, 1, 0)
    measured = compiled.measure(inputs, on=on)
    profiled = compiled.measure(inputs, on=on, profile=True)
    counts = profiled.operator_instructions or ()
    report = compiled.report()
    layers = [
        {
            "index": _file_index(operator.node),
            "node": operator.node,
            "kind": operator.kind,
            "rule": operator.rule,
            "sizes": operator.source,
            "macs": operator.macs,
            "instructions": instructions,
        }
        for operator, instructions in zip(report.operators, counts, strict=False)
    ]
    document = Result(compiled, measured, None).document(0)
    return {
        **document,
        "model": model.stem,
        "optimize": optimize,
        "executed_macs": report.executed_macs,
        "cycles_estimate": compiled.estimate_cycles(inputs[0]),
        "layers": layers,
    }


def _file_index(node: str) -> int | None:
    """The operator's position in the model file, from its description."""
    match = re.search(r"#(\d+) ", node)
    return int(match[1]) if match else None


def _show(documents: list[Document], baseline: Baseline, per_layer: bool) -> None:
    console = stdout()
    table = columns(
        "model", "target", "instructions>", "MAC/instr>", "cycles (estimate)>", "arena>", "stack>",
        "code>", "weights>", f"{baseline.name}>", "ratio>",
    )  # fmt: skip
    ratios: dict[str, list[float]] = {}
    for document in documents:
        peer = baseline.instructions(document["model"], document["target"])
        count = document["instructions"]
        ratio = peer / count if peer and count else None
        if ratio is not None:
            ratios.setdefault(document["target"], []).append(ratio)
        table.add_row(
            document["model"],
            document["target"],
            _number(count),
            f"{document['macs'] / count:.2f}" if count else "-",
            _number(document["cycles_estimate"]),
            _number(document["arena_bytes"]),
            _number(document["stack_bytes"]),
            _number(document["flash_code_bytes"]),
            _number(document["flash_weight_bytes"]),
            _number(peer),
            f"{ratio:.2f}" if ratio else "-",
        )
    console.print(table)
    for target, values in ratios.items():
        console.print(
            f"{target}: {geometric_mean(values):.2f} times fewer instructions than "
            f"{baseline.name} (geometric mean of {len(values)})"
        )
    if per_layer:
        for document in documents:
            console.print()
            console.print(_layers(document, baseline))


def _show_gain(documents: list[Document]) -> None:
    """Instructions and arena with tuning records and without."""
    table = columns(
        "model", "target", "tuned>", "default>", "saved>", "arena>", "arena, default>",
    )  # fmt: skip
    ratios: dict[str, list[float]] = {}
    for document in documents:
        tuned: int = document["instructions"] or 0
        default: int = document["default_instructions"] or 0
        if tuned and default:
            ratios.setdefault(document["target"], []).append(tuned / default)
        table.add_row(
            document["model"],
            document["target"],
            _number(tuned),
            _number(default),
            f"{1 - tuned / default:.1%}" if tuned and default else "-",
            _number(document["arena_bytes"]),
            _number(document["default_arena_bytes"]),
        )
    stdout().print(table)
    for target, values in ratios.items():
        saved = 1 - (geometric_mean(values) or 1)
        stdout().print(
            f"{target}: tuning saves {saved:.1%} of the instructions "
            f"(geometric mean of {len(values)})"
        )


def _layers(document: Document, baseline: Baseline) -> Any:
    title = f"{document['model']} on {document['target']}"
    table = columns(
        "operator", "rule", "sizes", "MACs>", "instructions>", "per MAC>", f"{baseline.name}>",
        "ratio>",
        title=title,
    )  # fmt: skip
    for layer in document["layers"]:
        peer = None
        if layer["index"] is not None:
            peer = baseline.layer(document["model"], document["target"], layer["index"])
        count, macs = layer["instructions"], layer["macs"]
        table.add_row(
            layer["node"],
            layer["rule"],
            layer["sizes"],
            _number(macs or None),
            _number(count),
            f"{count / macs:.2f}" if macs else "-",
            _number(peer),
            f"{peer / count:.2f}" if peer and count else "-",
        )
    return table


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _write(documents: list[Document], path: Path) -> None:
    text = json_module.dumps(documents, indent=1) + "\n"
    if str(path) == "-":
        print(text, end="")
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"cannot write {path}: {error.strerror}"
        raise TinyaotError(message, "choose another path") from error
