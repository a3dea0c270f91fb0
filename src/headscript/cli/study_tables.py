"""What the study command prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from headscript.study.planning import Plan
from headscript.study.running import Studied
from headscript.wording import duration


def print_plan(screen: Console, name: str, plan: Plan) -> None:
    """The steps by kind, and what they take."""
    table = Table("step", "times", "about", title=f"The study {name}", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, steps in plan.by_kind().items():
        table.add_row(kind, f"{len(steps)}", duration(sum(step.seconds for step in steps)))
    table.add_row("all", f"{len(plan.steps)}", duration(plan.seconds), style="bold")
    screen.print(table)
    lines = [
        f"Memory: at most about {plan.memory / 1e9:.1f} GB. Recordings on disk: "
        f"{plan.disk / 1e9:.1f} GB."
    ]
    if plan.downloads:
        named = ", ".join(f"{model} {size / 1e6:,.0f} MB" for model, size in plan.downloads.items())
        lines.append(f"Downloads, where they are not here yet: {named}.")
    if plan.requests:
        price = "an unknown price" if plan.dollars is None else f"about ${plan.dollars:,.2f}"
        lines.append(f"Requests to the explainer: {plan.requests:,}, {price}.")
    else:
        lines.append("Price: nothing; no language model is asked.")
    lines += [f"Left out: {what} ({why})." for what, why in plan.left_out.items()]
    for line in lines:
        screen.print(line, markup=False, soft_wrap=True)


def print_studied(screen: Console, found: Studied) -> None:
    """What was done, what is open, and where the report is."""
    screen.print(f"{len(found.done)} steps are done.", markup=False)
    if found.open:
        screen.print(
            f"The budget did not reach {len(found.open)}: {', '.join(found.open)}; start the same "
            "command again to go on.",
            markup=False,
            soft_wrap=True,
        )
    page = found.report.with_suffix(".html")
    screen.print(f"Report: {found.report} and {page}", markup=False, soft_wrap=True)
