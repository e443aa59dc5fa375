"""What a finished plan promises: checked independently of how it was found, and shown to people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from tinyaot.compiler.memory.planner import ArenaPlan, Buffer


class PlanError(AssertionError):
    """A plan breaks what it promises: a bug in the planner, or a plan of other buffers."""


def check_plan(buffers: Sequence[Buffer], plan: ArenaPlan) -> None:
    """Check that every buffer is aligned and inside the arena and that none overwrites another.

    Two buffers alive at the same operator may overlap only as a taken in-place pair: both at one
    offset, the input last read by the operator that writes the output first.

    Raises:
        PlanError: naming the first buffer or pair that breaks the promise.
    """
    names = [b.name for b in buffers]
    if len(set(names)) != len(names) or set(names) != set(plan.offsets):
        raise PlanError(f"the plan is of other buffers: {sorted(set(names) ^ set(plan.offsets))}")
    if plan.size < plan.lower_bound:
        raise PlanError(f"size {plan.size} is under the lower bound {plan.lower_bound}")
    for b in buffers:
        offset = plan.offsets[b.name]
        if offset % b.alignment:
            raise PlanError(f"{b.name} at {offset} is not aligned to {b.alignment}")
        if offset < 0 or offset + b.size > plan.size:
            raise PlanError(f"{b.name} at {offset} + {b.size} is outside the arena of {plan.size}")
    taken = {(pair.input, pair.output) for pair in plan.in_place}
    by_name = {b.name: b for b in buffers}
    for source, target in taken:
        if source not in by_name or target not in by_name:
            raise PlanError(f"in place {source} -> {target}: not a buffer of this plan")
        if plan.offsets[source] != plan.offsets[target]:
            raise PlanError(f"in place {source} -> {target}: not at one offset")
        if by_name[source].last != by_name[target].first:
            raise PlanError(f"in place {source} -> {target}: the input is read after it is written")
    for a, b in combinations(buffers, 2):
        together = a.first <= b.last and b.first <= a.last
        start_a, start_b = plan.offsets[a.name], plan.offsets[b.name]
        overlap = a.size and b.size and start_a < start_b + b.size and start_b < start_a + a.size
        if together and overlap and not {(a.name, b.name), (b.name, a.name)} & taken:
            raise PlanError(
                f"{a.name} [{start_a}, {start_a + a.size}) and {b.name} [{start_b}, "
                f"{start_b + b.size}) overlap while both are alive"
            )


def format_map(buffers: Sequence[Buffer], plan: ArenaPlan) -> str:
    """The plan as a text table, a line for each buffer in order of time, sizes in bytes."""
    in_place = {pair.output: pair.input for pair in plan.in_place}
    rows = [("offset", "size", "alive", "name")]
    for b in sorted(buffers, key=lambda b: (b.first, b.last, plan.offsets[b.name], b.name)):
        note = f"  (in place of {in_place[b.name]})" if b.name in in_place else ""
        alive = f"{b.first}..{b.last}" if b.last > b.first else f"{b.first}"
        rows.append((str(plan.offsets[b.name]), str(b.size), alive, b.name + note))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    over = plan.size - plan.lower_bound
    share = f", {over} bytes ({100 * over / plan.lower_bound:.1f} %) above it" if over else ""
    lines += ["", f"arena        {plan.size} bytes"]
    lines += [f"lower bound  {plan.lower_bound} bytes (most alive at once){share}"]
    return "\n".join(lines) + "\n"
