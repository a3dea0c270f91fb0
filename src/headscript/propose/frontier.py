"""What the search found for a head, as it is kept in a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headscript.heads import Head
from headscript.programs.terms import Term
from headscript.propose.search import Step


@dataclass(frozen=True)
class Frontier:
    """What the search found for a head."""

    head: Head
    steps: tuple[Step, ...]
    """Programs, fewest terms first."""
    held_out: tuple[float, ...]
    """IoU of each on (a sample of rows of) the select texts."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for a file of the run; a term that many steps share is written once."""
        terms = list(dict.fromkeys(term for step in self.steps for term in step.terms))
        place = {term: index for index, term in enumerate(terms)}
        return {
            "head": str(self.head),
            "terms": [[term.query, term.relation, term.key] for term in terms],
            "steps": [
                {
                    "terms": [place[term] for term in step.terms],
                    "weights": list(step.weights),
                    "strengths": list(step.strengths),
                    "iou": round(step.iou, 6),
                    "held_out": round(held_out, 6),
                }
                for step, held_out in zip(self.steps, self.held_out, strict=True)
            ],
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Frontier:
        """Read what `as_json` wrote."""
        terms = [Term(*parts) for parts in found["terms"]]
        steps = [
            Step(
                tuple(terms[index] for index in step["terms"]),
                tuple(step["weights"]),
                tuple(step["strengths"]),
                step["iou"],
            )
            for step in found["steps"]
        ]
        held_out = tuple(step["held_out"] for step in found["steps"])
        return cls(Head.parse(found["head"]), tuple(steps), held_out)
