"""headscript tune: the constants of a run's programs, fitted to what the model predicts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headscript.cli.options import Field, Json, MaxTexts, MaxTokens, ModelPlace, Order, RunFolder


class Objective(StrEnum):
    """What constants are fitted to."""

    kl = "kl"


class Precision(StrEnum):
    """In what the model computes."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


def tune(
    run: RunFolder,
    objective: Annotated[
        Objective,
        typer.Option(help="kl: the original's next-token distribution, with programs in place."),
    ] = Objective.kl,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the new version of the programs.")
    ] = "tuned",
    start: Annotated[
        str, typer.Option(metavar="VERSION", help="The version to start from.")
    ] = "found",
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Texts to tune on; the run's fit texts if not given. Those that repeat its select "
            "or test texts are left out.",
        ),
    ] = None,
    stages: Annotated[
        str,
        typer.Option(metavar="FRACTIONS", help="Shares of the heads replaced, stage by stage."),
    ] = "0.25,0.5,1",
    order: Order = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the fit.")] = 600,
    step_tokens: Annotated[int, typer.Option(metavar="N", min=2, help="Tokens of a step.")] = 768,
    rate: Annotated[float, typer.Option(metavar="R", min=0, help="Rate of Adam.")] = 0.03,
    keep: Annotated[
        float,
        typer.Option(
            metavar="S",
            min=0,
            help="How strongly programs are kept to the patterns of their heads; 0 is not at all.",
        ),
    ] = 0.0,
    terms: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Cut programs to N constants, mean and median, those first that the model needs "
            "least.",
        ),
    ] = None,
    dtype: Annotated[
        Precision, typer.Option(help="Precision of the model meanwhile; auto: what is fast here.")
    ] = Precision.auto,
    max_texts: MaxTexts = None,
    max_tokens: MaxTokens = None,
    field: Field = "text",
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of what is drawn.")] = 0,
    model: ModelPlace = None,
    as_json: Json = False,
) -> None:
    """Fit the constants of RUN's programs through the model; a new version beside the old."""
    from headscript.assignment import parse_fractions
    from headscript.cli.terminal import console, print_json, progress
    from headscript.cli.tuning_table import print_version
    from headscript.tuning.tune import tune as tune_run
    from headscript.tuning.versions import TuneSettings

    settings = TuneSettings(
        objective=objective.value,
        start=start,
        texts=texts,
        field=field,
        max_texts=max_texts,
        max_tokens=max_tokens,
        stages=parse_fractions(stages),
        order=order,
        steps=steps,
        step_tokens=step_tokens,
        rate=rate,
        keep=keep,
        terms=terms,
        dtype=dtype.value,
        seed=seed,
    )
    with progress() as on_event:
        record = tune_run(run, name, settings=settings, model=model, on_event=on_event)
    if as_json:
        print_json({"run": str(run), "version": name, **record.model_dump(mode="json")})
    else:
        print_version(console(), run, name, record)
