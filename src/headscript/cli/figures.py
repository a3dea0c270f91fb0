"""headscript figures: what a run has measured, drawn for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import Json, RunFolder


def figures(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the files go; RUN/figures if not given."),
    ] = None,
    only: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Which figures to draw, separated by commas."),
    ] = "scores,map,terms,perplexity,cost,questions",
    formats: Annotated[
        str,
        typer.Option("--format", metavar="FORMATS", help="The kinds of files, as a list."),
    ] = "png,pdf,svg",
    programs: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="found, or a version that was tuned; the newest that was measured if not given.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw the figures of a paper from what RUN has measured, with the data of each as CSV."""
    from headscript.cli.terminal import console, print_json, progress
    from headscript.report.figures import require_matplotlib
    from headscript.runs import Run

    require_matplotlib()
    from headscript.cli.figures_table import print_drawings
    from headscript.report.figures.drawing import draw_figures

    with progress() as on_event:
        found = draw_figures(
            Run.open(run),
            out,
            only=only.split(","),
            formats=formats.split(","),
            version=programs,
            on_event=on_event,
        )
    if as_json:
        print_json({"run": str(run), **found.as_json()})
    else:
        print_drawings(console(), found)
