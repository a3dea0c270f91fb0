"""headscript score: a run's programs on other texts."""

from __future__ import annotations

from typing import Annotated

import typer

from headscript.cli.options import (
    Address,
    EngineName,
    Field,
    Json,
    MaxTexts,
    MaxTokens,
    ModelPlace,
    Programs,
    RunFolder,
    Workers,
)


def score(
    run: RunFolder,
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Texts, as for 'explain'; if not given, the run's own test texts as they were "
            "recorded, for which no model is needed.",
        ),
    ] = None,
    max_texts: MaxTexts = None,
    max_tokens: MaxTokens = None,
    field: Field = "text",
    programs: Programs = None,
    model: ModelPlace = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Score the programs of RUN, as they are now in its folder, on any texts."""
    from headscript.cli.tables import print_score
    from headscript.cli.terminal import console, print_json, progress
    from headscript.engines import EngineSettings
    from headscript.evaluation import score_run
    from headscript.evaluation.scoring_recorded import refuse_without_texts, score_recorded
    from headscript.runs import Run
    from headscript.texts import load_texts

    settings = EngineSettings(engine, workers, address).checked()
    opened = Run.open(run)
    with progress() as on_event:
        if texts is None:
            refuse_without_texts(max_texts=max_texts, max_tokens=max_tokens, model=model)
            result = score_recorded(opened, version=programs, on_event=on_event)
        else:
            result = score_run(
                opened,
                load_texts(texts, max_texts=max_texts, field=field),
                version=programs,
                max_tokens=max_tokens,
                model=model,
                engine=settings,
                on_event=on_event,
            )
    source = "the run's test texts" if texts is None else texts
    if as_json:
        print_json({"run": str(run), "source": source, **result.model_dump(mode="json")})
    else:
        print_score(console(), opened, source, result)
