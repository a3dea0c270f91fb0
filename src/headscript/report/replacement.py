"""What replacing heads costs, as files of the run: JSON, a table, and figures."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

from headscript.evaluation.replacing import ReplacementCurve
from headscript.heads import Head
from headscript.report.figures import can_draw, require_matplotlib
from headscript.runs import Run
from headscript.texts.corpora import is_named
from headscript.texts.readers import contents_hash

OWN_TEXTS = "test"
"""The name of the run's own test texts."""
_HASH_DIGITS = 6


def draws_figures(asked: bool | None) -> bool:
    """Whether figures are drawn: as asked (None: where matplotlib is here).

    Raises HeadscriptError where they are asked for and matplotlib is missing.
    """
    if asked:
        require_matplotlib()
    return can_draw() if asked is None else asked


def write_replacement(
    run: Run,
    curve: ReplacementCurve,
    source: str | None = None,
    *,
    name: str | None = None,
    figures: bool = True,
) -> list[Path]:
    """Write RUN/replacement/VERSION/TEXTS.json and .parquet, and two figures; gives their paths.

    `source` is the name or the path of the texts, None for the run's own, and `name` what
    `texts_name` made of it when they were read (None: what it makes of it now); the run must be
    open for writing. Figures need matplotlib; that of IoU and cost is left out where costs are not
    known.
    """
    stem = f"replacement/{curve.version}/{texts_name(source) if name is None else name}"
    contents: dict[str, bytes] = {f"{stem}.parquet": _table(curve)}
    if figures:
        contents |= {f"{stem}-{drawn}.png": image for drawn, image in _figures(run, curve).items()}
    for path, content in contents.items():
        run.write(path, content)
    # Last, so that where it is, all is.
    whole = {"source": source or OWN_TEXTS, **curve.model_dump(mode="json")}
    run.write_json(f"{stem}.json", whole)
    return [run.directory / path for path in (f"{stem}.json", *contents)]


def texts_name(source: str | None) -> str:
    """A name for texts that can be that of a file: "test" for the run's own, "stories" as it is.

    Of a file or folder it is file-STEM-HASH, by what is in it, so that no two are taken for one
    another, nor for texts that have a name. Raises HeadscriptError where it cannot be read.
    """
    if source is None:
        return OWN_TEXTS
    if is_named(source):
        return source
    path = Path(source).expanduser()
    name = path.resolve().name if path.is_dir() else path.stem
    return f"file-{name}-{contents_hash(path)[:_HASH_DIGITS]}"


def _figures(run: Run, curve: ReplacementCurve) -> dict[str, bytes]:
    """As PNG, by name."""
    from headscript.report.figures import cost, perplexity, style

    losses = perplexity.losses(curve, len(run.model.heads))
    drawn = {"perplexity": style.rendered(partial(perplexity.draw, losses), ["png"])["png"]}
    if curve.by_head:
        heads = [
            cost.Cost(*Head.parse(row.head), iou=row.iou, cost=row.cost) for row in curve.by_head
        ]
        draw = partial(cost.draw, heads, seed=run.config.seed)
        drawn["cost"] = style.rendered(draw, ["png"])["png"]
    return drawn


def _table(curve: ReplacementCurve) -> bytes:
    """A row for each order, fraction and what took the heads' place."""
    import polars  # a tenth of a second that other commands need not pay

    table = io.BytesIO()
    polars.DataFrame([_row(point.model_dump()) for point in curve.curve]).write_parquet(table)
    return table.getvalue()


def _row(point: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in point.items():
        if name.endswith("ci95"):
            row[f"{name}_low"], row[f"{name}_high"] = value
        else:
            row[name] = value
    return row
