"""A profile as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from tinyaot.compiler.profiling.profile import Profile

BAR = 16
"""Characters of the longest bar."""


def operator_table(profile: Profile) -> Table:
    """Count, share, MACs, bound and memory of each operator; the count's unit heads its column."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2))
    for heading in (profile.quantity.name, "share"):
        table.add_column(heading, justify="right")
    table.add_column("", no_wrap=True)
    unit = profile.quantity.name.split()[0].removesuffix("s")
    for heading in ("MACs", f"MACs/{unit}"):
        table.add_column(heading, justify="right")
    table.add_column("bound")
    for heading in ("arena", "weights", "code"):
        table.add_column(heading, justify="right")
    table.add_column("operator", overflow="fold")
    total = max(1, profile.operator_total)
    largest = max((one.count for one in profile.operators), default=0) or 1
    for one in profile.operators:
        table.add_row(
            f"{one.count:,}",
            f"{one.count / total:.1%}",
            "█" * round(BAR * one.count / largest) or "▏",
            f"{one.macs:,}" if one.macs else "",
            "" if one.macs_per_count is None else f"{one.macs_per_count:.2f}",
            one.limit,
            f"{one.arena_bytes:,}",
            f"{one.weight_bytes:,}",
            "-" if one.code_bytes is None else f"{one.code_bytes:,}",
            one.node,
        )
    return table


def facts_of(profile: Profile) -> dict[str, str]:
    """What the table of the whole model says, name to value."""
    unit, runs = profile.quantity.name, profile.runs
    said = f"{profile.total:,}"
    if len(runs) > 1:
        spread = "the same in all" if min(runs) == max(runs) else f"at most {max(runs):,}, of"
        said += f" (the least; {spread} {len(runs)} runs)"
    macs = sum(one.macs for one in profile.operators)
    own = sum(one.macs for one in profile.operators if not one.on_npu)
    of_core = "" if own == macs else f"{own:,} on the core, "
    outside = profile.total - profile.operator_total
    return {
        unit: said,
        "  counted by": profile.quantity.source,
        "  outside of operators": f"{outside:,}",
        "multiply-accumulates": f"{macs:,} ({of_core}{own / max(1, profile.total):.2f} per count)",
        "arena": f"{profile.arena_bytes:,} bytes",
        **({"state": f"{profile.state_bytes:,} bytes"} if profile.state_bytes else {}),
        "stack": "not measured"
        if profile.stack_bytes is None
        else f"{profile.stack_bytes:,} bytes",
        "inputs and outputs": f"{profile.io_bytes:,} bytes",
        "flash, weights": f"{profile.flash_weight_bytes:,} bytes",
        "flash, code": f"{profile.flash_code_bytes:,} bytes",
    }
