"""Two figures after the paper's figure 5: perplexity against heads replaced, IoU against cost.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; lines differ in dashes
and markers too, so that the figures can be printed in grey.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from headscript.evaluation.replacing import ReplacementCurve
from headscript.evaluation.sweep import Point
from headscript.heads import Head

_DOTS_PER_INCH = 220
_LINEAR = 1.0  # per cent: below, the axis is linear, so that 0 has a place on it
_GREY = "#666666"
# Colour, marker, its size and the width of the line: where lines coincide, the wider ones show.
_ORDER_STYLES: dict[str, tuple[str, str, float, float]] = {
    "cost": ("#0072B2", "o", 6.4, 2.8),
    "greedy": ("#009E73", "s", 4.4, 1.7),
    "iou": ("#D55E00", "^", 3.4, 0.9),
}
_ORDER_NAMES = {"cost": "cost alone", "greedy": "greedy cost", "iou": "IoU"}
_BASELINE_STYLES: dict[str, tuple[str, str]] = {
    "uniform": ("#000000", "v"),
    "first token": ("#56B4E9", "D"),
    "zero": ("#E69F00", "X"),
    "mean by position": ("#CC79A7", "P"),
    "random program": ("#999999", "d"),
    "intended": ("#8C6D1F", "*"),
}


def curve_figure(curve: ReplacementCurve) -> bytes:
    """Perplexity increase against the share of heads replaced, as PNG.

    Solid lines are the run's programs in each order, with 95 % intervals; dashed ones are what
    else was put in the place of the same heads, in the best order.
    """
    figure, axes = _figure(7.0, 3.7)
    programs, baselines = [], []
    lines: dict[tuple[str, str], list[Point]] = {}
    for point in curve.curve:
        lines.setdefault((point.order, point.programs), []).append(point)
    best = curve.curve[0].order
    for (order, name), points in lines.items():
        shares = [100 * point.fraction for point in points]
        increase = [100 * point.perplexity_increase for point in points]
        if name == curve.version:
            colour, marker, size, width = _ORDER_STYLES[order]
            low = [100 * point.ci95[0] for point in points]
            high = [100 * point.ci95[1] for point in points]
            axes.fill_between(shares, low, high, color=colour, alpha=0.13, linewidth=0)
            (line,) = axes.plot(
                shares,
                increase,
                color=colour,
                marker=marker,
                markersize=size,
                linewidth=width,
                zorder=5 - width / 10,
            )
            line.set_label(_ORDER_NAMES[order])
            programs.append(line)
        else:
            colour, marker = _BASELINE_STYLES[name]
            (line,) = axes.plot(
                shares,
                increase,
                color=colour,
                marker=marker,
                markersize=5,
                markerfacecolor="white",
                linewidth=1.0,
                linestyle=(0, (4, 2)),
                zorder=6,
            )
            line.set_label(name)
            baselines.append(line)
    shown = [100 * p.perplexity_increase for p in curve.curve]
    shown += [100 * p.ci95[0] for p in curve.curve if p.programs == curve.version]
    _per_cent_axis(axes, shown)
    axes.set_xlim(-1.5, 101.5)
    axes.set_xticks(range(0, 101, 25), [f"{share} %" for share in range(0, 101, 25)])
    axes.set_xlabel("heads replaced", fontsize=9)
    axes.set_ylabel("perplexity increase", fontsize=9)
    groups = [(f"programs '{curve.version}', by", programs)]
    if baselines:
        groups.append((f"instead, by {_ORDER_NAMES[best]}", baselines))
    _legend(axes, groups)
    return _png(figure)


def cost_figure(curve: ReplacementCurve) -> bytes:
    """The cost of replacing each head alone against the IoU of its program, as PNG."""
    figure, axes = _figure(4.8, 3.7)
    layers = [Head.parse(row.head).layer for row in curve.by_head]
    # What cannot be told from nothing stands at the lower edge of what can.
    costs = [row.cost for row in curve.by_head]
    least = min((cost for cost in costs if cost > 0), default=1e-6)
    points = axes.scatter(
        [row.iou for row in curve.by_head],
        [max(cost, least) for cost in costs],
        c=layers,
        cmap="cividis",
        s=16,
        linewidths=0.3,
        edgecolors="white",
        zorder=3,
    )
    axes.set_yscale("log")
    axes.set_xlabel("IoU of the program on test texts", fontsize=9)
    axes.set_ylabel("cost of replacing the head (KL, nats a token)", fontsize=9)
    if curve.spearman is not None and curve.spearman_ci95 is not None:
        low, high = curve.spearman_ci95
        axes.set_title(
            f"Spearman {_signed(curve.spearman)} "
            f"(95 % interval {_signed(low)} to {_signed(high)}), {len(costs)} heads",
            fontsize=9,
        )
    bar = figure.colorbar(points, ax=axes, pad=0.02, aspect=30)
    bar.set_label("layer", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    bar.locator = _whole_numbers(layers)
    bar.update_ticks()
    return _png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(_GREY)
    axes.tick_params(labelsize=8, color=_GREY)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _per_cent_axis(axes: Axes, values: list[float]) -> None:
    """Logarithmic in tens, linear about 0."""
    axes.set_yscale("symlog", linthresh=_LINEAR, linscale=0.6)
    top, bottom = max(*values, 10.0), min(*values, 0.0)
    ticks, tick = [0.0], _LINEAR
    while tick <= 10 * top:
        ticks.append(tick)
        tick *= 10
    if bottom < -_LINEAR:
        ticks.insert(0, -_LINEAR)
    axes.set_ylim(bottom * 1.3 - 0.15, top * 1.6)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _per_cent(value)))


def _per_cent(value: float) -> str:
    return "0" if value == 0 else f"{_signed(value, 0)} %"


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:+,.{digits}f}".replace("-", "\u2212")


def _legend(axes: Axes, groups: Sequence[tuple[str, Sequence[Line2D]]]) -> None:
    """Beside the axes, each group under its title."""
    handles: list[Line2D] = []
    for title, lines in groups:
        if handles:
            handles.append(_words(" "))
        handles += [_words(title), *lines]
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.03),
        frameon=False,
        fontsize=8,
        handlelength=2.6,
    )


def _words(said: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker="none", label=said)


def _whole_numbers(layers: list[int]) -> FixedLocator:
    step = max(1, round((max(layers) - min(layers)) / 6))
    return FixedLocator(list(range(min(layers), max(layers) + 1, step)))


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=_DOTS_PER_INCH)
    return image.getvalue()
