"""Candidates: programs proposed for a head, each with what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.programs.program import Program


class Outcome(StrEnum):
    """What became of a candidate, or of a request that should have brought some."""

    OK = "ok"
    """It runs, was fitted and scored."""
    NO_ANSWER = "no answer"
    """The explainer did not answer."""
    NO_CODE = "no code"
    """The answer holds no program."""
    CUT_OFF = "cut off"
    """The answer ends within the program."""
    REFUSED = "refused"
    """The gate does not let it through."""
    NO_PATTERN = "no pattern"
    """What it computes on some text is no attention pattern."""
    LOOKS_AHEAD = "looks ahead"
    """It uses what a decoder does not know yet."""
    FREE_FORM = "free-form"
    """It is in the form f(sentence, tokenizer): run and scored where there is a sandbox."""
    REPEATED = "repeated"
    """It computes what another candidate of the head does."""


@dataclass(frozen=True)
class Candidate:
    """One program for a head, or the reason why there is none."""

    head: Head
    origin: str
    """The proposer, and its round where it has several: "llm", "library"."""
    outcome: Outcome
    source: str = ""
    """With its constants fitted where the outcome is OK, else as it was proposed."""
    reason: str = ""
    """One sentence, where the outcome is not OK."""
    repairs: tuple[str, ...] = ()
    """What was mended in it before the gate let it through."""
    proposed_iou: float | None = None
    """Mean IoU on the fit texts with the constants it came with, ..."""
    fit_iou: float | None = None
    """... and with fitted ones."""

    def program(self) -> Program | None:
        """The program, where there is one that runs."""
        if self.outcome is Outcome.FREE_FORM and self.fit_iou is not None:
            from headscript.programs.freeform import FreeForm

            return FreeForm.of(self.source, str(self.head))
        if self.outcome is not Outcome.OK:
            return None
        return Program.parse(self.source, str(self.head))

    def as_json(self) -> dict[str, Any]:
        """Plain data for a file of the run."""
        return {
            "head": str(self.head),
            "origin": self.origin,
            "outcome": str(self.outcome),
            "source": self.source,
            "reason": self.reason,
            "repairs": list(self.repairs),
            "proposed_iou": _rounded(self.proposed_iou),
            "fit_iou": _rounded(self.fit_iou),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Read what `as_json` wrote; raises HeadscriptError for anything else."""
        try:
            return cls(
                **found
                | {
                    "head": Head.parse(found["head"]),
                    "outcome": Outcome(found["outcome"]),
                    "repairs": tuple(found["repairs"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise HeadscriptError(
                "A file of candidates is damaged; delete the folder candidates/ of the run and "
                "start it again."
            ) from error


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
