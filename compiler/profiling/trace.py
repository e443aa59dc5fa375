"""A profile as a Chrome trace and as a speedscope file.

Sources: the Trace Event Format (complete events `X`, counters `C`, metadata `M`; times in
microseconds), and speedscope's file-format-schema.json (evented profiles). Neither has a unit for
instructions: a count of 1 is a microsecond in the trace, as fractions of one would round so that
events overlap, and has no unit in speedscope; the names say what is counted.
"""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyaot.compiler.profiling.profile import Profile

_PROCESS, _THREAD = 1, 1


def chrome_trace(profile: Profile) -> dict[str, Any]:
    """The trace as a JSON object: operators on a thread, the arena in use as a counter."""
    unit = profile.quantity.name
    place: dict[str, Any] = {"pid": _PROCESS, "tid": _THREAD}
    process = f"{profile.model} on {profile.board}: 1 µs is 1 of {unit}"
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", **place, "args": {"name": process}},
        {"ph": "M", "name": "thread_name", **place, "args": {"name": profile.target}},
    ]
    now = 0
    for one in profile.operators:
        events.append(
            {
                "ph": "X",
                "name": one.node,
                "cat": one.kind,
                "ts": now,
                "dur": one.count,
                **place,
                "args": {
                    unit: one.count,
                    "MACs": one.macs,
                    "bound": one.limit,
                    "rule": one.rule,
                    "function": one.function,
                },
            }
        )
        events.append(_arena(one.arena_bytes, now))
        now += one.count
    events.append(_arena(0, now))
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "exporter": f"tinyaot {metadata.version('tinyaot')}",
            "quantity": f"{unit}, {profile.quantity.source}",
            "target": profile.target,
        },
    }


def _arena(nbytes: int, timestamp: int) -> dict[str, Any]:
    return {
        "ph": "C",
        "name": "arena in use",
        "ts": timestamp,
        "pid": _PROCESS,
        "args": {"bytes": nbytes},
    }


def speedscope(profile: Profile) -> dict[str, Any]:
    """The profile as speedscope's JSON object: operators inside the entry function."""
    entry = f"tinyaot_{profile.model}_run"
    frames = [{"name": entry}, *({"name": one.node} for one in profile.operators)]
    events: list[dict[str, Any]] = [{"type": "O", "at": 0, "frame": 0}]
    now = 0
    for frame, one in enumerate(profile.operators, 1):
        events.append({"type": "O", "at": now, "frame": frame})
        now += one.count
        events.append({"type": "C", "at": now, "frame": frame})
    events.append({"type": "C", "at": now, "frame": 0})
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "shared": {"frames": frames},
        "profiles": [
            {
                "type": "evented",
                "name": f"{profile.model} on {profile.board}, {profile.quantity.name}",
                "unit": "none",
                "startValue": 0,
                "endValue": now,
                "events": events,
            }
        ],
        "name": profile.model,
        "activeProfileIndex": 0,
        "exporter": f"tinyaot@{metadata.version('tinyaot')}",
    }


def json_text(document: dict[str, Any]) -> str:
    """The object as a file."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
