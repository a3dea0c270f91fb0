"""What a person reads of libraries: a list, how one was built, how one matches a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headscript.cli.tables import print_seen, print_uncovered
from headscript.report.representations.facts import count, facts_table, listed
from headscript.wording import duration

if TYPE_CHECKING:
    from headscript.library.building import Built
    from headscript.library.entries import Entry, Library
    from headscript.library.matches import Match


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
    table = facts_table()
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
    console.print()
    console.print(found)
    table = facts_table()
    stages = listed(f"{name} {duration(took)}" for name, took in found.seconds.items())
    table.add_row("time", duration(sum(found.seconds.values())))
    table.add_row("", Text(stages, "dim"))
    if run is not None:
        table.add_row("run", Text(run, "bold"))
    console.print(table)
    theirs = "The library's programs"
    print_seen(console, found.seen, "the test texts", programs=theirs)
    if found.left_out is not None:
        print_seen(console, found.left_out.seen, "the texts left out", programs=theirs)
    failing = [(row.head, row.status) for row in found.by_head if row.status != "ok"]
    if failing:
        console.print()
        print_uncovered(console, failing)
