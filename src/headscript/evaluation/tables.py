"""Scoring programs against recorded heads, text by text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from headscript.evaluation.mean_patterns import MEAN, mean_of_layer
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.language import Text
from headscript.packing import num_cells, pack_rows
from headscript.programs.patterns import Patterns
from headscript.programs.program import Program
from headscript.recording import Recording
from headscript.similarity import baseline_patterns, iou, pairwise_iou

_TOGETHER = 1024  # programs whose patterns on a text are held at once

PatternsOf = Callable[[int], Tensor]
"""Text number to the mean pattern by position of some heads on it: (heads, cells)."""


@dataclass
class HeadScores:
    """How a head's programs and the baselines do on each text of a split."""

    chosen: list[float] = field(default_factory=list)
    """IoU of the program in use, a number a text; 0 where it failed."""
    intended: list[float] = field(default_factory=list)
    """IoU of the program that was written for the head."""
    baselines: dict[str, list[float]] = field(default_factory=dict)
    failure: str | None = None
    """Why the program in use failed on some text; None if it never did."""
    intended_failure: str | None = None
    """The same of the program that was written for the head."""


def distances(
    programs: Sequence[Program],
    texts: Sequence[Text],
    recording: Recording,
    *,
    max_cells: int,
    seed: int,
    on_event: Listener = ignore,
) -> tuple[Tensor, Tensor]:
    """Mean IoU of all programs with all recorded heads: (programs, heads), and their failures.

    IoU is computed on a sample of rows of every text, about `max_cells` cells in all, the same rows
    for all pairs. The second tensor is (programs,), 1 where a program failed.
    """
    generator = torch.Generator().manual_seed(seed)
    total = sum(num_cells(len(text), text.causal) for text in texts)
    share = min(1.0, max_cells / max(total, 1))
    sampled = [torch.rand(len(text), generator=generator) < share for text in texts]
    for taken in sampled:
        if not taken.any():
            taken[-1] = True
    score = torch.zeros(len(programs), len(recording.heads))
    failed = torch.zeros(len(programs))
    steps, done = len(texts) * -(-len(programs) // _TOGETHER), 0
    for begin in range(0, len(programs), _TOGETHER):
        some = slice(begin, begin + _TOGETHER)
        patterns = Patterns(programs[some], causal=recording.causal)
        for number, packed in patterns.on(texts):
            n, taken = len(texts[number]), sampled[number]
            in_row = pack_rows(torch.arange(n)[:, None].expand(n, n), recording.causal)
            cells = taken[in_row]
            actual = [recording.layer(layer, [number])[0][:, cells] for layer in recording.layers]
            score[some] += pairwise_iou(packed[:, cells], torch.cat(actual))
            done += 1
            on_event(Event("comparing all programs with all heads", done, steps))
        for index in patterns.failures:
            failed[begin + index] = 1
    return score / len(texts) * (1 - failed[:, None]), failed


def score_heads(
    recording: Recording,
    texts: Sequence[Text],
    chosen: Mapping[Head, Program],
    intended: Mapping[Head, Program],
    *,
    mean_by_position: Recording | None,
    seed: int,
    numbers: Sequence[int] | None = None,
    on_event: Listener = ignore,
) -> dict[Head, HeadScores]:
    """Score each recorded head's programs and the baselines on every text, on all cells.

    `mean_by_position` is the recording of the same heads over whose texts the mean pattern by
    position is taken, a layer at a time (None: without that baseline). A head without a program in
    `chosen` scores 0. A program shared by several heads runs once a text. `numbers` are the places
    of the texts in the recording (None: they are all that it has); a decoder's may be cut.
    """
    programs = list(
        {program.key: program for program in [*chosen.values(), *intended.values()]}.values()
    )
    place = {program.key: index for index, program in enumerate(programs)}
    kinds = {"chosen": chosen, "intended": intended}
    tables: dict[str, Tensor] = {}  # each (heads, texts)
    patterns = Patterns(programs, causal=recording.causal)
    place_of = range(len(texts)) if numbers is None else numbers
    for done, (number, packed) in enumerate(patterns.on(texts), 1):
        text = texts[number]
        generator = torch.Generator().manual_seed(seed + number)
        simple = baseline_patterns(text, generator)
        first = 0
        for layer in recording.layers:
            heads = recording.heads_of(layer)
            actual = recording.layer(layer, [place_of[number]])[0]  # (heads, cells)
            # A cut text is the first rows of the whole, and these are the first cells.
            actual = actual[:, : packed.shape[1]]
            found = {name: iou(pattern, actual) for name, pattern in simple.items()}
            for kind, of_head in kinds.items():
                covered = [index for index, head in enumerate(heads) if head in of_head]
                predicted = packed[[place[of_head[heads[index]].key] for index in covered]]
                found[kind] = torch.zeros(len(heads))
                found[kind][covered] = iou(predicted, actual[covered])
            for name, values in found.items():
                if name not in tables:
                    tables[name] = torch.zeros(len(recording.heads), len(texts))
                tables[name][first : first + len(heads), number] = values
            first += len(heads)
        on_event(Event("scoring on the test texts", done, len(texts)))
    if mean_by_position is not None:
        tables[MEAN] = _means(recording, texts, place_of, mean_by_position)
    scores = {}
    ordered = [head for layer in recording.layers for head in recording.heads_of(layer)]

    def failure(program: Program | None) -> str | None:
        return None if program is None else patterns.failures.get(place[program.key])

    for row, head in enumerate(ordered):
        scores[head] = HeadScores(
            **{kind: tables[kind][row].tolist() for kind in kinds},
            baselines={
                name: values[row].tolist() for name, values in tables.items() if name not in kinds
            },
            failure=failure(chosen.get(head)),
            intended_failure=failure(intended.get(head)),
        )
    return {head: scores[head] for head in recording.heads}


def _means(
    recording: Recording, texts: Sequence[Text], place_of: Sequence[int], over: Recording
) -> Tensor:
    """IoU (heads, texts) of the mean patterns by position `over` the texts of a recording."""
    longest = max(map(len, texts))

    def of_layer(layer: int) -> Tensor:
        mean = mean_of_layer(over, layer, recording.heads_of(layer), longest)
        ious = []
        for number, text in enumerate(texts):
            actual = recording.layer(layer, [place_of[number]])[0]
            cells = num_cells(len(text), recording.causal)
            ious.append(iou(mean.packed(len(text)), actual[:, :cells]))
        return torch.stack(ious, 1)

    return torch.cat([of_layer(layer) for layer in recording.layers])
