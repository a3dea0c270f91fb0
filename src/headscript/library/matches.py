"""What matching a library with a model's heads gives: plain data, and how it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from headscript.evaluation.tables import HeadScores
from headscript.heads import Head
from headscript.programs.program import Program
from headscript.results import Interval, IouSummary, TermsSummary
from headscript.similarity import bootstrap_interval

if TYPE_CHECKING:
    from rich.console import RenderableType


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Matched(_Frozen):
    """A program of the library at a head, on the test texts."""

    name: str
    """The program's name in the library."""
    iou: float
    """Mean over texts; a text on which the program fails counts as 0."""
    ci95: Interval
    select_iou: float
    """Mean IoU on the select texts, by which it was chosen."""
    terms: int


class HeadMatch(_Frozen):
    """One head and its best programs."""

    head: str
    category: str
    as_is: Matched
    """The best program with the constants it came with."""
    refitted: Matched | None
    """The best with constants fitted to the head, or as it is where fitting gains nothing; none
    where that was not asked for."""
    baselines: dict[str, float]
    status: str
    """"ok", or why the program in use fails on a text."""


class Totals(_Frozen):
    """All heads together, on the test texts."""

    iou: IouSummary
    terms: TermsSummary
    programs: int
    """How many different programs of the library are in use."""


class HeadLeftOut(_Frozen):
    """One head, with each text left out once."""

    head: str
    as_is: float
    """Mean IoU over all texts, each with the program that does best on the others."""
    refitted: float | None
    """The same of programs fitted on others, or as they are where that gains nothing on these."""


class LeftOut(_Frozen):
    """Each text met by programs that were chosen, and fitted, on the other texts alone."""

    texts: int
    seen: int | None = None
    """How many of them repeat texts that the library's programs were fitted or chosen on; none
    where it does not say."""
    as_is: IouSummary
    refitted: IouSummary | None
    chosen_on_all: float
    """Mean IoU of programs as they are, had they been chosen on the very texts that count."""
    baselines: dict[str, float]
    by_head: list[HeadLeftOut]


class Match(_Frozen):
    """What `match` found; the contents of match.json."""

    model: str
    library: str
    """What it is called: its path, or "starter"."""
    library_hash: str
    """SHA-256 over its programs."""
    programs: int
    """Programs of the library."""
    unusable: dict[str, int]
    """How many of them do not work here, by the reason."""
    as_is: Totals
    refitted: Totals | None
    baselines: dict[str, float]
    """Mean IoU over the same heads and texts."""
    coverage: float
    """Share of the heads whose program in use works on every test text."""
    heads: int
    texts: dict[str, int]
    """Number of texts of each split."""
    tokens: dict[str, int]
    seen: int | None = None
    """How many test texts repeat texts that the library's programs were fitted or chosen on; none
    where it does not say."""
    seconds: dict[str, float]
    """What each stage took."""
    by_head: list[HeadMatch]
    left_out: LeftOut | None = None
    """With one text left out at a time, where that was asked for; it has no part in the choice."""

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.match(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.match(self)


@dataclass(frozen=True)
class Choice:
    """A program for a head."""

    program: Program
    select_iou: float
    fit_iou: float | None = None
    """None where its constants are those it came with."""


def head_matches(
    as_is: Sequence[Choice],
    refitted: Sequence[Choice] | None,
    scores: Mapping[Head, HeadScores],
    categories: Mapping[Head, str],
    seed: int,
) -> list[HeadMatch]:
    """A row for each head, in the order of `scores`.

    Those are of the program as it is ("intended") and of that in use ("chosen").
    """
    rows = []
    for number, (head, found) in enumerate(scores.items()):
        fitted = None if refitted is None else refitted[number]
        rows.append(
            HeadMatch(
                head=str(head),
                category=categories[head],
                as_is=_matched(as_is[number], found.intended, seed),
                refitted=None if fitted is None else _matched(fitted, found.chosen, seed),
                baselines={name: mean(values) for name, values in found.baselines.items()},
                status=found.failure or "ok",
            )
        )
    return rows


def totals(choices: Sequence[Choice], ious: Sequence[Sequence[float]], seed: int) -> Totals:
    """All heads together: `ious` holds for each head its IoU by text."""
    by_head = [mean(values) for values in ious]
    by_text = [mean(values) for values in zip(*ious, strict=True)]
    return Totals(
        iou=IouSummary(
            mean=mean(by_head), median=median(by_head), ci95=bootstrap_interval(by_text, seed=seed)
        ),
        terms=TermsSummary.of([choice.program.terms for choice in choices]),
        programs=len({choice.program.name for choice in choices}),
    )


def _matched(choice: Choice, ious: Sequence[float], seed: int) -> Matched:
    return Matched(
        name=choice.program.name,
        iou=mean(ious),
        ci95=bootstrap_interval(ious, seed=seed),
        select_iou=choice.select_iou,
        terms=choice.program.terms,
    )
