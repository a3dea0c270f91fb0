"""The table that ends `import`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headscript.programs.importing import ImportReport, Verdict


def print_import(console: Console, report: ImportReport, out: Path | None) -> None:
    """Each program with what became of it, and how many there were."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, justify in (
        ("line", "right"),
        ("program", "left"),
        ("runs/min", "right"),
        ("", "left"),
    ):
        table.add_column(name, justify=justify, header_style="dim")  # type: ignore[arg-type]
    for verdict in sorted([*report.accepted, *report.failed], key=lambda verdict: verdict.line):
        speed = "" if verdict.runs_per_minute is None else f"{verdict.runs_per_minute:,.0f}"
        style = "" if verdict.accepted else "yellow"
        table.add_row(str(verdict.line), Text(verdict.name), speed, Text(_said(verdict), style))
    console.print()
    console.print(table)
    console.print()
    ahead = sum(verdict.prefix_consistent is False for verdict in report.accepted)
    console.print(
        f"{report.found} found, {len(report.accepted)} accepted, {len(report.failed)} failed; "
        f"{ahead} of the accepted look ahead. Tried on {report.texts} texts, {report.tokens} "
        f"tokens; isolation {report.isolation['level']}.",
        highlight=False,
    )
    if out is not None:
        console.print(f"{len(report.programs)} programs written to {out}", markup=False)


def _said(verdict: Verdict) -> str:
    if not verdict.accepted:
        return verdict.reason
    if verdict.same_as is not None:
        return f"the same as {verdict.same_as}"
    if verdict.prefix_consistent is None:
        return "accepted"
    if verdict.prefix_consistent:
        return "prefix-consistent"
    return f"looks ahead: {verdict.inconsistency}"
