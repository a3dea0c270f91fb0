"""headscript replace: what it costs the model when programs take the place of its heads."""

from __future__ import annotations

from typing import Annotated

import typer

from headscript.cli.options import (
    Address,
    AllowInconsistent,
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


def replace(
    run: RunFolder,
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Texts to measure on, as for 'explain'; the run's own test texts if not given.",
        ),
    ] = None,
    fractions: Annotated[
        str,
        typer.Option(metavar="FRACTIONS", help="Shares of the model's heads to replace."),
    ] = "0,0.05,0.1,0.15,0.25,0.4,0.5,0.75,1",
    orders: Annotated[
        str,
        typer.Option(
            metavar="ORDERS",
            help="Which heads go first: of least cost alone, of least cost beside those replaced "
            "already, of highest IoU.",
        ),
    ] = "cost,greedy,iou",
    programs: Programs = None,
    max_texts: MaxTexts = None,
    max_tokens: MaxTokens = None,
    field: Field = "text",
    baseline_fractions: Annotated[
        str,
        typer.Option(
            metavar="FRACTIONS", help="Those of the fractions to measure baselines at, or none."
        ),
    ] = "0.05,0.25,0.5,1",
    cost_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Tokens of select texts to measure costs on; 1500, or what the run has.",
        ),
    ] = None,
    greedy_until: Annotated[
        float,
        typer.Option(
            metavar="FRACTION", help="Share of the heads taken greedily; the others go by cost."
        ),
    ] = 0.25,
    allow_inconsistent: AllowInconsistent = False,
    figures: Annotated[
        bool | None,
        typer.Option(
            "--figures/--no-figures", help="Draw figures; if not said, where matplotlib is here."
        ),
    ] = None,
    model: ModelPlace = None,
    workers: Workers = None,
    engine: EngineName = "local",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Put the programs of RUN in the place of more and more heads, and measure what is lost."""
    from headscript.assignment import parse_fractions
    from headscript.cli.replacement_table import print_curve
    from headscript.cli.terminal import console, print_json, progress
    from headscript.engines import EngineSettings
    from headscript.evaluation.replacing import replacement_curve
    from headscript.report.replacement import draws_figures, texts_name, write_replacement
    from headscript.runs import Run
    from headscript.texts import load_texts

    settings = EngineSettings(engine, workers, address).checked()
    asked = parse_fractions(fractions)
    compared = () if baseline_fractions == "none" else parse_fractions(baseline_fractions)
    drawn = draws_figures(figures)
    with Run.open_for_writing(run) as opened:
        documents = None if texts is None else load_texts(texts, max_texts=max_texts, field=field)
        name = texts_name(texts)
        with progress() as on_event:
            curve = replacement_curve(
                opened,
                documents,
                fractions=asked,
                orders=[order.strip() for order in orders.split(",")],
                baseline_fractions=compared,
                version=programs,
                model=model,
                max_texts=max_texts,
                max_tokens=max_tokens,
                cost_tokens=cost_tokens,
                greedy_until=greedy_until,
                allow_inconsistent=allow_inconsistent,
                engine=settings,
                on_event=on_event,
            )
            files = write_replacement(opened, curve, texts, name=name, figures=drawn)
    if as_json:
        print_json({"run": str(run), "source": texts, **curve.model_dump(mode="json")})
    else:
        print_curve(console(), opened, texts, curve, files)
