"""What a run found: a row for each head, and a summary of all."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from rich.console import RenderableType

Interval = tuple[float, float]
"""Lower and upper end of a 95 % bootstrap interval over texts."""


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)


class HeadResult(_Result):
    """One head: the program chosen for it, and how well that does. IoU lies between 0 and 1."""

    layer: int
    head: int
    program: str | None = None
    """File of the program within the run; none where the head is not covered."""
    program_key: str | None = None
    """Hash of what that program computes, so that an edit shows."""
    iou: float
    """Mean IoU of the chosen program on the test texts."""
    ci95: Interval
    intended_iou: float | None = None
    """The same of the program that was written for this very head."""
    select_iou: float | None = None
    """Mean IoU on the texts by which the program was chosen."""
    fit_iou: float | None = None
    """Mean IoU on the texts to which its constants were fitted."""
    chosen_from: str | None = None
    """The head for which the program was written."""
    proposer: str | None = None
    """Who proposed the program: "search", "llm", or all that have a part in it, "search+llm"."""
    searched_iou: float | None = None
    """Mean IoU on the test texts of the program that the search alone would have given the head."""
    terms: int | None = None
    """Constants of the program; none where there is no program, nor is what follows."""
    prefix_consistent: bool | None = None
    """Whether row i of its pattern depends on tokens 0 to i alone."""
    category: str | None = None
    """What the head measurably does."""
    baselines: dict[str, float] = Field(default_factory=dict)
    """IoU on the test texts of patterns that need no program."""
    frontier: list[tuple[int, float]] = Field(default_factory=list)
    """Number of terms, and the IoU on the select texts that it reaches."""
    best_text: str | None = None
    """Id of the test text on which the program does best."""
    worst_text: str | None = None
    """Id of the test text on which it does worst."""
    status: str = "ok"
    """"ok", or why there is no working program."""

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.head_result(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.head_result(self)


class IouSummary(_Result):
    """IoU over heads."""

    mean: float
    median: float
    ci95: Interval
    """Of the mean."""


class TermsSummary(_Result):
    """Numbers of constants over the heads that have a program."""

    median: float
    mean: float
    max: int

    @classmethod
    def of(cls, terms: Sequence[int]) -> Self:
        """Those of one program or more."""
        return cls(median=median(terms), mean=fmean(terms), max=max(terms))


class ProposerSummary(_Result):
    """What one proposer contributed, and what it took."""

    heads: float
    """Share of the heads in whose program it has a part."""
    iou_gained: float | None = None
    """What its programs add to the mean IoU of the search alone; of a program of several, each but
    the search is credited with an equal part."""
    iou_gained_per_dollar: float | None = None
    programs: int | None = None
    """Programs that it proposed, whatever became of them."""
    outcomes: dict[str, int] = Field(default_factory=dict)
    """What became of each program, and of each request that brought none, and how often."""
    repairs: dict[str, int] = Field(default_factory=dict)
    """What was mended in them, and how often."""
    asked_for: int | None = None
    """Programs asked for, in all requests."""
    requests: int | None = None
    answers: int | None = None
    failures: dict[str, int] = Field(default_factory=dict)
    """Why the other requests have no answer, and how often."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    """In dollars, of all answers, also those that were kept from an earlier run."""


class Summary(_Result):
    """All heads together, on the test texts."""

    iou: IouSummary
    baselines: dict[str, float] = Field(default_factory=dict)
    coverage: float
    """Share of the heads asked for that have a working program."""
    prefix_consistent: float | None = None
    """Share of the programs that are; none where there is no program."""
    terms: TermsSummary | None = None
    """None where there is no program."""
    heads: int
    texts: dict[str, int]
    """Number of texts of each split."""
    seen: int | None = None
    """How many test texts repeat texts that the programs of its library were fitted or chosen on;
    none where it has no library, or one that does not say."""
    categories: dict[str, int] = Field(default_factory=dict)
    proposers: dict[str, ProposerSummary] = Field(default_factory=dict)
    """By proposer, where the search was not alone."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """What each stage took."""
    peak_memory_mb: float | None = None


class Results(_Result):
    """The contents of results.json."""

    summary: Summary
    heads: list[HeadResult]

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.results(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.results(self)


def table_rows(results: Results) -> list[dict[str, Any]]:
    """The rows as a flat table: one column for each end of an interval and for each baseline."""
    rows = []
    for result in results.heads:
        row = result.model_dump()
        row["ci95_low"], row["ci95_high"] = row.pop("ci95")
        row |= {f"baseline_{name}": iou for name, iou in row.pop("baselines").items()}
        row["frontier"] = [{"terms": terms, "iou": iou} for terms, iou in row["frontier"]]
        rows.append(row)
    return rows
