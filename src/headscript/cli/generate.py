"""headscript generate: what a model writes with heads replaced, beside what it writes as it is."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from headscript.cli.options import (
    AllowInconsistent,
    Field,
    Json,
    ModelPlace,
    Order,
    Programs,
    RunFolder,
)


def generate(
    run: RunFolder,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The text to go on from.")],
    replace: Annotated[
        float,
        typer.Option(metavar="FRACTION", help="Share of the model's heads to replace, 0 to 1."),
    ] = 0.25,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="L5H3=FILE",
            help="Put a program that you edited in the place of a head; may be given repeatedly.",
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Write at most this many tokens.")
    ] = 60,
    sample: Annotated[
        bool,
        typer.Option("--sample", help="Draw tokens by their chances; if not said, the likeliest."),
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(
            metavar="T", min=0.01, help="Sharpen (below 1) or flatten the chances; means --sample."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="S", help="Seed of the draws, the same for all texts.")
    ] = 0,
    programs: Programs = None,
    order: Order = None,
    texts: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH",
            help="Texts to measure perplexity on, as for 'explain'; the run's test texts if not "
            "given.",
        ),
    ] = None,
    max_texts: Annotated[
        int, typer.Option(metavar="N", min=1, help="Measure on at most this many texts.")
    ] = 8,
    field: Field = "text",
    model: ModelPlace = None,
    allow_inconsistent: AllowInconsistent = False,
    as_json: Json = False,
) -> None:
    """Let the model of RUN go on from PROMPT as it is and with heads replaced, side by side."""
    from headscript.cli.terminal import console, print_json, progress
    from headscript.cli.writing import print_effect, writing
    from headscript.evaluation.generating import Comparison, parse_edits
    from headscript.runs import Run
    from headscript.texts import load_texts

    opened = Run.open(run)
    edits = parse_edits(edit or [])
    documents = None if texts is None else load_texts(texts, max_texts=max_texts, field=field)
    with progress() as on_event:
        comparison = Comparison(
            opened,
            replace,
            edits=edits,
            version=programs,
            order=order,
            model=model,
            allow_inconsistent=allow_inconsistent,
            on_event=on_event,
        )
    if sample and temperature is None:
        temperature = 1.0
    view = nullcontext() if as_json else writing(console(), comparison, prompt)
    with view as on_text:
        written = comparison.write(
            prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            on_text=on_text or (lambda way, text: None),
        )
    with progress() as on_event:
        effect = comparison.effect(documents, max_texts=max_texts, on_event=on_event)
    if as_json:
        print_json({"run": str(run), **comparison.as_json(written, effect)})
    else:
        print_effect(console(), comparison, written, effect)
