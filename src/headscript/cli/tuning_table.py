"""What tuning was worth, as a table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from headscript.tuning.versions import VersionRecord
from headscript.wording import duration


def print_version(screen: Console, run: Path, name: str, record: VersionRecord) -> None:
    """Print what replacement costs before and after, and what became of the patterns."""
    before, after = record.before, record.after
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("heads replaced", justify="right")
    for title in ("KL before", "after", "perplexity before", "after"):
        table.add_column(title, justify="right")
    for fraction in before.kl:
        table.add_row(
            f"{float(fraction):.0%}",
            f"{before.kl[fraction]:.4f}",
            f"{after.kl[fraction]:.4f}",
            f"{before.perplexity_increase[fraction]:+.1%}",
            f"{after.perplexity_increase[fraction]:+.1%}",
        )
    screen.print()
    screen.print(f"Replacing heads on the select texts, before and after {name!r}:")
    screen.print()
    screen.print(table)
    screen.print()
    screen.print(
        f"IoU with the heads' own patterns: {before.iou:.3f} before, {after.iou:.3f} after. "
        f"{len(record.order)} programs, {record.texts} texts, {record.settings.steps} steps, "
        f"{duration(record.seconds)}.",
        soft_wrap=True,
    )
    if record.set_aside:
        screen.print(
            f"{record.set_aside} texts were left out: they share much with select or test texts.",
            soft_wrap=True,
        )
    screen.print(f"The programs are in {run / 'versions' / name}.", soft_wrap=True)
