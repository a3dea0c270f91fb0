"""headscript import: published programs, tried and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import Field, Json


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.py", help="A file with functions (sentence, tokenizer) -> (name, matrix)."
        ),
    ],
    tokenizer: Annotated[
        str,
        typer.Option(
            metavar="MODEL|RUN", help="Whose tokenizer the programs get: a model, or a run's."
        ),
    ] = "smollm2-135m",
    texts: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Texts to try them on, as for 'explain'.")
    ] = "stories",
    max_texts: Annotated[
        int, typer.Option(metavar="N", min=1, help="Take at most this many texts.")
    ] = 5,
    max_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Take at most this many tokens of a text.")
    ] = 64,
    field: Field = "text",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write each accepted program to a file in here."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processes; one for each core.")
    ] = None,
    allow_weak_sandbox: Annotated[
        bool,
        typer.Option(
            "--allow-weak-sandbox", help="Run them also where the system lacks full isolation."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Try the programs of a published file in the sandbox, and keep those that work."""
    from headscript.cli.import_table import print_import
    from headscript.cli.terminal import console, print_json, progress
    from headscript.programs.freeform import weak_is_allowed
    from headscript.programs.importing import import_programs, write_programs
    from headscript.runs import tokenizer_of
    from headscript.sandbox import Sandbox
    from headscript.texts import load_texts

    documents = load_texts(texts, max_texts=max_texts, field=field)
    with (
        progress() as on_event,
        Sandbox(workers=workers, allow_weak=allow_weak_sandbox or weak_is_allowed()) as sandbox,
    ):
        found, causal = tokenizer_of(tokenizer, on_event=on_event)
        report = import_programs(
            file,
            found,
            [document.text for document in documents],
            causal=causal,
            max_tokens=max_tokens,
            sandbox=sandbox,
            on_event=on_event,
        )
    if out is not None:
        write_programs(report, out)
    if as_json:
        print_json({**report.as_json(), "out": None if out is None else str(out)})
    else:
        print_import(console(), report, out)
