"""What two workloads must have in common to be tuned as one, and how far apart others are."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import math
import pkgutil
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

from tinyaot import schedules
from tinyaot.schedules.workload import FullyConnected, Workload

# Numbers that code holds as immediates: none of them decides which sizes are fast, but for what
# `_quantization_class` keeps of them.
_QUANTIZATION = frozenset(
    "input_zero_point input_zero_points output_zero_point clamp multiplier multipliers shift "
    "shifts left_shift output_multiplier output_shift rounding value".split()
)
# What must be equal for one workload's sizes to say something about another's.
_STRUCTURE = frozenset("kernel strides dilation groups mode axes batched".split())
_INT8 = (-128, 127)


@dataclass(frozen=True)
class Signature:
    """A workload without the numbers that do not matter for its sizes.

    Attributes:
        structure: must be equal for sizes to be carried over: kind, kernel, strides, types, whether
            there is padding.
        quantization: the class of requantization.
        sizes: of the tensors.
    """

    structure: tuple[Any, ...]
    quantization: str
    sizes: tuple[int, ...]

    def distance(self, other: Signature) -> float:
        """How far apart the sizes are, in octaves; infinite where the structures differ."""
        if self.structure != other.structure or len(self.sizes) != len(other.sizes):
            return math.inf
        octaves = (
            abs(math.log2(max(a, 1) / max(b, 1)))
            for a, b in zip(self.sizes, other.sizes, strict=True)
        )
        return sum(octaves) + (0.25 if self.quantization != other.quantization else 0.0)


@functools.lru_cache(maxsize=4096)
def signature(workload: Workload) -> Signature:
    """The signature of a workload."""
    structure: list[Any] = [workload.kind]
    sizes: list[int] = []
    for field in dataclasses.fields(workload):
        value = getattr(workload, field.name)
        if field.name in _QUANTIZATION:
            continue
        if field.name == "padding":
            sizes += _numbers(value)
            structure.append(any(_numbers(value)))
        elif field.name in _STRUCTURE or not _are_numbers(value):
            structure.append((field.name, value))
        else:
            sizes += _numbers(value)
            structure.append(len(_numbers(value)))
    return Signature(tuple(structure), _quantization_class(workload), tuple(sizes))


def describe(workload: Workload) -> str:
    """A workload for people: kind, shapes, kernel."""
    parts = [workload.kind]
    fields = {field.name: getattr(workload, field.name) for field in dataclasses.fields(workload)}
    before, after = fields.get("input_shape"), fields.get("output_shape")
    if before and after:
        parts.append(f"{_times(before)}->{_times(after)}")
        if kernel := fields.get("kernel"):
            parts.append(_times(kernel))
        if any(step != 1 for step in fields.get("strides", ())):
            parts.append(f"/{_times(fields['strides'])}")
    else:
        parts += [
            f"{name}={_times(value) if isinstance(value, tuple) else value}"
            for name, value in fields.items()
            if name not in _QUANTIZATION and _are_numbers(value)
        ]
    return " ".join(parts)


def output_size(workload: Workload) -> int:
    """Elements of the output, as far as it can differ from the input's; 0 elsewhere."""
    if hasattr(workload, "output_shape"):
        return math.prod(workload.output_shape)
    if isinstance(workload, FullyConnected):
        return workload.batch * workload.output_size
    return 0


def parse_workload(fields: dict[str, Any]) -> Workload:
    """The workload of the fields that `Workload.key` writes.

    Raises:
        ValueError: there is no such workload, or it has other fields.
    """
    fields = dict(fields)
    kind = fields.pop("kind", None)
    known = _workload_types()
    if kind not in known:
        raise ValueError(f"unknown workload {kind!r}")
    try:
        workload = known[kind](**{name: _tuples(value) for name, value in fields.items()})
    except TypeError:
        names = [field.name for field in dataclasses.fields(known[kind])]
        raise ValueError(f"{kind} has other fields: {', '.join(names)}") from None
    for name, wanted in _field_types(kind).items():
        if not isinstance(getattr(workload, name), wanted):
            raise ValueError(f"{kind}: {name} is {getattr(workload, name)!r}")
    return workload


def workload_fields(workload: Workload) -> dict[str, Any]:
    """The fields of a workload as JSON has them."""
    fields: dict[str, Any] = json.loads(workload.key())
    return fields


@functools.cache
def _field_types(kind: str) -> dict[str, type]:
    """The types of a workload's fields, as far as they are checked. Kept: resolving annotations
    takes longer than all else that is done with a record."""
    hints = get_type_hints(_workload_types()[kind])
    types = {name: get_origin(hint) or hint for name, hint in hints.items()}
    return {name: one for name, one in types.items() if one in (int, str, bool, tuple)}


@functools.cache
def _workload_types() -> dict[str, type[Workload]]:
    """All workloads by kind. Their modules are imported by name: the rules would bring TVM."""
    for module in pkgutil.iter_modules(schedules.__path__):
        if module.name.startswith("workload"):
            importlib.import_module(f"tinyaot.schedules.{module.name}")
    found: dict[str, type[Workload]] = {}
    waiting = list(Workload.__subclasses__())
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        found[object.__new__(one).kind] = one
    return found


def _quantization_class(workload: Workload) -> str:
    clamp = getattr(workload, "clamp", _INT8)
    words = [getattr(workload, "rounding", "")]
    if clamp != _INT8:
        words.append("clamped")
    if getattr(workload, "output_zero_point", 0) == clamp[0]:
        words.append("relu")
    return " ".join(filter(None, words))


def _are_numbers(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_are_numbers, value))
    return isinstance(value, int) and not isinstance(value, bool)


def _numbers(value: Any) -> list[int]:
    return (
        [number for one in value for number in _numbers(one)]
        if isinstance(value, tuple)
        else [value]
    )


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _times(sizes: tuple[Any, ...]) -> str:
    return "x".join(map(str, _numbers(sizes)))
