"""Pictures of tuning logs."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinyaot.compiler.tuning.features import features
from tinyaot.compiler.tuning.model import CostModel
from tinyaot.compiler.tuning.records import OK, Record
from tinyaot.compiler.tuning.signature import describe
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.targets.errors import TinyaotError

_FOLDS = 5
_FEWEST = 20
_COLUMNS = 3
_MOST_TASKS = 24


def plot_logs(runs: Mapping[str, Sequence[Record]], output: Path) -> None:
    """Draws a panel for each workload with a line for each log, and one of predictions.

    Predicted costs are those of a cost model that has not seen the record: it learns from the rest
    of the log, in five turns.

    Args:
        runs: the records of each log by a name for it, in the order of their trials.
        output: a `.png`, `.svg` or `.html` file.

    Raises:
        TinyaotError: matplotlib is missing, there is nothing to draw, or the file cannot be
            written.
    """
    pyplot = _import_pyplot()
    groups: dict[Any, dict[str, list[Record]]] = {}
    for name, records in runs.items():
        for record in records:
            key = (record.core, record.signature, record.metric)
            groups.setdefault(key, {}).setdefault(name, []).append(record)
    groups = {key: group for key, group in groups.items() if _has_costs(group)}
    if not groups:
        raise TinyaotError("the logs have no costs to draw", "tune first, or choose other records")
    # Those with the most to see come first.
    shown = sorted(groups.values(), key=lambda group: -max(map(len, group.values())))[:_MOST_TASKS]
    predictions = _predictions([record for records in runs.values() for record in records])
    panels = len(shown) + bool(predictions)
    rows = -(-panels // _COLUMNS)
    figure, axes = pyplot.subplots(
        rows, min(panels, _COLUMNS), figsize=(5 * min(panels, _COLUMNS), 3.4 * rows), squeeze=False
    )
    places = list(axes.flat)
    for place, group in zip(places, shown, strict=False):
        _draw_traces(place, group)
    if predictions:
        _draw_predictions(places[len(shown)], predictions)
    for place in places[panels:]:
        place.set_axis_off()
    figure.tight_layout()
    _save(figure, output)
    pyplot.close(figure)


def _has_costs(group: Mapping[str, Sequence[Record]]) -> bool:
    return any(record.status == OK for records in group.values() for record in records)


def _draw_traces(axes: Any, group: Mapping[str, Sequence[Record]]) -> None:
    """The best cost after each trial; the default, which comes first, is a line of its own."""
    first = next(iter(group.values()))[0]
    for name, records in group.items():
        tried = [one.cost for one in records if not one.default]
        costs = np.array([np.inf if cost is None else cost for cost in tried], dtype=float)
        best = np.minimum.accumulate(costs)
        trials = np.arange(1, len(best) + 1)
        drawn = np.isfinite(best)
        axes.step(trials[drawn], best[drawn], where="post", label=name, marker=".", markersize=3)
        default = next((one.cost for one in records if one.default and one.cost), None)
        if default is not None:
            axes.axhline(default, color="gray", linewidth=0.8, linestyle=":")
    axes.set_title(f"{first.core}: {describe(first.workload)}", fontsize=8)
    axes.set_xlabel("trials")
    axes.set_ylabel(f"best {first.metric}")
    axes.legend(fontsize=7, title="dotted: the default", title_fontsize=7)


def _predictions(records: Sequence[Record]) -> list[tuple[float, float]]:
    """Measured and predicted cost of each record relative to its workload's default."""
    scales: dict[Any, float] = {}
    for record in records:
        if record.cost:
            key = (record.core, record.signature, record.metric)
            if record.default or key not in scales:
                scales[key] = record.cost
    samples = [
        (
            features(record.workload, Candidate(*record.candidate)),
            record.cost / scales[record.core, record.signature, record.metric],
        )
        for record in {(one.core, one.signature, one.candidate): one for one in records}.values()
        if record.cost
    ]
    if len(samples) < _FEWEST:
        return []
    folds = np.random.default_rng(0).permutation(len(samples)) % _FOLDS
    found: list[tuple[float, float]] = []
    model = CostModel()
    for fold in range(_FOLDS):
        held = [one for one, other in zip(samples, folds, strict=True) if other == fold]
        model.fit([one for one, other in zip(samples, folds, strict=True) if other != fold])
        predicted = 2.0 ** model.predict([one for one, _ in held])
        found += [(cost, float(guess)) for (_, cost), guess in zip(held, predicted, strict=True)]
    return found


def _draw_predictions(axes: Any, predictions: Sequence[tuple[float, float]]) -> None:
    measured, predicted = np.array(predictions).T
    axes.loglog(measured, predicted, ".", markersize=3)
    ends = [min(measured.min(), predicted.min()), max(measured.max(), predicted.max())]
    axes.loglog(ends, ends, color="gray", linewidth=0.8)
    correlation = np.corrcoef(_ranks(measured), _ranks(predicted))[0, 1]
    axes.set_title(f"cost model: rank correlation {correlation:.3f}", fontsize=8)
    axes.set_xlabel("measured cost / default")
    axes.set_ylabel("predicted cost / default")


def _ranks(values: Any) -> Any:
    return np.argsort(np.argsort(values))


def _save(figure: Any, output: Path) -> None:
    try:
        if output.suffix == ".html":
            picture = io.StringIO()
            figure.savefig(picture, format="svg")
            svg = picture.getvalue()
            svg = svg[svg.index("<svg") :]
            page = f"<!DOCTYPE html>\n<title>tinyaot: tuning</title>\n<body>\n{svg}</body>\n"
            output.write_text(page, encoding="utf-8")
        else:
            figure.savefig(output, dpi=120)
    except OSError as error:
        raise TinyaotError(
            f"cannot write {output}: {error.strerror}", "choose another path"
        ) from error


def _import_pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise TinyaotError(
            "drawing needs the package matplotlib, which is not installed",
            "pip install 'tinyaot[plot]'",
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
