"""What replacing heads costs, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headscript.report.representations.facts import count, listed, share
from headscript.wording import short_name, too_good

if TYPE_CHECKING:
    from headscript.evaluation.replacing import ReplacementCurve
    from headscript.evaluation.sweep import Point
    from headscript.runs import Run

_ORDERS = {
    "cost": "least cost alone first",
    "greedy": "least cost beside those replaced first",
    "iou": "highest IoU first",
}
_SHORT_ORDERS = {"cost": "by cost", "greedy": "greedily", "iou": "by IoU"}
_GAP = 2  # characters between columns


def print_curve(
    console: Console,
    run: Run,
    source: str | None,
    curve: ReplacementCurve,
    files: Sequence[Path],
) -> None:
    """The end of `replace`: the best order in full, and perplexities of all else beside it."""
    best = curve.curve[0].order
    console.print()
    texts = count(curve.texts, "text" if source else "test text")
    console.print(
        Text.assemble(
            (short_name(run.model.name), "bold"),
            f": heads replaced by the programs '{curve.version}', on {texts}",
            f" of {source}" if source else "",
        ),
        soft_wrap=True,
    )
    low, high = curve.base_ci95
    console.print(
        f"perplexity of the model as it is {curve.base_perplexity:.2f}, 95 % interval {low:.2f} to "
        f"{high:.2f}, over {count(curve.predicted, 'token')}",
        soft_wrap=True,
    )
    console.print()
    console.print(Text(f"{_ORDERS[best]}, the best order", "bold"))
    own = [p for p in curve.curve if p.order == best and p.programs == curve.version]
    console.print(_in_full(own))
    rest: dict[str, dict[float, Point]] = {}
    for point in curve.curve:
        if point not in own:
            name = point.programs
            if name == curve.version:
                name = f"programs, {_SHORT_ORDERS[point.order]}"
            rest.setdefault(name, {})[point.fraction] = point
    if rest:
        console.print()
        console.print(
            Text("perplexity increase, other orders and what else takes their place", "bold")
        )
        for number, table in enumerate(
            _side_by_side([point.fraction for point in own], rest, console.width)
        ):
            if number:
                console.print()
            console.print(table)
    console.print()
    if curve.spearman is not None and curve.spearman_ci95 is not None:
        low, high = curve.spearman_ci95
        console.print(
            f"Rank correlation (Spearman) of IoU and cost over {len(curve.by_head)} heads: "
            f"{curve.spearman:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}",
            soft_wrap=True,
        )
    _print_reservations(console, curve)
    console.print(Text(listed(map(str, files)), "dim"), soft_wrap=True)


def _in_full(points: Sequence[Point]) -> Table:
    table = _table(
        "replaced", "heads", "perplexity", "95 % interval", "KL", "same top\ntoken", "coverage"
    )
    for point in points:
        low, high = point.ci95
        table.add_row(
            share(point.fraction),
            str(point.heads),
            Text(_increase(point.perplexity_increase), "bold"),
            f"{_increase(low)} to {_increase(high)}",
            f"{point.kl:.4f}",
            f"{point.top1_agreement:.1%}".replace("%", " %"),
            share(round(point.coverage, 4)),
        )
    return table


def _side_by_side(
    fractions: Sequence[float], rest: Mapping[str, Mapping[float, Point]], width: int
) -> Iterator[Table]:
    """A column a fraction, in as many tables as it takes for none to be wider than `width`."""
    columns = [
        [
            _increase(points[fraction].perplexity_increase) if fraction in points else ""
            for points in rest.values()
        ]
        for fraction in fractions
    ]
    heads = list(map(share, fractions))
    wide = [max(map(len, [head, *cells])) for head, cells in zip(heads, columns, strict=True)]
    first, names = 0, max(map(len, rest))
    while first < len(columns):
        end = first + 1
        while end < len(columns) and names + sum(w + _GAP for w in wide[first : end + 1]) <= width:
            end += 1
        table = _table("", *heads[first:end])
        table.columns[0].justify = "left"
        for name, *cells in zip(rest, *columns[first:end], strict=True):
            if any(cells):
                table.add_row(name, *cells)
        yield table
        first = end


def _table(*names: str) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), header_style="dim", pad_edge=False)
    for name in names:
        table.add_column(name, justify="right", vertical="bottom")
    return table


def _increase(increase: float) -> str:
    """An increase in per cent, with as many digits as say something."""
    digits = 1 if abs(increase) < 0.9995 else 0
    return f"{100 * increase:+,.{digits}f} %"


def _print_reservations(console: Console, curve: ReplacementCurve) -> None:
    said = [f"{name} is left out: {reason}." for name, reason in curve.left_out.items()]
    if not curve.prefix_consistent:
        said.append(
            "Not all programs are prefix-consistent: they see tokens that are yet to be predicted, "
            "so these are no perplexities of a language model."
        )
    if curve.seen:
        said.append(too_good(curve.seen, "these texts"))
    for line in said:
        console.print(line, style="yellow", markup=False, soft_wrap=True)
    if curve.failures:
        failing = count(len(curve.failures), "head")
        console.print(f"{failing} whose program fails kept their own attention:", style="yellow")
        for head, reason in list(curve.failures.items())[:5]:
            console.print(f"  {head}  {reason}", markup=False, soft_wrap=True)
