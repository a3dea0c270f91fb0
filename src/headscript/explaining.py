"""The main job: a program for every head of a model, fitted, chosen and scored on separate texts.

Texts are split into fit (constants and prompts), select (choices) and test (what is reported). Each
stage leaves its results as files in the run; a stage whose files are there is not done again.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any

from headscript.errors import HeadscriptError
from headscript.evaluation.categories import Behaviour
from headscript.evaluation.tables import HeadScores, distances, score_heads
from headscript.events import Event, Listener, ignore
from headscript.heads import Head, parse_heads
from headscript.language import Text, read_text
from headscript.models import Model, load_model
from headscript.packing import unpack
from headscript.programs.program import Program
from headscript.propose.frontier import Frontier
from headscript.propose.workers import available_cores, search_file, search_layers
from headscript.propose.writing import read_frontiers, write_program
from headscript.recording import Recording, estimate, record
from headscript.records import RunConfig, RunText
from headscript.runs import Run
from headscript.selection import Choice, choose_programs
from headscript.similarity import MeanByPosition, bootstrap_interval
from headscript.texts import load_texts, split_documents

SPLITS = ("fit", "select", "test")
_SELECT_CELLS = 100_000
"""Cells of the select texts on which all programs meet all heads."""


def explain(
    model: str,
    texts: str | Path,
    out: str | Path,
    *,
    max_texts: int | None = None,
    max_tokens: int | None = None,
    heads: str = "all",
    max_terms: int = 24,
    term_price: float = 0.0015,
    fit_cells: int = 250_000,
    seed: int = 0,
    field: str = "text",
    workers: int | None = None,
    on_event: Listener = ignore,
) -> Run:
    """Explain the heads of `model` on `texts` in the run folder `out`; returns the finished run.

    `max_texts` and `max_tokens` bound the texts and the tokens of each. `max_terms` is the most
    constants a program may have, `term_price` the IoU that each must add, `fit_cells` the number of
    query-key pairs to fit on. A run begun in `out` with the same settings goes on where it was.

    Raises HeadscriptError on whatever a person can mend: an unknown model, texts that do not do, a
    head that does not exist, a run begun with other settings, a full disk.
    """
    config = RunConfig(
        model=str(model),
        texts=str(texts),
        field=field,
        max_texts=max_texts,
        max_tokens=max_tokens,
        heads=heads,
        max_terms=max_terms,
        term_price=term_price,
        fit_cells=fit_cells,
        seed=seed,
    )
    with Run.create_or_resume(out, config) as run:
        _explain(run, workers, on_event)
    return run


def _explain(run: Run, workers: int | None, on_event: Listener) -> None:
    clock = _Clock(workers or available_cores())
    config = run.config
    with clock.timing("loading"):
        model = load_model(config.model, on_event=on_event)
        run.settle_model(model)
        chosen_heads = parse_heads(config.heads, model.heads_per_layer)
        run_texts = _prepare_texts(config, model)
        run.settle_texts(run_texts)
        if run.finished:  # and by now known to be of this model and these texts
            return
        run.save_tokenizer(model.tokenizer)
        texts = {
            split: [
                read_text(model.tokenizer, text.token_ids, causal=model.causal)
                for text in run_texts
                if text.split == split
            ]
            for split in SPLITS
        }
    with clock.timing("recording"):
        recordings = _record(run, model, run_texts, chosen_heads, on_event)
    del model
    with clock.timing("searching"):
        frontiers = _search(run, recordings, workers, on_event)
    with clock.timing("selecting"):
        written, choices, fit_ious = _select(
            run, frontiers, texts["select"], recordings["select"], on_event
        )
    with clock.timing("scoring"):
        programs = {head: written[choices[head].program] for head in recordings["test"].heads}
        intended = dict(zip(recordings["test"].heads, written, strict=True))
        scores = score_heads(
            recordings["test"],
            texts["test"],
            programs,
            intended,
            mean_by_position=_mean_by_position(recordings["fit"]),
            seed=config.seed,
            on_event=on_event,
        )
        categories = _categories(recordings["select"], texts["select"])
    for head, program in programs.items():
        run.write(f"programs/{head}.py", _for_head(program, head, run.model.name).encode())
    ids = [text.id for text in run_texts if text.split == "test"]
    rows = [
        _row(
            head,
            scores[head],
            programs[head],
            choices[head],
            recordings["test"].heads[choices[head].program],
            fit_ious[recordings["test"].heads.index(head)],
            frontiers[head],
            categories[head],
            ids,
            config.seed,
        )
        for head in recordings["test"].heads
    ]
    summary = _summary(rows, scores, {split: len(texts[split]) for split in SPLITS}, config.seed)
    run.write_results(summary | clock.report(), rows)


# Stages ------------------------------------------------------------------------------------------


def _prepare_texts(config: RunConfig, model: Model) -> list[RunText]:
    documents = load_texts(config.texts, max_texts=config.max_texts, field=config.field)
    splits = split_documents(documents, seed=config.seed)
    prepared = []
    for split in SPLITS:
        found = [
            RunText(
                document.id,
                split,
                document.text,
                tuple(model.encode(document.text, config.max_tokens)),
            )
            for document in getattr(splits, split)
        ]
        usable = [text for text in found if len(text.token_ids) > 1]
        if not usable:
            raise HeadscriptError(
                f"No text of the {split} split has two tokens or more; give longer texts."
            )
        prepared += usable
    return prepared


def _record(
    run: Run, model: Model, texts: Sequence[RunText], heads: Sequence[Head], on_event: Listener
) -> dict[str, Recording]:
    cost = estimate(model, [len(text.token_ids) for text in texts], heads)
    on_event(Event("recording", 0, len(texts), f"Recording {cost}"))
    recordings = {}
    for split in SPLITS:
        ids = [text.token_ids for text in texts if text.split == split]
        recordings[split] = record(
            model, ids, run.recording_folder(split), heads=heads, on_event=on_event
        )
    return recordings


def _search(
    run: Run,
    recordings: Mapping[str, Recording],
    workers: int | None,
    on_event: Listener,
) -> dict[Head, Frontier]:
    layers = recordings["fit"].layers
    missing = [layer for layer in layers if not run.has(search_file(layer))]
    done = len(layers) - len(missing)
    on_event(Event("searching", done, len(layers)))
    if missing:
        for _ in search_layers(run, missing, workers=workers):
            done += 1
            on_event(Event("searching", done, len(layers)))
    return read_frontiers(run, layers)


def _select(
    run: Run,
    frontiers: Mapping[Head, Frontier],
    texts: Sequence[Text],
    recording: Recording,
    on_event: Listener,
) -> tuple[list[Program], dict[Head, Choice], list[float]]:
    """Cut each frontier where terms stop paying, write the programs, choose among all."""
    config = run.config
    written, fit_ious = [], []
    for head in recording.heads:
        program, step = write_program(run, frontiers[head])
        written.append(program)
        fit_ious.append(step.iou)
    table, _ = distances(
        written, texts, recording, max_cells=_SELECT_CELLS, seed=config.seed, on_event=on_event
    )
    choices = choose_programs(table, range(len(written)), margin=config.term_price)
    return written, dict(zip(recording.heads, choices, strict=True)), fit_ious


def _mean_by_position(recording: Recording) -> dict[int, MeanByPosition]:
    longest = max(recording.token_counts)
    means = {}
    for layer in recording.layers:
        heads = len(recording.heads_of(layer))
        means[layer] = MeanByPosition(heads, longest, recording.causal)
        for number, cells in enumerate(recording.layer(layer)):
            means[layer].add(unpack(cells, recording.token_counts[number], recording.causal))
    return means


def _categories(recording: Recording, texts: Sequence[Text]) -> dict[Head, str]:
    found: dict[Head, str] = {}
    for layer in recording.layers:
        heads = recording.heads_of(layer)
        behaviour = Behaviour.of_nothing(len(heads))
        for text, cells in zip(texts, recording.layer(layer), strict=True):
            behaviour.add(unpack(cells, len(text), recording.causal), text)
        found.update(zip(heads, behaviour.categories(), strict=True))
    return found


def _for_head(program: Program, head: Head, model: str) -> str:
    """A program's source with a first line that says whose it is now, and whose it was."""
    if program.name == str(head):
        return program.source
    _, rest = program.source.split("\n", 1)
    return f'"""Head {head} of {model}; the program was written for {program.name}."""\n{rest}'


# Results -----------------------------------------------------------------------------------------


def _row(
    head: Head,
    scores: HeadScores,
    program: Program,
    choice: Choice,
    chosen_from: Head,
    fit_iou: float,
    frontier: Frontier,
    category: str,
    text_ids: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    order = sorted(range(len(text_ids)), key=lambda index: scores.chosen[index])
    return {
        "layer": head.layer,
        "head": head.head,
        "program": f"programs/{head}.py",
        "program_key": program.key,
        "iou": mean(scores.chosen),
        "ci95": bootstrap_interval(scores.chosen, seed=seed),
        "intended_iou": mean(scores.intended),
        "select_iou": choice.iou,
        "fit_iou": fit_iou,
        "chosen_from": str(chosen_from),
        "terms": program.terms,
        "prefix_consistent": program.prefix_consistent,
        "category": category,
        "baselines": {name: mean(values) for name, values in scores.baselines.items()},
        "frontier": [
            (len(step.terms), iou)
            for step, iou in zip(frontier.steps, frontier.held_out, strict=True)
        ],
        "best_text": text_ids[order[-1]],
        "worst_text": text_ids[order[0]],
        "status": "ok" if scores.failure is None else scores.failure,
    }


def _summary(
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[Head, HeadScores],
    texts: dict[str, int],
    seed: int,
) -> dict[str, Any]:
    """All heads together; intervals resample texts, the same texts for all heads."""
    by_text = [mean(values) for values in zip(*(s.chosen for s in scores.values()), strict=True)]
    return {
        "iou": {
            "mean": mean(row["iou"] for row in rows),
            "median": median(row["iou"] for row in rows),
            "ci95": bootstrap_interval(by_text, seed=seed),
        },
        "intended_iou": mean(row["intended_iou"] for row in rows),
        "baselines": {
            name: mean(row["baselines"][name] for row in rows) for name in rows[0]["baselines"]
        },
        "coverage": mean(row["status"] == "ok" for row in rows),
        "prefix_consistent": mean(row["prefix_consistent"] for row in rows),
        "terms": {
            "median": median(row["terms"] for row in rows),
            "mean": mean(row["terms"] for row in rows),
            "max": max(row["terms"] for row in rows),
        },
        "heads": len(rows),
        "texts": texts,
        "categories": dict(Counter(row["category"] for row in rows)),
    }


class _Clock:
    """Seconds of each stage; of a run that was resumed, those of its last process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - begin, 2)

    def report(self) -> dict[str, Any]:
        """`seconds` by stage, and `peak_memory_mb` of all processes, as if they peaked together."""
        scale = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the largest
        return {
            "seconds": self.seconds,
            "peak_memory_mb": round((own + self.workers * workers) * scale / 1e6, 1),
        }
