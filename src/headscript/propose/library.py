"""The `library` proposer: programs found for other models, as candidates for the heads of this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headscript.evaluation.tables import distances
from headscript.heads import Head
from headscript.library.entries import Library
from headscript.library.masks import suited
from headscript.library.refitting import try_programs
from headscript.packing import num_cells
from headscript.propose.candidates import Candidate, Outcome
from headscript.propose.proposer import Work
from headscript.runs import Run
from headscript.used_texts import settle_library

_CELLS = 40_000  # query-key pairs of fit texts on which all programs meet all heads
_MOST_CELLS = 150_000  # of the texts they are drawn from
_NUMBER = 4  # candidates of a head


@dataclass
class LibraryProposer:
    """Proposes for each head the few programs of a library that promise most, by the fit texts."""

    library: Library
    name: str = "library"

    def propose(self, work: Work) -> None:
        """See `Proposer`. Programs of the other kind of model are given this kind's mask.

        Raises HeadscriptError where the run was begun with other programs of that library.
        """
        settle_library(work.run, self.library.record())
        if work.judged(self.name):
            return
        work.judge(self.name, self._candidates(work))

    def report(self, run: Run) -> dict[str, Any]:
        """How many programs the library has."""
        return {"programs": len(self.library)}

    def _candidates(self, work: Work) -> dict[Head, list[Candidate]]:
        causal, seed = work.recording.causal, work.run.config.seed
        found = (suited(entry.program, causal=causal) for entry in self.library.entries)
        programs = [program for program in found if program is not None]
        if not programs:
            return {}
        number, cells = 0, 0
        while number < len(work.texts) and (number < 2 or cells < _MOST_CELLS):
            cells += num_cells(len(work.texts[number]), causal)
            number += 1
        table, _ = distances(
            programs,
            work.texts[:number],
            work.recording,
            max_cells=_CELLS,
            seed=seed,
            on_event=work.on_event,
        )
        tried = try_programs(
            programs, table, work.texts, work.recording, seed=seed, on_event=work.on_event
        )
        return {
            head: [
                Candidate(head, self.name, Outcome.OK, programs[place].source)
                for place in list(found)[:_NUMBER]
            ]
            for head, found in zip(work.recording.heads, tried, strict=True)
        }
