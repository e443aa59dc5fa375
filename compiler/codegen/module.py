"""The C of a whole model: kernels, weights, the ahead-of-time entry function and its header."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from tinyaot.compiler.codegen.c import CFunction, c_type
from tinyaot.compiler.graph import Graph, Node, Tensor
from tinyaot.compiler.memory.layout import MemoryLayout
from tinyaot.compiler.npu.kernel import CACHE_ARRAY
from tinyaot.compiler.scheduling import Operator
from tinyaot.schedules.workload_npu import NpuRegion
from tinyaot.targets import Port, Program, Target
from tinyaot.targets.compile import NPU_SECTION, WEIGHTS_SECTION

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    autoescape=False,
)
# Words of C and C++ (the header serves both), and what the header's own macros are called after.
_RESERVED = frozenset(
    "alignas alignof and asm auto bool break case catch char class compl const constexpr continue "
    "decltype default delete do double else enum explicit export extern false float for friend "
    "goto if inline int long mutable namespace new noexcept not nullptr operator or private "
    "protected public register restrict return short signed sizeof static struct switch template "
    "this throw true try typedef typeid typename union unsigned using virtual void volatile while "
    "xor arena".split()
)
_HEADER_FOLDERS = ("schedules/intrinsics",)
_ROW = 96


@dataclass(frozen=True)
class Array:
    """A constant array in flash; the NPU's are in sections of their own."""

    symbol: str
    ctype: str
    size: int
    comment: str
    values: str
    section: str = WEIGHTS_SECTION
    alignment: int = 4


@dataclass(frozen=True)
class CKernel:
    """A kernel function as the template wants it."""

    name: str
    comment: str
    parameters: str
    body: str
    returns: str


def emit_program(
    graph: Graph, operators: Sequence[Operator], layout: MemoryLayout, target: Target
) -> Program:
    """The C sources of a scheduled and planned model.

    Args:
        graph: the model.
        operators: its scheduled nodes.
        layout: where its tensors lie.
        target: named in comments only.

    Returns:
        `tinyaot_<name>.c` and `.h`, `tinyaot_<name>_weights.c` and `.h`, and the headers with the
        intrinsics that the kernels use. The same input gives the same text.
    """
    arrays, symbols, flash = _arrays(graph, operators)
    npu = next((op.rule for op in operators if isinstance(op.node.workload, NpuRegion)), None)
    alignment = max((operator.kernel.alignment for operator in operators), default=4)
    kernels, kernel_names = _kernels(graph, operators, layout)
    ports = _ports(graph)
    states = _states(graph)
    field = {port["tensor"]: f"{port['role']}s->{port['name']}" for port in ports} | flash
    field |= {state["tensor"]: state["symbol"] for state in states}
    calls = []
    for index, operator in enumerate(operators):
        node = operator.node
        ctypes = [parameter.ctype for parameter in operator.function.parameters]
        arguments = [
            *(
                _address(graph.tensors[name], ctype, "const ", layout, field)
                for name, ctype in zip(node.inputs, ctypes, strict=False)
            ),
            *symbols[index],
            *(
                _address(graph.tensors[name], ctype, "", layout, field)
                for name, ctype in zip(
                    (*node.outputs, *node.states),
                    ctypes[len(node.inputs) + len(symbols[index]) :],
                    strict=True,
                )
            ),
        ]
        workspace = layout.workspaces[index]
        if workspace is not None:
            arguments.append(_arena_address(layout.plan.offsets[workspace]))
        name = kernel_names[index]
        calls.append(
            {
                "comment": _comment(f"{node.origin}: {_signature(graph, node)}"),
                "text": f"{name}({', '.join(arguments)})",
                "fallible": operator.kernel.fallible,
            }
        )
    context = {
        "name": graph.name,
        "NAME": graph.name.upper(),
        "title": f"Model {graph.name}",
        "version": metadata.version("tinyaot"),
        "target": target.name,
        "ports": ports,
        "arena_size": layout.plan.size,
        "headers": _headers(operators, graph),
        "alignment": alignment,
        "npu": npu,
        "npu_cache": CACHE_ARRAY,
        "npu_cache_size": max((one.cache for one in _regions(operators)), default=0),
        "states": states,
        "state_size": sum(graph.tensors[state.tensor].nbytes for state in graph.states),
        "kernels": kernels,
        "calls": calls,
        "arrays": arrays,
    }
    stem = f"tinyaot_{graph.name}"
    files = {
        f"{stem}.h": _render("module.h.j2", context),
        f"{stem}.c": _render("module.c.j2", context),
        f"{stem}_weights.h": _render("weights.h.j2", context),
        f"{stem}_weights.c": _render("weights.c.j2", context),
    }
    for header in _headers(operators, graph):
        files[header] = _read_header(header)
    return Program(
        name=graph.name,
        files=files,
        inputs=_program_ports(ports, graph, "input"),
        outputs=_program_ports(ports, graph, "output"),
        operators=tuple(operator.node.origin for operator in operators),
        resets=bool(graph.states),
        functions=tuple(kernel_names),
        npu=npu,
    )


def _regions(operators: Sequence[Operator]) -> list[NpuRegion]:
    workloads = (operator.node.workload for operator in operators)
    return [one for one in workloads if isinstance(one, NpuRegion)]


def identifier(text: str) -> str:
    """A C identifier made from any text; never empty, never starting with a digit.

    It may be a keyword: use it behind a prefix, or see `_field`.
    """
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")
    return name if name and not name[0].isdigit() else f"_{name}".rstrip("_") or "model"


def _render(template: str, context: Mapping[str, Any]) -> str:
    return _TEMPLATES.get_template(template).render(context)


def _headers(operators: Iterable[Operator], graph: Graph) -> list[str]:
    names: dict[str, None] = {"tinyaot_bytes.h": None} if graph.states else {}
    for operator in operators:
        names.update(dict.fromkeys(operator.kernel.headers))
    return list(names) or ["tinyaot_fixed_point.h"]


def _read_header(name: str) -> str:
    root = Path(__file__).parents[2]
    for folder in _HEADER_FOLDERS:
        path = root / folder / name
        if path.exists():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(name)


def _unique(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _field(tensor_name: str) -> str:
    """The name of a port in C: an identifier in lower case that is no reserved word."""
    name = identifier(tensor_name).lower()
    return f"{name}_" if name in _RESERVED else name


def _comment(text: str) -> str:
    """Text that cannot end a C comment or a line."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r"\s+", " ", text).replace("*/", "* /").replace("/*", "/ *")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "1"


def _quantized(tensor: Tensor) -> str:
    text = f"{tensor.dtype} {_shape(tensor)}"
    if tensor.scale is None:
        return text
    return f"{text} (scale {tensor.scale:.6g}, zero point {tensor.zero_point})"


def _signature(graph: Graph, node: Node) -> str:
    inputs = ", ".join(_quantized(graph.tensors[name]) for name in node.inputs)
    outputs = ", ".join(_quantized(graph.tensors[name]) for name in node.outputs)
    return f"{inputs} -> {outputs}"


def _ports(graph: Graph) -> list[dict[str, Any]]:
    """Inputs and outputs with their C names."""
    ports = []
    taken: set[str] = set()
    for role, names in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor_name in names:
            tensor = graph.tensors[tensor_name]
            name = _unique(_field(tensor.name), taken)
            ports.append(
                {
                    "role": role,
                    "tensor": tensor_name,
                    "model_name": _comment(tensor.name),
                    "name": name,
                    "macro": f"TINYAOT_{graph.name.upper()}_{name.upper()}",
                    "ctype": port_type(tensor.dtype),
                    "size": tensor.nbytes,
                    "shape": tensor.shape,
                    "scale": None if tensor.scale is None else f"{tensor.scale:.9e}f",
                    "zero_point": tensor.zero_point,
                    "description": _quantized(tensor),
                }
            )
    return ports


def _states(graph: Graph) -> list[dict[str, Any]]:
    """The variables that are kept between inferences, and how each is reset."""
    states = []
    taken: set[str] = set()
    for state in graph.states:
        tensor = graph.tensors[state.tensor]
        name = _unique(identifier(tensor.name).lower(), taken)
        data = np.ascontiguousarray(state.initial.astype(tensor.dtype))
        uniform = len(set(data.tobytes())) == 1
        states.append(
            {
                "tensor": tensor.name,
                "symbol": f"state_{name}",
                "ctype": port_type(tensor.dtype),
                "size": data.size,
                "comment": _comment(f"{tensor.name}: {_quantized(tensor)}"),
                "byte": data.tobytes()[0] if uniform else None,
                "initial": None if uniform else _values(data),
            }
        )
    return states


def _program_ports(ports: list[dict[str, Any]], graph: Graph, role: str) -> tuple[Port, ...]:
    return tuple(
        Port(port["name"], port["ctype"], port["size"]) for port in ports if port["role"] == role
    )


def _arrays(
    graph: Graph, operators: Sequence[Operator]
) -> tuple[list[Array], list[list[str]], dict[str, str]]:
    """The constant arrays, equal ones once, for each operator the symbols it reads, and for each
    tensor that is known its symbol."""
    arrays: list[Array] = []
    known: dict[tuple[str, bytes], str] = {}

    def symbol(
        array: NDArray[np.generic], name: str, comment: str, section: str = WEIGHTS_SECTION
    ) -> str:
        ctype = port_type(array.dtype.name)
        key = (ctype + section, hashlib.sha256(array.tobytes()).digest())
        if key not in known:
            known[key] = f"tinyaot_{graph.name}_{name}"
            values, text = _values(array), _comment(comment)
            alignment = 4 if section == WEIGHTS_SECTION else 16
            arrays.append(Array(known[key], ctype, array.size, text, values, section, alignment))
        return known[key]

    symbols = [
        [
            symbol(
                array,
                f"{index}_{constant}",
                f"{constant} of {operator.node.origin}",
                f"{NPU_SECTION}_{constant}"
                if isinstance(operator.node.workload, NpuRegion)
                else WEIGHTS_SECTION,
            )
            for constant, array in operator.constants.items()
        ]
        for index, operator in enumerate(operators)
    ]
    flash = {
        tensor: symbol(array, f"constant_{place}", f"the constant {tensor}")
        for place, (tensor, array) in enumerate(graph.constants.items())
    }
    return arrays, symbols, flash


def _values(array: NDArray[np.generic]) -> str:
    """The elements in rows of at most `_ROW` characters."""
    rows: list[str] = []
    row = "   "
    for value in map(int, array.reshape(-1).tolist()):
        text = "(-2147483647 - 1)" if value == -(2**31) else str(value)
        if len(row) + len(text) + 2 > _ROW:
            rows.append(row)
            row = "   "
        row += f" {text},"
    rows.append(row)
    return "\n".join(rows)


def _kernels(
    graph: Graph, operators: Sequence[Operator], layout: MemoryLayout
) -> tuple[list[CKernel], list[str]]:
    """The kernel functions, one for all operators that share it, and each operator's function."""
    users: dict[int, list[int]] = {}
    for index, operator in enumerate(operators):
        users.setdefault(id(operator.kernel), []).append(index)
    taken: set[str] = set()
    kernels: list[CKernel] = []
    names = [""] * len(operators)
    for indices in users.values():
        operator = operators[indices[0]]
        name = _unique(operator.node.workload.kind, taken)
        for index in indices:
            names[index] = name
        aliased = any(index in layout.aliased for index in indices)
        kernels.append(
            CKernel(
                name,
                _kernel_comment(graph, [operators[index] for index in indices]),
                _parameters(operator, aliased),
                operator.function.body,
                "int32_t" if operator.kernel.fallible else "void",
            )
        )
    return kernels, names


def _kernel_comment(graph: Graph, operators: Sequence[Operator]) -> str:
    first = operators[0]
    inputs = ", ".join(
        f"{graph.tensors[name].dtype} {_shape(graph.tensors[name])}" for name in first.node.inputs
    )
    output = graph.tensors[first.node.output]
    lines = [f"{first.node.workload.kind}: {inputs} -> {output.dtype} {_shape(output)}"]
    lines += [f"  {_comment(operator.node.origin)}" for operator in operators]
    return "/* " + "\n * ".join(lines) + " */"


def _parameters(operator: Operator, aliased: bool) -> str:
    """The parameter list: inputs and constants are read only; nothing overlaps unless in place."""
    function: CFunction = operator.function
    inputs = len(operator.node.inputs)
    constants = len(operator.constants)
    texts = []
    for index, parameter in enumerate(function.parameters):
        read_only = "const " if index < inputs + constants else ""
        in_place = aliased and not inputs <= index < inputs + constants
        pointer = "*" if in_place else "*restrict "
        texts.append(f"{read_only}{parameter.ctype} {pointer}{parameter.name}")
    if function.workspace:
        texts.append("int8_t *restrict workspace")
    return ",\n    ".join(texts)


def port_type(dtype: str) -> str:
    """The C type of a tensor's elements: a boolean is a byte that holds 0 or 1."""
    return "uint8_t" if dtype == "bool" else c_type(dtype)


def _address(
    tensor: Tensor, ctype: str, const: str, layout: MemoryLayout, field: Mapping[str, str]
) -> str:
    """Where a tensor lies, as an argument for a parameter that points to `ctype`."""
    owner = layout.owners[tensor.name]
    if owner in field:
        address, own = field[owner], port_type(tensor.dtype)
    else:
        address, own = _arena_address(layout.plan.offsets[owner]), "int8_t"
    if own == ctype:
        return address
    return f"({const}void *)({address})" if "+" in address else f"({const}void *){address}"


def _arena_address(offset: int) -> str:
    return f"arena + {offset}" if offset else "arena"
