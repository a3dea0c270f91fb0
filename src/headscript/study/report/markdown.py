"""Markdown of words that may hold anything: what would be read as markup is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

_MARKS = re.compile(r"([\\`*_\[\]<>|&#~!])")
_ITEM = re.compile(r"^([-+]|\d+[.)])(?=\s|$)")
_APART = ("|", "#", "- ", "    ", "!")  # lines that are no prose


class Markdown(str):
    """Text that is Markdown already."""


@dataclass(frozen=True)
class Table:
    """A table of words; the first columns are of names, the others of numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=list)
    names: int = 1
    """How many columns are of names, set to the left."""

    def __bool__(self) -> bool:
        return bool(self.rows)


def escaped(text: str) -> Markdown:
    """A text on one line that reads as it is."""
    if isinstance(text, Markdown):
        return text
    line = _MARKS.sub(r"\\\1", " ".join(str(text).split()))
    return Markdown(_ITEM.sub(lambda item: f"{item[0][:-1]}\\{item[0][-1]}", line))


def code(text: str) -> Markdown:
    """A text on one line, as code."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    padding = " " if "`" in line else ""
    return Markdown(f"{fence}{padding}{line.replace('|', chr(92) + '|')}{padding}{fence}")


def link(words: str, place: str) -> Markdown:
    """A link to a file beside the report."""
    return Markdown(f"[{escaped(words)}](<{place.replace('<', '').replace('>', '')}>)")


def table(found: Table) -> Markdown:
    """A table; a column in which nothing is known is left out."""
    shown = [
        column
        for column in range(len(found.head))
        if column < found.names or any(row[column] for row in found.rows)
    ]
    lines = [
        _line([found.head[column] for column in shown]),
        _line([Markdown("---" if column < found.names else "---:") for column in shown]),
        *(_line([row[column] for column in shown]) for row in found.rows),
    ]
    return Markdown("\n".join(lines))


def render(template: str, folder: Path, **context: Any) -> str:
    """The text of a template of Markdown; all that it is given is escaped, but Markdown itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        finalize=escaped,
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"table": table, "code": code, "link": link}
    return _with_whole_paragraphs(environment.get_template(template).render(**context))


def _with_whole_paragraphs(text: str) -> str:
    """The same with each paragraph on a line of its own, and one blank line between blocks."""
    blocks = [part for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]
    return (
        "\n\n".join(
            part.strip("\n")
            if any(line.startswith(_APART) for line in part.splitlines())
            else " ".join(part.split())
            for part in blocks
        )
        + "\n"
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"
