"""A compiled model as a device needs it: its C and its tensors, from memory or from a file."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyaot.compiler.graph import Tensor
from tinyaot.targets import Port, Program, Target, TinyaotError, get_target

if TYPE_CHECKING:
    from tinyaot.compiler.compiled import CompiledModel

_SOURCES = ("./codegen/host/src/", "./codegen/host/include/")


@dataclass(frozen=True)
class Bundle:
    """What can be linked for a board.

    Attributes:
        program: the C sources.
        inputs, outputs: tensors in the model's order.
        target: the core that the C is for.
        optimize: the C compiler's flag.
    """

    program: Program
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    target: Target
    optimize: str


def bundle_of(model: CompiledModel | str | Path) -> Bundle:
    """The bundle of a compiled model, or of the tar that `tinyaot compile` wrote.

    Raises:
        TinyaotError: the file cannot be read, or is no such tar.
    """
    if isinstance(model, (str, Path)):
        return load_bundle(Path(model))
    return Bundle(model.program, model.inputs, model.outputs, model.target, model.optimize)


def load_bundle(path: Path) -> Bundle:
    """Read a Model Library Format tar.

    Raises:
        TinyaotError: it cannot be read, or another program or version wrote it.
    """
    try:
        with tarfile.open(path) as archive:
            members = {
                member.name: (archive.extractfile(member) or _none(member.name)).read()
                for member in archive
                if member.isfile()
                and (member.name == "./metadata.json" or member.name.startswith(_SOURCES))
            }
    except OSError as error:
        raise TinyaotError(f"cannot read {path}: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise TinyaotError(
            f"{path} is not a model library: {error}", "make one: tinyaot compile MODEL"
        ) from error
    try:
        return _bundle(members)
    except (KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise TinyaotError(
            f"{path} is not a model library that this version reads: {error!r}",
            "make it again: tinyaot compile MODEL",
        ) from error


def _none(name: str) -> Any:
    raise ValueError(f"no contents of {name}")


def _bundle(members: dict[str, bytes]) -> Bundle:
    (name, module), *_ = json.loads(members["./metadata.json"])["modules"].items()
    functions = module["memory"]["functions"]
    main = functions["main"][0]
    files = {
        member.rpartition("/")[2]: data.decode()
        for member, data in members.items()
        if member.startswith(_SOURCES)
    }
    (target,), (*_, optimize) = module["target"], module["c_flags"]
    operators = functions["operator_functions"]
    program = Program(
        name=name,
        files=files,
        inputs=_ports(main["inputs"]),
        outputs=_ports(main["outputs"]),
        operators=tuple(operator["node"] for operator in operators),
        resets=f"tinyaot_{name}_reset" in files[f"tinyaot_{name}.h"],
        functions=tuple(operator["function"] for operator in operators),
        npu=module["npu"],
    )
    return Bundle(
        program, _tensors(main["inputs"]), _tensors(main["outputs"]), get_target(target), optimize
    )


def _ports(tensors: dict[str, Any]) -> tuple[Port, ...]:
    return tuple(
        Port(tensor["c_name"], tensor["c_type"], tensor["nbytes"]) for tensor in tensors.values()
    )


def _tensors(tensors: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, tuple(one["shape"]), one["dtype"], one["scale"], one["zero_point"])
        for name, one in tensors.items()
    )
