"""Writing a model as a CMake package, Zephyr module, Arduino library or CMSIS-Pack.

Each format is a table from the path of a file to the template that makes it, beside the model's own
sources. Every format carries an example that fills the inputs with numbers, runs one inference and
compares a checksum of the outputs with the one computed here by the numpy interpreter of the graph,
so that a user sees on a new device whether all is well before connecting a sensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

from tinyaot.compiler.files import write_tree
from tinyaot.targets import Target, TinyaotError, get_board
from tinyaot.targets.data import unknown_name

if TYPE_CHECKING:
    from tinyaot.compiler import CompiledModel
    from tinyaot.compiler.compiled import Array
    from tinyaot.compiler.graph import Tensor

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=jinja2.select_autoescape(["pdsc.j2"], default_for_string=False, default=False),
)
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Format:
    """A kind of folder.

    Attributes:
        title: in running text.
        files: templates by the path of what they make; both may name the model as `{name}`.
        headers: folder of the public header.
        sources: folder of everything else.
        emulated: templates that are for targets with an emulated board only.
    """

    title: str
    files: Mapping[str, str]
    headers: str
    sources: str
    emulated: Mapping[str, str]


FORMATS = {
    "cmake": Format(
        "CMake package",
        {
            "CMakeLists.txt": "cmake/CMakeLists.txt.j2",
            "tinyaot_{name}-config.cmake": "cmake/config.cmake.j2",
            "tinyaot_{name}-config-version.cmake": "cmake/version.cmake.j2",
            "example/main.c": "cmake/main.c.j2",
            "example/CMakeLists.txt": "cmake/example.cmake.j2",
            "README.md": "cmake/README.md.j2",
        },
        "include",
        "src",
        {
            "cmake/{target}.cmake": "cmake/toolchain.cmake.j2",
            "example/startup.c": "cmake/startup.c.j2",
            "example/link.ld": "cmake/link.ld.j2",
        },
    ),
    "zephyr": Format(
        "Zephyr module",
        {
            "zephyr/module.yml": "zephyr/module.yml.j2",
            "zephyr/CMakeLists.txt": "zephyr/CMakeLists.txt.j2",
            "zephyr/Kconfig": "zephyr/Kconfig.j2",
            "samples/{name}/CMakeLists.txt": "zephyr/sample.cmake.j2",
            "samples/{name}/prj.conf": "zephyr/prj.conf.j2",
            "samples/{name}/sample.yaml": "zephyr/sample.yaml.j2",
            "samples/{name}/src/main.c": "zephyr/main.c.j2",
            "README.md": "zephyr/README.md.j2",
        },
        "include",
        "src",
        {},
    ),
    "arduino": Format(
        "Arduino library",
        {
            "library.properties": "arduino/library.properties.j2",
            "keywords.txt": "arduino/keywords.txt.j2",
            "examples/RunOnce/RunOnce.ino": "arduino/RunOnce.ino.j2",
            "README.md": "arduino/README.md.j2",
        },
        "src",
        "src",
        {},
    ),
    "cmsis-pack": Format(
        "CMSIS-Pack",
        {
            "tinyaot.{name}.pdsc": "cmsis_pack/pack.pdsc.j2",
            "template/main.c": "cmsis_pack/main.c.j2",
            "README.md": "cmsis_pack/README.md.j2",
        },
        "include",
        "src",
        {},
    ),
}
"""The formats by the name that the user types."""


def export_model(
    compiled: CompiledModel, format_name: str, directory: Path, *, version: str = "1.0.0"
) -> list[str]:
    """Writes the folder.

    Args:
        compiled: the model.
        format_name: a key of `FORMATS`.
        directory: made if it is not there; must be empty, or an export of the same model in the
            same format, which is replaced.
        version: of the package, such as `1.2.0`.

    Returns:
        The paths of the files, relative to the folder.

    Raises:
        TinyaotError: the format is unknown, or has no driver for the NPU; the version is not three
            numbers; the folder holds something else; or a file cannot be written.
    """
    if format_name not in FORMATS:
        raise unknown_name("format", format_name, FORMATS)
    if not _VERSION.fullmatch(version):
        raise TinyaotError(f"the version {version!r} is not of the form 1.2.3")
    if format_name == "arduino" and compiled.program.npu:
        raise TinyaotError(
            f"{compiled.name} runs on the NPU of {compiled.target.name}, "
            "for which Arduino has no driver",
            "export another format, or compile for the core alone",
        )
    files = export_files(compiled, format_name, version)
    _check_free(directory, files)
    write_tree(directory, files)
    return sorted(files)


def export_files(compiled: CompiledModel, format_name: str, version: str) -> dict[str, str]:
    """The text of every file of an export by its path."""
    chosen = FORMATS[format_name]
    context = _context(compiled, format_name, version)
    names = {"name": compiled.name, "target": compiled.target.name}
    header = f"tinyaot_{compiled.name}.h"
    files = {
        f"{chosen.headers if name == header else chosen.sources}/{name}": text
        for name, text in compiled.program.files.items()
    }
    entry = f"{chosen.sources}/tinyaot_{compiled.name}.c"
    files[entry] = _guarded(files[entry], compiled.target)
    context["sources"] = sorted(path for path in files if path.endswith(".c"))
    context["files"] = sorted(files)
    templates = dict(chosen.files)
    if compiled.target.board is not None and not context["driver"]:
        templates |= chosen.emulated
    for path, template in templates.items():
        files[path.format(**names)] = _TEMPLATES.get_template(template).render(context)
    return files


def _guarded(source: str, target: Target) -> str:
    """The C with an error in words for a compiler that is set to a lesser core.

    The macros are those of the Arm C Language Extensions, which GCC, Clang, Arm and IAR define.
    """
    needs = {
        "mve": "!defined(__ARM_FEATURE_MVE) || !(__ARM_FEATURE_MVE & 1)",
        "dsp": "!defined(__ARM_FEATURE_DSP)",
        "thumb2": "!defined(__ARM_ARCH) || __ARM_ARCH < 7",
    }
    lacks = next((test for feature, test in needs.items() if feature in target.features), None)
    if lacks is None:
        return source
    message = f"compiled for {target.title}: select that core, or export the model for yours"
    before, include, after = source.partition("#include")
    return f'{before}#if {lacks}\n#error "{message}"\n#endif\n\n{include}{after}'


def _check_free(directory: Path, files: Mapping[str, str]) -> None:
    """Refuses a folder that holds files of the user, which an export would lie among."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise TinyaotError(f"{directory} is not a folder", "choose another path")
    known = {directory / name for name in files}
    foreign = sorted(path for path in directory.rglob("*") if path.is_file() and path not in known)
    if foreign:
        raise TinyaotError(
            f"the folder {directory} holds {foreign[0].relative_to(directory)}, "
            "which is no part of this export",
            "choose a new folder, or empty this one",
        )


def _context(compiled: CompiledModel, format_name: str, version: str) -> dict[str, Any]:
    """What the templates may say."""
    target = compiled.target
    report = compiled.report()
    inputs = [
        {"port": port, "tensor": tensor, "mask": 1 if tensor.dtype == "bool" else 255}
        for port, tensor in zip(compiled.program.inputs, compiled.inputs, strict=True)
    ]
    outputs = [
        {"port": port, "tensor": tensor}
        for port, tensor in zip(compiled.program.outputs, compiled.outputs, strict=True)
    ]
    return {
        "name": compiled.name,
        "NAME": compiled.name.upper(),
        "FORMAT": format_name,
        "version": version,
        "tinyaot_version": metadata.version("tinyaot"),
        "target": target,
        "resets": compiled.program.resets,
        "driver": bool(compiled.program.npu),
        "board": None if target.board is None else get_board(target.board),
        "optimize": compiled.optimize,
        "report": report,
        "example_inputs": inputs,
        "example_outputs": outputs,
        "expected": f"0x{_expected(compiled):08x}",
    }


def example_inputs(tensors: tuple[Tensor, ...]) -> list[Array]:
    """What the example's `fill` writes: a byte a step of Knuth's and Lewis's generator, modulo
    2^32, with multiplier 1664525 and increment 1013904223, from 1 for each input."""
    arrays: list[Array] = []
    for tensor in tensors:
        state, values = 1, bytearray(tensor.nbytes)
        for index in range(tensor.nbytes):
            state = (state * 1664525 + 1013904223) % 2**32
            values[index] = state >> 24 & (1 if tensor.dtype == "bool" else 255)
        arrays.append(np.frombuffer(bytes(values), tensor.dtype).reshape(tensor.shape))
    return arrays


def _expected(compiled: CompiledModel) -> int:
    """The checksum that the example should print: FNV-1a of all output bytes."""
    outputs = compiled.measure([example_inputs(compiled.inputs)], on="reference").outputs[0]
    value = 2166136261
    for byte in b"".join(np.ascontiguousarray(one).tobytes() for one in outputs):
        value = (value ^ byte) * 16777619 % 2**32
    return value
