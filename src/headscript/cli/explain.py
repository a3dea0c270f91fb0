"""headscript explain: every head of a model as a program."""

from __future__ import annotations

from typing import Annotated

import typer

from headscript.cli.options import (
    Address,
    EngineName,
    Field,
    Heads,
    Json,
    LibraryPlace,
    MaxTexts,
    MaxTokens,
    ModelOrRun,
    MoreTexts,
    NewRun,
    RecordingBits,
    SeedOrRuns,
)


def explain(
    model: ModelOrRun,
    out: NewRun,
    texts: MoreTexts = None,
    max_texts: MaxTexts = None,
    max_tokens: MaxTokens = None,
    heads: Heads = None,
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
    recording_bits: RecordingBits = 16,
    seed: SeedOrRuns = None,
    field: Field = "text",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Work in N processes; one a core if not given."),
    ] = None,
    engine: EngineName = "local",
    address: Address = None,
    proposer: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Who proposes programs: search, llm, library, or several, as in search,llm.",
        ),
    ] = "search",
    explainer: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="The language model of the llm proposer: openai:MODEL, anthropic:MODEL, "
            "http://HOST:PORT/v1#MODEL, or batch:FOLDER, which writes prompts and reads answers.",
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(metavar="K", min=1, help="Ask for K programs in one prompt.")
    ] = 4,
    rounds: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Ask N times more, with what came of the programs before."
        ),
    ] = 1,
    prompt_tokens: Annotated[
        int,
        typer.Option(
            metavar="N", min=200, help="Spend about N tokens of a prompt on what a head does."
        ),
    ] = 4_000,
    answer_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Let an answer have N tokens at most.")
    ] = 4_000,
    temperature: Annotated[
        float, typer.Option(metavar="T", min=0, max=2, help="How much chance is in an answer.")
    ] = 1.0,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="AMOUNT",
            help="Stop asking before this is spent: dollars, as in 2.50, or 500000tokens.",
        ),
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(metavar="IN,OUT", help="Dollars per million tokens in and out: 1.25,10."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Have N requests in flight.")
    ] = 8,
    library: LibraryPlace = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="Wait so long for an answer.")
    ] = 300.0,
    tries: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Try a request N times where a server is not well."),
    ] = 5,
    as_json: Json = False,
) -> None:
    """Write a program for every head of MODEL, fitted and tested on texts."""
    from headscript.cli.tables import print_results
    from headscript.cli.terminal import console, print_json, progress
    from headscript.explainers.settings import ExplainerSettings
    from headscript.explaining import explain as explain_model
    from headscript.propose.awaiting import AnswersAwaited

    settings = None
    if explainer is not None:
        settings = ExplainerSettings(
            explainer=explainer,
            max_tokens=answer_tokens,
            temperature=temperature,
            timeout=timeout,
            tries=tries,
            concurrency=concurrency,
            budget=budget,
            price=price,
        )
    try:
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
                recording_bits=recording_bits,
                seed=seed,
                field=field,
                proposers=proposer,
                explainer=settings,
                candidates=candidates,
                rounds=rounds,
                prompt_tokens=prompt_tokens,
                library=library,
                workers=workers,
                engine=engine,
                address=address,
                on_event=on_event,
            )
    except AnswersAwaited as awaited:
        if as_json:
            print_json({"run": str(out), "waiting": awaited.as_json()})
        else:
            console().print(str(awaited), markup=False, soft_wrap=True)
        return
    results = run.results()
    if as_json:
        print_json({"run": str(run.directory), **results.model_dump(mode="json")})
    else:
        print_results(console(), run, results)
