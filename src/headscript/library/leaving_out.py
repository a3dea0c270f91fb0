"""Leaving one text out: each is the test text once, and the others choose and fit the programs.

With few texts a split says little: its test texts are one or two. Here every text is tested on, and
by programs that had no look at it. What is measured is how well choosing from the library does, not
a set of programs, for each text has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.evaluation.tables import HeadScores, distances, score_heads
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.library.choosing import refit
from headscript.library.matches import Choice, HeadLeftOut, LeftOut
from headscript.programs.program import Program
from headscript.recorded import Recorded, RecordedSplit
from headscript.recording import Recording
from headscript.records import SPLITS
from headscript.results import IouSummary
from headscript.similarity import bootstrap_interval

MOST_TEXTS = 50
"""Of more, splits say as much in a fraction of the time."""
_SELECTING = 0.25  # of the other texts choose among programs that were fitted on the rest
_ALL_CELLS = 1 << 62


def left_out(
    programs: Sequence[Program],
    recorded: Recorded,
    *,
    refitting: bool,
    on_event: Listener = ignore,
) -> LeftOut:
    """What programs do on each text when they are chosen, and refitted, on the other texts alone.

    The texts are those of all splits. For a text left out, a head takes the program that does best
    as it is on the others; with `refitting`, programs are also fitted on some of the others, and
    the rest of them choose. Raises HeadscriptError for more than `MOST_TEXTS` texts.
    """
    seed = recorded.run.config.seed
    splits = [recorded.split(name) for name in SPLITS]
    whole = _chosen([(split, number) for split in splits for number in range(len(split.texts))])
    number_of_texts = len(whole.texts)
    if number_of_texts > MOST_TEXTS:
        raise HeadscriptError(
            f"Leaving out one text at a time is for {MOST_TEXTS} texts at most, and here are "
            f"{number_of_texts}; match with the splits."
        )
    tables = []
    for number in range(number_of_texts):
        alone = _part(whole, [number])
        table, _ = distances(
            programs, alone.texts, alone.recording, max_cells=_ALL_CELLS, seed=seed
        )
        tables.append(table)
        on_event(Event("comparing text by text", number + 1, number_of_texts))
    ious = torch.stack(tables)  # (texts, programs, heads)
    scores: list[dict[Head, HeadScores]] = []
    for number in range(number_of_texts):
        others = [other for other in range(number_of_texts) if other != number]
        places = on_others(ious)[number].argmax(0).tolist()
        fit, select = _shared_out(others, number)
        on_select = ious[select].mean(0)
        as_is = [
            Choice(programs[place], float(on_select[place, head]))
            for head, place in enumerate(places)
        ]
        used = as_is
        if refitting:
            used = refit(
                programs,
                ious[others].mean(0),
                as_is,
                _part(whole, fit),
                _part(whole, select),
                seed=seed,
                on_event=ignore,
            )
        alone, heads = _part(whole, [number]), whole.recording.heads
        scores.append(
            score_heads(
                alone.recording,
                alone.texts,
                {head: each.program for head, each in zip(heads, used, strict=True)},
                {head: each.program for head, each in zip(heads, as_is, strict=True)},
                mean_by_position=_part(whole, others).recording,
                seed=seed + number,
            )
        )
        on_event(Event("leaving one text out", number + 1, number_of_texts))
    chosen_on_all = float(ious.mean(0).amax(0).mean())
    return _summed_up(scores, refitting, chosen_on_all, seed)


def on_others(ious: Tensor) -> Tensor:
    """Mean IoU on the other texts, for each text of (texts, programs, heads)."""
    return (ious.sum(0) - ious) / (len(ious) - 1)


class Chosen(Recording):
    """Some texts of several recordings of the same heads, as one recording."""

    def __init__(self, places: Sequence[tuple[Recording, int]]) -> None:
        """`places` says for each text whose it is and which it is there."""
        first, _ = places[0]
        self.directory: Path = first.directory
        self.manifest = first.manifest
        self.heads = first.heads
        self.causal = first.causal
        self.token_counts = [recording.token_counts[number] for recording, number in places]
        self._places = places

    def layer(self, layer: int, texts: Sequence[int] | None = None) -> list[Tensor]:
        """See `Recording.layer`."""
        wanted = range(len(self._places)) if texts is None else texts
        places = [self._places[text] for text in wanted]
        return [recording.layer(layer, [number])[0] for recording, number in places]


def _chosen(places: Sequence[tuple[RecordedSplit, int]]) -> RecordedSplit:
    """Some texts of several splits as one split; `places` as for `Chosen`."""
    return RecordedSplit(
        [split.ids[number] for split, number in places],
        [split.texts[number] for split, number in places],
        Chosen([(split.recording, number) for split, number in places]),
    )


def _part(whole: RecordedSplit, numbers: Sequence[int]) -> RecordedSplit:
    """Some of all texts."""
    return _chosen([(whole, number) for number in numbers])


def _shared_out(others: Sequence[int], turn: int) -> tuple[list[int], list[int]]:
    """Which of the other texts programs are fitted on, and which choose; each turn others."""
    first = turn % len(others)
    ordered = [*others[first:], *others[:first]]
    selecting = max(1, round(_SELECTING * len(ordered)))
    return ordered[selecting:], ordered[:selecting]


def _summed_up(
    scores: Sequence[dict[Head, HeadScores]], refitting: bool, chosen_on_all: float, seed: int
) -> LeftOut:
    """`scores` has, by text left out, what its programs and the baselines do on it."""
    heads = list(scores[0])
    as_is = {head: [of_text[head].intended[0] for of_text in scores] for head in heads}
    fitted = {head: [of_text[head].chosen[0] for of_text in scores] for head in heads}
    names = scores[0][heads[0]].baselines
    return LeftOut(
        texts=len(scores),
        as_is=_summary(list(as_is.values()), seed),
        refitted=_summary(list(fitted.values()), seed) if refitting else None,
        chosen_on_all=chosen_on_all,
        baselines={
            name: mean(of_text[head].baselines[name][0] for of_text in scores for head in heads)
            for name in names
        },
        by_head=[
            HeadLeftOut(
                head=str(head),
                as_is=mean(as_is[head]),
                refitted=mean(fitted[head]) if refitting else None,
            )
            for head in heads
        ],
    )


def _summary(ious: Sequence[Sequence[float]], seed: int) -> IouSummary:
    by_head = [mean(values) for values in ious]
    by_text = [mean(values) for values in zip(*ious, strict=True)]
    return IouSummary(
        mean=mean(by_head), median=median(by_head), ci95=bootstrap_interval(by_text, seed=seed)
    )
