"""Objects of the Python API as HTML for notebooks.

Templates escape all they are given, for sources, tokens and names come from models and files that
nobody vouches for. There is no script and nothing is fetched. Colours suit light and dark pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pygments.lexers import PythonLexer
from pygments.styles import get_style_by_name
from rich.text import Text

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.report.representations.facts import (
    Fact,
    categories_facts,
    count,
    frontier_points,
    head_facts,
    listed,
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
from headscript.report.representations.grid import HeadGrid, colours, hundredths
from headscript.report.representations.patterns import LEAST, readable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from headscript.evaluation.portraits import Portrait, Sighting
    from headscript.evaluation.trials import Trial
    from headscript.language.text import Text as Tokens
    from headscript.library.matches import Match
    from headscript.programs.program import Program
    from headscript.results import HeadResult, Results
    from headscript.runs import Run

_MOST_TOKENS = 400
"""Tokens of a text that are shown."""
_MOST_CELLS = 36
"""Tokens of a text on which a pattern is drawn."""

_CELL = 11
"""Pixels of a cell of a pattern."""
_LABELS = 84
"""Pixels of the tokens beside and above it."""
_GAP = 26

_PARTS = (
    Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
    )
    .get_template("notebook.html.jinja")
    .module
)


def run(shown: Run) -> str:
    """What a run found: a grid of its heads, and all of them together.

    Where it is damaged or not finished, that is said.
    """
    try:
        found = shown.results()
        title = results_title(shown.model.name, found)
        grid = HeadGrid(results_scores(found), max(shown.model.heads_per_layer))
        versions = ", ".join(shown.versions())
    except HeadscriptError as error:
        return _card(_part("heading", "Run", f"  {error}"))
    facts = results_facts(found) + categories_facts(found.summary.categories)
    facts += [("programs", versions), ("run", str(shown.directory))]
    return _card(_titled(title, grid), _facts(facts))


def results(shown: Results) -> str:
    """A grid of all heads, and all of them together."""
    facts = results_facts(shown) + categories_facts(shown.summary.categories)
    return _card(_grid(HeadGrid(results_scores(shown))), _facts(facts))


def match(shown: Match) -> str:
    """A grid of the heads with the programs that are in use, and all of them together."""
    grid = HeadGrid(match_scores(shown))
    return _card(_titled(match_title(shown), grid), _facts(match_facts(shown)))


def head_result(row: HeadResult) -> str:
    """The scores of one head."""
    return _card(_facts(_head_facts(row)))


def program(shown: Program) -> str:
    """The source in colours, the explanation as its docstring, and what is known of it."""
    return _card(_part("heading", shown.name, f"  {program_facts(shown)}"), _source(shown.source))


def text(shown: Tokens) -> str:
    """The tokens, each on a ground of its own; spaces and line breaks can be seen."""
    n = len(shown)
    surfaces = [_readable(surface) for surface in shown.surfaces[:_MOST_TOKENS]]
    more = f"{n - _MOST_TOKENS:,}" if n > _MOST_TOKENS else ""
    return _card(_part("heading", count(n, "token"), ""), _part("tokens", surfaces, more))


def portrait(shown: Portrait) -> str:
    """A head: its program, its scores, and its patterns on its best and its worst text."""
    row = shown.scores
    rest = f"  {row.category}" if row.category else ""
    if row.chosen_from and row.chosen_from != str(shown.head):
        rest += f"; its program was written for {row.chosen_from}"
    parts = [_part("heading", f"Layer {row.layer}, head {row.head}", rest)]
    if shown.source is not None:
        parts.append(_source(shown.source))
    if shown.edited:
        parts.append(_part("paragraph", "The program was edited; the scores are of what it was."))
    parts.append(_facts(_head_facts(row)))
    for name, seen in (("Best", shown.best), ("Worst", shown.worst)):
        if seen is not None:
            parts += _sighting(seen, f"{name} test text")
    if shown.note:
        parts.append(_part("paragraph", shown.note))
    return _card(*parts)


def sighting(shown: Sighting) -> str:
    """The patterns of a head and of its program on one text, side by side."""
    return _card(*_sighting(shown, "Text"))


def trial(shown: Trial) -> str:
    """An idea of a head: its scores beside others, and both patterns where it does worst."""
    parts = [_part("heading", *map(visible, trial_title(shown)))]
    if shown.fitted is not None:
        parts.append(_source(shown.idea.source))
    parts += [_facts(trial_facts(shown)), *_sighting(shown.worst, f"Worst {shown.on} text", "idea")]
    if shown.misses:
        parts.append(_part("paragraph", "Where the weights differ most:"))
        parts.append(_facts(misses_facts(shown, _readable)))
    return _card(*parts)


# Parts, of which the template has escaped what it was given -------------------------------------


def _part(macro: str, *given: Any) -> str:
    """What a macro of the template makes of what it is given, marked as HTML."""
    made: str = getattr(_PARTS, macro)(*given)
    return made


def _card(*parts: str) -> str:
    return str(_part("card", parts))


def _facts(facts: Iterable[Fact]) -> str:
    rows = [(name, value.plain if isinstance(value, Text) else value) for name, value in facts]
    return _part("facts", [(visible(name), visible(value)) for name, value in rows])


def _head_facts(row: HeadResult) -> list[Fact]:
    facts = head_facts(row)
    if row.frontier:
        points = frontier_points(row.frontier, row.terms)
        facts.append(("terms to IoU", listed(f"{terms}: {iou:.3f}" for terms, iou in points)))
    if row.status != "ok":
        facts.append(("status", row.status))
    return facts


def _titled(title: tuple[str, str], grid: HeadGrid) -> str:
    """A grid under what it is of, and what its numbers are."""
    name, what = map(visible, title)
    what += "  in hundredths, by layer and head" if grid.layers else ""
    return _part("together", [_part("heading", name, what), _grid(grid)])


def _grid(grid: HeadGrid) -> str:
    layers = [
        (layer, [_cell(Head(layer, number), score) for number, score in enumerate(scores)])
        for layer, scores in grid.rows()
    ]
    return _part("grid", grid.most, layers)


def _cell(head: Head, score: float | None) -> dict[str, str] | None:
    if score is None:
        return None
    ink, ground = (f"rgb{colour}".replace(" ", "") for colour in colours(score))
    return {
        "name": str(head),
        "score": f"{score:.3f}",
        "hundredths": str(hundredths(score)),
        "ink": ink,
        "ground": ground,
    }


def _source(shown: str) -> str:
    code = visible(shown.strip())
    looks = get_style_by_name("default")
    spans = [("", "")]
    for kind, said in PythonLexer(stripnl=False).get_tokens(code):
        look = looks.style_for_token(kind)
        style = f"color:#{look['color']}" if look["color"] else ""
        style += ";font-style:italic" if look["italic"] else ""
        if style == spans[-1][0] or not said.strip():
            spans[-1] = (spans[-1][0], spans[-1][1] + said)
        else:
            spans.append((style, said))
    return _part("code", spans)


def _sighting(shown: Sighting, name: str, predicted_by: str = "program") -> list[str]:
    """A heading and the drawing of both patterns, of the first tokens where there are many."""
    n = len(shown.surfaces)
    count_shown = min(n, _MOST_CELLS)
    labels = [_readable(surface, most=12) for surface in shown.surfaces[:count_shown]]
    side = count_shown * _CELL
    panels = [
        {
            "name": title,
            "left": _LABELS + number * (side + _GAP),
            "cells": _cells(pattern[:count_shown, :count_shown], labels),
        }
        for number, (title, pattern) in enumerate(
            (("model", shown.real), (predicted_by, shown.predicted))
        )
    ]
    drawing = {
        "label": f"Attention patterns of the model and the {predicted_by} on {count(n, 'token')}",
        "width": _LABELS + 2 * side + _GAP,
        "height": _LABELS + side + 2,
        "top": _LABELS,
        "side": side,
        "cell": _CELL,
        "labels": labels,
        "panels": panels,
        "note": f"the first {count_shown} of {n} tokens" if count_shown < n else "",
    }
    said = f"  {visible(shown.text_id)}  IoU {shown.iou:.3f}"
    return [_part("heading", name, said), _part("patterns", drawing)]


def _cells(pattern: NDArray[np.float32], labels: Sequence[str]) -> list[dict[str, str]]:
    """The weights that can be seen; their shade is the root of the weight."""
    return [
        {
            "x": str(key * _CELL),
            "y": str(query * _CELL),
            "opacity": f"{min(weight, 1.0) ** 0.5:.2f}",
            "said": f"{labels[query]} \u2192 {labels[key]}  {weight:.2f}",
        }
        for query, row in enumerate(pattern.tolist())
        for key, weight in enumerate(row)
        if weight >= LEAST
    ]


def _readable(surface: str, most: int = 80) -> str:
    """A token as it is shown: spaces at its ends and line breaks have a sign of their own."""
    return readable(surface.replace("\n", "\u21b5"), space="\u2423", most=most)
