"""headscript evaluate: questions answered with heads replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import Json, ModelPlace, Order, Programs, RunFolder


def evaluate(
    run: RunFolder,
    tasks: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Tasks of lm-evaluation-harness, separated by commas."),
    ] = "hellaswag,piqa,sciq,arc_easy,social_iqa,copa",
    limit: Annotated[
        int, typer.Option(metavar="N", help="Take the first N questions of each task.")
    ] = 200,
    fractions: Annotated[
        str,
        typer.Option(metavar="FRACTIONS", help="Shares of the heads that are replaced."),
    ] = "0,0.05,0.1,0.15,0.25,0.4,0.5,0.75,1",
    programs: Programs = None,
    order: Order = None,
    model: ModelPlace = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with piqa.jsonl and so on, which the six usual names then mean; without "
            "it questions are fetched from the hub.",
        ),
    ] = None,
    tasks_folder: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder with further task files of the harness."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(metavar="N", help="Answers that are scored at a time.")
    ] = 16,
    as_json: Json = False,
) -> None:
    """Ask RUN's model multiple-choice questions, with growing shares of its heads replaced.

    Answers are kept in the run: what is there is not computed again.
    """
    from headscript.assignment import parse_fractions
    from headscript.cli.answers_table import print_evaluation
    from headscript.cli.terminal import console, print_json, progress
    from headscript.evaluation.questions import evaluate_run

    with progress() as on_event:
        result = evaluate_run(
            run,
            tasks.split(","),
            parse_fractions(fractions),
            limit=limit,
            programs=programs,
            order=order,
            model=model,
            data=data,
            tasks_folder=tasks_folder,
            batch_size=batch_size,
            on_event=on_event,
        )
    if as_json:
        print_json({"run": str(run), **result.model_dump(mode="json")})
    else:
        print_evaluation(console(), run, result)
