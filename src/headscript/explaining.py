"""The main job: a program for every head of a model, fitted, chosen and scored on separate texts.

Texts are split into fit (constants and prompts), select (choices) and test (what is reported). Each
stage leaves its results as files in the run; a stage whose files are there is not done again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from headscript.engines import Engine, EngineSettings, open_engine
from headscript.evaluation.contributions import contributions
from headscript.evaluation.portrait_files import keep_portraits
from headscript.evaluation.tables import distances, score_heads
from headscript.events import Event, Listener, ignore
from headscript.explainers.settings import ExplainerSettings
from headscript.heads import Head
from headscript.library.entries import Library
from headscript.programs.program import Program
from headscript.propose.bench import search_file
from headscript.propose.frontier import Frontier
from headscript.propose.proposing import Proposed, open_proposers, parse_proposers, propose
from headscript.propose.writing import read_frontiers, write_program
from headscript.recorded import Recorded, RecordedSplit
from headscript.recording_runs import recorded_for, recording_settings
from headscript.records import RunConfig
from headscript.runs import Run
from headscript.selection import choose_among, choose_programs
from headscript.stages import (
    Clock,
    categories,
    head_row,
    summary_of,
)
from headscript.used_texts import library_of, seen_by, settle_library

_SELECT_CELLS = 100_000
"""Cells of the select texts on which all programs meet all heads."""


def explain(
    model: str | Path,
    texts: str | Path | None,
    out: str | Path,
    *,
    max_texts: int | None = None,
    max_tokens: int | None = None,
    heads: str | None = None,
    max_terms: int = 24,
    term_price: float = 0.0015,
    fit_cells: int = 250_000,
    recording_bits: int = 16,
    seed: int | None = None,
    field: str = "text",
    proposers: str = "search",
    explainer: ExplainerSettings | None = None,
    candidates: int = 4,
    rounds: int = 1,
    prompt_tokens: int = 4_000,
    library: str | Path | None = None,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    on_event: Listener = ignore,
) -> Run:
    """Explain the heads of `model` on `texts` in the run folder `out`; returns the finished run.

    `model` may be the folder of a run, whose recording is then taken with its texts, heads (None:
    all) and seed (None: 0), and `texts` is None; `out` may be that run where it has nothing else.
    `max_texts` and `max_tokens` bound the texts and the tokens of each. `max_terms` is the most
    constants a program may have, `term_price` the IoU that each must add, `fit_cells` the number of
    query-key pairs to fit on. A recorded weight takes `recording_bits` on disk, 8 or 16. A run
    begun in `out` with the same settings goes on where it was.

    `proposers` names who proposes programs, as in "search,llm". For "llm", `explainer` says which
    language model is asked; `candidates` programs are asked for in a prompt, and again in as many
    `rounds`; `prompt_tokens` is what a prompt may spend on what the head does. For "library", the
    programs are those of `library` (None: the starter library).

    The work is done by `workers` processes (None: one a core) of this machine, or of a Ray cluster
    where `engine` is "ray"; `address` says which, and None starts one here. It makes no difference
    to what is found, and a run may be begun on one and go on on the other.

    Raises HeadscriptError on whatever a person can mend: an unknown model, texts that do not do, a
    head that does not exist, a run begun with other settings, a full disk, a cluster that is not
    there; and AnswersAwaited, one of them, where a batch of prompts was written and waits for its
    answers.
    """
    work = EngineSettings(engine, workers, address).checked()
    source, settings = recording_settings(
        model,
        texts,
        max_texts=max_texts,
        max_tokens=max_tokens,
        heads=heads,
        seed=seed,
        field=field,
        recording_bits=recording_bits,
    )
    names = parse_proposers(proposers)
    asked: dict[str, Any] = {}
    if "llm" in names and explainer is not None:
        asked = {
            "explainer": explainer.checked().explainer,
            "candidates": candidates,
            "rounds": rounds,
            "prompt_tokens": prompt_tokens,
            "answer_tokens": explainer.max_tokens,
            "temperature": explainer.temperature,
        }
    if "library" in names and library is not None:
        asked["library"] = str(library)
    config = RunConfig(
        **settings,
        max_terms=max_terms,
        term_price=term_price,
        fit_cells=fit_cells,
        proposers=names,
        **asked,
    )
    open_proposers(config, explainer, checking=True)
    with Run.create_or_resume(out, config) as run, open_engine(work, run) as opened:
        clock = Clock()
        recorded = recorded_for(run, source, clock, engine=opened, on_event=on_event)
        if recorded is not None:
            _explain(run, recorded, explainer, opened, clock, on_event)
        elif "library" in names:
            settle_library(run, Library.load(config.library).record())
    return run


def _explain(
    run: Run,
    recorded: Recorded,
    explainer: ExplainerSettings | None,
    engine: Engine,
    clock: Clock,
    on_event: Listener,
) -> None:
    config = run.config
    proposers = open_proposers(config, explainer)
    frontiers: Mapping[Head, Frontier] = {}
    if "search" in config.proposers:
        with clock.timing("searching"):
            frontiers = _search(run, recorded.recording("fit").layers, engine, on_event)
    proposed = None
    if proposers:
        with clock.timing("proposing"):
            proposed = propose(
                run,
                recorded.split("fit"),
                frontiers,
                proposers,
                engine=engine,
                on_event=on_event,
            )
    with clock.timing("selecting"):
        if proposed is None:
            chosen, searched = _select(run, frontiers, recorded.split("select"), on_event), None
        else:
            chosen, searched = _select_among(run, proposed, recorded.split("select"), on_event)
            frontiers = proposed.frontiers
    with clock.timing("scoring"):
        test = recorded.split("test")
        scores = score_heads(
            test.recording,
            test.texts,
            {head: each.program for head, each in chosen.items()},
            {head: each.intended for head, each in chosen.items()},
            mean_by_position=recorded.recording("fit"),
            seed=config.seed,
            on_event=on_event,
        )
        searched_ious = _searched_ious(test, searched, config.seed, on_event)
        kinds = categories(recorded.split("select"))
    for head, each in chosen.items():
        run.write(f"programs/{head}.py", _for_head(each.program, head, run.model.name).encode())
    rows = []
    for head in test.recording.heads:
        of_head = chosen.get(head)
        program = None if of_head is None else of_head.program
        row = head_row(head, scores[head], program, test.ids, config.seed)
        if of_head is not None:
            row |= of_head.facts()
        frontier = frontiers.get(head)
        if frontier is not None:
            row["frontier"] = [
                (len(step.terms), iou)
                for step, iou in zip(frontier.steps, frontier.held_out, strict=True)
            ]
        rows.append(row | {"category": kinds[head], "searched_iou": searched_ious.get(head)})
    summary = summary_of(rows, scores, recorded.sizes()["texts"], config.seed)
    library = library_of(run)
    if library is not None:
        summary["seen"] = seen_by(library, run, recorded.tokenizer, "test")
    if proposed is not None:
        summary["proposers"] = contributions(config.proposers, rows, proposed.reports)
    keep_portraits(run, rows)
    run.write_results(summary | clock.report(engine.peak_bytes), rows)


@dataclass(frozen=True)
class _Chosen:
    """The program of a head."""

    program: Program
    written_for: Head
    proposer: str
    fit_iou: float
    select_iou: float
    intended: Program
    """The one that was written for the head."""

    def facts(self) -> dict[str, Any]:
        """What a row of results tells of the choice."""
        return {
            "chosen_from": str(self.written_for),
            "proposer": self.proposer,
            "fit_iou": self.fit_iou,
            "select_iou": self.select_iou,
        }


# Stages ------------------------------------------------------------------------------------------


def _search(
    run: Run,
    layers: list[int],
    engine: Engine,
    on_event: Listener,
) -> dict[Head, Frontier]:
    missing = [layer for layer in layers if not run.has(search_file(layer))]
    done = len(layers) - len(missing)
    on_event(Event("searching", done, len(layers)))
    if missing:
        for _ in engine.run([f"search {layer}" for layer in missing]):
            done += 1
            on_event(Event("searching", done, len(layers)))
    return read_frontiers(run, layers)


def _select(
    run: Run,
    frontiers: Mapping[Head, Frontier],
    select: RecordedSplit,
    on_event: Listener,
) -> dict[Head, _Chosen]:
    """Cut each frontier where terms stop paying, write the programs, choose among all."""
    config, heads = run.config, select.recording.heads
    written, fit_ious = [], []
    for head in heads:
        program, step = write_program(run, frontiers[head])
        written.append(program)
        fit_ious.append(step.iou)
    table, _ = distances(
        written,
        select.texts,
        select.recording,
        max_cells=_SELECT_CELLS,
        seed=config.seed,
        on_event=on_event,
    )
    choices = choose_programs(table, range(len(written)), margin=config.term_price)
    return {
        head: _Chosen(
            written[choice.program],
            heads[choice.program],
            "search",
            fit_iou,
            choice.iou,
            written[own],
        )
        for own, (head, choice, fit_iou) in enumerate(zip(heads, choices, fit_ious, strict=True))
    }


def _select_among(
    run: Run,
    proposed: Proposed,
    select: RecordedSplit,
    on_event: Listener,
) -> tuple[dict[Head, _Chosen], dict[Head, Program] | None]:
    """Choose among all that was proposed; beside it, what the search alone would have given.

    A head for which there is no program is left out. What every program does on the select texts
    for its own head is kept in the run.
    """
    config, entries, heads = run.config, proposed.entries, select.recording.heads
    table, _ = distances(
        [entry.program for entry in entries],
        select.texts,
        select.recording,
        max_cells=_SELECT_CELLS,
        seed=config.seed,
        on_event=on_event,
    )
    owners = [heads.index(entry.head) for entry in entries]
    choices = choose_among(
        table, owners, [entry.program.terms for entry in entries], price=config.term_price
    )
    chosen = {}
    for index, (head, choice) in enumerate(zip(heads, choices, strict=True)):
        if choice is not None:
            entry = entries[choice[0]]
            chosen[head] = _Chosen(
                entry.program,
                entry.head,
                "+".join(entry.origins),
                entry.fit_iou,
                float(table[choice[0], index]),
                entries[choice[1]].program,
            )
    run.write_json(
        "candidates/selection.json",
        [
            {
                "head": str(entry.head),
                "proposer": "+".join(entry.origins),
                "program_key": entry.program.key,
                "terms": entry.program.terms,
                "fit_iou": round(entry.fit_iou, 6),
                "select_iou": round(float(table[number, owners[number]]), 6),
            }
            for number, entry in enumerate(entries)
        ],
    )
    if "search" not in config.proposers:
        return chosen, None
    own = [number for number, entry in enumerate(entries) if entry.origins == ("search",)]
    # A combined program may be the search's alone again; the first of a head is the search's own.
    first = {entries[number].head: number for number in reversed(own)}
    alone = [first[head] for head in heads]
    best = choose_programs(table[alone], range(len(alone)), margin=config.term_price)
    return chosen, {
        head: entries[alone[choice.program]].program
        for head, choice in zip(heads, best, strict=True)
    }


def _searched_ious(
    test: RecordedSplit,
    searched: Mapping[Head, Program] | None,
    seed: int,
    on_event: Listener,
) -> dict[Head, float]:
    """What the search alone reaches on the test texts, where others proposed programs too."""
    if searched is None:
        return {}
    scores = score_heads(
        test.recording,
        test.texts,
        searched,
        {},
        mean_by_position=None,
        seed=seed,
        on_event=on_event,
    )
    return {head: mean(found.chosen) for head, found in scores.items()}


def _for_head(program: Program, head: Head, model: str) -> str:
    """A program's source with a first line that says whose it is now, and whose it was."""
    if program.name == str(head) or not program.source.startswith('"""'):
        return program.source  # the first line of a free-form program says what it is
    _, rest = program.source.split("\n", 1)
    return f'"""Head {head} of {model}; the program was written for {program.name}."""\n{rest}'


# Results -----------------------------------------------------------------------------------------
