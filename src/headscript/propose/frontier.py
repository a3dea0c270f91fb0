"""What the search found for a head, as it is kept in a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
        """Plain data for a file of the run."""
        return {
            "head": str(self.head),
            "held_out": list(self.held_out),
            "steps": [asdict(step) for step in self.steps],
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Frontier:
        """Read what `as_json` wrote."""
        steps = [
            Step(
                tuple(Term(**term) for term in step["terms"]),
                tuple(step["weights"]),
                tuple(step["strengths"]),
                step["iou"],
            )
            for step in found["steps"]
        ]
        return cls(Head.parse(found["head"]), tuple(steps), tuple(found["held_out"]))
