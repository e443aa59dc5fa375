"""What a cost model sees of a candidate: numbers that mean something on a microcontroller.

All come from the workload and the knobs alone, in microseconds: building a kernel to look at it
takes as long as measuring it. A knob says along which axis it cuts the output, by its name; a knob
of another name is seen by its value only.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tinyaot.compiler.tuning.signature import signature
from tinyaot.compiler.tuning.space import Candidate
from tinyaot.schedules.workload import Workload

_ROWS = frozenset(("tile_rows", "strip_rows", "rows", "row_blocks", "strip_lines"))
_COLUMNS = frozenset(("tile_columns", "columns"))
_CHANNELS = frozenset(("channel_block", "channels", "output_block"))

_GROUP = 4
"""Pixels that kernels compute together."""
_VECTOR = 16
"""Bytes that are copied together."""

Features = dict[str, float]


def features(workload: Workload, candidate: Candidate) -> Features:
    """The features of a candidate by name; a feature that makes no sense is left out.

    Trip counts and how much of the last turn is idle, per axis and together; multiply-accumulates
    of a tile; bytes, rows and vectors that are copied for all tiles, weights that are loaded again
    for each of them; partial sums that are alive at once, which decide whether they stay in
    registers; groups of pixels that are computed together, and for how many blocks of channels;
    how far a window reaches, which decides how its taps are addressed; taps, which loops over them
    are unrolled by.
    """
    found: Features = {f"rule {candidate.rule}": 1.0, "macs": _log(workload.macs)}
    for place, size in enumerate(signature(workload).sizes):
        found[f"size {place}"] = _log(size)
    knobs = dict(candidate.knobs)
    for name, value in knobs.items():
        found[f"knob {name}"] = value
    shape = _Shape.of(workload)
    if shape is None:
        return found
    rows = _rows(knobs, shape)
    columns = _first(knobs, _COLUMNS, shape.columns)
    channels = _first(knobs, _CHANNELS, shape.channels)
    turns = 1
    for axis, cut, whole in (
        ("rows", rows, shape.rows),
        ("columns", columns, shape.columns),
        ("channels", channels, shape.channels),
    ):
        trips = math.ceil(whole / cut)
        turns *= trips
        found[f"trips {axis}"] = _log(trips)
        found[f"idle {axis}"] = trips * cut / whole - 1
        found[f"share {axis}"] = cut / whole
    tiles = math.ceil(shape.rows / rows) * math.ceil(shape.columns / columns)
    height, pitch = shape.band(rows, columns)
    band = height * pitch
    groups = tiles * math.ceil(rows * columns / _GROUP)
    found |= {
        "trips": _log(turns),
        "macs a turn": _log(workload.macs / turns),
        "bytes a tile": _log(band),
        "bytes copied": _log(band * tiles),
        "copied again": band * tiles / max(shape.image, 1),
        "rows copied": _log(height * tiles),
        "vectors copied": _log(height * tiles * math.ceil(pitch / _VECTOR)),
        "window": _log(pitch * (shape.extent[0] - 1) + shape.extent[1] * shape.depth),
        "weights loaded": _log(shape.weights * tiles),
        "partial sums": _log(rows * columns * channels),
        "pixels a tile": _log(rows * columns),
        "pixels left over": rows * columns % _GROUP,
        "groups": _log(groups),
        "groups too many": groups * _GROUP / (shape.rows * shape.columns) - 1,
        "calls": _log(groups * math.ceil(shape.channels / channels)),
        "taps": _log(shape.taps),
    }
    return found


@dataclasses.dataclass(frozen=True)
class _Shape:
    """The output's axes, and what a window reads."""

    rows: int
    columns: int
    channels: int
    taps: int
    weights: int
    image: int
    strides: tuple[int, int]
    extent: tuple[int, int]
    depth: int

    @staticmethod
    def of(workload: Any) -> _Shape | None:
        if getattr(workload, "input_size", None) and hasattr(workload, "batch"):
            inputs, outputs = workload.input_size, workload.output_size
            return _Shape(workload.batch, 1, outputs, inputs, inputs * outputs, inputs, (1, 1),
                          (1, 1), inputs)  # fmt: skip
        shape: tuple[int, ...] = getattr(workload, "output_shape", ())
        kernel = getattr(workload, "kernel", None)
        if len(shape) != 4 or kernel is None:
            return None
        depth = workload.input_shape[3]
        dilation = getattr(workload, "dilation", (1, 1))
        height, width = ((size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True))
        taps = max(workload.macs // math.prod(shape), 1)
        return _Shape(
            shape[1], shape[2], shape[3], taps, taps * shape[3],
            math.prod(workload.input_shape[1:]), workload.strides, (height, width), depth,
        )  # fmt: skip

    def band(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows of the input that a tile needs, and bytes of each."""
        height = (rows - 1) * self.strides[0] + self.extent[0]
        width = (columns - 1) * self.strides[1] + self.extent[1]
        return height, width * self.depth


def _rows(knobs: dict[str, int], shape: _Shape) -> int:
    """Output rows of a tile."""
    if "strips" in knobs:
        return math.ceil(shape.rows / knobs["strips"])
    rows = _first(knobs, _ROWS, shape.rows)
    # Of a depthwise convolution on Helium, which computes two rows at a time.
    return min(2 * rows, shape.rows) if "rows" in knobs and shape.strides == (1, 1) else rows


def _first(knobs: dict[str, int], names: frozenset[str], whole: int) -> int:
    cuts = [value for name, value in knobs.items() if name in names and value > 0]
    return min(cuts[0], whole) if cuts else whole


def _log(value: float) -> float:
    return math.log2(1 + value)
