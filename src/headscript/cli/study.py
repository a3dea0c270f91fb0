"""headscript study: many models and texts from one file, with a report of it all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headscript.cli.options import Address, EngineName, Json


def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME", help="A study file, or small or paper, which come with headscript."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="STUDY",
            help="Folder for the study, studies/NAME if not given; if it was begun there, it goes "
            "on.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Only these of the study's models, as in gpt2,llama."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The folder that {data} in the study file means."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take the smaller settings that the study has for that.")
    ] = False,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Say what it will take, and do nothing."),
    ] = False,
    budget_hours: Annotated[
        float | None,
        typer.Option(metavar="H", min=0, help="Begin no step that would end after H hours."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Workers; one a core if not given.")
    ] = None,
    engine: EngineName = "local",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Do a whole study: programs, proof, replacement, questions, figures, atlases and a report."""
    from headscript.cli.study_tables import print_plan, print_studied
    from headscript.cli.terminal import console, print_json, progress
    from headscript.engines import EngineSettings
    from headscript.study.planning import plan_study
    from headscript.study.running import study as do_study

    settings = EngineSettings(engine, workers, address).checked()
    names = None if models is None else [each.strip() for each in models.split(",")]
    folder = Path("studies") / Path(name).stem if out is None else out
    foreseen = plan_study(name, models=names, data=data, quick=quick, workers=workers)
    if plan:
        if as_json:
            print_json({"study": name, **foreseen.as_json()})
        else:
            print_plan(console(), name, foreseen)
        return
    if not as_json:
        print_plan(console(), name, foreseen)
    with progress() as on_event:
        found = do_study(
            name,
            folder,
            models=names,
            data=data,
            quick=quick,
            budget_hours=budget_hours,
            engine=settings,
            on_event=on_event,
        )
    if as_json:
        print_json({"study": name, **found.as_json()})
    else:
        print_studied(console(), found)
