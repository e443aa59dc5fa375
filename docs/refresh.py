"""Brings the generated parts of README.md and docs/ up to date.

    .venv/bin/python docs/refresh.py            lists of targets and operators, output of commands
    .venv/bin/python docs/refresh.py MODELS     the measured figures too; MODELS is the folder with
                                                the int8 models of MLPerf Tiny

A generated part is what stands between `<!-- NAME -->` and `<!-- /NAME -->`, for the names in
`PARTS`, and everything below a line `$ command` in a block marked `console`. The commands run in
the repository's root, on the model of `make demo`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinyaot.compiler import legalize
from tinyaot.compiler.frontend import onnx, onnx_qoperator, tflite_operators, tflite_state
from tinyaot.compiler.legalize import tflite_sequence
from tinyaot.targets import FEATURES, get_board, get_target, list_targets
from tinyaot.tools.baseline import PEERS, load_baseline

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "build" / "digits" / "digits.onnx"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BIN = Path(sys.executable).parent

MODELS = {"KWS": "kws_int8", "VWW": "vww_96_int8", "IC": "resnet8_int8", "AD": "ad01_int8"}
"""MLPerf Tiny's names of the benchmarks, and the names of the models' files."""

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m55")
MEMORY_CORE = "cortex-m4"
"""The core whose memory figures the peers' baseline holds."""


def targets() -> str:
    """The targets with what schedules know of them, and the boards that run them."""
    rows = []
    for name in list_targets():
        target = get_target(name)
        features = ", ".join(word for word in FEATURES if word in target.features) or "-"
        board = "-" if target.board is None else get_board(target.board).title
        rows.append((f"`{name}`", target.architecture, features, board))
    return table(("target", "architecture", "features", "emulated board"), rows)


def operators() -> str:
    """What the frontends accept."""
    qoperators = {
        name
        for name in onnx_qoperator.REWRITES
        if name.removeprefix("QLinear").removeprefix("Q") in onnx.SUPPORTED
    }
    lists = {"TFLite": tflite_operators.SUPPORTED, "ONNX": onnx.SUPPORTED | qoperators}
    return "\n\n".join(
        textwrap.fill(f"**{form}:** {', '.join(sorted(names))}.", width=100)
        for form, names in lists.items()
    )


def coverage() -> str:
    """The TFLite operators with the types of activations that they work on."""
    moves = ("any",)

    def types(kind: str) -> tuple[str, ...]:
        if kind in tflite_state.WITHOUT_CODE:
            return moves
        if kind in tflite_operators.INT16_TOO:
            return ("int8", "int16")
        if kind in tflite_sequence.TYPES:
            return tflite_sequence.TYPES[kind]
        rule = legalize.TFLITE.get(kind)
        if rule is None:
            return moves if kind in _VIEWS else ("int8",)
        return getattr(rule, "types", moves)

    rows = [(kind, ", ".join(types(kind))) for kind in sorted(tflite_operators.SUPPORTED)]
    # Two operators a line.
    half = (len(rows) + 1) // 2
    second = [*rows[half:], ("", "")][:half]
    heading = ("operator", "types", "operator", "types")
    return table(
        heading, [(*left, *right) for left, right in zip(rows[:half], second, strict=True)]
    )


_VIEWS = frozenset({"EXPAND_DIMS", "RESHAPE", "SQUEEZE"})


def onnx_coverage() -> str:
    """The ONNX operators by how they are read."""
    groups = {
        "element by element": onnx.ELEMENTWISE,
        "moving elements": onnx.MOVEMENT,
        "all others": onnx.SUPPORTED - onnx.ELEMENTWISE - onnx.MOVEMENT,
        "in QOperator form": frozenset(onnx_qoperator.REWRITES),
    }
    rows = [(name, ", ".join(sorted(kinds))) for name, kinds in groups.items()]
    return table(("", "operators"), rows)


def measured(results: Sequence[dict[str, Any]], files: dict[str, int]) -> str:
    """Instructions and memory beside the peers'.

    Args:
        results: what `tinyaot bench --json` writes.
        files: bytes of each model file.
    """
    baseline = load_baseline(PEERS)
    ours = {(one["model"], one["target"]): one for one in results}
    heading = ("instructions of one inference", "", *MODELS)
    rows: list[Sequence[str]] = []
    for core in CORES:
        mine = [ours[model, core]["instructions"] for model in MODELS.values()]
        theirs = [baseline.instructions(model, core) or 0 for model in MODELS.values()]
        ratios = [f"{peer / own:.2f}" for peer, own in zip(theirs, mine, strict=True)]
        rows.append((get_target(core).title, "tinyaot", *map(number, mine)))
        rows.append(("", "TFLM + CMSIS-NN", *map(number, theirs)))
        rows.append(("", "ratio", *ratios))
    speed = table(heading, rows)

    def row(name: str, who: str, value: Callable[[str], int]) -> tuple[str, ...]:
        return (name, who, *(number(value(model)) for model in MODELS.values()))

    def own(key: str) -> Callable[[str], int]:
        return lambda model: ours[model, MEMORY_CORE][key]

    def peer(key: str) -> Callable[[str], int]:
        return lambda model: baseline.results[model, MEMORY_CORE][key]

    memory = table(
        (f"bytes on {get_target(MEMORY_CORE).title}", "", *MODELS),
        (
            row("RAM", "tinyaot, arena", own("arena_bytes")),
            row("", "tinyaot, input and output", own("io_bytes")),
            row("", "tinyaot, stack", own("stack_bytes")),
            row("", "TFLM, arena with input and output", peer("arena_bytes")),
            row("", "TFLM, stack of invoke", peer("stack_bytes")),
            row("flash", "tinyaot, code", own("flash_code_bytes")),
            row("", "tinyaot, weights", own("flash_weight_bytes")),
            row("", "TFLM + CMSIS-NN, code", peer("flash_code_bytes")),
            row("", "TFLM, model file", files.__getitem__),
        ),
    )
    commit = run("git", "rev-parse", "--short", "HEAD").strip()
    return f"{speed}\n\n{memory}\n\nMeasured at commit {commit}."


PARTS: dict[str, Callable[[], str]] = {
    "targets": targets,
    "operators": operators,
    "coverage": coverage,
    "onnx_coverage": onnx_coverage,
}


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns that hold figures only are aligned to the right."""
    rule = [
        "--:" if all(re.fullmatch(r"[\d,.]+", cell) for cell in column) else "---"
        for column in zip(*rows, strict=True)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))


def number(value: int) -> str:
    """Digits in groups of three."""
    return f"{value:,}"


def run(*command: str) -> str:
    """The output of a command in the repository's root."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"exit status {done.returncode}: {' '.join(command)}")
    return done.stdout


def bench(folder: Path) -> str:
    """Measures all models on all cores; takes a minute or two."""
    paths = [folder / f"{model}.tflite" for model in MODELS.values()]
    cores = [word for core in CORES for word in ("--target", core)]
    results = json.loads(run("tinyaot", "bench", *map(str, paths), *cores, "--json", "-"))
    return measured(results, {path.stem: path.stat().st_size for path in paths})


def with_part(page: str, name: str, text: str) -> str:
    """The page with new text between the marks of a part, if it has them."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    return marks.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page)


def part(page: str, name: str) -> str | None:
    """What stands between the marks of a part."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page, re.DOTALL)
    return None if found is None else found[1]


def commands(page: str) -> list[str]:
    """The lines `$ command` of all console blocks, without the dollar."""
    blocks = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    return re.findall(r"^\$ (.*)$", "\n".join(blocks), re.MULTILINE)


def with_output(page: str) -> str:
    """The page with every command of a console block run and its output below it."""

    def session(block: re.Match[str]) -> str:
        lines = []
        for command in commands(block[0]):
            print(f"$ {command}", file=sys.stderr)
            output = run("sh", "-c", command)
            lines += [f"$ {command}", *(line.rstrip() for line in output.splitlines())]
        return "\n".join(["```console", *lines, "```"])

    return re.sub(r"```console\n.*?```", session, page, flags=re.DOTALL)


def main() -> None:
    """Rewrites the pages."""
    parts = {name: make() for name, make in PARTS.items()}
    if len(sys.argv) > 1:
        parts["measured"] = bench(Path(sys.argv[1]).resolve())
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        for name, text in parts.items():
            page = with_part(page, name, text)
        if MODEL.exists():
            page = with_output(page)
        path.write_text(page, encoding="utf-8")
    if not MODEL.exists():
        print("output of commands left as it is: `make demo` makes their model", file=sys.stderr)


if __name__ == "__main__":
    main()
