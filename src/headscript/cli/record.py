"""headscript record: the attention of a model on texts, recorded here or elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from headscript.cli.options import (
    Field,
    Heads,
    Json,
    MaxTexts,
    MaxTokens,
    MoreTexts,
    NewRun,
    RecordingBits,
)


def record(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL | FILE...",
            help="A model, as for 'explain'; with --import, files of attention: .json, .npz or "
            ".safetensors.",
        ),
    ],
    out: NewRun,
    texts: MoreTexts = None,
    max_texts: MaxTexts = None,
    max_tokens: MaxTokens = None,
    heads: Heads = None,
    recording_bits: RecordingBits = 16,
    field: Field = "text",
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of the splits.")] = 0,
    import_: Annotated[
        bool,
        typer.Option("--import", help="Take attention from files; there need be no model."),
    ] = False,
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER|FILE",
            help="With --import, the tokenizer of the model: a folder, or given twice, a "
            "vocabulary (.json) and merges (.txt).",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With --import, what the model is called; as in the files if not."
        ),
    ] = None,
    causal: Annotated[
        bool | None,
        typer.Option(
            "--causal/--encoder",
            help="With --import, whether the model is a decoder; as the attention shows if not "
            "given.",
        ),
    ] = None,
    shares: Annotated[
        str | None,
        typer.Option(
            metavar="FIT/SELECT/TEST",
            help="With --import, how texts are shared out among the splits; 3/1/1 if not given.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record the heads of MODEL on texts, or take what was recorded elsewhere, and stop there.

    'explain' with the same settings goes on from a recording, 'match RUN' from any.
    """
    from headscript.attention_files.importing import import_recording, parse_shares
    from headscript.cli.record_table import print_recorded
    from headscript.cli.terminal import console, print_json, progress
    from headscript.errors import HeadscriptError
    from headscript.recorded import Recorded
    from headscript.recording_runs import record_run

    dropped = []
    if import_:
        here: dict[str, object] = {
            "--texts": texts,
            "--max-texts": max_texts,
            "--max-tokens": max_tokens,
        }
        here |= {"--heads": heads, "--recording-bits": None if recording_bits == 16 else 8}
        _refuse(here, "for recording a model, not for --import")
        if not tokenizer:
            raise HeadscriptError(
                "--import needs the tokenizer of the model: name it, --tokenizer."
            )
        with progress() as on_event:
            imported = import_recording(
                sources,
                out,
                tokenizer=tokenizer,
                name=name,
                causal=causal,
                shares=parse_shares(shares),
                seed=seed,
                on_event=on_event,
            )
        run, dropped = imported.run, imported.dropped
    else:
        there = {"--tokenizer": tokenizer or None, "--name": name, "--shares": shares}
        _refuse({**there, "--causal/--encoder": causal}, "for --import alone")
        if len(sources) != 1:
            raise HeadscriptError("Name one model, or say --import to take attention from files.")
        with progress() as on_event:
            run = record_run(
                sources[0],
                texts,
                out,
                max_texts=max_texts,
                max_tokens=max_tokens,
                heads=heads,
                recording_bits=recording_bits,
                field=field,
                seed=seed,
                on_event=on_event,
            )
    facts = Recorded(run).facts()
    left_out = [{"text": each.id, "like": each.kept_id} for each in dropped]
    if as_json:
        print_json({"run": str(out), **facts, "left_out": left_out})
    else:
        print_recorded(console(), str(out), facts, left_out)


def _refuse(options: dict[str, object], why: str) -> None:
    from headscript.errors import HeadscriptError

    for option, value in options.items():
        if value is not None:
            raise HeadscriptError(f"{option} is {why}.")
