"""One program a head from what all proposers found: the union of their terms, pruned again.

The search may have missed a term that a language model names, and such a program has terms that the
search does without. So the terms of a head's best candidates join those of its search, constants
are fitted together, and terms are taken out one by one as the search does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from headscript.heads import Head
from headscript.programs.terms import Term
from headscript.propose.candidates import Candidate
from headscript.propose.frontier import Frontier
from headscript.propose.judging import FOLDER, judged_file, read_candidates
from headscript.propose.search import Step, no_terms, prune
from headscript.runs import Run
from headscript.tuning.fitting import weighted_terms
from headscript.tuning.loglinear import fittable

if TYPE_CHECKING:
    from headscript.propose.bench import Bench

_CANDIDATES = 8  # of a head, best first, whose terms are joined
_ADDED = 40  # terms beyond those of the search, at most


def combined_file(layer: int) -> str:
    """Where a run keeps the combined frontiers of a layer."""
    return f"{FOLDER}/combined/L{layer:02d}.json"


@dataclass(frozen=True)
class Pooled:
    """The terms of a head from all proposers."""

    terms: tuple[Term, ...]
    start: tuple[float, ...]
    """Weights to start from: those of the best single program, 0 for all other terms."""
    origins: dict[Term, frozenset[str]]
    """Which proposers named each term."""

    def only(self, chosen: Sequence[int]) -> Pooled:
        """Of the terms those at these places."""
        return replace(
            self,
            terms=tuple(self.terms[place] for place in chosen),
            start=tuple(self.start[place] for place in chosen),
        )


def names_of(run: Run) -> list[str]:
    """The names under which a run has candidates, in the order of its proposers."""
    names = []
    for proposer in run.config.proposers:
        if proposer == "llm":
            names += [f"llm-{number}" for number in range(run.config.rounds + 1)]
        elif proposer != "search":
            names.append(proposer)
    return names


def layer_candidates(run: Run, layer: int) -> list[Candidate]:
    """All candidates of a layer, of all proposers that have some."""
    files = [judged_file(name, layer) for name in names_of(run)]
    return [each for file in files if run.has(file) for each in read_candidates(run, file)]


def pool_terms(frontier: Frontier | None, candidates: Sequence[Candidate]) -> Pooled:
    """The terms of a head: those that its search ended with, and those of its best candidates."""
    terms: dict[Term, float] = {}
    origins: dict[Term, frozenset[str]] = {}
    if frontier is not None:
        step = frontier.steps[-1]
        terms.update(zip(step.terms, step.weights, strict=True))
        origins.update(dict.fromkeys(step.terms, frozenset({"search"})))
    added = 0
    ranked = sorted(candidates, key=lambda candidate: -(candidate.fit_iou or 0.0))
    for candidate in ranked[:_CANDIDATES]:
        program = candidate.program()
        found = None if program is None else weighted_terms(program)
        if program is None or found is None:
            continue
        starting = not terms
        for term, name, sign in found:
            if term not in terms:
                if added == _ADDED:
                    continue
                added += 1
                terms[term] = sign * program.constants[name] if starting else 0.0
            origins[term] = origins.get(term, frozenset()) | {candidate.origin}
    return Pooled(tuple(terms), tuple(terms.values()), origins)


def combine_layer(bench: Bench, layer: int) -> None:
    """Write the combined frontiers of a layer's heads; one without terms has an empty program."""
    from headscript.propose.writing import read_frontiers

    run, rows = bench.run, bench.fit_rows
    searched: dict[Head, Frontier] = {}
    if "search" in run.config.proposers:
        searched = read_frontiers(run, [layer])
    candidates = layer_candidates(run, layer)
    actual = rows.lanes.spread(rows.gather(bench.fit.layer(layer)).T)  # (heads, cells in lanes)
    found: list[list[Step]] = []
    for index, head in enumerate(bench.fit.heads_of(layer)):
        mine = [each for each in candidates if each.head == head and each.fit_iou is not None]
        pooled = pool_terms(searched.get(head), mine)
        features = rows.lanes.columns(pooled.terms)
        usable = fittable(features.T).nonzero().flatten().tolist()
        pooled, features = pooled.only(usable), features[usable]
        if not pooled.terms:
            found.append([no_terms(rows, actual[index])])
            continue
        start = torch.tensor(pooled.start)
        found.append(prune(rows, pooled.terms, features, start, actual[index], bench.settings))
        rows.release(())
    bench.write_frontiers(combined_file(layer), layer, found)
