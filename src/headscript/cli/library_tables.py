"""What a person reads of libraries: a list, how one was built, how one matches a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headscript.cli.tables import (
    add_baselines,
    count,
    facts,
    listed,
    print_heads,
    print_uncovered,
    share,
    short,
    with_interval,
)
from headscript.cli.terminal import duration
from headscript.heads import Head

if TYPE_CHECKING:
    from headscript.library.building import Built
    from headscript.library.entries import Entry, Library
    from headscript.library.matches import Match, Totals


def print_library(console: Console, library: Library, found: Sequence[Entry]) -> None:
    """The end of `library list`."""
    console.print()
    title = f"{count(len(found), 'program')} of {len(library):,} in the library {library.name}"
    console.print(Text(title, "bold"), soft_wrap=True)
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("program", no_wrap=True)
    table.add_column("terms", justify="right")
    table.add_column("IoU", justify="right")
    table.add_column("category", no_wrap=True)
    table.add_column("what it says of itself", overflow="fold")
    for entry in found:
        table.add_row(
            Text(entry.name),
            str(entry.program.terms),
            "" if entry.iou is None else f"{entry.iou:.2f}",
            entry.category or "",
            Text(" ".join(entry.headline.split())),
        )
    console.print(table)
    counts = Counter(entry.category for entry in found if entry.category)
    if len(counts) > 1:
        console.print()
        by_number = (f"{name} {number}" for name, number in counts.most_common())
        console.print(Text(listed(by_number), "dim"))


def print_built(console: Console, out: Path, built: Built) -> None:
    """The end of `library build`."""
    table = facts()
    best = built.best_iou
    table.add_row("collected", count(built.collected, "program"))
    table.add_row("unlike one another", str(built.distinct))
    table.add_row("kept", str(built.kept))
    table.add_row(
        "best IoU, mean",
        f"{best['library']:.3f} over {count(built.heads, 'head')}, of all that was collected "
        f"{best['collected']:.3f}",
    )
    table.add_row("library", Text(str(out), "bold"))
    console.print()
    console.print(table)


def print_match(console: Console, found: Match, run: str | None) -> None:
    """The end of `match`."""
    tested = count(found.texts["test"], "test text")
    how = "refitted" if found.refitted is not None else "as they are"
    console.print()
    console.print(
        Text.assemble(
            (short(found.model), "bold"),
            f": {count(found.heads, 'head')}, programs {how}, IoU on {tested}",
            ("  in hundredths, by layer and head", "dim"),
        )
    )
    console.print()
    scores = {Head.parse(row.head): (row.refitted or row.as_is).iou for row in found.by_head}
    layers = Counter(head.layer for head in scores)
    print_heads(console, scores, max(max(head.head for head in scores) + 1, max(layers.values())))
    console.print()
    table = facts()
    for name, totals in (("as they are", found.as_is), ("refitted", found.refitted)):
        if totals is not None:
            table.add_row(f"IoU, {name}", _said(totals))
            table.add_row("", Text(_terms(totals), "dim"))
    add_baselines(table, found.baselines)
    table.add_row("coverage", share(found.coverage))
    usable = found.programs - sum(found.unusable.values())
    table.add_row("library", f"{found.library}, {usable} of {count(found.programs, 'program')}")
    if found.unusable:
        reasons = listed(f"{number} {why}" for why, number in found.unusable.items())
        table.add_row("", Text(reasons, "dim"))
    stages = listed(f"{name} {duration(took)}" for name, took in found.seconds.items())
    table.add_row("time", duration(sum(found.seconds.values())))
    table.add_row("", Text(stages, "dim"))
    if run is not None:
        table.add_row("run", Text(run, "bold"))
    console.print(table)
    failing = [(row.head, row.status) for row in found.by_head if row.status != "ok"]
    if failing:
        console.print()
        print_uncovered(console, failing)


def _said(totals: Totals) -> Text:
    return Text.assemble(
        with_interval(totals.iou.mean, totals.iou.ci95), f", median {totals.iou.median:.3f}"
    )


def _terms(totals: Totals) -> str:
    terms = totals.terms
    return (
        f"{count(totals.programs, 'program')} in use, terms: median {terms.median:g}, "
        f"at most {terms.max}"
    )
