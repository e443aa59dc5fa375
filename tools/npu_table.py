"""What the NPU does, for people and as JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tinyaot.tools.console import columns

if TYPE_CHECKING:
    from rich.table import Table

    from tinyaot.compiler.npu.report import NpuReport


def npu_document(report: NpuReport) -> dict[str, Any]:
    """The report as JSON."""
    document = dataclasses.asdict(report)
    for operation in document["operations"]:
        operation["utilisation"] = round(operation["utilisation"], 4)
    return document


def npu_facts(table: Table, report: NpuReport) -> None:
    """Adds the totals to a table of names and values."""
    table.add_row(
        "NPU",
        f"{report.accelerator}, {report.system}, {report.memory}: "
        f"{len(report.operations)} operations",
    )
    for line in report.code:
        table.add_row("  commands", line)
    table.add_row("  cycles (estimate)", f"{report.cycles:,}")
    table.add_row("  SRAM", f"{report.sram_bytes:,} bytes")
    table.add_row("  flash", f"{report.flash_bytes:,} bytes")
    table.add_row("  copied by DMA", f"{report.dma_bytes:,} bytes")


def npu_operations(report: NpuReport) -> Table:
    """A line for each operation."""
    table = columns(
        "operation", "kind", "cycles>", "MACs in use>", "block", "SRAM>", "weights>", "from",
        "bound by", "sizes",
        title=f"{report.accelerator}: {report.cycles:,} cycles (estimate)",
    )  # fmt: skip
    for one in report.operations:
        table.add_row(
            one.origin,
            one.kind,
            f"{one.cycles:,}",
            f"{one.utilisation:.0%}" if one.utilisation else "-",
            "x".join(map(str, one.block)),
            f"{one.sram_bytes:,}",
            f"{one.constant_bytes:,}" if one.constant_bytes else "-",
            ("SRAM" if one.copied else "flash") if one.constant_bytes else "-",
            one.bound,
            one.source,
        )
    return table
