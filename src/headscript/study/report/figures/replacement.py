"""Perplexity increase against heads replaced: all models of a study, and those of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headscript.report.figures import style
from headscript.runs import FOUND
from headscript.study.report import published
from headscript.study.report.rows import Row

_COLOURS = (style.BLUE, style.VERMILLION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)
_MARKERS = ("o", "s", "^", "D", "v", "P")
_PAPER = ("1", "2", "3", "4")  # markers of its models
_ACROSS = 3


class Loss(NamedTuple):
    """A model with some of its heads replaced."""

    model: str
    texts: str
    """The texts of the run, or of the paper."""
    programs: str
    """Their version; "paper" for its own."""
    order: str
    replaced: float
    """Share of the model's heads."""
    perplexity_increase: float
    """0.05 is 5 %."""
    low: float | None
    """Lower end of its 95 % interval over texts."""
    high: float | None


def losses(rows: Sequence[Row]) -> list[Loss]:
    """What is drawn, of the rows on replacement: programs in their best order, and the paper's."""
    found = [
        Loss(
            row["model"],
            row["texts"],
            row["version"],
            row["order"],
            row["replaced"],
            row["perplexity_increase"],
            row["ci95_low"],
            row["ci95_high"],
        )
        for row in rows
        if row["best_order"] and not row["baseline"]
    ]
    if found:
        found += [
            Loss(model.name, "paper", "paper", "iou", share, increase, None, None)
            for model in published.MODELS
            for share, increase in model.perplexity_increase.items()
        ]
    return found


def draw(rows: Sequence[Loss]) -> Figure:
    """A panel for each of the texts; tuned programs in dashes, the paper's points in grey."""
    texts = list(dict.fromkeys(row.texts for row in rows if row.programs != "paper"))
    models = list(dict.fromkeys(row.model for row in rows if row.programs != "paper"))
    paper = list(dict.fromkeys(row.model for row in rows if row.programs == "paper"))
    across = min(_ACROSS, len(texts))
    down = -(-len(texts) // across)
    figure = style.blank(style.DOUBLE, 2.2 * down + 0.9)
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    ends = [
        100 * end
        for row in rows
        for end in (row.perplexity_increase, row.low, row.high)
        if end is not None
    ]
    for axes, name in zip(panels, texts, strict=False):
        for number, model in enumerate(models):
            _curves(axes, [r for r in rows if r.model == model and r.texts == name], number)
        for number, model in enumerate(paper):
            _points(axes, [r for r in rows if r.model == model and r.programs == "paper"], number)
        axes.grid()
        axes.set_title(f"on {name}", loc="left")
        style.share_axis(axes)
    style.per_cent_axis(panels[0], ends)
    for axes in panels[len(texts) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(texts) - across) : len(texts)]:
        axes.set_xlabel("heads replaced (%)")
        axes.tick_params(labelbottom=True)
    for axes in panels[::across]:
        axes.set_ylabel("perplexity increase (%)")
    once: dict[str, Any] = {}
    for axes in panels[: len(texts)]:
        handles, labels = axes.get_legend_handles_labels()
        once |= dict(zip(labels, handles, strict=True))
    figure.legend(
        list(once.values()), list(once), loc="outside lower center", ncols=3, handlelength=2.6
    )
    return figure


def _curves(axes: Axes, rows: Sequence[Loss], number: int) -> None:
    colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
    for version in dict.fromkeys(row.programs for row in rows):
        points = [row for row in rows if row.programs == version]
        shares = [100 * point.replaced for point in points]
        known = [p for p in points if p.low is not None and p.high is not None]
        axes.fill_between(
            [100 * point.replaced for point in known],
            [100 * (point.low or 0.0) for point in known],
            [100 * (point.high or 0.0) for point in known],
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
        axes.plot(
            shares,
            [100 * point.perplexity_increase for point in points],
            color=colour,
            marker=marker,
            markerfacecolor=colour if version == FOUND else "white",
            linestyle="-" if version == FOUND else (0, (4, 2)),
            label=f"{points[0].model}, {version}",
        )


def _points(axes: Axes, rows: Sequence[Loss], number: int) -> None:
    axes.plot(
        [100 * row.replaced for row in rows],
        [100 * row.perplexity_increase for row in rows],
        color=style.GREY,
        marker=_PAPER[number % len(_PAPER)],
        markersize=5,
        linestyle=(0, (1, 1.5)),
        linewidth=0.7,
        zorder=1.5,
        label=f"{rows[0].model}, as the paper reports",
    )
