"""Compares random ONNX graphs with ONNX Runtime: `python tests/fuzz/onnx_campaign.py`.

Graphs are numbered by their seed. Many are put into one model, so that compiler and C compiler run
once for all of them; a graph that differs is then shrunk on its own. Each quantized tensor is
compared with what ONNX Runtime makes of its operands, as `onnx_judge.py` says.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx
import typer
from fuzz.campaign import Failure
from fuzz.onnx_graphs import MOST_STEPS, Batch, draw_graph
from onnx_judge import judge

from tinyaot.targets import TinyaotError

GRAPHS_PER_MODEL = 20


def compare(seeds: Sequence[int], target: str, steps: int | None = None) -> dict[int, str]:
    """Compiles the graphs of some seeds as one model and compares each with ONNX Runtime.

    Returns:
        What is wrong, by seed; nothing if all is well.
    """
    batch = Batch()
    for seed in seeds:
        draw_graph(batch, seed, steps)
    with tempfile.TemporaryDirectory(prefix="tinyaot-fuzz-") as folder:
        path = Path(folder) / "graphs.onnx"
        onnx.save(batch.model(), path)
        try:
            _, problems = judge(path, target=target, on="host" if target == "host" else "qemu")
        except TinyaotError as error:
            return dict.fromkeys(seeds, error.message)
    differing: dict[int, str] = {}
    for problem in problems:
        found = re.search(r'"g(\d+)_', problem)
        differing.setdefault(int(found[1]) if found else seeds[0], problem)
    return differing


def examine(seeds: Sequence[int], target: str) -> list[Failure]:
    """The failures among the graphs of some seeds, each shrunk to the fewest steps that fail."""
    failures = []
    for seed in compare(seeds, target):
        for steps in range(1, MOST_STEPS + 1):
            found = compare([seed], target, steps)
            if found:
                failures.append(Failure(seed, steps, found[seed]))
                break
    return failures


def main(
    graphs: Annotated[int, typer.Option(min=1, help="How many graphs.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the first graph.")] = 0,
    target: Annotated[str, typer.Option(help="The core to run on.")] = "host",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Compares random ONNX graphs with ONNX Runtime."""
    chunks = [
        range(begin, min(begin + GRAPHS_PER_MODEL, seed + graphs))
        for begin in range(seed, seed + graphs, GRAPHS_PER_MODEL)
    ]
    done, failures = 0, 0
    with ProcessPoolExecutor(workers) as pool:
        for chunk, found in zip(
            chunks, pool.map(examine, chunks, [target] * len(chunks)), strict=True
        ):
            done += len(chunk)
            failures += len(found)
            for failure in found:
                print(f"seed {failure.seed}, {failure.steps} steps: {failure.problem}", flush=True)
            if done % 1000 < len(chunk):
                print(f"{done} graphs, {failures} failures", flush=True)
    print(f"{done} graphs on {target} from seed {seed}: {failures} failures")
    raise typer.Exit(bool(failures))


if __name__ == "__main__":
    typer.run(main)
