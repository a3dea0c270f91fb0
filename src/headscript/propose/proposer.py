"""What a proposer is: something that leaves candidates for the heads of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headscript.engines.engine import Engine
from headscript.events import Event, Listener
from headscript.heads import Head
from headscript.language import Text
from headscript.programs.program import Program
from headscript.propose.candidates import Candidate
from headscript.propose.judging import judged_file, write_proposed
from headscript.recording import Recording
from headscript.runs import Run

PROPOSERS = ("search", "llm", "library")
"""In the order in which they work: later ones may go on from what earlier ones found."""


@dataclass(frozen=True)
class Work:
    """What a proposer is given: a run, and its fit texts alone."""

    run: Run
    texts: Sequence[Text]
    """The fit texts."""
    recording: Recording
    """The heads' patterns on them."""
    current: Mapping[Head, Program]
    """The best program of each head so far, by the fit texts."""
    engine: Engine
    on_event: Listener

    def judged(self, name: str) -> bool:
        """Whether all candidates of a name have met their heads."""
        return all(self.run.has(judged_file(name, layer)) for layer in self.recording.layers)

    def judge(self, name: str, candidates: Mapping[Head, Sequence[Candidate]]) -> None:
        """Run, fit and score candidates, and keep what became of them under a name."""
        layers = self.recording.layers
        missing = [layer for layer in layers if not self.run.has(judged_file(name, layer))]
        for layer in missing:
            proposed = [
                candidate
                for head in self.recording.heads_of(layer)
                for candidate in candidates.get(head, ())
            ]
            write_proposed(self.run, name, layer, proposed)
        done = len(layers) - len(missing)
        stage = f"trying candidates of {name}"
        self.on_event(Event(stage, done, len(layers)))
        if missing:
            for _ in self.engine.run([f"judge {name} {layer}" for layer in missing]):
                done += 1
                self.on_event(Event(stage, done, len(layers)))


class Proposer(Protocol):
    """Proposes programs for heads."""

    name: str
    """As in `PROPOSERS`; it is the origin of its candidates."""

    def propose(self, work: Work) -> None:
        """Leave judged candidates in the run, by `work.judge`.

        What a run that was killed has done is not done again. Raises HeadscriptError where it
        cannot go on.
        """

    def report(self, run: Run) -> dict[str, Any]:
        """What it took: numbers by name, such as tokens and cost."""
