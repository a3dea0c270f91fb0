"""headscript match: the heads of any model matched with a library of programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import (
    Field,
    Heads,
    Json,
    LibraryPlace,
    MaxTexts,
    MaxTokens,
    ModelOrRun,
    MoreTexts,
    SeedOrRuns,
)


def match(
    model: ModelOrRun,
    texts: MoreTexts = None,
    library: LibraryPlace = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit/--no-refit", help="Also fit the constants of the best programs to each head."
        ),
    ] = True,
    max_texts: MaxTexts = None,
    max_tokens: MaxTokens = None,
    heads: Heads = None,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out",
            help="For few texts: also leave out one after the other, and say what programs chosen "
            "on the others do on it.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Leave a run there, which score, show and replace can read."
        ),
    ] = None,
    seed: SeedOrRuns = None,
    field: Field = "text",
    as_json: Json = False,
) -> None:
    """Give every head of MODEL, or of a recording, the best program of a library; no search."""
    from headscript.cli.library_tables import print_match
    from headscript.cli.terminal import console, print_json, progress
    from headscript.library.matching import match as match_model

    with progress() as on_event:
        found = match_model(
            model,
            texts,
            library=library,
            refit=refit,
            max_texts=max_texts,
            max_tokens=max_tokens,
            heads=heads,
            out=out,
            field=field,
            seed=seed,
            leave_one_out=leave_one_out,
            on_event=on_event,
        )
    place = None if out is None else str(out)
    if as_json:
        print_json({"run": place, **found.model_dump(mode="json")})
    else:
        print_match(console(), found, place)
