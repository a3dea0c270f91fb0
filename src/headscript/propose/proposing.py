"""All proposers of a run one after another, and what they found for each head as programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headscript.engines.engine import Engine
from headscript.errors import HeadscriptError
from headscript.events import Event, Listener
from headscript.explainers.settings import ExplainerSettings
from headscript.heads import Head
from headscript.programs.emit import emit
from headscript.programs.program import Program
from headscript.propose.candidates import Candidate
from headscript.propose.combining import (
    combined_file,
    layer_candidates,
    pool_terms,
)
from headscript.propose.frontier import Frontier
from headscript.propose.proposer import PROPOSERS, Proposer, Work
from headscript.propose.search import choose_step
from headscript.propose.writing import write_program
from headscript.recorded import RecordedSplit
from headscript.recording import Recording
from headscript.records import RunConfig
from headscript.runs import Run


@dataclass(frozen=True)
class Entry:
    """One program that stands for selection."""

    head: Head
    """The head it was written for."""
    program: Program
    origins: tuple[str, ...]
    """The proposers that have a part in it."""
    fit_iou: float


@dataclass(frozen=True)
class Proposed:
    """What the proposers found."""

    entries: list[Entry]
    frontiers: Mapping[Head, Frontier]
    """A head's programs by number of terms, from all proposers together."""
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By proposer: what became of its candidates, and what it took."""


def parse_proposers(names: str) -> tuple[str, ...]:
    """Read "search,llm"; raises HeadscriptError for a name that is no proposer's."""
    asked = {name.strip() for name in names.split(",") if name.strip()}
    unknown = asked - set(PROPOSERS)
    if unknown or not asked:
        raise HeadscriptError(
            f"{min(unknown) if unknown else names!r} is no proposer; choose among "
            f"{', '.join(PROPOSERS)}."
        )
    return tuple(name for name in PROPOSERS if name in asked)


def open_proposers(
    config: RunConfig, settings: ExplainerSettings | None, *, checking: bool = False
) -> list[Proposer]:
    """The proposers of a run but the search; raises HeadscriptError where one cannot work.

    `checking` looks at the settings alone; else also what they need is there, such as a key.
    """
    found: list[Proposer] = []
    for name in config.proposers:
        if name == "llm":
            from headscript.propose.llm.proposer import LanguageModelProposer

            if settings is None:
                raise HeadscriptError(
                    "The llm proposer needs to know whom to ask; name an explainer (--explainer): "
                    "openai:MODEL, anthropic:MODEL, http://HOST:PORT/v1#MODEL or batch:FOLDER."
                )
            proposer = LanguageModelProposer(
                settings.checked(), config.candidates, config.rounds, config.prompt_tokens
            )
            if not checking:
                proposer.open()
            found.append(proposer)
        elif name == "library":
            from headscript.library.entries import Library, place_of
            from headscript.propose.library import LibraryProposer

            place_of(config.library)
            if not checking:
                found.append(LibraryProposer(Library.load(config.library)))
    return found


def propose(
    run: Run,
    fit: RecordedSplit,
    searched: Mapping[Head, Frontier],
    proposers: Sequence[Proposer],
    *,
    engine: Engine,
    on_event: Listener,
) -> Proposed:
    """Let the proposers work on the fit texts, and combine what they found with the search.

    Raises HeadscriptError as they do.
    """
    recording = fit.recording
    work = Work(run, fit.texts, recording, _current(run, searched), engine, on_event)
    for proposer in proposers:
        proposer.propose(work)
    layers = recording.layers
    missing = [layer for layer in layers if not run.has(combined_file(layer))]
    done = len(layers) - len(missing)
    on_event(Event("combining", done, len(layers)))
    if missing:
        for _ in engine.run([f"combine {layer}" for layer in missing]):
            done += 1
            on_event(Event("combining", done, len(layers)))
    return _collect(run, recording, searched, proposers)


def _current(run: Run, searched: Mapping[Head, Frontier]) -> dict[Head, Program]:
    """Each head's program from the search as a prompt may show it: cut by the fit texts alone."""
    config, model = run.config, run.model
    found = {}
    for head, frontier in searched.items():
        fit_ious = [step.iou for step in frontier.steps]
        best = choose_step(frontier.steps, fit_ious, config.term_price, config.max_terms)
        step = frontier.steps[best]
        found[head] = emit(
            str(head),
            model.name,
            step.terms,
            step.weights,
            causal=model.causal,
            strengths=step.strengths,
        )
    return found


def _collect(
    run: Run,
    recording: Recording,
    searched: Mapping[Head, Frontier],
    proposers: Sequence[Proposer],
) -> Proposed:
    entries: list[Entry] = []
    frontiers: dict[Head, Frontier] = {}
    outcomes: dict[str, Counter[str]] = {proposer.name: Counter() for proposer in proposers}
    repairs: dict[str, Counter[str]] = {proposer.name: Counter() for proposer in proposers}
    programs: Counter[str] = Counter()
    for layer in recording.layers:
        candidates = layer_candidates(run, layer)
        for candidate in candidates:
            outcomes[candidate.origin][str(candidate.outcome)] += 1
            repairs[candidate.origin].update(candidate.repairs)
            programs[candidate.origin] += bool(candidate.source)
        for kept in run.read_json(combined_file(layer)):
            frontier = Frontier.from_json(kept)
            head = frontier.head
            frontiers[head] = frontier
            mine = [each for each in candidates if each.head == head]
            found: list[Entry] = []
            if head in searched:
                program, step = write_program(run, searched[head])
                found.append(Entry(head, program, ("search",), step.iou))
            found += _entries_of(run, frontier, searched.get(head), mine)
            seen: set[str] = set()
            for entry in found:
                if entry.program.key not in seen:
                    seen.add(entry.program.key)
                    entries.append(entry)
    reports = {
        proposer.name: {
            "programs": programs[proposer.name],
            "outcomes": dict(sorted(outcomes[proposer.name].items())),
            "repairs": dict(sorted(repairs[proposer.name].items())),
            **proposer.report(run),
        }
        for proposer in proposers
    }
    return Proposed(entries, frontiers, reports)


def _entries_of(
    run: Run,
    combined: Frontier,
    searched: Frontier | None,
    candidates: Sequence[Candidate],
) -> list[Entry]:
    """The combined program of a head, and its candidates."""
    entries = []
    scored = [each for each in candidates if each.fit_iou is not None]
    pooled = pool_terms(searched, scored)
    program, step = write_program(run, combined)
    if step.terms:
        origins = {origin for term in step.terms for origin in _credit(pooled.origins[term])}
        ordered = tuple(name for name in PROPOSERS if name in origins)
        entries.append(Entry(combined.head, program, ordered, step.iou))
    for candidate in scored:
        own = candidate.program()
        assert own is not None
        assert candidate.fit_iou is not None
        entries.append(Entry(candidate.head, own, (candidate.origin,), candidate.fit_iou))
    return entries


def _credit(origins: frozenset[str]) -> frozenset[str]:
    """A term that the search has found anyway is the search's."""
    return frozenset({"search"}) if "search" in origins else origins
