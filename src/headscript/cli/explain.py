"""headscript explain: every head of a model as a program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import Field, Json, MaxTexts, MaxTokens, Texts


def explain(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="smollm2-135m or minilm-l6 (built in), a model folder, a .gguf file or a hub id.",
        ),
    ],
    texts: Texts,
    out: Annotated[
        Path,
        typer.Option(
            metavar="RUN", help="Folder for the run; if it was begun there, the run goes on."
        ),
    ],
    max_texts: MaxTexts = None,
    max_tokens: MaxTokens = None,
    heads: Annotated[
        str, typer.Option(metavar="HEADS", help="all, or heads and layers such as L5H3,L6.")
    ] = "all",
    max_terms: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Give a program at most this many constants."),
    ] = 24,
    term_price: Annotated[
        float,
        typer.Option(metavar="IOU", min=0, help="Keep a constant only if it adds this much IoU."),
    ] = 0.0015,
    fit_cells: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1000,
            help="Fit on a sample of this many query-key pairs, if there are more.",
        ),
    ] = 250_000,
    seed: Annotated[
        int, typer.Option(metavar="S", help="Seed of the splits, the search and the intervals.")
    ] = 0,
    field: Field = "text",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Search in N processes; one a core if not given."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a program for every head of MODEL, fitted and tested on texts."""
    from headscript.cli.tables import print_results
    from headscript.cli.terminal import console, print_json, progress
    from headscript.explaining import explain as explain_model

    with progress() as on_event:
        run = explain_model(
            model,
            texts,
            out,
            max_texts=max_texts,
            max_tokens=max_tokens,
            heads=heads,
            max_terms=max_terms,
            term_price=term_price,
            fit_cells=fit_cells,
            seed=seed,
            field=field,
            workers=workers,
            on_event=on_event,
        )
    results = run.results()
    if as_json:
        print_json({"run": str(run.directory), **results.model_dump(mode="json")})
    else:
        print_results(console(), run, results)
