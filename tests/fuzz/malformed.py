"""Compiles damaged TFLite and ONNX files: `python tests/fuzz/malformed.py`.

Each must end in one error that the user can act on, or compile; never in a traceback, a crash, ten
seconds of processor time or two GiB of memory. Files are numbered by their seed: what is damaged,
and how. The first n changes of a seed are the same whatever their number, so that a failure is
shrunk by making fewer.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx
import typer
from fuzz.graphs import draw_graph
from tflite_builder import TFLiteBuilder

SECONDS = 10
BYTES = 2 << 30
MOST_CHANGES = 6

_GRAPHS = 40
_HOSTILE = (0, 1, -1, 2, 7, 127, 255, 65535, 1 << 20, (1 << 31) - 1, -(1 << 31), 1 << 30)
_HANDED_OUT = 50

Rng = np.random.Generator


@dataclass(frozen=True)
class Failure:
    """A file that is not handled.

    Attributes:
        seed, changes: of `damaged`, shrunk.
        problem: what happened, for example the last line of a traceback.
    """

    seed: int
    changes: int
    problem: str


def form_of(seed: int) -> str:
    """The kind of a seed's file."""
    return "tflite" if seed % 2 else "onnx"


@cache
def originals(form: str) -> tuple[bytes, ...]:
    """Small valid files that hold between them most operators."""
    if form == "tflite":
        return (*map(_tflite, range(_GRAPHS)), _state())
    return tuple(_onnx())


def _tflite(seed: int) -> bytes:
    builder = TFLiteBuilder()
    builder.output(draw_graph(builder, seed))
    return builder.build()


def _state() -> bytes:
    """A variable with an initial value, integers that make a shape, and several outputs."""
    b = TFLiteBuilder()
    x = b.input((1, 6), 0.1, 3)
    handle = b.variable("memory", (np.zeros((1, 6), np.int8), x))
    y = b.add(b.read_variable(handle, x), x, scale=0.2)
    b.assign_variable(handle, b.quantize(y, scale=0.1, zero_point=3))
    parts = b.operators(
        *("SPLIT", [b.constant(np.array(1, np.int32)), y], [(1, 2)] * 3),
        **y.quantization,
        options="SplitOptions",
        NumSplits=3,
    )
    for part in parts:
        b.output(b.softmax(part))
    return b.build()


def _onnx() -> Iterator[bytes]:
    from onnx_builder import Network, quantize

    with tempfile.TemporaryDirectory(prefix="tinyaot-malformed-") as folder:
        for index in range(4):
            net = Network((1, 2, 6, 5), seed=index)
            x = net.relu(net.conv(net.input, 4, 3))
            if index < 2:
                x = net.max_pool(net.add(x, net.conv(x, 4, 1)), 2, 2)
            else:
                x = net.average_pool(net.relu6(net.conv(x, 4, 3, 2, depthwise=True)), 2, 1)
            x = net.gemm(net.flatten(net.global_average_pool(x) if index % 2 else x), 3)
            path = Path(folder) / f"{index}.onnx"
            quantize(net.model(x), path, activations=("int8", "uint8")[index % 2])
            yield path.read_bytes()


def damaged(seed: int, changes: int | None, files: tuple[bytes, ...]) -> bytes:
    """The file of a seed with its first changes, all of them if None, made from valid ones."""
    rng = np.random.default_rng(seed)
    form = form_of(seed)
    data = files[int(rng.integers(len(files)))]
    own = int(rng.integers(1, MOST_CHANGES + 1))
    for _ in range(own if changes is None else min(own, changes)):
        kinds = _CHANGES if form == "tflite" else (*_CHANGES, _reshaped_proto, _reshaped_proto)
        data = kinds[int(rng.integers(len(kinds)))](data, rng) or data
    return data


def _flipped(data: bytes, rng: Rng) -> bytes:
    copy = bytearray(data)
    for place in rng.integers(0, len(copy), int(rng.integers(1, 5))):
        copy[place] ^= 1 << int(rng.integers(8))
    return bytes(copy)


def _truncated(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(1, len(data) + 1))]


def _overwritten(data: bytes, rng: Rng) -> bytes:
    copy = bytearray(data)
    begin, size = int(rng.integers(len(copy))), int(rng.integers(1, 17))
    fill = (b"\0" * size, b"\xff" * size, rng.bytes(size))[int(rng.integers(3))]
    copy[begin : begin + size] = fill[: len(copy) - begin]
    return bytes(copy)


def _hostile_number(data: bytes, rng: Rng) -> bytes:
    """One of the file's aligned 32-bit numbers: a shape, an offset, a length, an index."""
    copy = bytearray(data)
    if len(copy) >= 8:
        # Small numbers are rarely weights.
        numbers = np.frombuffer(data[: len(data) // 4 * 4], np.int32)
        small = np.flatnonzero((numbers >= 0) & (numbers < 4096))
        place = int(rng.choice(small)) if len(small) else int(rng.integers(len(numbers)))
        copy[4 * place : 4 * place + 4] = struct.pack("<i", int(rng.choice(_HOSTILE)))
    return bytes(copy)


def _moved(data: bytes, rng: Rng) -> bytes:
    """A piece taken out, or put in twice."""
    begin, size = int(rng.integers(len(data))), int(rng.integers(1, 65))
    piece = data[begin : begin + size]
    if rng.random() < 0.5:
        return data[:begin] + data[begin + size :]
    return data[:begin] + piece + data[begin:]


def _reshaped_proto(data: bytes, rng: Rng) -> bytes | None:
    """A valid protobuf with a field of the graph changed; None if the file is none any more."""
    try:
        model = onnx.load_model_from_string(data)
    except Exception:
        return None
    graph = model.graph
    nodes, tensors = list(graph.node), list(graph.initializer)
    values = [*graph.input, *graph.output, *graph.value_info]
    number = int(rng.choice(_HOSTILE))
    kind = int(rng.integers(8))
    if kind == 0 and tensors:
        tensor = tensors[int(rng.integers(len(tensors)))]
        if tensor.dims:
            tensor.dims[int(rng.integers(len(tensor.dims)))] = number
        else:
            tensor.dims.append(number)
    elif kind == 1 and tensors:
        tensors[int(rng.integers(len(tensors)))].data_type = int(rng.integers(0, 24))
    elif kind == 2 and values:
        sizes = values[int(rng.integers(len(values)))].type.tensor_type.shape.dim
        if sizes:
            sizes[int(rng.integers(len(sizes)))].dim_value = number
    elif kind == 3 and nodes:
        own = nodes[int(rng.integers(len(nodes)))].attribute
        if own:
            attribute = own[int(rng.integers(len(own)))]
            if attribute.ints:
                attribute.ints[int(rng.integers(len(attribute.ints)))] = number
            else:
                attribute.i = number
    elif kind == 4 and nodes:
        node = nodes[int(rng.integers(len(nodes)))]
        names = [name for other in nodes for name in (*other.input, *other.output)]
        if node.input:
            node.input[int(rng.integers(len(node.input)))] = names[int(rng.integers(len(names)))]
    elif kind == 5 and nodes:
        node = nodes[int(rng.integers(len(nodes)))]
        if node.input:
            del node.input[int(rng.integers(len(node.input)))]
    elif kind == 6 and nodes:
        nodes[int(rng.integers(len(nodes)))].op_type = nodes[int(rng.integers(len(nodes)))].op_type
    elif kind == 7 and tensors:
        tensor = tensors[int(rng.integers(len(tensors)))]
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
    result: bytes = model.SerializeToString()
    return result


_CHANGES: tuple[Callable[[bytes, Rng], bytes | None], ...] = (
    _flipped,
    _flipped,
    _truncated,
    _overwritten,
    _hostile_number,
    _hostile_number,
    _hostile_number,
    _moved,
)


def handled(data: bytes, check: bool) -> str:
    """What is wrong with how a file is handled; empty if it compiles or is refused."""
    from tinyaot.compiler import compile_model
    from tinyaot.compiler.check import check_model
    from tinyaot.targets import TinyaotError, get_target

    try:
        if check:
            check_model(data, get_target("cortex-m4"))
        else:
            compile_model(data, "cortex-m4")
    except TinyaotError as error:
        return "" if error.message else "a refusal without a word"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return f"{type(error).__name__} in {where}: {' '.join(str(error).split())[:120]}"
    return ""


def _work(pipe: multiprocessing.connection.Connection, files: dict[str, tuple[bytes, ...]]) -> None:
    """Handles the files that are asked for; dies of what takes too long or too much."""
    import tinyaot.compiler.pipeline  # noqa: F401

    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    while True:
        try:
            seed, changes = pipe.recv()
        except EOFError:
            return
        data = damaged(seed, changes, files[form_of(seed)])
        # On a busy machine an honest compile may wait for long.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(20 * SECONDS)
        problem = handled(data, check=seed % 8 < 2)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        pipe.send(problem)


class Worker:
    """A process that is started anew when a file kills it."""

    def __init__(self) -> None:
        self._process: Any = None

    def examine(self, seed: int, changes: int | None = None) -> str:
        """What is wrong with how the file of a seed is handled; empty if nothing is."""
        if self._process is None:
            self._pipe, theirs = multiprocessing.Pipe()
            files = {form: originals(form) for form in ("tflite", "onnx")}
            context = multiprocessing.get_context("spawn")
            self._process = context.Process(target=_work, args=(theirs, files), daemon=True)
            self._process.start()
            theirs.close()
        self._pipe.send((seed, changes))
        try:
            return str(self._pipe.recv())
        except (EOFError, ConnectionResetError):
            self._process.join()
            code, self._process = self._process.exitcode, None
        if code in (-signal.SIGALRM, -signal.SIGPROF):
            return f"takes more than {SECONDS} s"
        return f"dies of {signal.Signals(-code).name}" if code < 0 else f"exits with {code}"

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._pipe.close()
            self._process.join()
            self._process = None


def examine(seeds: Iterable[int]) -> list[Failure]:
    """The failures among the files of some seeds, each shrunk to the fewest changes that fail."""
    worker, failures = Worker(), []
    for seed in seeds:
        if not worker.examine(seed):
            continue
        for changes in range(1, MOST_CHANGES + 1):
            problem = worker.examine(seed, changes)
            if problem:
                failures.append(Failure(seed, changes, problem))
                break
    worker.close()
    return failures


def main(
    files: Annotated[int, typer.Option(min=1, help="How many files.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the first file.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Compiles damaged files: each must be refused in one line, or compile."""
    from concurrent.futures import ThreadPoolExecutor

    originals("tflite")
    originals("onnx")
    chunks = [
        range(first, min(first + _HANDED_OUT, seed + files))
        for first in range(seed, seed + files, _HANDED_OUT)
    ]
    done = failed = 0
    with ThreadPoolExecutor(workers) as pool:
        for chunk, failures in zip(chunks, pool.map(examine, chunks), strict=True):
            done, failed = done + len(chunk), failed + len(failures)
            for failure in failures:
                print(
                    f"seed {failure.seed}, {failure.changes} changes: {failure.problem}", flush=True
                )
            if done % 1000 < len(chunk):
                print(f"{done} files, {failed} failures", flush=True)
    print(f"{done} damaged files from seed {seed}: {failed} failures")
    raise typer.Exit(bool(failed))


if __name__ == "__main__":
    typer.run(main)
