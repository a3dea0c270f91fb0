"""headscript report: all that a run knows of its heads, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import Json, Programs, RunFolder


def report(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of the page; RUN/atlas.html if not given."),
    ] = None,
    programs: Programs = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="RUN2", help="A second run to show beside it, of any model."),
    ] = None,
    compare_programs: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="The version of its programs; without --compare, of RUN itself: before and "
            "after tuning.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write an atlas of the heads of RUN: one HTML file that opens without a network."""
    from headscript.cli.terminal import console, print_json, progress
    from headscript.report.atlas import write_atlas

    with progress() as on_event:
        written = write_atlas(
            run,
            out,
            version=programs,
            compare=compare,
            compare_version=compare_programs,
            on_event=on_event,
        )
    if as_json:
        print_json(written.as_json())
        return
    screen = console()
    if written.note:
        screen.print(written.note, markup=False, soft_wrap=True)
    screen.print(
        f"{written.file}: {written.heads} heads with the programs '{written.version}', "
        f"{written.bytes / 1e6:.1f} MB; open it in a browser.",
        markup=False,
        soft_wrap=True,
    )
