"""What to measure next: in order, at random, or where a cost model expects the best."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from tinyaot.compiler.tuning.features import Features, features
from tinyaot.compiler.tuning.measure import Outcome
from tinyaot.compiler.tuning.model import CostModel
from tinyaot.compiler.tuning.space import Candidate, SearchSpace, search_space
from tinyaot.compiler.tuning.tasks import Task

GRID, RANDOM, MODEL = "grid", "random", "model"
SEARCHES = (MODEL, RANDOM, GRID)

_RANKED_WHOLE = 2048
"""Spaces up to this size are ranked whole; in larger ones a population evolves."""
_POPULATION, _GENERATIONS = 128, 4
_EXPLORE = 0.2
"""Share of a batch that is drawn at random, so that the model sees what it does not expect."""


class TaskState:
    """A task, its space, and what is known of it.

    Attributes:
        task, space: what is tuned; all of the space, or only some candidates beside the default.
        outcomes: of the candidates that were measured.
        pending: candidates that are being measured.
        trace: the best cost after each trial; infinite before the first good one.
        idle: rounds since the best became better.
        gain: by what share the best became better in the last round that it did.
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        default_first: bool = True,
        only: Sequence[Candidate] | None = None,
    ) -> None:
        self.task = task
        self.space: SearchSpace = search_space(task.workload, task.target.features, task.constants)
        self._only: dict[Candidate, None] | None = None
        if only is not None:
            known = [self.space.default, *(one for one in only if one in self.space)]
            self._only = dict.fromkeys(known)
        self.outcomes: dict[Candidate, Outcome] = {}
        self.pending: dict[Candidate, None] = {}
        self.trace: list[float] = []
        self.idle = 0
        self.gain = 0.0
        self._rng = np.random.default_rng([seed, zlib.crc32(task.workload.key().encode())])
        self._default_first = default_first
        self._features: dict[Candidate, Features] = {}

    @property
    def best(self) -> Outcome | None:
        """The cheapest good outcome."""
        good = [one for one in self.outcomes.values() if one.cost is not None]
        return min(good, key=lambda one: (one.cost, one.workspace, one.candidate), default=None)

    @property
    def default_cost(self) -> float | None:
        """The cost of what the compiler takes without records."""
        outcome = self.outcomes.get(self.space.default)
        return None if outcome is None else outcome.cost

    @property
    def left(self) -> int:
        """Candidates that were neither measured nor proposed."""
        if self._only is not None:
            return sum(not self._is_known(one) for one in self._only)
        return self.space.size - len(self.outcomes) - len(self.pending)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Takes the outcomes of a round."""
        before = self.trace[-1] if self.trace else math.inf
        for outcome in outcomes:
            self.pending.pop(outcome.candidate, None)
            self.outcomes[outcome.candidate] = outcome
            best = self.trace[-1] if self.trace else math.inf
            self.trace.append(min(best, math.inf if outcome.cost is None else outcome.cost))
        if self.trace and self.trace[-1] < before:
            self.idle = 0
            self.gain = 0.0 if before == math.inf else 1 - self.trace[-1] / before
        else:
            self.idle += 1

    def features(self, candidate: Candidate) -> Features:
        """The candidate's features."""
        if candidate not in self._features:
            self._features[candidate] = features(self.task.workload, candidate)
        return self._features[candidate]

    def samples(self) -> list[tuple[Features, float]]:
        """What a cost model learns from: features, and costs relative to the default's."""
        scale = self.default_cost or (self.best.cost if self.best else None)
        if not scale:
            return []
        return [
            (self.features(candidate), one.cost / scale)
            for candidate, one in self.outcomes.items()
            if one.cost is not None
        ]

    def propose(self, count: int, search: str, model: CostModel | None) -> list[Candidate]:
        """The next candidates to measure."""
        count = min(count, self.left)
        chosen: dict[Candidate, None] = {}
        if self._default_first and not self._is_known(self.space.default):
            chosen[self.space.default] = None
        if search == GRID or count >= self.left or self._only is not None:
            ways: Iterable[Candidate] = self.space if self._only is None else self._only
        elif search == RANDOM:
            ways = self._random()
        elif model is None or not model.trained:
            # What is never seen is never predicted to be good.
            ways = itertools.chain(self.space.sample_rules(self._rng), self._random())
        else:
            explored = round(count * _EXPLORE)
            for candidate in self._ranked(model):
                if len(chosen) >= count - explored:
                    break
                self._choose(candidate, chosen)
            ways = self._random()
        for candidate in ways:
            if len(chosen) >= count:
                break
            self._choose(candidate, chosen)
        self.pending.update(chosen)
        return list(chosen)

    def _choose(self, candidate: Candidate, chosen: dict[Candidate, None]) -> None:
        if not self._is_known(candidate):
            chosen[candidate] = None

    def _is_known(self, candidate: Candidate) -> bool:
        return candidate in self.outcomes or candidate in self.pending

    def _random(self) -> Iterable[Candidate]:
        """Random candidates, and in the end all that are left."""
        for _ in range(8 * self.space.size if self.space.size < _RANKED_WHOLE else 1 << 14):
            yield self.space.sample(self._rng)
        yield from self.space

    def _ranked(self, model: CostModel) -> list[Candidate]:
        """Candidates, the one that should be the cheapest first."""
        whole = self.space.size <= _RANKED_WHOLE
        population = list(self.space) if whole else self._evolve(model)
        costs = model.predict(map(self.features, population))
        return [population[index] for index in np.argsort(costs, kind="stable")]

    def _evolve(self, model: CostModel) -> list[Candidate]:
        """A population that the model has selected for some generations."""
        good = sorted(
            (one for one in self.outcomes.values() if one.cost is not None),
            key=lambda one: (one.cost, one.candidate),
        )
        population = [one.candidate for one in good[: _POPULATION // 4]]
        population += [self.space.sample(self._rng) for _ in range(_POPULATION - len(population))]
        for _ in range(_GENERATIONS):
            fittest = self._fittest(population, model)
            parents = fittest[: _POPULATION // 2]
            population = list(dict.fromkeys(parents))
            while len(population) < _POPULATION:
                one, other = (parents[int(self._rng.integers(len(parents)))] for _ in "12")
                child = self.space.cross(one, other, self._rng)
                population.append(self.space.mutate(child, self._rng))
        return list(dict.fromkeys(population))

    def _fittest(self, population: list[Candidate], model: CostModel) -> list[Candidate]:
        costs = model.predict(map(self.features, population))
        return [population[index] for index in np.argsort(costs, kind="stable")]
