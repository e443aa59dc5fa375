"""`tinyaot bench --npu`: our command streams beside those of Vela, by one estimate for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyaot.targets import TinyaotError, get_target
from tinyaot.tools.baseline import geometric_mean
from tinyaot.tools.console import columns, stdout
from tinyaot.tools.model import compile_file

if TYPE_CHECKING:
    from tinyaot.compiler import CompiledModel

Document = dict[str, Any]

DEFAULT_TARGETS = tuple(f"cortex-m55+ethos-{npu}" for npu in ("u55-128", "u55-256", "u65-256"))
_GOALS = ("performance", "size")


def npu_documents(
    models: Sequence[Path],
    targets: Sequence[str],
    step: Callable[[str], None],
    logs: Sequence[Path] | None = None,
    tuned: bool = True,
    against_default: bool = False,
) -> list[Document]:
    """One object per target, model and mode: both compilers' cycles, SRAM and flash; if asked for,
    also ours without tuning records."""
    return [
        _measure(model, target, goal, step, logs, tuned, against_default)
        for target in targets
        for model in models
        for goal in _GOALS
    ]


def _measure(
    model: Path,
    target: str,
    goal: str,
    step: Callable[[str], None],
    logs: Sequence[Path] | None,
    tuned: bool,
    against_default: bool,
) -> Document:
    from tinyaot.compiler.npu.report import vela_figures

    if get_target(target).npu is None:
        raise TinyaotError(
            f"{target} has no NPU to compare", f"name one, such as {target}+ethos-u55-128"
        )
    step(f"{model.stem} on {target} for {goal}")

    def made(logs: Sequence[Path] | None, tuned: bool) -> CompiledModel:
        return compile_file(
            *(model, target, None, None, "balanced", lambda _: None, logs, tuned),
            npu={"optimise": goal, "codegen": "own"},
        )

    compiled = made(logs, tuned)
    report, npu = compiled.npu_report(), compiled.target.npu
    assert npu is not None
    assert report is not None
    plain = made(None, False).npu_report() if against_default else None
    vela = vela_figures(model.read_bytes(), npu) if model.suffix == ".tflite" else None
    return {
        "model": model.stem,
        "target": target,
        "optimise": goal,
        "cycles": report.cycles,
        "sram_bytes": report.sram_bytes,
        "flash_bytes": report.flash_bytes,
        "dma_bytes": report.dma_bytes,
        **(
            {}
            if plain is None
            else {"default_cycles": plain.cycles, "default_sram_bytes": plain.sram_bytes}
        ),
        "cpu_operators": [one.origin for one in report.fallbacks],
        "vela": None
        if vela is None
        else {
            "cycles": vela.cycles,
            "own_cycles": vela.own_cycles,
            "sram_bytes": vela.sram_bytes,
            "flash_bytes": vela.flash_bytes,
        },
    }


def show_npu(documents: Sequence[Document]) -> None:
    """The documents as a table."""
    default = ["default>"] if any("default_cycles" in one for one in documents) else []
    table = columns(
        "model", "NPU", "mode", *default, "cycles>", "Vela>", "ratio>", "Vela says>", "SRAM>",
        "Vela>", "flash>", "Vela>", "on CPU>",
    )  # fmt: skip
    ratios: dict[tuple[str, str], list[float]] = {}
    for document in documents:
        vela = document["vela"] or {}
        npu = document["target"].partition("+")[2]
        ratio = vela["cycles"] / document["cycles"] if vela and document["cycles"] else None
        if ratio is not None:
            ratios.setdefault((npu, document["optimise"]), []).append(ratio)
        table.add_row(
            document["model"],
            npu,
            document["optimise"],
            *([_number(document.get("default_cycles"))] if default else []),
            f"{document['cycles']:,}",
            _number(vela.get("cycles")),
            "-" if ratio is None else f"{ratio:.2f}",
            _number(vela.get("own_cycles")),
            f"{document['sram_bytes']:,}",
            _number(vela.get("sram_bytes")),
            f"{document['flash_bytes']:,}",
            _number(vela.get("flash_bytes")),
            str(len(document["cpu_operators"]) or "-"),
        )
    stdout().print(table)
    for (npu, goal), values in ratios.items():
        stdout().print(
            f"{npu}, {goal}: {geometric_mean(values):.2f} times fewer cycles than Vela by the same "
            f"estimate (geometric mean of {len(values)})"
        )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
