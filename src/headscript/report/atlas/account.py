"""One version of a run's programs, head by head: scores, program, alternatives, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from headscript.costs import known_costs
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.programs.loading import load_program
from headscript.programs.program import Program
from headscript.report.atlas.evidence import candidates_of
from headscript.report.atlas.sightings import Sighting, Sightings, look
from headscript.report.atlas.source import coloured, headline, kind_of, weights_of, words_of
from headscript.results import HeadResult, Results
from headscript.runs import FOUND, Run
from headscript.similarity import bootstrap_interval

_CANDIDATES = 5  # of those proposed for a head, the best that are named


@dataclass(frozen=True)
class Account:
    """What is known of a run's heads and the programs of one version."""

    run: Run
    version: str
    results: Results
    programs: Mapping[Head, Program]
    seen: Sightings
    costs: Mapping[Head, float]

    @cached_property
    def rows(self) -> dict[Head, dict[str, Any]]:
        """By head, what grid and charts show."""
        serves: dict[str, list[str]] = {}
        for result in self.results.heads:
            name = str(_head(result))
            if result.chosen_from not in (None, name):
                serves.setdefault(str(result.chosen_from), []).append(name)
        return {
            _head(result): self._row(result, serves.get(str(_head(result)), []))
            for result in self.results.heads
        }

    def details(self, on_event: Listener = ignore) -> dict[Head, dict[str, Any]]:
        """By head, what its own page shows."""
        candidates = candidates_of(self.run)
        found = {}
        for done, result in enumerate(self.results.heads, 1):
            head = _head(result)
            found[head] = self._detail(result, candidates.get(str(head), []))
            on_event(Event("writing down programs", done, len(self.results.heads)))
        return found

    def edited(self, result: HeadResult) -> bool:
        """Whether a head's program is another than the one that its results are of."""
        program = self.programs.get(_head(result))
        return (
            self.version == FOUND
            and program is not None
            and result.program_key not in (None, program.key)
        )

    def seen_of(self, head: Head) -> Sighting:
        """What was seen of a head; nothing where it was not recorded."""
        return self.seen.by_head.get(head, Sighting())

    def interval(self, values: Sequence[float]) -> tuple[float, float] | None:
        """95 % bootstrap interval of the mean over texts; none of a single text."""
        if len(values) < 2:
            return None
        return bootstrap_interval(values, seed=self.run.config.seed)

    # Private -------------------------------------------------------------------------------------

    def _row(self, result: HeadResult, serves: list[str]) -> dict[str, Any]:
        head = _head(result)
        program, seen = self.programs.get(head), self.seen_of(head)
        return {
            "id": str(head),
            "layer": head.layer,
            "head": head.head,
            **self._score(result, program, seen),
            "sample_iou": _mean(seen.ious),
            "missed": _mean(seen.missed),
            "select_iou": result.select_iou,
            "fit_iou": result.fit_iou,
            "intended_iou": result.intended_iou,
            "searched_iou": result.searched_iou,
            "terms": 0 if program is None else program.terms,
            "category": result.category,
            "proposer": result.proposer,
            "chosen_from": result.chosen_from,
            "cost": self.costs.get(head),
            "baselines": result.baselines,
            "status": self._status(result, program, seen),
            "edited": self.edited(result),
            "kind": None if program is None else kind_of(program),
            "prefix_consistent": None if program is None else program.prefix_consistent,
            "serves": serves,
            "headline": "" if program is None else headline(program.explanation),
            "words": [] if program is None else words_of(program),
        }

    def _score(self, result: HeadResult, program: Program | None, seen: Sighting) -> dict[str, Any]:
        """IoU, its interval and what it is of: all test texts where they are known, or a sample."""
        if program is None:
            return {"iou": 0.0, "ci95": None, "split": "test"}
        if self.version == FOUND and not self.edited(result):
            return {"iou": result.iou, "ci95": result.ci95, "split": "test"}
        if not seen.ious:
            return {"iou": None, "ci95": None, "split": None}
        assert self.seen.sample is not None
        return {
            "iou": _mean(seen.ious),
            "ci95": self.interval(seen.ious),
            "split": "test" if self.seen.sample.whole else "sample",
        }

    def _status(self, result: HeadResult, program: Program | None, seen: Sighting) -> str:
        if program is None:
            return result.status if result.status != "ok" else "its program's file is gone"
        if self.version == FOUND and not self.edited(result):
            return result.status
        return seen.note or "ok"

    def _detail(
        self, result: HeadResult, candidates: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        head = _head(result)
        program, seen = self.programs.get(head), self.seen_of(head)
        detail: dict[str, Any] = {
            "explanation": "",
            "source": [],
            "weights": [],
            "frontier": result.frontier,
            "alternatives": self._alternatives(result, candidates),
            "by_region": seen.by_region,
            "texts": seen.texts,
            "note": seen.note,
        }
        if program is not None:
            detail["explanation"] = program.explanation
            detail["source"] = coloured(program)
            detail["weights"] = weights_of(program, causal=self.run.model.causal)
        return detail

    def _alternatives(
        self, result: HeadResult, candidates: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """What else was there for a head, and what it does."""
        found: list[dict[str, Any]] = []

        def add(what: str, iou: float | None, split: str, **more: Any) -> None:
            if iou is not None:
                told = {"what": what, "iou": iou, "ci95": None, "terms": None, "split": split}
                found.append(told | more)

        if self.version != FOUND and result.program is not None:
            add(
                f"version {FOUND!r}",
                result.iou,
                "test",
                ci95=result.ci95,
                terms=result.terms,
            )
        if result.chosen_from not in (None, str(_head(result))):
            add("written for this head", result.intended_iou, "test")
        add("the search alone", result.searched_iou, "test")
        best = sorted(candidates, key=lambda entry: -entry["select_iou"])[:_CANDIDATES]
        for entry in best:
            chosen = ", chosen" if entry["program_key"] == result.program_key else ""
            add(
                f"proposed by {entry['proposer']}{chosen}",
                entry["select_iou"],
                "select",
                terms=entry["terms"],
            )
        return found


def account_of(
    run: Run,
    version: str | None,
    *,
    numbers: Sequence[int] | None = None,
    on_event: Listener = ignore,
) -> Account:
    """Look at a version of a finished run's programs (None: the newest).

    `numbers` are the test texts to look at; None draws them. Raises HeadscriptError where the run
    is not finished or has no such version, and where the gate refuses a program, naming its line.
    """
    results = run.results()
    version = run.versions()[-1] if version is None else version
    asked = [_head(result) for result in results.heads]
    covered = set(run.covered_heads(version))
    programs = {}
    for done, head in enumerate(asked, 1):
        if head in covered:
            programs[head] = load_program(run.program_file(head, version))
        on_event(Event("reading programs", done, len(asked)))
    seen = look(run, programs, asked, numbers=numbers, on_event=on_event)
    return Account(run, version, results, programs, seen, known_costs(run, version, programs))


def _head(result: HeadResult) -> Head:
    return Head(result.layer, result.head)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
