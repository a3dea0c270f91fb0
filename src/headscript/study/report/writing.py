"""The report of a study as files: tables, figures, Markdown, and one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headscript.events import Listener, ignore
from headscript.report.figures import require_matplotlib
from headscript.study.folder import StudyFolder
from headscript.study.report.gathering import Gathered, gather
from headscript.study.report.markdown import Markdown, render
from headscript.study.report.page import page, require_markdown
from headscript.study.report.sections.about import KINDS, about, waiting
from headscript.study.report.sections.causal import questions, replacement
from headscript.study.report.sections.crossings import domains, models
from headscript.study.report.sections.programs import programs, protocols
from headscript.study.report.sections.rest import costs, places, unexplained
from headscript.study.report.tables import Tables, tables_of, write_tables

REPORT, PAGE = "report.md", "report.html"
_SECTIONS = {
    "programs": ("explain",),
    "protocols": ("protocol",),
    "models": ("transfer",),
    "domains": ("domains",),
    "replacement": ("replace", "tune"),
    "questions": ("ask",),
    "all": tuple(KINDS),
}
"""Which steps a section needs."""


def write_report(folder: StudyFolder, *, on_event: Listener = ignore) -> Path:
    """Write what a study has found so far, and give the path of the report in Markdown.

    STUDY/results/ gets the tables, STUDY/figures/ the figures over all runs; report.md and the page
    report.html say the same, and sections say what is missing. The same study gives the same bytes.
    Reading the programs takes some seconds a run, the first time.

    Raises HeadscriptError where a file of the study or of a run is damaged, a package of the extras
    `figures` and `report` is missing, or a file cannot be written.
    """
    require_matplotlib()
    require_markdown()
    from headscript.study.report.figures.drawing import draw_figures

    found = gather(folder, on_event)
    tables = tables_of(found)
    write_tables(folder, tables)
    images = {f"figures/{name}.svg": svg for name, svg in draw_figures(folder, tables).items()}
    report = report_text(found, tables, [Path(name).stem for name in images])
    folder.write(PAGE, page(report, images, found.study.title).encode())
    folder.write(REPORT, report.encode())
    return folder.directory / REPORT


def report_text(found: Gathered, tables: Tables, figures: Sequence[str]) -> str:
    """The report as Markdown; `figures` are the names of those that were drawn."""
    where = places(found, tables)
    context: dict[str, Any] = {
        "title": found.study.title,
        "about": about(found, tables),
        "programs": programs(found, tables),
        "protocols": protocols(found, tables),
        "models": models(found, tables),
        "domains": domains(found, tables),
        "replacement": replacement(found, tables),
        "questions": questions(found, tables),
        "unexplained": unexplained(found, tables),
        "costs": costs(found, tables),
        "places": where,
        "tables_listed": Markdown(", ".join(where["tables"])),
        "figures": list(figures),
        "missing": {name: waiting(found, *kinds) for name, kinds in _SECTIONS.items()},
    }
    return render("report.md.jinja", Path(__file__).parent, **context)
