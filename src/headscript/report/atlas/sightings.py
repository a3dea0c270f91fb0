"""What heads and their programs do on a sample of test texts: scores, misses, and patterns."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headscript.errors import HeadscriptError
from headscript.evaluation.portraits import RunReader
from headscript.evaluation.sample import Sample, draw, read_sample
from headscript.events import Event, Listener, ignore
from headscript.heads import Head
from headscript.language import Text
from headscript.language.vocabulary import NEED_EMBEDDINGS
from headscript.packing import num_cells, unpack
from headscript.programs.freeform import FreeForm, shared_sandbox
from headscript.programs.patterns import Patterns
from headscript.programs.program import Program
from headscript.recording import Recording
from headscript.report.atlas.regions import region_names, regions
from headscript.runs import Run

SHOWN_TOKENS = 64
"""Tokens of a text whose patterns are shown, or fewer where there are many heads."""

_TOGETHER = 96  # heads whose programs are run at once: what they share is computed once
_PATTERN_BYTES = 6_000_000  # of all patterns shown, before they are compressed
_WHICH = ("best", "median", "worst")


@dataclass
class Sighting:
    """One head on the sample."""

    ious: list[float] = field(default_factory=list)
    """Of the program, a number a text; empty where there is none that could be run."""
    missed: list[float] = field(default_factory=list)
    """Share of the head's attention mass that the program does not match, by text."""
    by_region: dict[str, dict[str, float]] = field(default_factory=dict)
    """Mean shares of mass: "real", "predicted", "missed"."""
    texts: list[dict[str, Any]] = field(default_factory=list)
    """Where its patterns are, as the page is told."""
    note: str = ""
    """Why there is no program's pattern."""


@dataclass
class Sightings:
    """All heads on the sample."""

    sample: Sample | None = None
    by_head: dict[Head, Sighting] = field(default_factory=dict)
    patterns: list[str] = field(default_factory=list)
    """By layer, as the page is given them."""
    tokens: list[list[str]] = field(default_factory=list)
    """The tokens of the texts that are shown."""
    shown: list[dict[str, Any]] = field(default_factory=list)
    """The same texts: "id", and "tokens" of the whole."""
    note: str = ""
    """Why there are no patterns at all."""


def look(
    run: Run,
    programs: Mapping[Head, Program],
    heads: Sequence[Head],
    *,
    numbers: Sequence[int] | None = None,
    on_event: Listener = ignore,
) -> Sightings:
    """Look at the heads, and at the programs of those that have one, on some of the test texts.

    `numbers` are of these texts; None draws them. Where the recording or the tokenizer is gone or
    damaged, there is a note in place of everything else. Of the patterns, those of a few layers are
    in memory at a time.
    """
    try:
        recording = Recording.open(run.recording_folder("test"))
        usable, notes, read = _reader(run, programs)
        if numbers is None:
            numbers = draw(recording, seed=run.config.seed)
        sample = read_sample(numbers, run.texts("test"), read, causal=recording.causal)
        looking = _Looking(recording, sample, set(heads) & set(recording.heads), usable)
        seen = looking.run(len(run.model.heads_per_layer), on_event)
    except HeadscriptError as error:
        # Where the run lies is nobody's business whom the page is passed on to.
        why = str(error).replace(f"{run.directory}/", "")
        return Sightings(
            patterns=[""] * len(run.model.heads_per_layer), note=f"There are no patterns: {why}"
        )
    for head, note in notes.items():
        if head in seen.by_head:
            seen.by_head[head].note = note
    return seen


def _reader(
    run: Run, programs: Mapping[Head, Program]
) -> tuple[dict[Head, Program], dict[Head, str], RunReader]:
    """The programs that can be run here, why others cannot, and what reads texts for them."""
    usable, notes = dict(programs), {}

    def leave_out(heads: list[Head], error: HeadscriptError) -> None:
        for head in heads:
            notes[head] = f"The program is not run here: {error}"
            del usable[head]

    free_form = [head for head, program in usable.items() if isinstance(program, FreeForm)]
    if free_form:
        try:
            shared_sandbox()
        except HeadscriptError as error:
            leave_out(free_form, error)
    needy = [head for head, program in usable.items() if program.entries & NEED_EMBEDDINGS]
    if needy:
        try:
            return usable, notes, RunReader(run, NEED_EMBEDDINGS)
        except HeadscriptError as error:
            leave_out(needy, error)
    return usable, notes, RunReader(run, frozenset())


class _Looking:
    """Goes through the layers, a few at a time, and through the texts for each."""

    def __init__(
        self,
        recording: Recording,
        sample: Sample,
        heads: set[Head],
        programs: Mapping[Head, Program],
    ) -> None:
        self._recording, self._sample, self._programs = recording, sample, programs
        self._layers = {
            layer: [head for head in recording.heads_of(layer) if head in heads]
            for layer in recording.layers
        }
        self._causal = recording.causal
        self._longest = _shown_tokens(len(heads), self._causal)
        self._regions = [regions(text) for text in sample.texts]
        self._seen = Sightings(sample)
        self._place_of_text: dict[int, int] = {}

    def run(self, num_layers: int, on_event: Listener) -> Sightings:
        """Look at everything; patterns are by layer, `num_layers` of them."""
        self._seen.patterns = [""] * num_layers
        total = len(self._layers) * len(self._sample.texts)
        done = 0
        on_event(Event("looking at heads", 0, total))
        for layers in self._groups():
            for finished in self._look(layers):
                done += finished
                on_event(Event("looking at heads", done, total))
        return self._seen

    def _groups(self) -> Iterator[list[int]]:
        group: list[int] = []
        for layer, heads in self._layers.items():
            if group and sum(len(self._layers[one]) for one in [*group, layer]) > _TOGETHER:
                yield group
                group = []
            if heads:
                group.append(layer)
        if group:
            yield group

    def _look(self, layers: list[int]) -> Iterator[int]:
        """Look at some layers, text by text; yields how many layers were done on the text."""
        heads = [head for layer in layers for head in self._layers[layer]]
        own = {head: self._programs[head] for head in heads if head in self._programs}
        distinct = {program.key: program for program in own.values()}
        place = {key: number for number, key in enumerate(distinct)}
        patterns = Patterns(list(distinct.values()), causal=self._causal)
        tally = {head: _Tally() for head in heads}
        for number, packed in patterns.on(self._sample.texts):
            text = self._sample.texts[number]
            for layer in layers:
                chosen = self._layers[layer]
                actual = self._actual(layer, chosen, number)
                predicted = torch.zeros_like(actual)
                for row, head in enumerate(chosen):
                    if head in own:
                        predicted[row] = packed[place[own[head].key]]
                compared = _compared(actual, predicted, self._regions[number], text)
                shown = self._shown(torch.stack([actual, predicted], 1), text)
                for row, head in enumerate(chosen):
                    tally[head].add(number, [column[row] for column in compared], shown[row])
            yield len(layers)
        for layer in layers:
            chunk = bytearray()
            for head in self._layers[layer]:
                failure = None
                if head in own:
                    failure = patterns.failures.get(place[own[head].key])
                self._settle(head, tally[head], head in own, failure, chunk)
            self._seen.patterns[layer] = packed_bytes(bytes(chunk))

    def _actual(self, layer: int, heads: Sequence[Head], number: int) -> Tensor:
        """The heads' own patterns on a text of the sample: (heads, cells)."""
        recorded = self._recording.heads_of(layer)
        (cells,) = self._recording.layer(layer, [self._sample.numbers[number]])
        rows = [recorded.index(head) for head in heads]
        # A cut text is the first rows of the whole, and these are the first cells.
        return cells[rows, : num_cells(len(self._sample.texts[number]), self._causal)]

    def _shown(self, patterns: Tensor, text: Text) -> np.ndarray:
        """Packed patterns (heads, 2, cells) as bytes of their first tokens: (heads, 2, shown)."""
        n = min(len(text), self._longest)
        if self._causal:
            patterns = patterns[..., : num_cells(n, causal=True)]
        else:
            patterns = unpack(patterns, len(text), causal=False)[..., :n, :n].flatten(-2)
        found: np.ndarray = quantised(patterns).numpy()
        return found

    def _settle(
        self, head: Head, tally: _Tally, has_program: bool, failure: str | None, chunk: bytearray
    ) -> None:
        """Write down what was seen of a head, and add its patterns to those of its layer."""
        sighting = Sighting()
        self._seen.by_head[head] = sighting
        numbers = sorted(tally.ious)
        if has_program:
            sighting.ious = [tally.ious[number] for number in numbers]
            sighting.missed = [tally.missed[number] for number in numbers]
            shares = torch.stack([tally.shares[number] for number in numbers]).mean(0)
            sighting.by_region = {
                name: dict(zip(("real", "predicted", "missed"), column, strict=True))
                for name, column in zip(region_names(self._causal), shares.T.tolist(), strict=True)
            }
        if failure is not None:
            sighting.note = f"The program fails: {failure}"
        if has_program and failure is None:
            by_iou = sorted(numbers, key=lambda number: (-tally.ious[number], number))
            middle = by_iou[(len(by_iou) - 1) // 2]
            chosen = dict(zip(_WHICH, (by_iou[0], middle, by_iou[-1]), strict=True))
            if len(numbers) < 3:
                del chosen["median"]
            if len(numbers) < 2:
                del chosen["worst"]
        else:
            chosen = {"some": numbers[len(numbers) // 2]}
        for which, number in chosen.items():
            sighting.texts.append(
                {
                    "which": which,
                    "text": self._text_of_table(number),
                    "iou": tally.ious[number] if has_program else None,
                    "offset": len(chunk),
                    "n": min(len(self._sample.texts[number]), self._longest),
                }
            )
            chunk += tally.shown[number].tobytes()

    def _text_of_table(self, number: int) -> int:
        """The place of a text of the sample in the page's table, in which it is from now on."""
        if number not in self._place_of_text:
            self._place_of_text[number] = len(self._seen.tokens)
            text = self._sample.texts[number]
            self._seen.tokens.append(list(text.surfaces[: self._longest]))
            self._seen.shown.append(
                {"id": self._sample.ids[number], "tokens": self._sample.lengths[number]}
            )
        return self._place_of_text[number]


@dataclass
class _Tally:
    """One head, by number of the text."""

    ious: dict[int, float] = field(default_factory=dict)
    missed: dict[int, float] = field(default_factory=dict)
    shares: dict[int, Tensor] = field(default_factory=dict)
    """Mass that is real, predicted and missed, by region: (3, regions)."""
    shown: dict[int, np.ndarray] = field(default_factory=dict)

    def add(self, number: int, compared: Sequence[Tensor], shown: np.ndarray) -> None:
        iou, missed, shares = compared
        self.ious[number] = float(iou)
        self.missed[number] = float(missed)
        self.shares[number] = shares
        self.shown[number] = shown.copy()  # or the bytes of all heads would be held


def _compared(actual: Tensor, predicted: Tensor, region: Tensor, text: Text) -> list[Tensor]:
    """IoU (heads,), mass missed (heads,) and shares by region (heads, 3, regions) of patterns.

    `actual` and `predicted` are (heads, cells), `region` is (cells,).
    """
    shared = torch.minimum(actual, predicted)
    inside = torch.nn.functional.one_hot(region, len(region_names(text.causal))).float()
    real, own, common = (cells @ inside / len(text) for cells in (actual, predicted, shared))
    both = common.sum(1)
    iou = both / (real.sum(1) + own.sum(1) - both)
    missed = real - common
    return [iou, missed.sum(1), torch.stack([real, own, missed], 1)]


def quantised(weights: Tensor) -> Tensor:
    """Weights from 0 to 1 as bytes: the root is finer where weights are small."""
    return (weights.clamp(0, 1).sqrt() * 255).round().to(torch.uint8)


def packed_bytes(content: bytes) -> str:
    """base64 of gzip, as the page takes it; the same bytes give the same text."""
    if not content:
        return ""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _shown_tokens(heads: int, causal: bool) -> int:
    """How many tokens of a text can be shown without the file growing too large."""
    room = _PATTERN_BYTES / max(1, heads * len(_WHICH) * 2)
    n = SHOWN_TOKENS
    while n > 1 and num_cells(n, causal) > room:
        n -= 1
    return n
