"""Scoring programs against recorded heads, text by text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.language import Text
from headscript.packing import num_cells, pack_rows
from headscript.programs.program import Program
from headscript.recording import Recording
from headscript.similarity import MeanByPosition, baseline_patterns, iou, pairwise_distance

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


def program_patterns(programs: Sequence[Program], text: Text) -> tuple[Tensor, dict[int, str]]:
    """Patterns of programs on a text, packed (programs, cells); 0 where one failed, and why."""
    patterns = torch.zeros(len(programs), num_cells(len(text), text.causal))
    failures: dict[int, str] = {}
    for index, program in enumerate(programs):
        try:
            patterns[index] = pack_rows(program(text), text.causal)
        except HeadscriptError as error:
            failures[index] = str(error)
    text.forget()  # features of hundreds of programs, a hundred megabytes a text
    return patterns, failures


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

    IoU is computed from the L1 distance of a sample of rows of every text, about `max_cells` cells
    in all, the same rows for all pairs. The second tensor is (programs,), 1 where a program failed.
    """
    generator = torch.Generator().manual_seed(seed)
    total = sum(num_cells(len(text), text.causal) for text in texts)
    share = min(1.0, max_cells / max(total, 1))
    layers = recording.layers
    score = torch.zeros(len(programs), len(recording.heads))
    failed = torch.zeros(len(programs))
    for number, text in enumerate(texts):
        n = len(text)
        taken = torch.rand(n, generator=generator) < share
        if not taken.any():
            taken[-1] = True
        in_row = pack_rows(torch.arange(n)[:, None].expand(n, n), text.causal)
        cells = taken[in_row]
        predicted, failures = program_patterns(programs, text)
        actual = torch.cat([recording.layer(layer, [number])[0] for layer in layers])
        distance = pairwise_distance(predicted[:, cells], actual[:, cells])
        rows = int(taken.sum())
        score += (2 * rows - distance) / (2 * rows + distance)
        for index in failures:
            failed[index] = 1
        on_event(Event("comparing all programs with all heads", number + 1, len(texts)))
    return score / len(texts) * (1 - failed[:, None]), failed


def score_heads(
    recording: Recording,
    texts: Sequence[Text],
    chosen: Mapping[Head, Program],
    intended: Mapping[Head, Program],
    *,
    mean_by_position: Mapping[int, MeanByPosition] | None,
    seed: int,
    on_event: Listener = ignore,
) -> dict[Head, HeadScores]:
    """Score each recorded head's programs and the baselines on every text, on all cells.

    `mean_by_position` gives, by layer, the mean patterns of the recorded heads. A head without a
    program in `chosen` scores 0. A program shared by several heads runs once a text.
    """
    programs = list(
        {program.key: program for program in [*chosen.values(), *intended.values()]}.values()
    )
    place = {program.key: index for index, program in enumerate(programs)}
    scores = {head: HeadScores() for head in recording.heads}
    for number, text in enumerate(texts):
        patterns, failures = program_patterns(programs, text)
        generator = torch.Generator().manual_seed(seed + number)
        shared = baseline_patterns(text, None, generator)
        for layer in recording.layers:
            heads = recording.heads_of(layer)
            actual = recording.layer(layer, [number])[0]  # (heads, cells)
            found = {name: iou(pattern, actual).tolist() for name, pattern in shared.items()}
            if mean_by_position is not None:
                mean = mean_by_position[layer].packed(len(text))
                found["mean by position"] = iou(mean, actual).tolist()
            for index, head in enumerate(heads):
                for kind, of_head in (("chosen", chosen), ("intended", intended)):
                    program = of_head.get(head)
                    value = 0.0
                    if program is not None and place[program.key] not in failures:
                        value = float(iou(patterns[place[program.key]], actual[index]))
                    getattr(scores[head], kind).append(value)
                    if kind == "chosen" and program is not None and place[program.key] in failures:
                        scores[head].failure = failures[place[program.key]]
                for name, values in found.items():
                    scores[head].baselines.setdefault(name, []).append(values[index])
        on_event(Event("scoring on the test texts", number + 1, len(texts)))
    return scores
