"""Compares random graphs with TFLite Micro, element for element: `python tests/fuzz/campaign.py`.

Graphs are numbered by their seed. Many are put into one model, so that compiler, C compiler and
reference run once for all of them; a graph that differs is then shrunk on its own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import typer
from fuzz.graphs import MOST_STEPS, draw_graph
from tflite_builder import TFLiteBuilder

from tinyaot.compiler import compile_model
from tinyaot.compiler.oracle import random_inputs
from tinyaot.targets import TinyaotError

GRAPHS_PER_MODEL = 20
INFERENCES = 6


@dataclass(frozen=True)
class Failure:
    """A graph that does not compute what the reference computes.

    Attributes:
        seed, steps: of `draw_graph`, shrunk.
        problem: what is wrong.
    """

    seed: int
    steps: int
    problem: str


def compare(seeds: Sequence[int], target: str, steps: int | None = None) -> dict[int, str]:
    """Compiles the graphs of some seeds as one model and compares each with the reference.

    Returns:
        What is wrong, by seed; nothing if all is well.
    """
    builder = TFLiteBuilder()
    for seed in seeds:
        builder.output(draw_graph(builder, seed, steps))
    with tempfile.TemporaryDirectory(prefix="tinyaot-fuzz-") as folder:
        path = Path(folder) / "graphs.tflite"
        path.write_bytes(builder.build())
        try:
            compiled = compile_model(path, target)
            inputs = random_inputs(compiled.inputs, INFERENCES, seeds[0])
            expected = compiled.reference(path, inputs)
            got = compiled.measure(inputs, on="host" if target == "host" else "qemu").outputs
        except TinyaotError as error:
            return dict.fromkeys(seeds, error.message)
    differing = {}
    for place, seed in enumerate(seeds):
        wrong = sum(
            int(np.count_nonzero(one[place] != other[place]))
            for one, other in zip(got, expected, strict=True)
        )
        if wrong:
            differing[seed] = f"{wrong} elements differ"
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


def _chunks(first: int, count: int) -> Iterator[range]:
    for begin in range(first, first + count, GRAPHS_PER_MODEL):
        yield range(begin, min(begin + GRAPHS_PER_MODEL, first + count))


def main(
    graphs: Annotated[int, typer.Option(min=1, help="How many graphs.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the first graph.")] = 0,
    target: Annotated[str, typer.Option(help="The core to run on.")] = "host",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Compares random graphs with TFLite Micro."""
    chunks = list(_chunks(seed, graphs))
    done, failures = 0, []
    with ProcessPoolExecutor(workers) as pool:
        for chunk, found in zip(
            chunks, pool.map(examine, chunks, [target] * len(chunks)), strict=True
        ):
            done += len(chunk)
            failures += found
            for failure in found:
                print(f"seed {failure.seed}, {failure.steps} steps: {failure.problem}", flush=True)
            if done % 1000 < len(chunk):
                print(f"{done} graphs, {len(failures)} failures", flush=True)
    print(f"{done} graphs on {target} from seed {seed}: {len(failures)} failures")
    raise typer.Exit(bool(failures))


if __name__ == "__main__":
    typer.run(main)
