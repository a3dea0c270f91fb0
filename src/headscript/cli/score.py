"""headscript score: a run's programs on other texts."""

from __future__ import annotations

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
    Texts,
    Workers,
)


def score(
    run: RunFolder,
    texts: Texts,
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
    from headscript.runs import Run
    from headscript.texts import load_texts

    settings = EngineSettings(engine, workers, address).checked()
    opened = Run.open(run)
    documents = load_texts(texts, max_texts=max_texts, field=field)
    with progress() as on_event:
        result = score_run(
            opened,
            documents,
            version=programs,
            max_tokens=max_tokens,
            model=model,
            engine=settings,
            on_event=on_event,
        )
    if as_json:
        print_json({"run": str(run), "source": texts, **result.model_dump(mode="json")})
    else:
        print_score(console(), opened, texts, result)
