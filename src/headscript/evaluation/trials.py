"""What came of trying an idea of a head: its scores beside others, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean
from typing import TYPE_CHECKING, Any

from headscript.evaluation.portraits import Sighting
from headscript.heads import Head
from headscript.programs.program import Program
from headscript.results import Interval
from headscript.similarity import bootstrap_interval
from headscript.tuning.fitting import FittedProgram

if TYPE_CHECKING:
    from rich.console import RenderableType

_MISSES = 5


@dataclass(frozen=True)
class Mean:
    """A mean over texts."""

    mean: float
    ci95: Interval
    """95 % bootstrap interval over texts."""
    by_text: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float], seed: int) -> Mean:
        """The mean of a number a text; the same seed draws the same texts."""
        return Mean(mean(values), bootstrap_interval(values, seed=seed), tuple(values))


@dataclass(frozen=True)
class Against:
    """The run's own program of a head, on the same texts as an idea."""

    program: Program
    version: str
    """Which of the run's programs: "found", or a version that was tuned."""
    iou: Mean
    status: str
    """"ok", or why it fails on a text."""
    difference: Mean
    """IoU of the idea less that of this program, text by text."""

    @property
    def texts_ahead(self) -> int:
        """Texts on which the idea is nearer to the head."""
        return sum(gained > 0 for gained in self.difference.by_text)


@dataclass(frozen=True)
class Miss:
    """A pair of tokens to which the idea and the head give other weights."""

    query: int
    """Places of the tokens in the text."""
    key: int
    query_token: str
    key_token: str
    model: float
    """The head's weight, ..."""
    idea: float
    """... and the idea's."""


@dataclass(frozen=True, eq=False, repr=False)
class Trial:
    """What an idea of a head is worth. IoU lies between 0 and 1."""

    head: Head
    on: str
    """"select" or "test": which texts of the run."""
    text_ids: tuple[str, ...]
    tokens: int
    idea: Program
    """As it was scored: with fitted constants, where these were asked for."""
    iou: Mean
    """Of the idea with the head; a text on which it fails counts as 0."""
    status: str
    """"ok", or why the idea fails on a text."""
    against: Against | None
    """The run's own program of the head; none where it has none."""
    baselines: Mapping[str, Mean]
    """IoU of patterns that need no program."""
    worst: Sighting
    """The head and the idea on the text where the idea does worst."""
    fitted: FittedProgram | None
    """IoU on the fit texts before and after fitting; none where that was not asked for."""
    turned: tuple[str, ...]
    """Constants whose sign the fit turned: what the docstring says of them may be wrong now."""
    isolation: str | None
    """What was around free-form programs while they ran; None where there was none of them."""

    @cached_property
    def misses(self) -> list[Miss]:
        """Pairs of the worst text whose weights differ most, the largest difference first."""
        seen = self.worst
        off = abs(seen.real - seen.predicted)
        n = off.shape[1]
        found = []
        for place in (-off).ravel().argsort(kind="stable")[:_MISSES].tolist():
            query, key = divmod(place, n)
            real, predicted = float(seen.real[query, key]), float(seen.predicted[query, key])
            if real != predicted:
                tokens = seen.surfaces[query], seen.surfaces[key]
                found.append(Miss(query, key, *tokens, real, predicted))
        return found

    def __repr__(self) -> str:
        said = f"idea {self.iou.mean:.3f}"
        if self.against is not None:
            said += f", program {self.against.iou.mean:.3f}"
            said += f", difference {self.against.difference.mean:+.3f}"
        return f"Trial({self.head} on {len(self.text_ids)} {self.on} texts: {said})"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        its = self.against
        return {
            "head": str(self.head),
            "on": self.on,
            "texts": len(self.text_ids),
            "tokens": self.tokens,
            "idea": {
                **_facts(self.idea, self.iou, self.status),
                "source": self.idea.source,
                "constants": dict(self.idea.constants),
            },
            "program": None
            if its is None
            else {"version": its.version, **_facts(its.program, its.iou, its.status)},
            "difference": None
            if its is None
            else {
                "mean": its.difference.mean,
                "ci95": its.difference.ci95,
                "texts_ahead": its.texts_ahead,
            },
            "baselines": {
                name: {"iou": found.mean, "ci95": found.ci95}
                for name, found in self.baselines.items()
            },
            "fit": None
            if self.fitted is None
            else {
                "iou_before": self.fitted.proposed_iou,
                "iou": self.fitted.iou,
                "turned": list(self.turned),
            },
            "by_text": [
                {"text": text_id, "idea": ours, "program": theirs}
                for text_id, ours, theirs in zip(
                    self.text_ids,
                    self.iou.by_text,
                    [None] * len(self.text_ids) if its is None else its.iou.by_text,
                    strict=True,
                )
            ],
            "worst": self.worst.as_json(),
            "misses": [vars(miss) for miss in self.misses],
            "isolation": self.isolation,
        }

    def __rich__(self) -> RenderableType:
        """As rich draws it in a terminal."""
        from headscript.report.representations import terminal

        return terminal.trial(self)

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        from headscript.report.representations import notebook

        return notebook.trial(self)


def _facts(program: Program, iou: Mean, status: str) -> dict[str, Any]:
    return {
        "name": program.name,
        "iou": iou.mean,
        "ci95": iou.ci95,
        "terms": program.terms,
        "prefix_consistent": program.prefix_consistent,
        "status": status,
    }
