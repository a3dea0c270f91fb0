"""headscript try: one's own idea of a head beside what the run found."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import Json, Programs, RunFolder
from headscript.errors import HeadscriptError


class On(StrEnum):
    """Which of a run's texts an idea is tried on."""

    select = "select"
    test = "test"


def try_(
    run: RunFolder,
    head: Annotated[str, typer.Argument(metavar="HEAD", help="A head, such as L5H3.")],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="The idea: a program of the language, or a function (sentence, tokenizer), which "
            "runs in the sandbox.",
        ),
    ],
    on: Annotated[
        On,
        typer.Option(
            help="Texts of the run to score on. Who tries many ideas chooses among them, so that "
            "is for the select texts; keep the test texts for the last one.",
        ),
    ] = On.select,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit its constants to the head first, on the fit texts.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --fit: write the program with its new constants."),
    ] = None,
    programs: Programs = None,
    as_json: Json = False,
) -> None:
    """Score an idea of your own for HEAD beside RUN's program and the baselines."""
    from headscript.cli.terminal import console, print_json, progress
    from headscript.evaluation.trying import try_program
    from headscript.runs import Run

    if out is not None and not fit:
        raise HeadscriptError("--out is for the program that --fit makes; add --fit.")
    with progress() as on_event:
        found = try_program(
            Run.open(run), head, file, on.value, fit=fit, version=programs, on_event=on_event
        )
    if out is not None:
        found.idea.save(out)
    if as_json:
        print_json({"run": str(run), "file": str(file), **found.as_json()})
        return
    screen = console()
    screen.print()
    screen.print(found, crop=False)  # a program's lines are longer than some terminals
    if out is not None:
        screen.print(f"\nwritten to {out}", markup=False, soft_wrap=True)
