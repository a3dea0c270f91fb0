"""What a report says: its sections, tables and page; and what the files beside it hold."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from headscript.study.folder import StudyFolder
from headscript.study.report.gathering import gather
from headscript.study.report.tables import tables_of
from headscript.study.report.writing import report_text

MODELS, TEXTS = ("decoder", "encoder"), ("tales", "sums")
RUNS = [(model, texts) for model in MODELS for texts in TEXTS]


def text_of(folder: StudyFolder) -> str:
    """The report of what there is, without its figures."""
    found = gather(folder)
    return report_text(found, tables_of(found), [])


def section(report: str, number: int) -> str:
    """The text of a section."""
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", report, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def tables_in(text: str) -> list[list[dict[str, str]]]:
    """The tables of a Markdown text, each as rows from column to cell, the last of a name."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        lines = [
            [cell.strip().replace("\\", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        found.append([dict(zip(lines[0], row, strict=True)) for row in lines[2:]])
    return found


def json_of(folder: Path, path: str) -> Any:
    """A JSON file of the study."""
    return json.loads((folder / path).read_bytes())


def results_of(folder: Path, model: str, texts: str) -> Any:
    """What 'headscript explain' left."""
    return json_of(folder, f"runs/{model}/{texts}/results.json")


def step_of(folder: Path, name: str) -> Any:
    """What a step left."""
    return json_of(folder, f"steps/{name}.json")["found"]


def with_ends(mean: float, ends: list[float]) -> str:
    """An IoU as 'headscript show' rounds it."""
    return f"{mean:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"


def per_cent(value: float) -> str:
    """An increase as 'headscript replace' rounds it, where it is below 100 %."""
    return f"{100 * value:+,.1f} %" if abs(value) < 0.9995 else f"{100 * value:+,.0f} %"


VOID = ("meta", "img", "br", "hr")


class Seen(HTMLParser):
    """What a page shows, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.title = ""
        self._in: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self._in.pop()

    def handle_data(self, data: str) -> None:
        if "td" in self._in or "th" in self._in:
            self.cells[-1] += data
        if "h1" in self._in:
            self.title += data
