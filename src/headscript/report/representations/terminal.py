"""Objects of the Python API as rich draws them in a terminal.

Sources, tokens and names come from models and files that nobody vouches for: they are printed as
text, never as markup, and their control characters as escapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from headscript.errors import HeadscriptError
from headscript.report.representations.facts import (
    add_facts,
    categories_facts,
    count,
    facts_table,
    frontier_points,
    head_facts,
    match_facts,
    match_scores,
    match_title,
    misses_facts,
    program_facts,
    results_facts,
    results_scores,
    results_title,
    trial_facts,
    trial_title,
    visible,
)
from headscript.report.representations.grid import HeadGrid
from headscript.report.representations.patterns import LEGEND, SideBySide, readable

if TYPE_CHECKING:
    from headscript.evaluation.portraits import Portrait, Sighting
    from headscript.evaluation.trials import Trial
    from headscript.language.text import Text as Tokens
    from headscript.library.matches import Match
    from headscript.programs.program import Program
    from headscript.results import HeadResult, Results
    from headscript.runs import Run

_MOST_TOKENS = 400
"""Tokens of a text that are shown."""


def run(shown: Run) -> RenderableType:
    """What a run found: a grid of its heads, and all of them together.

    Where it is damaged or not finished, that is said.
    """
    try:
        found = shown.results()
        title = results_title(shown.model.name, found)
        grid = HeadGrid(results_scores(found), max(shown.model.heads_per_layer))
        versions = ", ".join(shown.versions())
    except HeadscriptError as error:
        return Text.assemble(("Run  ", "bold"), visible(str(error)))
    facts = facts_table(results_facts(found) + categories_facts(found.summary.categories))
    add_facts(facts, [("programs", versions), ("run", str(shown.directory))])
    return Group(titled(title, grid), facts)


def results(shown: Results) -> RenderableType:
    """A grid of all heads, and all of them together."""
    facts = results_facts(shown) + categories_facts(shown.summary.categories)
    return Group(HeadGrid(results_scores(shown)), "", facts_table(facts))


def match(shown: Match) -> RenderableType:
    """A grid of the heads with the programs that are in use, and all of them together."""
    grid = HeadGrid(match_scores(shown))
    return Group(titled(match_title(shown), grid), facts_table(match_facts(shown)))


def titled(title: tuple[str, str], grid: HeadGrid) -> Group:
    """A grid under what it is of, in bold, and what its numbers are; a blank line after it."""
    name, what = map(visible, title)
    line = Text.assemble((name, "bold"), what)
    if not grid.layers:
        return Group(line, "")
    line.append("  in hundredths, by layer and head", "dim")
    return Group(line, "", grid, "")


def head_result(row: HeadResult) -> Table:
    """The scores of one head."""
    table = facts_table(head_facts(row))
    if row.frontier:
        frontier = Table.grid(padding=(0, 1))
        frontier.add_column(justify="right")
        for terms, iou in frontier_points(row.frontier, row.terms):
            bar = Text("━" * round(40 * iou), "cyan")
            style = "bold" if terms == row.terms else ""
            frontier.add_row(str(terms), f"{iou:.3f}", bar, style=style)
        table.add_row("terms to IoU", frontier)
    if row.status != "ok":
        add_facts(table, [("status", Text(visible(row.status), "yellow"))])
    return table


def program(shown: Program) -> RenderableType:
    """The source in colours, the explanation as its docstring, and what is known of it."""
    title = Text.assemble((visible(shown.name), "bold"), f"  {program_facts(shown)}")
    return Group(title, "", source(shown.source))


def source(shown: str) -> Text:
    """The source of a program in colours; its lines are not broken, so that it can be copied."""
    colours = Syntax("", "python", theme="ansi_dark", background_color="default")
    lines = colours.highlight(visible(shown.strip()))
    lines.no_wrap, lines.overflow = True, "ignore"
    return lines


def text(shown: Tokens) -> RenderableType:
    """The tokens with a gap after each; "_" is a space at an end of a token."""
    n = len(shown)
    line = Text(" ".join(readable(surface, most=80) for surface in shown.surfaces[:_MOST_TOKENS]))
    if n > _MOST_TOKENS:
        line.append(f"  and {n - _MOST_TOKENS:,} more", "dim")
    return Group(Text(count(n, "token"), "bold"), line)


def portrait(shown: Portrait) -> RenderableType:
    """A head: its program, its scores, and its patterns on its best and its worst text."""
    row = shown.scores
    title = Text(f"Layer {row.layer}, head {row.head}", "bold")
    if row.category:
        title.append(f"  {visible(row.category)}", "cyan")
    if row.chosen_from and row.chosen_from != str(shown.head):
        title.append(f"  its program was written for {visible(row.chosen_from)}", "dim")
    parts: list[RenderableType] = [title, ""]
    if shown.source is not None:
        parts += [source(shown.source), ""]
    if shown.edited:
        edited = "The program was edited; the scores are of what it was."
        parts += [Text(edited, "yellow"), ""]
    parts.append(head_result(row))
    for name, seen in (("Best", shown.best), ("Worst", shown.worst)):
        if seen is not None:
            parts += ["", _sighting_title(seen, f"{name} test text"), SideBySide(seen)]
    if shown.worst is not None:
        parts.append(_legend())
    if shown.note:
        parts += ["", Text(visible(shown.note), "yellow")]
    return Group(*parts)


def sighting(shown: Sighting) -> RenderableType:
    """The patterns of a head and of its program on one text, side by side."""
    return Group(_sighting_title(shown, "Text"), SideBySide(shown), _legend())


def trial(shown: Trial) -> RenderableType:
    """An idea of a head: its scores beside others, and both patterns where it does worst."""
    name, what = map(visible, trial_title(shown))
    parts: list[RenderableType] = [Text.assemble((name, "bold"), what), ""]
    if shown.fitted is not None:
        parts += [source(shown.idea.source), ""]
    parts += [facts_table(trial_facts(shown)), ""]
    parts.append(_sighting_title(shown.worst, f"Worst {shown.on} text"))
    parts += [SideBySide(shown.worst, "idea"), _legend()]
    if shown.misses:
        parts += ["", Text("  where the weights differ most", "dim")]
        parts.append(facts_table(misses_facts(shown, readable)))
    return Group(*parts)


def _sighting_title(shown: Sighting, name: str) -> Text:
    return Text.assemble((name, "bold"), f"  {visible(shown.text_id)}  IoU {shown.iou:.3f}")


def _legend() -> Text:
    return Text(f"  weight {LEGEND}", "dim")
