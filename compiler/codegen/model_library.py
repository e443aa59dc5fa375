"""Model Library Format: the tar file that a compiled model is delivered as.

The layout is the one that microTVM's users know (`codegen/host/src`, `codegen/host/include`,
`parameters`, `metadata.json`), with a memory map and the integer graph as text beside them.
"""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tinyaot.compiler.files import written_whole
from tinyaot.compiler.graph import Graph, Tensor
from tinyaot.compiler.memory.layout import MemoryLayout
from tinyaot.compiler.scheduling import Operator
from tinyaot.targets import Port, Program, Target

_FORMAT_VERSION = 7


def write_model_library(
    path: Path,
    graph: Graph,
    operators: Sequence[Operator],
    layout: MemoryLayout,
    program: Program,
    target: Target,
    optimize: str,
) -> None:
    """Writes the archive; the same model gives the same bytes, and no part of a file remains if
    writing fails.

    Raises:
        TinyaotError: the file cannot be written.
    """
    members: dict[str, bytes] = {
        "metadata.json": _metadata(graph, operators, layout, program, target, optimize),
        "memory_map.txt": layout.format().encode(),
        f"src/{graph.name}.txt": graph.format().encode(),
        f"parameters/{graph.name}.npz": _parameters(graph, operators),
    }
    for name, text in program.files.items():
        folder = "include" if name.endswith(".h") else "src"
        members[f"codegen/host/{folder}/{name}"] = text.encode()
    with written_whole(path) as file:
        _write_tar(file, members)


def _write_tar(file: Any, members: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(members[name])
            info.mode = 0o644
            archive.addfile(info, io.BytesIO(members[name]))


def _parameters(graph: Graph, operators: Sequence[Operator]) -> bytes:
    """The constants of every operator as the kernels read them, in numpy's archive format."""
    arrays = {
        f"{index}_{name}": array
        for index, operator in enumerate(operators)
        for name, array in operator.constants.items()
    }
    arrays |= {f"constant_{place}": one for place, one in enumerate(graph.constants.values())}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _metadata(
    graph: Graph,
    operators: Sequence[Operator],
    layout: MemoryLayout,
    program: Program,
    target: Target,
    optimize: str,
) -> bytes:
    ports = (*graph.inputs, *graph.outputs)
    main = {
        "workspace_size_bytes": layout.plan.size,
        "constants_size_bytes": constant_bytes(graph, operators),
        "io_size_bytes": sum(graph.tensors[name].nbytes for name in ports),
        "inputs": _ports(graph, graph.inputs, program.inputs),
        "outputs": _ports(graph, graph.outputs, program.outputs),
    }
    functions = [
        {
            "index": index,
            "node": operator.node.origin,
            "kind": operator.node.workload.kind,
            "rule": operator.rule,
            "decisions": dict(operator.decisions),
            "decisions_from": operator.source,
            "macs": operator.node.workload.macs,
            "workspace_size_bytes": operator.function.workspace,
            "function": function,
        }
        for index, (operator, function) in enumerate(zip(operators, program.functions, strict=True))
    ]
    document = {
        "version": _FORMAT_VERSION,
        "modules": {
            graph.name: {
                "model_name": graph.name,
                "executors": ["aot"],
                "style": "full-model",
                "target": [target.name],
                "c_flags": [*target.flags, optimize],
                "memory": {"functions": {"main": [main], "operator_functions": functions}},
                "npu": program.npu,
                "entry": f"tinyaot_{graph.name}_run",
                "notes": list(graph.notes),
                "tinyaot_version": metadata.version("tinyaot"),
            }
        },
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _ports(graph: Graph, names: Sequence[str], ports: Sequence[Port]) -> dict[str, Any]:
    return {name: _port(graph.tensors[name], port) for name, port in zip(names, ports, strict=True)}


def _port(tensor: Tensor, port: Port) -> dict[str, Any]:
    return {
        "c_name": port.name,
        "c_type": port.ctype,
        "nbytes": port.nbytes,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "size": math.prod(tensor.shape),
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }


def constant_bytes(graph: Graph, operators: Sequence[Operator]) -> int:
    """Bytes of all constants, arrays that several operators share counted once."""
    arrays = [array for operator in operators for array in operator.constants.values()]
    arrays += graph.constants.values()
    return sum({(one.dtype.str, one.tobytes()): one.nbytes for one in arrays}.values())
