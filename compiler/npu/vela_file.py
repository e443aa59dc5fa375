"""TFLite files that Vela compiled: what is in them, and running them on the functional model.

Vela replaces what the NPU runs by custom operators `ethos-u`, whose inputs are the command stream
(driver's payload), constants, scratch and fast scratch, and then the real inputs. The metadata
`OfflineMemoryAllocation` places tensors in one arena, as TFLite Micro's kernel `ethos_u` reads it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.targets.errors import TinyaotError
from tinyaot.targets.ethos_u.model import (
    ACCELERATORS,
    StreamError,
    TracedOperation,
    parse_driver_payload,
    payload_config,
    run_stream,
)

Array = NDArray[Any]

_CUSTOM = b"ethos-u"
_DTYPES = {2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"}
_ARENA_LIMIT = 1 << 30
_HEADER_WORDS = 3
_SECONDS = 120.0


@dataclass(frozen=True)
class FileTensor:
    """A tensor of the file.

    Attributes:
        name: as in the file.
        shape: its extents.
        dtype: as NumPy calls it.
        scale: of the quantization; None if it has none.
        zero_point: likewise; 0 if it has none.
        data: of a constant; empty otherwise.
        offset: in the arena; None if the file leaves it open.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int
    data: bytes
    offset: int | None

    @property
    def nbytes(self) -> int:
        """Its size."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class NpuCall:
    """A custom operator: numbers of the tensors it works on.

    Attributes:
        index: of the operator.
        payload: the driver's payload.
        inputs: constants, scratch, fast scratch and the real inputs.
        outputs: what it writes.
    """

    index: int
    payload: bytes
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class VelaFile:
    """A file that Vela compiled.

    Attributes:
        calls: its NPU operators.
        others: names of the operators that are left for the CPU, with their numbers.
        tensors: of its main subgraph.
        inputs, outputs: numbers of the tensors that are the model's.
    """

    calls: tuple[NpuCall, ...]
    others: tuple[str, ...]
    tensors: tuple[FileTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class FileRun:
    """What running a file gave.

    Attributes:
        accelerator: which one it was compiled for.
        outputs: for each inference one array per output.
        commands, kernels, transfers: how many the streams of one inference have.
        macs: multiply-accumulates of one inference.
        dma_bytes: bytes of one inference's transfers.
        constant_bytes: weights and scales that one inference reads.
    """

    accelerator: str
    outputs: list[list[Array]]
    commands: int
    kernels: int
    transfers: int
    macs: int
    dma_bytes: int
    constant_bytes: int


def read_vela_file(data: bytes, name: str) -> VelaFile:
    """Reads a TFLite file that Vela compiled.

    Args:
        data: the file.
        name: how messages call it.

    Raises:
        TinyaotError: it is damaged, or has no NPU operator.
    """
    import tflite

    if data[4:8] != b"TFL3":
        raise TinyaotError(
            f"{name} is not a TFLite file", "give a file that Vela wrote, such as model_vela.tflite"
        )
    try:
        file = _read(tflite.Model.GetRootAs(data, 0), tflite)
    except TinyaotError as error:
        raise TinyaotError(f"{name}: {error.message}", *error.hints) from error
    except Exception as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise TinyaotError(
            f"{name} is damaged or cut short: {what}", "have Vela compile it again"
        ) from error
    if not file.calls:
        raise TinyaotError(
            f"{name} has no operator ethos-u: Vela did not compile it",
            "compile it with Vela, or run it by `tinyaot run`",
        )
    return file


def _read(model: Any, tflite: Any) -> VelaFile:
    graph = model.Subgraphs(0)
    offsets = _offsets(model)
    tensors = []
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        dtype = _DTYPES.get(tensor.Type(), "float32")
        quantization = tensor.Quantization()
        scaled = quantization is not None and quantization.ScaleLength() == 1
        tensors.append(
            FileTensor(
                name=(tensor.Name() or b"").decode(errors="replace"),
                shape=tuple(int(extent) for extent in _numbers(tensor.ShapeAsNumpy())),
                dtype=dtype,
                scale=float(quantization.Scale(0)) if scaled else None,
                zero_point=int(quantization.ZeroPoint(0)) if scaled else 0,
                data=_numbers(model.Buffers(tensor.Buffer()).DataAsNumpy()).tobytes(),
                offset=offsets[index] if index < len(offsets) and offsets[index] >= 0 else None,
            )
        )
    builtin = {
        value: name for name, value in vars(tflite.BuiltinOperator).items() if name.isupper()
    }
    calls, others = [], []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        inputs = tuple(int(one) for one in _numbers(operator.InputsAsNumpy()))
        outputs = tuple(int(one) for one in _numbers(operator.OutputsAsNumpy()))
        if code.CustomCode() != _CUSTOM:
            kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            title = (code.CustomCode() or b"").decode(errors="replace") or builtin.get(kind, "?")
            others.append(f"{title} #{index}")
            continue
        if len(inputs) < 4 or min(inputs + outputs) < 0:
            raise TinyaotError(f"operator {index} (ethos-u) has {len(inputs)} inputs")
        calls.append(NpuCall(index, tensors[inputs[0]].data, inputs[1:], outputs))
    return VelaFile(
        tuple(calls),
        tuple(others),
        tuple(tensors),
        tuple(int(one) for one in _numbers(graph.InputsAsNumpy())),
        tuple(int(one) for one in _numbers(graph.OutputsAsNumpy())),
    )


def _numbers(vector: Any) -> Array:
    """A vector of the file; an empty one is read as the number 0."""
    return vector if isinstance(vector, np.ndarray) else np.empty(0, np.uint8)


def _offsets(model: Any) -> list[int]:
    """Each tensor's offset in the arena, -1 if it has none."""
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry.Name() == b"OfflineMemoryAllocation":
            words = _numbers(model.Buffers(entry.Buffer()).DataAsNumpy()).view("<i4")
            return [int(one) for one in words[_HEADER_WORDS : _HEADER_WORDS + int(words[2])]]
    return []


def accelerator_of(payload: bytes) -> str:
    """The accelerator that a driver's payload is for.

    Raises:
        TinyaotError: it does not say, or there is no functional model of it.
    """
    config = payload_config(payload)
    if config is None:
        raise TinyaotError("the driver's payload does not start with COP1 and a configuration")
    name = f"ethos-{config[0]}-{config[1]}"
    if name not in ACCELERATORS:
        raise TinyaotError(
            f"it is compiled for {name}, of which there is no functional model",
            f"those that can be run here: {', '.join(ACCELERATORS)}",
        )
    return name


def run_vela_file(
    path: Path, inputs: Sequence[Sequence[Array]], timeout: float = _SECONDS
) -> FileRun:
    """Runs a file that Vela compiled on the functional model.

    That happens in a process of its own: Vela's weight decoder ends the one that gives it a damaged
    stream.

    Args:
        path: the file.
        inputs: for each inference one array per input of the model.
        timeout: seconds for all inferences.

    Raises:
        TinyaotError: the file is damaged, has operators for the CPU, or its stream does what it
            must not.
    """
    with tempfile.TemporaryDirectory(prefix="tinyaot-npu-") as folder:
        directory = Path(folder)
        arrays = [np.stack(port) for port in zip(*inputs, strict=True)]
        np.savez(directory / "inputs.npz", *arrays)
        try:
            child = subprocess.run(
                [sys.executable, "-m", __name__, str(path.resolve())],
                cwd=directory,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise TinyaotError(
                f"{path} did not end within {timeout:g} s", "give it fewer inputs"
            ) from None
        report = directory / "report.json"
        if child.returncode or not report.is_file():
            raise _failure(path, directory, child)
        facts = json.loads(report.read_text(encoding="utf-8"))
        with np.load(directory / "outputs.npz") as archive:
            ports = [archive[f"arr_{index}"] for index in range(len(archive.files))]
    return FileRun(outputs=[[port[one] for port in ports] for one in range(len(inputs))], **facts)


def _failure(path: Path, directory: Path, child: subprocess.CompletedProcess[str]) -> TinyaotError:
    report = directory / "error.json"
    if report.is_file():
        error = json.loads(report.read_text(encoding="utf-8"))
        return TinyaotError(f"{path}: {error['message']}", *error["hints"])
    progress = directory / "progress"
    after = progress.read_text(encoding="utf-8") if progress.is_file() else "its start"
    how = f"status {child.returncode}"
    if child.returncode < 0:
        how = signal.Signals(-child.returncode).name
    said = (child.stdout + child.stderr).strip().splitlines()
    return TinyaotError(
        f"{path}: the weights are damaged: their decoder gave up after {after} "
        f"({said[-1].strip() if said else how})",
        "have Vela compile it again",
    )


def _run(file: VelaFile, inputs: Sequence[Array], progress: Path) -> tuple[list[Array], Any]:
    """One inference: the model's outputs, and what was run."""
    memory = _Arena(file)
    for index, data in zip(file.inputs, inputs, strict=True):
        memory.write(index, data)

    def observe(traced: TracedOperation, _: NDArray[np.int64]) -> None:
        progress.write_text(f"command {traced.index}", encoding="utf-8")

    totals = {"commands": 0, "kernels": 0, "transfers": 0, "macs": 0}
    totals.update(dma_bytes=0, constant_bytes=0)
    accelerator = ""
    for call in file.calls:
        accelerator = accelerator_of(call.payload)
        regions = [memory.view(index) for index in (*call.inputs, *call.outputs)]
        present = {number: array for number, array in enumerate(regions) if len(array)}
        trace = run_stream(
            parse_driver_payload(call.payload),
            present,
            accelerator,
            # The outputs hold nothing yet, where they lie in the arena and where not.
            written={len(call.inputs) + number: () for number in range(len(call.outputs))},
            observe=observe,
        )
        totals["commands"] += trace.commands
        totals["kernels"] += len(trace.operations)
        totals["transfers"] += len(trace.transfers)
        totals["macs"] += trace.macs
        totals["dma_bytes"] += trace.dma_bytes
        totals["constant_bytes"] += sum(one.constant_bytes for one in trace.operations)
    outputs = [memory.read(index) for index in file.outputs]
    return outputs, {"accelerator": accelerator, **totals}


class _Arena:
    """The memory of a file's tensors: constants, the arena, and what is placed in neither."""

    def __init__(self, file: VelaFile) -> None:
        self._file = file
        placed = [one for one in file.tensors if one.offset is not None and not one.data]
        size = max(((one.offset or 0) + one.nbytes for one in placed), default=0)
        if size > _ARENA_LIMIT:
            raise TinyaotError(f"the arena would take {size:,} bytes: the file is damaged")
        self._arena = np.zeros(size, np.uint8)
        self._others: dict[int, Array] = {}

    def view(self, index: int) -> NDArray[np.uint8]:
        """The bytes of a tensor, in place."""
        tensor = self._file.tensors[index]
        if tensor.data:
            view: Mapping[int, Array] = self._others
            if index not in view:
                self._others[index] = np.frombuffer(bytearray(tensor.data), np.uint8)
        elif tensor.offset is not None:
            return self._arena[tensor.offset : tensor.offset + tensor.nbytes]
        elif index not in self._others:
            if tensor.nbytes > _ARENA_LIMIT:
                raise TinyaotError(f"the tensor {tensor.name} would take {tensor.nbytes:,} bytes")
            self._others[index] = np.zeros(tensor.nbytes, np.uint8)
        return self._others[index]

    def write(self, index: int, data: Array) -> None:
        """Sets a tensor."""
        tensor = self._file.tensors[index]
        if data.dtype != tensor.dtype or data.size * data.itemsize != tensor.nbytes:
            raise TinyaotError(
                f"the input {tensor.name} is {tensor.dtype} of shape {tensor.shape}, "
                f"not {data.dtype} of shape {data.shape}"
            )
        self.view(index)[:] = np.ascontiguousarray(data).reshape(-1).view(np.uint8)

    def read(self, index: int) -> Array:
        """A copy of a tensor."""
        tensor = self._file.tensors[index]
        return self.view(index).copy().view(tensor.dtype).reshape(tensor.shape)


def check_runnable(file: VelaFile, name: str) -> str:
    """The accelerator of a file all of whose operators the functional model runs.

    Raises:
        TinyaotError: there are others, or an accelerator that has no model; says which.
    """
    if file.others:
        listed = ", ".join(file.others[:8]) + (", ..." if len(file.others) > 8 else "")
        raise TinyaotError(
            f"{name}: {len(file.others)} operators are left for the CPU, "
            f"which only whole models compiled by tinyaot run here: {listed}",
            "compile and run the original model: tinyaot run MODEL --target "
            "cortex-m55+ethos-u55-128",
        )
    try:
        return accelerator_of(file.calls[0].payload)
    except TinyaotError as error:
        raise TinyaotError(f"{name}: {error.message}", *error.hints) from error


def _child_main(path: str) -> int:
    try:
        file = read_vela_file(Path(path).read_bytes(), Path(path).name)
        with np.load("inputs.npz") as archive:
            ports = [archive[f"arr_{index}"] for index in range(len(archive.files))]
        outputs: list[list[Array]] = []
        facts: dict[str, Any] = {}
        for one in zip(*ports, strict=True):
            result, facts = _run(file, one, Path("progress"))
            outputs.append(result)
    except (TinyaotError, IndexError, ValueError, MemoryError) as error:
        message = error.message if isinstance(error, TinyaotError) else f"damaged: {error}"
        hints = list(error.hints) if isinstance(error, TinyaotError) else []
        if isinstance(error, StreamError) and not hints:
            hints = ["`tinyaot npu disasm` shows the stream"]
        Path("error.json").write_text(
            json.dumps({"message": message, "hints": hints}), encoding="utf-8"
        )
        return 1
    np.savez("outputs.npz", *(np.stack(port) for port in zip(*outputs, strict=True)))
    Path("report.json").write_text(json.dumps(facts), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(_child_main(*sys.argv[1:]))
