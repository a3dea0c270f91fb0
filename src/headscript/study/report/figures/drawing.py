"""Draws the figures of a study and writes them, each beside its data as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from headscript.report.figures import style
from headscript.study.folder import StudyFolder
from headscript.study.report.figures import matrices, protocols, replacement
from headscript.study.report.tables import Tables

_DRAWN: dict[str, tuple[Callable[[Tables], Sequence[Any]], Callable[[Any], Any]]] = {
    "study-protocols": (lambda tables: protocols.marks(tables["protocol"]), protocols.draw),
    "study-transfer": (
        lambda tables: matrices.of_models(tables["transfer"], tables["summary"]),
        matrices.draw,
    ),
    "study-domains": (
        lambda tables: matrices.of_domains(tables["domains"], tables["summary"]),
        matrices.draw,
    ),
    "study-replacement": (
        lambda tables: replacement.losses(tables["replacement"]),
        replacement.draw,
    ),
}
FIGURES = tuple(_DRAWN)
"""Names of the figures."""


def draw_figures(folder: StudyFolder, tables: Tables) -> dict[str, bytes]:
    """Write STUDY/figures/NAME in all formats, and give those that were drawn as SVG, by name.

    A figure that nothing is known of is left out. The same study gives the same bytes.
    """
    drawn = {}
    for name, (take, draw) in _DRAWN.items():
        rows = take(tables)
        if not rows:
            continue
        files = style.rendered(partial(draw, rows)) | {"csv": _csv(rows)}
        for ending, content in files.items():
            folder.write(f"figures/{name}.{ending}", content)
        drawn[name] = files["svg"]
    return drawn


def _csv(rows: Sequence[Any]) -> bytes:
    """Named tuples as CSV, numbers in full; what is not known is empty."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(rows[0]._fields)
    table.writerows(rows)
    return file.getvalue().encode()
