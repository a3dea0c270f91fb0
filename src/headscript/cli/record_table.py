"""What a person reads of a recording that was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from headscript.records import IMPORTED
from headscript.report.representations.facts import count, facts_table, listed


def print_recorded(
    console: Console, run: str, facts: Mapping[str, Any], left_out: Sequence[Mapping[str, str]]
) -> None:
    """The end of `record`: what there is now, and what comes next."""
    table = facts_table()
    kind = "decoder" if facts["causal"] else "encoder"
    table.add_row("model", Text(f"{facts['model']}, {kind}", "bold"))
    table.add_row("heads", f"{facts['heads']:,} in {count(facts['layers'], 'layer')}")
    splits = facts["texts"].items()
    table.add_row("texts", listed(f"{split} {number:,}" for split, number in splits))
    table.add_row("tokens", f"{sum(facts['tokens'].values()):,}")
    if left_out:
        table.add_row("left out", f"{count(len(left_out), 'text')} that nearly repeat others")
    size = facts["bytes"]
    on_disk = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    table.add_row("on disk", on_disk)
    table.add_row("run", Text(run, "bold"))
    console.print()
    console.print(table)
    console.print()
    console.print(
        Text(f"Programs from a library: headscript match {run} --out {run}", "dim"), soft_wrap=True
    )
    if facts["architecture"] != IMPORTED:
        console.print(
            Text("A search: headscript explain with the same model, texts and --out", "dim"),
            soft_wrap=True,
        )
