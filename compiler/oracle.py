"""What a model must compute: seeded inputs, and its outputs from the model's own reference runtime.

The reference is TFLite Micro's Python runtime for `.tflite` and ONNX Runtime for `.onnx`. Models
with an operator that TFLite Micro has no kernel for run on LiteRT's reference kernels. It runs in a
child process, which costs some 0.2 s, because a runtime that crashes on an odd model must not take
the caller with it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.errors import TinyaotError

Array = NDArray[Any]

# TFLite Micro reserves its arena as virtual memory: a size that no microcontroller has is free.
_TFLM_ARENA_BYTES = 256 << 20


class TensorSpec(Protocol):
    """What the functions here must know of a tensor; real = scale * (q - zero_point).

    `scale` is None for a tensor without quantization.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def scale(self) -> float | None: ...
    @property
    def zero_point(self) -> int: ...


def random_inputs(specs: Sequence[TensorSpec], count: int, seed: int = 0) -> list[list[Array]]:
    """Draws `count` sets of inputs that exercise a quantized model.

    No one kind of input does: uniform noise averages out in the first layers and a network that
    ends in a softmax saturates on most of it, so that different inputs give the same output. By
    index:

    - 2, 3, 4: every element at the zero point, the smallest and the largest value of its type;
    - else 0, 3, 6, ...: a sum of low-frequency waves over all axes with a little noise, as an
      image or a spectrogram is, with any contrast and brightness;
    - else 1, 4, 7, ...: uniform over the whole range;
    - else 2, 5, 8, ...: a normal distribution around the zero point, from 2 steps wide to a
      quarter of the range.

    Input set i depends on `seed` and i only: a larger `count` extends a smaller one.

    Args:
        specs: the model's inputs, of integer dtypes or bool, which is always uniform.
        count: how many sets.
        seed: non-negative.

    Returns:
        For each set, one array per spec with its shape and dtype.
    """
    return [
        [_random_input(spec, index, (seed, index, port)) for port, spec in enumerate(specs)]
        for index in range(count)
    ]


def _random_input(spec: TensorSpec, index: int, seed: tuple[int, ...]) -> Array:
    rng = np.random.default_rng(seed)
    if spec.dtype == "bool":
        return rng.random(spec.shape) < 0.5
    info = np.iinfo(spec.dtype)
    constants = {2: spec.zero_point, 3: info.min, 4: info.max}
    if index in constants:
        return np.full(spec.shape, constants[index], spec.dtype)
    full = float(info.max) - float(info.min)
    if index % 3 == 0:
        darkest, brightest = np.sort(rng.uniform(size=2))
        wave = darkest + (brightest - darkest) * _smooth(spec.shape, rng)
        return _saturate(info.min + full * (wave + rng.normal(0, 0.01, spec.shape)), spec.dtype)
    if index % 3 == 1:
        return rng.integers(info.min, info.max, spec.shape, spec.dtype, endpoint=True)
    deviation = np.exp(rng.uniform(np.log(2), np.log(full / 4)))
    return _saturate(rng.normal(spec.zero_point, deviation, spec.shape), spec.dtype)


def _saturate(real: Array, dtype: str) -> Array:
    info = np.iinfo(dtype)
    return real.round().clip(info.min, info.max).astype(dtype)


def _smooth(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Four waves of at most two periods along each axis, scaled to [0, 1]."""
    total = np.zeros(shape)
    for _ in range(4):
        phase = np.full(shape, rng.uniform(0, 2 * np.pi))
        for axis, extent in enumerate(shape):
            ramp = np.arange(extent) / extent * rng.uniform(-2, 2) * 2 * np.pi
            phase += ramp.reshape([-1 if other == axis else 1 for other in range(len(shape))])
        total += rng.uniform(0.2, 1) * np.cos(phase)
    span = np.ptp(total) if total.size else 0.0
    return (total - total.min()) / span if span else np.full(shape, 0.5)


def dequantize(quantized: Array, spec: TensorSpec) -> Array:
    """float32 `scale * (q - zero_point)`, for a model whose own input is float.

    Exactly what ONNX's DequantizeLinear and TFLite's DEQUANTIZE compute; the model's QuantizeLinear
    gives `quantized` back.
    """
    if spec.scale is None:
        return quantized
    centred = quantized.astype(np.int32) - spec.zero_point
    return np.multiply(centred, np.float32(spec.scale), dtype=np.float32)


def quantize(real: Array, spec: TensorSpec) -> Array:
    """`round(real / scale) + zero_point` in float32, ties to even, saturated to `spec.dtype`.

    The formula of ONNX's QuantizeLinear; the inverse of `dequantize` on its results.
    """
    if spec.scale is None:
        return real.astype(spec.dtype)
    steps = (real.astype(np.float32) / np.float32(spec.scale)).round()
    return _saturate(steps + spec.zero_point, spec.dtype)


def reference_outputs(
    model_path: str | Path,
    inputs: Sequence[Sequence[Array]],
    *,
    fuse_qdq: bool = True,
    keep_state: bool = False,
) -> list[list[Array]]:
    """Runs a model's reference runtime on each set of inputs.

    Args:
        model_path: a `.tflite` or `.onnx` file.
        inputs: for each inference, one array per model input, in the model's own order, shapes
            and dtypes (float32 for an ONNX model whose first operator is QuantizeLinear: see
            `dequantize`).
        fuse_qdq: for ONNX: True lets ONNX Runtime fuse dequantize, operator and quantize into its
            integer kernels, as every application that runs the model does; False computes in
            float exactly the nodes that the file holds, which rounds differently.
        keep_state: False starts every inference from the model's initial state, True from the
            state that the one before left.

    Returns:
        For each inference, one array per model output, in the model's order.

    Raises:
        TinyaotError: the file is missing or of another kind, the runtime is not installed,
            cannot run this model on these inputs, or crashes.
    """
    path = Path(model_path).resolve()
    engine = _ENGINES.get(path.suffix.lower())
    if engine is None:
        raise TinyaotError(
            f"no reference runtime for {model_path}: its name ends in neither .tflite nor .onnx"
        )
    if not path.is_file():
        raise TinyaotError(f"no such model file: {model_path}", "check the path")
    if importlib.util.find_spec(engine.module) is None:
        raise TinyaotError(
            f"{engine.title}, which computes the reference outputs, is not installed",
            "pip install 'tinyaot[oracle]'",
            *engine.hints,
        )
    if not inputs:
        return []

    with tempfile.TemporaryDirectory(prefix="tinyaot-oracle-") as directory:
        arrays = [np.stack(port) for port in zip(*inputs, strict=True)]
        np.savez(Path(directory) / _INPUTS, *arrays)
        options = [
            "fuse" if fuse_qdq else "as-written",
            "stream" if keep_state else "independent",
        ]
        child = subprocess.run(
            [sys.executable, "-m", __name__, str(path), *options],
            cwd=directory,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if child.returncode:
            raise TinyaotError(
                f"{engine.title} cannot run {model_path}: {_reason(child)}",
                "check that the file is complete and that the inputs have its shapes and types",
            )
        outputs = _load(Path(directory) / _OUTPUTS)
    return [[port[index] for port in outputs] for index in range(len(inputs))]


def _reason(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode < 0:
        return f"it crashed ({signal.Signals(-child.returncode).name})"
    # The exception is on stdout; what a runtime logged on stderr before says more.
    error = " ".join(child.stdout.split()) or f"exit status {child.returncode}"
    log = child.stderr.strip().splitlines()
    return f"{error} ({log[0].strip()})" if log else error


class _Engine(NamedTuple):
    title: str
    module: str
    run: Callable[[Path, list[Array], Sequence[str]], list[Array]]
    hints: tuple[str, ...] = ()


def _run_tflite(path: Path, inputs: list[Array], options: Sequence[str]) -> list[Array]:
    """Every array has the inferences along its first, additional axis, here and below."""
    try:
        return _run_tflm(path, inputs, options)
    except Exception as error:
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise
        try:
            return _run_litert(path, inputs, options)
        except Exception as other:
            raise RuntimeError(f"{error}; nor can LiteRT: {other}") from other


def _run_litert(path: Path, inputs: list[Array], options: Sequence[str]) -> list[Array]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    ports = interpreter.get_input_details()
    _check_count(inputs, len(ports))
    results = []
    for one in zip(*inputs, strict=True):
        if "independent" in options:
            interpreter.reset_all_variables()
        for port, array in zip(ports, one, strict=True):
            interpreter.set_tensor(port["index"], array)
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        results.append([interpreter.get_tensor(port["index"]) for port in outputs])
    return [np.stack(port) for port in zip(*results, strict=True)]


def _run_tflm(path: Path, inputs: list[Array], options: Sequence[str]) -> list[Array]:
    import tflite
    from tflite_micro import runtime

    model = path.read_bytes()
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=_TFLM_ARENA_BYTES)
    subgraph = tflite.Model.GetRootAsModel(model, 0).Subgraphs(0)
    _check_count(inputs, subgraph.InputsLength())
    results = []
    for one in zip(*inputs, strict=True):
        if "independent" in options:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=_TFLM_ARENA_BYTES)
        for index, array in enumerate(one):
            interpreter.set_input(array, index)
        interpreter.invoke()
        results.append([interpreter.get_output(index) for index in range(subgraph.OutputsLength())])
    return [np.stack(port) for port in zip(*results, strict=True)]


def _check_count(inputs: list[Array], expected: int) -> None:
    # TFLite Micro would compute with what happens to be in an input that is not set.
    if len(inputs) != expected:
        raise ValueError(f"it has {expected} inputs, but {len(inputs)} were given")


def _run_onnxruntime(path: Path, inputs: list[Array], options: Sequence[str]) -> list[Array]:
    session = _session(path, "fuse" in options)
    names = [port.name for port in session.get_inputs()]
    _check_count(inputs, len(names))
    results = [
        session.run(None, dict(zip(names, one, strict=True))) for one in zip(*inputs, strict=True)
    ]
    return [np.stack(port) for port in zip(*results, strict=True)]


def _session(path: Path, fuse_qdq: bool) -> Any:
    """The model in ONNX Runtime, as precise as it can run it."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    def session(model: Path | bytes, *, precise: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        if precise:
            # Else x86 CPUs that lack VNNI saturate sums of uint8 by int8 products at 16 bits.
            options.add_session_config_entry("session.x64quantprecision", "1")
        level = onnxruntime.GraphOptimizationLevel
        chosen = level.ORT_ENABLE_ALL if fuse_qdq else level.ORT_DISABLE_ALL
        options.graph_optimization_level = chosen
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    # That option replaces an int8 constant once for each node that reads it, and fails the second
    # time; and it turns some int8 operators into forms that have no kernel.
    for model in (path, _without_shared_constants(path)):
        with contextlib.suppress(states.Fail, states.NotImplemented):
            return session(model, precise=True)
    return session(path, precise=False)


def _without_shared_constants(path: Path) -> bytes:
    """The model with a copy of its own for each node that reads a constant."""
    import onnx

    model = onnx.load(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        for place, name in enumerate(node.input):
            if name in seen:
                copy = model.graph.initializer.add()
                copy.CopyFrom(constants[name])
                copy.name = node.input[place] = f"{name}/{number}/{place}"
            elif name in constants:
                seen.add(name)
    data: bytes = model.SerializeToString()
    return data


_ENGINES = {
    ".tflite": _Engine(
        "TFLite Micro",
        "tflite_micro",
        _run_tflite,
        ("its Python package exists for x86-64 Linux only",),
    ),
    ".onnx": _Engine("ONNX Runtime", "onnxruntime", _run_onnxruntime),
}
_INPUTS, _OUTPUTS = "inputs.npz", "outputs.npz"


def _load(path: Path) -> list[Array]:
    with np.load(path) as archive:
        return [archive[f"arr_{index}"] for index in range(len(archive.files))]


def _child_main(model: str, *options: str) -> int:
    path = Path(model)
    try:
        outputs = _ENGINES[path.suffix.lower()].run(path, _load(Path(_INPUTS)), options)
    except Exception as error:
        print(error)
        return 1
    np.savez(Path(_OUTPUTS), *outputs)
    return 0


if __name__ == "__main__":
    sys.exit(_child_main(*sys.argv[1:]))
