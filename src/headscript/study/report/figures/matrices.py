"""Programs of one run on the heads of another, as matrices of IoU: domains, and models."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headscript.report.figures import style
from headscript.study.report.rows import Row

_CELL, _WIDEST = 0.52, 1.9  # inches
_LEVEL = 7  # letters of a name that fits below a cell
OWN, ANEW = "own program as it is", "chosen anew"


class Crossing(NamedTuple):
    """A cell of a matrix."""

    panel: str
    """A model, or texts."""
    how: str
    """Which programs heads get."""
    source: str
    """Where the programs were found."""
    target: str
    """Whose heads they are tried on."""
    iou: float
    low: float | None
    """Lower end of its 95 % interval over texts."""
    high: float | None


def of_domains(rows: Sequence[Row], summary: Sequence[Row]) -> list[Crossing]:
    """From texts to texts, a panel a model; on the diagonal the programs found there."""
    if not rows:
        return []
    found = [
        Crossing(row["model"], how, row["texts"], row["texts"], *_ends(row, "iou", "ci95"))
        for row in summary
        for how in (OWN, ANEW)
    ]
    for row in rows:
        for how, name in ((OWN, "own"), (ANEW, "best")):
            if row[name] is not None:
                found.append(
                    Crossing(row["model"], how, row["from"], row["to"], *_ends(row, name, name))
                )
    return found


def of_models(rows: Sequence[Row], summary: Sequence[Row]) -> list[Crossing]:
    """From model to model, a panel for each of the texts; on the diagonal the model's own."""
    if not rows:
        return []
    return [
        Crossing(row["texts"], ANEW, row["model"], row["model"], *_ends(row, "iou", "ci95"))
        for row in summary
    ] + [
        Crossing(row["texts"], ANEW, row["from"], row["to"], *_ends(row, "best", "best"))
        for row in rows
    ]


def draw(rows: Sequence[Crossing]) -> Figure:
    """A panel for each model or text, a row of panels for each way to choose programs."""
    panels = list(dict.fromkeys(row.panel for row in rows))
    ways = list(dict.fromkeys(row.how for row in rows))
    names = list(dict.fromkeys(name for row in rows for name in (row.source, row.target)))
    side = min(_CELL * len(names), _WIDEST)
    margin = 0.3 + 0.055 * max(map(len, names))  # for names at the left
    width = min(margin + (side + 0.25) * len(panels) + 0.7, style.DOUBLE)
    figure = style.blank(max(width, style.SINGLE), (side + 0.45) * len(ways) + margin)
    grid = figure.subplots(len(ways), len(panels), squeeze=False)
    ious = [row.iou for row in rows]
    colours = Normalize(floor(10 * min(ious)) / 10, max(ceil(10 * max(ious)), 1) / 10)
    for down, how in enumerate(ways):
        for across, panel in enumerate(panels):
            axes = grid[down, across]
            cells = [row for row in rows if (row.panel, row.how) == (panel, how)]
            _matrix(axes, cells, names, colours)
            if down == 0:
                axes.set_title(panel)
            if across == 0 and len(ways) > 1:
                axes.set_ylabel(how)
            axes.tick_params(labelleft=across == 0, labelbottom=down == len(ways) - 1)
    figure.supylabel("programs from", fontsize="medium")
    figure.supxlabel("heads on" if len(ways) > 1 else "heads of", fontsize="medium")
    bar = figure.colorbar(
        ScalarMappable(colours, style.SCORES), ax=grid.ravel().tolist(), shrink=0.8, aspect=25
    )
    bar.set_label("mean IoU on test texts")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10])
    bar.update_ticks()
    return figure


def _matrix(axes: Axes, cells: Sequence[Crossing], names: list[str], colours: Normalize) -> None:
    table = np.full((len(names), len(names)), np.nan)
    for cell in cells:
        table[names.index(cell.source), names.index(cell.target)] = cell.iou
    axes.imshow(table, cmap=style.SCORES, norm=colours)
    for (down, across), value in np.ndenumerate(table):
        if not np.isnan(value):
            axes.text(
                across,
                down,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=6,
                color="black" if colours(value) > 0.55 else "white",
                fontweight="bold" if down == across else "normal",
            )
    places = range(len(names))
    slanted = max(map(len, names)) > _LEVEL
    looks: Any = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(places, names, **looks)
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _ends(row: Row, mean: str, interval: str) -> tuple[float, float | None, float | None]:
    return row[mean], row[f"{interval}_low"], row[f"{interval}_high"]
