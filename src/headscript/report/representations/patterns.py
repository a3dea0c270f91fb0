"""Attention patterns in a terminal: a row for each query, a block for each key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from headscript.evaluation.portraits import Sighting

_SHADES = ((0.5, "█"), (0.25, "▓"), (0.1, "▒"), (0.04, "░"), (0.015, "·"))
LEAST = _SHADES[-1][0]
"""Smaller weights are not drawn."""
LEGEND = "  ".join(f"{block} {weight:g}" for weight, block in reversed(_SHADES)) + " or more"
_LABEL = 12
_GAP = 3


class SideBySide:
    """The real and the predicted pattern on one text, cut to the tokens that fit."""

    def __init__(self, sighting: Sighting, predicted_by: str = "program") -> None:
        self.sighting, self.predicted_by = sighting, predicted_by

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Drawn in the width that there is."""
        surfaces = self.sighting.surfaces
        n = len(surfaces)
        shown = max(0, min(n, (options.max_width - _LABEL - 1 - _GAP) // 2))
        labels = [readable(surface) for surface in surfaces[:shown]]
        real, predicted = (
            [blocks(row[:shown]) for row in pattern[:shown].tolist()]
            for pattern in (self.sighting.real, self.sighting.predicted)
        )
        lines = Table.grid(padding=0)
        lines.add_column(justify="right", width=_LABEL, no_wrap=True)
        lines.add_column(width=1)
        lines.add_column(width=shown, no_wrap=True)
        lines.add_column(width=_GAP)
        lines.add_column(width=shown, no_wrap=True)
        model, other = (Text(title[:shown], "bold") for title in ("model", self.predicted_by))
        lines.add_row("", "", model, "", other)
        lines.add_row("", "", Text(_ruler(shown), "dim"), "", Text(_ruler(shown), "dim"))
        for label, left, right in zip(labels, real, predicted, strict=True):
            lines.add_row(Text(label, "dim"), "", Text(left, "cyan"), "", Text(right, "cyan"))
        yield lines
        if shown < n:
            yield Text(f"{'':{_LABEL + 1}}the first {shown} of {n} tokens", "dim")


def blocks(weights: Sequence[float]) -> str:
    """A row of weights, a character each: the more, the darker."""
    return "".join(
        next((block for least, block in _SHADES if weight >= least), " ") for weight in weights
    )


def readable(surface: str, *, space: str = "_", most: int = _LABEL) -> str:
    """A token as a label: spaces at its ends are `space`, what cannot be seen is its escape.

    What is longer than `most` characters is cut.
    """
    label = "".join(c if c.isprintable() else repr(c)[1:-1] for c in surface)
    before = len(label) - len(label.lstrip(" "))
    after = len(label) - len(label.rstrip(" ")) if label.strip(" ") else 0
    label = space * before + label[before : len(label) - after] + space * after
    return label if len(label) <= most else label[: most - 1] + "…"


def _ruler(length: int) -> str:
    """Positions of the keys, every tenth by name: "0    ·    10   ·    20"."""
    marks = [" "] * length
    for position in range(0, length, 5):
        name = str(position) if position % 10 == 0 else "·"
        if position + len(name) <= length:
            marks[position : position + len(name)] = name
    return "".join(marks)
