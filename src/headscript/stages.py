"""What jobs on the heads of a model have in common: texts, recordings, and rows of results."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import fmean, mean, median
from typing import Any

from headscript.engines.engine import Engine
from headscript.engines.processes import peak_bytes
from headscript.errors import HeadscriptError
from headscript.evaluation.categories import Behaviour
from headscript.evaluation.tables import HeadScores
from headscript.events import Event, Listener
from headscript.heads import Head, parse_heads
from headscript.models import Model, load_model
from headscript.packing import unpack
from headscript.programs.program import Program
from headscript.recorded import RecordedSplit
from headscript.recording import Precision, Recording, begin, estimate, record, record_shard
from headscript.records import SPLITS, RunConfig, RunText
from headscript.results import TermsSummary
from headscript.runs import Run
from headscript.similarity import bootstrap_interval
from headscript.texts import as_read, load_texts, split_documents

_PRECISIONS: dict[int, Precision] = {8: "uint8", 16: "float16"}


def check_bits(recording_bits: int) -> None:
    """Raise HeadscriptError where a recorded weight cannot take so many bits."""
    if recording_bits not in _PRECISIONS:
        raise HeadscriptError(f"A recorded weight takes 8 or 16 bits, not {recording_bits}.")


def prepare_texts(config: RunConfig, model: Model) -> list[RunText]:
    """The texts that a run asks for, tokenised, and split by what the model reads of them.

    Raises HeadscriptError where a split would have no text of two tokens.
    """
    documents = load_texts(config.texts, max_texts=config.max_texts, field=config.field)
    ids = {each.id: tuple(model.encode(each.text, config.max_tokens)) for each in documents}
    read = [as_read(model.tokenizer, ids[document.id]) for document in documents]
    splits = split_documents(documents, seed=config.seed, read=read)
    prepared = []
    for split in SPLITS:
        found = [
            RunText(document.id, split, document.text, ids[document.id])
            for document in getattr(splits, split)
        ]
        usable = [text for text in found if len(text.token_ids) > 1]
        if not usable:
            raise HeadscriptError(
                f"No text of the {split} split has two tokens or more; give longer texts."
            )
        prepared += usable
    return prepared


def settle(
    run: Run,
    on_event: Listener,
    *,
    prepare: Callable[[RunConfig, Model], list[RunText]] = prepare_texts,
) -> tuple[Model, list[RunText], list[Head]]:
    """Load what a run is about: its model, its texts and the heads that are asked for.

    They are written down in the run; `prepare` takes the texts. Raises HeadscriptError as `explain`
    does for these, and where they are not those that the run was begun with.
    """
    model = load_model(run.config.model, on_event=on_event)
    run.settle_model(model)
    heads = parse_heads(run.config.heads, model.heads_per_layer)
    texts = prepare(run.config, model)
    run.settle_texts(texts)
    return model, texts, heads


def record_splits(
    run: Run,
    model: Model,
    texts: Sequence[RunText],
    heads: Sequence[Head],
    on_event: Listener,
    *,
    engine: Engine | None = None,
) -> dict[str, Recording]:
    """Record heads on the texts of each split, in the run's folder.

    An engine whose workers are elsewhere makes the shards; else they are made here.
    """
    kept_as = _PRECISIONS[run.config.recording_bits]
    cost = estimate(model, [len(text.token_ids) for text in texts], heads, dtype=kept_as)
    on_event(Event("recording", 0, len(texts), f"Recording {cost}"))
    if engine is not None and engine.elsewhere:
        _record_elsewhere(run, model, texts, heads, engine, on_event)
        return {split: Recording.open(run.recording_folder(split)) for split in SPLITS}
    recordings = {}
    for split in SPLITS:
        ids = _ids_of(texts, split)
        recordings[split] = record(
            model,
            ids,
            run.recording_folder(split),
            heads=heads,
            dtype=kept_as,
            on_event=on_event,
        )
    return recordings


def record_part(run: Run, model: Model, split: str, number: int) -> None:
    """Make one shard of the recording of a split that `record_splits` has begun."""
    ids = _ids_of(run.texts(), split)
    record_shard(model, ids, run.recording_folder(split), number)


def _record_elsewhere(
    run: Run,
    model: Model,
    texts: Sequence[RunText],
    heads: Sequence[Head],
    engine: Engine,
    on_event: Listener,
) -> None:
    """Let an engine make the missing shards of all splits."""
    items: dict[str, int] = {}
    for split in SPLITS:
        folder = run.recording_folder(split)
        kept_as = _PRECISIONS[run.config.recording_bits]
        begun = begin(model, _ids_of(texts, split), folder, heads=heads, dtype=kept_as)
        for number in begun.missing():
            items[f"record {split} {number}"] = len(begun.shards[number])
    done = len(texts) - sum(items.values())
    for item in engine.run(list(items), model=model):
        done += items[item]
        on_event(Event("recording", done, len(texts)))


def _ids_of(texts: Sequence[RunText], split: str) -> list[tuple[int, ...]]:
    return [text.token_ids for text in texts if text.split == split]


def categories(split: RecordedSplit) -> dict[Head, str]:
    """What each recorded head measurably does on the texts of a split."""
    recording = split.recording
    found: dict[Head, str] = {}
    for layer in recording.layers:
        heads = recording.heads_of(layer)
        behaviour = Behaviour.of_nothing(len(heads))
        for text, cells in zip(split.texts, recording.layer(layer), strict=True):
            behaviour.add(unpack(cells, len(text), recording.causal), text)
        found.update(zip(heads, behaviour.categories(), strict=True))
    return found


def head_row(
    head: Head,
    scores: HeadScores,
    program: Program | None,
    text_ids: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """A head's row of results, without a program that says so; `text_ids` are of the test texts."""
    row: dict[str, Any] = {
        "layer": head.layer,
        "head": head.head,
        "iou": mean(scores.chosen),
        "ci95": bootstrap_interval(scores.chosen, seed=seed),
        "baselines": {name: mean(values) for name, values in scores.baselines.items()},
        "terms": None,
        "prefix_consistent": None,
        "status": "no program was proposed",
    }
    if program is None:
        return row
    order = sorted(range(len(text_ids)), key=lambda index: scores.chosen[index])
    return row | {
        "program": f"programs/{head}.py",
        "program_key": program.key,
        "intended_iou": mean(scores.intended),
        "terms": program.terms,
        "prefix_consistent": program.prefix_consistent,
        "best_text": text_ids[order[-1]],
        "worst_text": text_ids[order[0]],
        "status": "ok" if scores.failure is None else scores.failure,
    }


def summary_of(
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[Head, HeadScores],
    texts: dict[str, int],
    seed: int,
) -> dict[str, Any]:
    """All heads together; intervals resample texts, the same texts for all heads.

    A head without a program has an IoU of 0; what is told of programs is over those that there are.
    """
    programs = [row for row in rows if row["terms"] is not None]
    by_text = [mean(values) for values in zip(*(s.chosen for s in scores.values()), strict=True)]
    intended = [row.get("intended_iou") for row in rows]
    return {
        "iou": {
            "mean": mean(row["iou"] for row in rows),
            "median": median(row["iou"] for row in rows),
            "ci95": bootstrap_interval(by_text, seed=seed),
        },
        "intended_iou": None
        if all(iou is None for iou in intended)
        else mean(iou or 0.0 for iou in intended),
        "baselines": {
            name: mean(row["baselines"][name] for row in rows) for name in rows[0]["baselines"]
        },
        "coverage": mean(row["status"] == "ok" for row in rows),
        "prefix_consistent": fmean(row["prefix_consistent"] for row in programs)
        if programs
        else None,
        "terms": TermsSummary.of([row["terms"] for row in programs]) if programs else None,
        "heads": len(rows),
        "texts": texts,
        "categories": dict(Counter(row["category"] for row in rows)),
    }


class Clock:
    """Seconds of each stage; of a run that was resumed, those of its last process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Time what is done inside."""
        begin = time.monotonic()
        yield
        self.seconds[stage] = round(time.monotonic() - begin, 2)

    def report(self, workers_bytes: int) -> dict[str, Any]:
        """`seconds` by stage, and `peak_memory_mb` of all processes, as if they peaked together.

        `workers_bytes` is what the workers had.
        """
        together = peak_bytes() + workers_bytes
        return {"seconds": self.seconds, "peak_memory_mb": round(together / 1e6, 1)}
