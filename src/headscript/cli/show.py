"""headscript show: a run, or the program of one head beside what the head does."""

from __future__ import annotations

from typing import Annotated

import typer

from headscript.cli.options import Json, RunFolder


def show(
    run: RunFolder,
    head: Annotated[
        str | None,
        typer.Argument(metavar="[HEAD]", help="A head, such as L5H3; if not given, all of them."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a run's results, or of one head the program, its scores, and its best and worst text."""
    from headscript.cli.terminal import console, print_json
    from headscript.runs import Run

    opened = Run.open(run)
    if head is None:
        found = opened.results()
        if as_json:
            print_json({"run": str(run)} | found.model_dump(mode="json"))
            return
        shown: object = opened
    else:
        from headscript.evaluation.portraits import portrait

        of_head = portrait(opened, head)
        if as_json:
            print_json(of_head.as_json())
            return
        shown = of_head
    screen = console()
    screen.print()
    screen.print(shown, crop=False)  # a program's lines are longer than some terminals
    if head is not None:
        screen.print(f"\nAn idea of your own: headscript try RUN {head} FILE", style="dim")
