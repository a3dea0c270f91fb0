"""The paper's protocol beside ours: what choosing and reporting on the same sentences is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headscript.report.figures import style
from headscript.study.report.rows import Row

_ROW, _MARGIN = 0.3, 0.85  # inches
_LOOKS = {
    # colour, marker, and how far above the middle of its row it stands
    "chosen and reported on the sentences": (style.VERMILLION, "o", 0.2),
    "the same choice on unseen text": (style.ORANGE, "s", 0.0),
    "three splits, on unseen text": (style.BLUE, "D", -0.2),
}
_BASELINES = {
    "first token": (style.GREY, "|"),
    "uniform": (style.GREY, "x"),
}


class Mark(NamedTuple):
    """One number of a run."""

    model: str
    texts: str
    what: str
    """How programs were chosen and reported, or the name of a baseline."""
    baseline: bool
    iou: float
    low: float | None
    """Lower end of its 95 % interval over texts."""
    high: float | None


def marks(rows: Sequence[Row]) -> list[Mark]:
    """What is drawn, of the rows on protocols."""
    found = []
    for row in rows:
        for what, name in zip(_LOOKS, ("five", "unseen", "ours"), strict=True):
            found.append(
                Mark(
                    row["model"],
                    row["texts"],
                    what,
                    False,
                    row[name],
                    row[f"{name}_low"],
                    row[f"{name}_high"],
                )
            )
        for name in _BASELINES:
            value = row.get(f"baseline_{name}")
            if value is not None:
                found.append(Mark(row["model"], row["texts"], name, True, value, None, None))
    return found


def draw(rows: Sequence[Mark]) -> Figure:
    """A row for each run: three ways to choose and report, and two baselines on unseen text."""
    runs = list(dict.fromkeys((row.model, row.texts) for row in rows))
    figure = style.blank(style.DOUBLE, _MARGIN + _ROW * len(runs))
    axes = figure.add_subplot()
    for (model, texts), place in zip(runs, range(len(runs), 0, -1), strict=True):
        for row in rows:
            if (row.model, row.texts) == (model, texts):
                _mark(axes, row, place)
    axes.set_yticks(range(len(runs), 0, -1), [f"{model}, {texts}" for model, texts in runs])
    axes.set_ylim(0.4, len(runs) + 0.6)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("mean IoU over heads, 95 % interval over texts")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(list(once.values()), list(once), loc="outside upper center", ncols=3)
    return figure


def _mark(axes: Axes, row: Mark, place: int) -> None:
    if row.baseline:
        colour, marker = _BASELINES[row.what]
        axes.plot(
            [row.iou],
            [place],
            linestyle="none",
            marker=marker,
            color=colour,
            markersize=4.5,
            label=f"{row.what}, on unseen text",
        )
        return
    colour, marker, above = _LOOKS[row.what]
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [place + above] * 2, color=colour, linewidth=0.9)
    axes.plot(
        [row.iou],
        [place + above],
        linestyle="none",
        marker=marker,
        color=colour,
        markersize=3.8,
        label=row.what,
    )
