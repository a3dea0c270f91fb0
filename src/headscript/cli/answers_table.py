"""Questions answered with heads replaced, as a table."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headscript.evaluation.accuracy import Answers, Evaluation, Mean, qa_file

_COLUMN = 13  # characters of a fraction, the space before it included
_GUESS = 9
_ORDERS = {"cost": "measured cost", "tuning": "the order of their tuning", "iou": "IoU"}


def print_evaluation(screen: Console, run: Path, found: Evaluation) -> None:
    """Print accuracies in percent with their standard errors, a column for each fraction."""
    names = max(map(len, [*found.tasks, "random guess"]))
    at_once = max(1, (screen.width - names - _GUESS) // _COLUMN)
    screen.print()
    screen.print(
        "Questions answered rightly, in percent ± standard error, by the share of heads replaced "
        f"(programs {found.programs!r}, by {_ORDERS[found.order]}):",
        soft_wrap=True,
    )
    for first in range(0, len(found.mean), at_once):
        screen.print()
        screen.print(_table(found, found.mean[first : first + at_once]))
    screen.print()
    if cut := max((row.cut for row in found.answers), default=0):
        screen.print(
            f"Some prompts were longer than the model takes and lost their beginning (up to {cut} "
            "answers of a task).",
            soft_wrap=True,
        )
    screen.print(f"The answers are in {run / qa_file(found.programs)}.", soft_wrap=True)


def _table(found: Evaluation, means: list[Mean]) -> Table:
    rows = {(row.task, row.fraction): row for row in found.answers}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("heads replaced", style="dim")
    for mean in means:
        table.add_column(f"{100 * mean.fraction:.4g} %", justify="right")
    table.add_column("guess", justify="right", style="dim")
    table.add_row("number", *(str(mean.heads) for mean in means), style="dim")
    for task in found.tasks:
        own = [rows[task, mean.fraction] for mean in means]
        table.add_row(task, *map(_accuracy, own), _percent(own[0].guess))
    table.add_section()
    guess = _percent(means[0].guess)
    table.add_row("mean", *map(_accuracy, means), guess, style="bold")
    if any(mean.change is not None for mean in found.mean):
        table.add_row("change", *map(_change, means))
    if guess:
        table.add_row("random guess", *(guess for _ in means), style="dim")
    return table


def _accuracy(row: Answers | Mean) -> Text:
    return _with_error(f"{100 * row.accuracy:.1f}", row.stderr)


def _change(mean: Mean) -> Text:
    if mean.change is None:
        return Text("")
    return _with_error(f"{100 * mean.change:+.1f}", mean.change_stderr)


def _with_error(number: str, error: float | None) -> Text:
    return Text.assemble(number, ("" if error is None else f" ± {100 * error:3.1f}", "dim"))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"
