"""Attention patterns in a terminal: a row for each query, a block for each key."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from headscript.evaluation.portraits import Sighting

_SHADES = ((0.5, "█"), (0.25, "▓"), (0.1, "▒"), (0.04, "░"), (0.015, "·"))
LEGEND = "  ".join(f"{block} {weight:g}" for weight, block in reversed(_SHADES)) + " or more"
_LABEL = 12
_GAP = 3


def side_by_side(sighting: Sighting, width: int) -> Group:
    """The real and the predicted pattern on one text, cut to the tokens that fit into `width`."""
    n = len(sighting.surfaces)
    shown = min(n, (width - _LABEL - 1 - _GAP) // 2)
    labels = [_readable(surface) for surface in sighting.surfaces[:shown]]
    real, predicted = (
        [blocks(row[:shown]) for row in pattern[:shown].tolist()]
        for pattern in (sighting.real, sighting.predicted)
    )
    lines = Table.grid(padding=0)
    lines.add_column(justify="right", width=_LABEL, no_wrap=True)
    lines.add_column(width=1)
    lines.add_column(width=shown, no_wrap=True)
    lines.add_column(width=_GAP)
    lines.add_column(width=shown, no_wrap=True)
    lines.add_row("", "", Text("model"[:shown], "bold"), "", Text("program"[:shown], "bold"))
    lines.add_row("", "", Text(_ruler(shown), "dim"), "", Text(_ruler(shown), "dim"))
    for label, left, right in zip(labels, real, predicted, strict=True):
        lines.add_row(
            Text(label, "dim"), "", Text(left, "cyan"), "", Text(right, "cyan"), end_section=False
        )
    if shown == n:
        return Group(lines)
    note = Text(f"{'':{_LABEL + 1}}the first {shown} of {n} tokens", "dim")
    return Group(lines, note)


def blocks(weights: Sequence[float]) -> str:
    """A row of weights, a character each: the more, the darker."""
    return "".join(
        next((block for least, block in _SHADES if weight >= least), " ") for weight in weights
    )


def _ruler(length: int) -> str:
    """Positions of the keys, every tenth by name: "0    ·    10   ·    20"."""
    marks = [" "] * length
    for position in range(0, length, 5):
        name = str(position) if position % 10 == 0 else "·"
        if position + len(name) <= length:
            marks[position : position + len(name)] = name
    return "".join(marks)


def _readable(surface: str) -> str:
    """A token as a label: a leading space is a low line, what cannot be seen its escape."""
    label = "".join(c if c.isprintable() else repr(c)[1:-1] for c in surface)
    if label.startswith(" "):
        label = "_" + label[1:]
    return label if len(label) <= _LABEL else label[: _LABEL - 1] + "…"
