"""The schedule registry: workload and core features in, a kernel in TIR out.

A rule says for which workload type and core features it applies, which sizes it leaves open
(its knobs), what it derives from the constants, and builds the kernel:
`kernel = schedule(workload, features, decisions, constants)`. The rule that asks for the most
features wins; among equals the one registered last. Rules live in `generic/` (any core) and in a
folder for each family of cores, and are found by importing it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyaot.schedules.workload import Workload

if TYPE_CHECKING:
    from tvm.tirx import PrimFunc

Constants = dict[str, NDArray[np.generic]]
Decisions = Mapping[str, int]
Space = dict[str, tuple[int, ...]]

_RULE_MODULES = (
    "tinyaot.schedules.generic.broadcast",
    "tinyaot.schedules.generic.broadcasting",
    "tinyaot.schedules.generic.convolution",
    "tinyaot.schedules.generic.copying",
    "tinyaot.schedules.generic.elementwise",
    "tinyaot.schedules.generic.matmul",
    "tinyaot.schedules.generic.movement",
    "tinyaot.schedules.generic.offset_convolution",
    "tinyaot.schedules.generic.per_channel",
    "tinyaot.schedules.generic.real",
    "tinyaot.schedules.generic.reduction",
    "tinyaot.schedules.generic.resize",
    "tinyaot.schedules.generic.sequence",
    "tinyaot.schedules.generic.strided",
    "tinyaot.schedules.generic.wide",
    "tinyaot.schedules.cortex_m.scalar_convolution",
    "tinyaot.schedules.cortex_m.scalar_dense",
    "tinyaot.schedules.cortex_m.scalar_depthwise",
    "tinyaot.schedules.cortex_m.scalar_elementwise",
    "tinyaot.schedules.cortex_m.scalar_wide",
    "tinyaot.schedules.cortex_m.dsp_convolution",
    "tinyaot.schedules.cortex_m.dsp_depthwise",
    "tinyaot.schedules.cortex_m.dsp_dense",
    "tinyaot.schedules.cortex_m.dsp_elementwise",
    "tinyaot.schedules.cortex_m.dsp_matrices",
    "tinyaot.schedules.cortex_m.dsp_pooling",
    "tinyaot.schedules.cortex_m.dsp_products",
    "tinyaot.schedules.cortex_m.dsp_softmax",
    "tinyaot.schedules.cortex_m.dsp_wide",
    "tinyaot.schedules.cortex_m.dsp_wide_elementwise",
    "tinyaot.schedules.cortex_m.mve_convolution",
    "tinyaot.schedules.cortex_m.mve_depthwise",
    "tinyaot.schedules.cortex_m.mve_dense",
    "tinyaot.schedules.cortex_m.mve_elementwise",
    "tinyaot.schedules.cortex_m.mve_matrices",
    "tinyaot.schedules.cortex_m.mve_products",
    "tinyaot.schedules.cortex_m.mve_reduction",
    "tinyaot.schedules.cortex_m.mve_wide",
    "tinyaot.schedules.cortex_m.mve_wide_elementwise",
    "tinyaot.schedules.cortex_m.wide_depthwise",
)


class UnsuitableError(Exception):
    """Raised by a rule whose arithmetic does not hold for a node's constants; the next rule is
    taken."""


@dataclass(frozen=True)
class Kernel:
    """An operator's code and the form in which it wants its constants.

    Attributes:
        func: TIR; parameters are the inputs, the constants in the order of `pack`'s result, and
            the outputs, all flat buffers. None for a kernel that is C from the start.
        pack: turns the node's constants into the kernel's: reordered weights, folded zero points.
        headers: C headers with the intrinsics that the code calls.
        in_place_inputs: indices of the inputs that the output may overlay from the same start:
            the code reads each element before it writes that place.
        alignment: bytes, of all that the kernel gets pointers to.
        fallible: whether it returns a status, 0 for success.
    """

    func: PrimFunc | None
    pack: Callable[[Constants], Constants] = field(default=lambda constants: constants)
    headers: tuple[str, ...] = ("tinyaot_fixed_point.h",)
    in_place_inputs: tuple[int, ...] = ()
    alignment: int = 4
    fallible: bool = False


@dataclass(frozen=True)
class Rule:
    """A way to compute one type of workload on cores that have `features`."""

    name: str
    workload: type[Workload]
    features: frozenset[str]
    applies: Callable[[Any], bool]
    space: Callable[[Any], Space]
    derive: Callable[[Any, Constants], dict[str, int]]
    build: Callable[[Any, Decisions], Kernel]


_rules: list[Rule] = []


def rule(
    workload: type[Workload],
    *,
    features: Iterable[str] = (),
    applies: Callable[[Any], bool] = lambda workload: True,
    space: Callable[[Any], Space] = lambda workload: {},
    derive: Callable[[Any, Constants], dict[str, int]] = lambda workload, constants: {},
) -> Callable[[Callable[[Any, Decisions], Kernel]], Callable[[Any, Decisions], Kernel]]:
    """Registers the decorated function as a rule.

    Args:
        workload: the type it computes.
        features: core features it needs (see `Target.features`).
        applies: whether it can compute this very workload.
        space: its knobs for a workload: name to the valid values, the default first.
        derive: small numbers that the code needs and the constants decide, such as a common
            shift; handed to the rule with the knobs. Raises `UnsuitableError` where the rule cannot
            compute these constants exactly.
    """

    def register(build: Callable[[Any, Decisions], Kernel]) -> Callable[[Any, Decisions], Kernel]:
        name = f"{build.__module__.removeprefix('tinyaot.schedules.')}.{build.__name__}"
        _rules.append(Rule(name, workload, frozenset(features), applies, space, derive, build))
        return build

    return register


@functools.cache
def _load_rules() -> tuple[Rule, ...]:
    for module in _RULE_MODULES:
        importlib.import_module(module)
    return tuple(_rules)


@dataclass(frozen=True)
class Choice:
    """A rule and the values of its knobs, derived ones included, for one workload.

    Choices with equal `key` build the same kernel.
    """

    workload: Workload
    rule: Rule
    values: dict[str, int]

    @property
    def key(self) -> tuple[Workload, str, tuple[tuple[str, int], ...]]:
        """Identifies the kernel."""
        return self.workload, self.rule.name, tuple(sorted(self.values.items()))

    def build(self) -> Kernel:
        """The kernel."""
        return self.rule.build(self.workload, self.values)


def find_rules(workload: Workload, features: frozenset[str]) -> list[Rule]:
    """The rules that compute a workload on a core, the most specific first."""
    fitting = [
        candidate
        for candidate in _load_rules()
        if candidate.workload is type(workload)
        and candidate.features <= features
        and candidate.applies(workload)
    ]
    fitting.reverse()
    return sorted(fitting, key=lambda candidate: -len(candidate.features))


def suitable_rules(
    workload: Workload, features: frozenset[str], constants: Constants | None = None
) -> Iterator[tuple[Rule, dict[str, int]]]:
    """The rules that compute a workload exactly, the most specific first, with what they derive
    from the constants."""
    for candidate in find_rules(workload, features):
        try:
            yield candidate, candidate.derive(workload, constants or {})
        except UnsuitableError:
            continue


def choose(
    workload: Workload,
    features: frozenset[str],
    decisions: Decisions | None = None,
    constants: Constants | None = None,
    rule: str | None = None,
) -> Choice:
    """The most specific rule that computes a workload exactly, with its sizes.

    Args:
        workload: what to compute.
        features: of the core.
        decisions: values for the rule's knobs; a knob that is left out takes its default.
        constants: of the node.
        rule: the name of the rule to take in place of the most specific one.

    Raises:
        LookupError: no rule computes this workload, or not the one that is asked for.
        ValueError: a decision names no knob of the rule or is outside its range.
    """
    for candidate, derived in suitable_rules(workload, features, constants):
        if rule not in (None, candidate.name):
            continue
        space = candidate.space(workload)
        values = {knob: valid[0] for knob, valid in space.items()}
        for knob, value in (decisions or {}).items():
            if value not in space.get(knob, ()):
                raise ValueError(
                    f"{candidate.name} cannot take {knob}={value} for {workload}: valid are {space}"
                )
            values[knob] = value
        return Choice(workload, candidate, {**values, **derived})
    if rule is not None:
        raise LookupError(f"the rule {rule} does not compute {workload}")
    raise LookupError(f"no schedule rule computes {workload}")


def schedule(
    workload: Workload,
    features: frozenset[str],
    decisions: Decisions | None = None,
    constants: Constants | None = None,
) -> Kernel:
    """Chooses a rule and builds the kernel; arguments and errors as `choose`."""
    return choose(workload, features, decisions, constants).build()
