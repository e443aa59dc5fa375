"""The search space of a workload: every rule that computes it, with every value of its knobs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tinyaot.schedules.registry import Constants, suitable_rules
from tinyaot.schedules.registry import Space as Knobs
from tinyaot.schedules.workload import Workload

_PORTABLE = "generic."


class Candidate(NamedTuple):
    """A rule and values for its knobs, in the order of their names."""

    rule: str
    knobs: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return " ".join([self.rule, *(f"{name}={value}" for name, value in self.knobs)])


@dataclass(frozen=True)
class SearchSpace:
    """The candidates for a workload: the rule is a choice like the knobs are.

    Attributes:
        rules: name to knobs, the most specific rule first.
    """

    rules: dict[str, Knobs]

    @property
    def size(self) -> int:
        """How many candidates there are."""
        return sum(map(self._size_of, self.rules))

    @property
    def default(self) -> Candidate:
        """What the compiler takes without records."""
        rule = next(iter(self.rules))
        return self._candidate(rule, {knob: valid[0] for knob, valid in self.rules[rule].items()})

    def __contains__(self, candidate: object) -> bool:
        if not isinstance(candidate, Candidate) or candidate.rule not in self.rules:
            return False
        knobs, values = self.rules[candidate.rule], dict(candidate.knobs)
        return values.keys() == knobs.keys() and all(
            value in knobs[knob] for knob, value in values.items()
        )

    def __iter__(self) -> Iterator[Candidate]:
        for rule, knobs in self.rules.items():
            for values in itertools.product(*knobs.values()):
                yield self._candidate(rule, dict(zip(knobs, values, strict=True)))

    def sample(self, rng: np.random.Generator) -> Candidate:
        """A random candidate, all being equally likely."""
        sizes = np.array(list(map(self._size_of, self.rules)), dtype=float)
        return self._sample(list(self.rules)[rng.choice(len(sizes), p=sizes / sizes.sum())], rng)

    def sample_rules(self, rng: np.random.Generator) -> list[Candidate]:
        """A random candidate of each rule."""
        return [self._sample(rule, rng) for rule in self.rules]

    def _sample(self, rule: str, rng: np.random.Generator) -> Candidate:
        return self._candidate(
            rule, {knob: int(rng.choice(valid)) for knob, valid in self.rules[rule].items()}
        )

    def mutate(self, candidate: Candidate, rng: np.random.Generator) -> Candidate:
        """One knob moved to another value, more often a neighbour; at times another rule."""
        knobs = {
            knob: valid for knob, valid in self.rules[candidate.rule].items() if len(valid) > 1
        }
        if not knobs or rng.random() < 0.1:
            return self.sample(rng)
        knob = list(knobs)[rng.integers(len(knobs))]
        values = dict(candidate.knobs)
        valid = sorted(knobs[knob])
        if rng.random() < 0.6:
            place = valid.index(values[knob]) + int(rng.choice([-1, 1]))
            values[knob] = valid[min(max(place, 0), len(valid) - 1)]
        else:
            values[knob] = int(rng.choice(valid))
        return self._candidate(candidate.rule, values)

    def cross(self, one: Candidate, other: Candidate, rng: np.random.Generator) -> Candidate:
        """Knobs from both parents where they are of one rule."""
        if one.rule != other.rule:
            return one
        pairs = zip(one.knobs, other.knobs, strict=True)
        return Candidate(one.rule, tuple(pair[int(rng.integers(2))] for pair in pairs))

    def _size_of(self, rule: str) -> int:
        return math.prod(map(len, self.rules[rule].values()))

    @staticmethod
    def _candidate(rule: str, knobs: dict[str, int]) -> Candidate:
        return Candidate(rule, tuple(sorted(knobs.items())))


def search_space(
    workload: Workload, features: frozenset[str], constants: Constants | None = None
) -> SearchSpace:
    """The candidates for a workload on a core.

    Rules in portable C are left out where the core has a rule of its own: they are many times
    slower, and running them would take most of the time.
    """
    rules = {
        rule.name: rule.space(workload) for rule, _ in suitable_rules(workload, features, constants)
    }
    own = {name: knobs for name, knobs in rules.items() if not name.startswith(_PORTABLE)}
    return SearchSpace(own or rules)
