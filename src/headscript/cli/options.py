"""Arguments and options that several commands take, described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run, made by 'headscript explain'.")
]
ModelOrRun = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RUN",
        help="smollm2-135m or minilm-l6 (built in), a model folder, a .gguf file or a hub id; "
        "or a run, whose recording is taken.",
    ),
]
NewRun = Annotated[
    Path,
    typer.Option(metavar="RUN", help="Folder for the run; if it was begun there, the run goes on."),
]
SeedOrRuns = Annotated[
    int | None,
    typer.Option(
        metavar="S",
        help="Seed of the splits, the samples and the intervals; 0 if not given, or the run's.",
    ),
]
Texts = Annotated[
    str,
    typer.Option(
        metavar="NAME|PATH",
        help="stories, code, maths (built in), tinystories, tiny-codes, math-500 (from the hub), "
        "or a .txt, .jsonl or .parquet file, or a folder of .txt files.",
    ),
]
MoreTexts = Annotated[
    str | None,
    typer.Option(
        "--texts",
        metavar="NAME|PATH",
        help="For a model: stories, code or maths (built in), tinystories, tiny-codes, math-500, "
        "or a .txt, .jsonl or .parquet file, or a folder of .txt files.",
    ),
]
Heads = Annotated[
    str | None,
    typer.Option(metavar="HEADS", help="Heads and layers such as L5H3,L6; all if not given."),
]
MaxTexts = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Take at most this many texts.")
]
MaxTokens = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Take at most this many tokens of a text.")
]
RecordingBits = Annotated[
    int,
    typer.Option(metavar="8|16", help="Keep recorded weights in 8 bits, half the disk, or in 16."),
]
Field = Annotated[
    str, typer.Option(metavar="NAME", help="Field that holds the text in .jsonl and .parquet.")
]
Programs = Annotated[
    str | None,
    typer.Option(
        metavar="VERSION", help="found, or a version that was tuned; the newest if not given."
    ),
]
Order = Annotated[
    str | None,
    typer.Option(
        metavar="cost|tuning|iou",
        help="Which heads are replaced first; by measured cost where the run has it, else in the "
        "order of the tuning.",
    ),
]
AllowInconsistent = Annotated[
    bool,
    typer.Option(
        "--allow-inconsistent",
        help="Admit programs that look ahead, and mark the results: they are no predictions.",
    ),
]
ModelPlace = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Where the run's model is now, if it is not where it was."),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="Who works: processes of this machine, or a Ray cluster.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Workers of the Ray cluster; one a core or a GPU if not given."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="The Ray cluster; if not given, one is started on this machine for the time.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Write one JSON object to standard output, nothing else.")
]
LibraryPlace = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A library of programs: a .jsonl file, a run, or a folder of .py files; the one that "
        "comes with headscript if not given.",
    ),
]
