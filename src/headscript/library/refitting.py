"""The constants of library programs fitted to other heads, quickly.

Only log-linear programs are fitted. What a program could do for a head if it were fitted is
estimated for all pairs at once, by least squares on the logarithms of the heads' weights; those
that promise most are fitted by Gauss-Newton, first roughly and on few rows, the best to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.events import Event, Listener, ignore
from headscript.language import Text
from headscript.library.columns import Columns, Weighted
from headscript.packing import num_cells
from headscript.programs.program import Program, rounded
from headscript.propose.screening import SURPRISE
from headscript.recorded import RecordedSplit
from headscript.recording import Recording
from headscript.rows import Rows, share_for
from headscript.tuning.loglinear import Fitted, fit_weights

ROUGH_CELLS = 4_000
"""Query-key pairs on which programs are tried."""
FIT_CELLS = 15_000
"""Query-key pairs on which the best of a head's programs are fitted, and judged."""
SHORTLIST = 4
"""Programs of a head that are tried because of what they do as they are, ..."""
PROMISING = 4
"""... and because of what they promise."""
FINALISTS = 2
"""Of these, those that are fitted to the end."""
_ROUGH_STEPS = 3
_STEPS = 10
_LARGEST = 1e4  # a constant beyond it says no more than one at it
_LEAST = 2e-3  # a weight below it is no smaller to a logarithm
_MIN_TEXTS = 8


@dataclass(frozen=True)
class Refit:
    """A program with constants fitted to a head."""

    program: int
    """Its place among the programs."""
    constants: Mapping[str, float]
    """As they are written: rounded."""
    fit_iou: float
    """Mean IoU with the head on rows of the fit texts."""
    select_iou: float
    """The same on rows of the select texts, to choose by; of the program as it came, ..."""
    unfitted_select_iou: float
    """... on the same rows."""


Tried = dict[int, tuple[Weighted, Fitted]]
"""By place of a program what came of a rough fit."""


def try_programs(
    programs: Sequence[Program],
    table: Tensor,  # (programs, heads) mean IoU of the programs as they are; 0 of one that failed
    texts: Sequence[Text],
    recording: Recording,
    *,
    seed: int = 0,
    on_event: Listener = ignore,
) -> list[Tried]:
    """For each recorded head its most promising programs, fitted roughly, the best first."""
    sample = _Sample(texts, recording, ROUGH_CELLS, seed)
    working = table.amax(1).nonzero().squeeze(1).tolist()
    columns = Columns(sample.rows, programs, working)
    weighted = {place: found for place in working if (found := columns.weighted(place)) is not None}
    promise = torch.zeros_like(table)
    for done, place in enumerate(weighted, 1):
        features = columns.of(place)
        promise[place] = sample.ious(features, sample.least_squares(features))
        on_event(Event("estimating what programs could do", done, len(weighted)))
    heads_of: dict[int, list[int]] = {}
    for head in range(table.shape[1]):
        for place in _candidates(table[:, head], promise[:, head]):
            if place in weighted:
                heads_of.setdefault(place, []).append(head)
    tried: list[Tried] = [{} for _ in range(table.shape[1])]
    for done, (place, heads) in enumerate(sorted(heads_of.items()), 1):
        features = columns.of(place)
        estimates = sample.least_squares(features, heads)
        for head, estimate in zip(heads, estimates.T, strict=True):
            start = sample.better(features, head, (weighted[place].weights, estimate))
            fitted = sample.fitted(features, start, head, _ROUGH_STEPS, surprise=SURPRISE)
            tried[head][place] = (weighted[place], fitted)
        on_event(Event("fitting roughly", done, len(heads_of)))
    return [dict(sorted(found.items(), key=lambda item: item[1][1].loss)) for found in tried]


def finish(
    programs: Sequence[Program],
    tried: Sequence[Tried],
    fit: RecordedSplit,
    select: RecordedSplit,
    *,
    seed: int = 0,
    on_event: Listener = ignore,
) -> list[list[Refit]]:
    """For each head the best few of the programs tried, fitted to the end; best on select first."""
    heads_of: dict[int, list[int]] = {}
    for head, found in enumerate(tried):
        for place in list(found)[:FINALISTS]:
            heads_of.setdefault(place, []).append(head)
    samples = [
        _Sample(split.texts, split.recording, FIT_CELLS, seed + number)
        for number, split in enumerate((fit, select))
    ]
    columns = [Columns(sample.rows, programs, sorted(heads_of)) for sample in samples]
    refits: list[list[Refit]] = [[] for _ in tried]
    for done, (place, heads) in enumerate(sorted(heads_of.items()), 1):
        if all(each.weighted(place) is not None for each in columns):
            features = [each.of(place) for each in columns]
            for head in heads:
                refits[head].append(_finished(place, *tried[head][place], head, samples, features))
        on_event(Event("fitting the best", done, len(heads_of)))
    return [sorted(found, key=lambda each: -each.select_iou) for found in refits]


def _candidates(as_is: Tensor, promise: Tensor) -> list[int]:
    """Programs (programs,) that do best for a head as they are, and that promise most."""
    found = as_is.topk(min(SHORTLIST, len(as_is))).indices.tolist()
    found += promise.topk(min(len(promise), SHORTLIST + PROMISING)).indices.tolist()
    return list(dict.fromkeys(found))[: SHORTLIST + PROMISING]


def _finished(
    place: int,
    weighted: Weighted,
    rough: Fitted,
    head: int,
    samples: Sequence[_Sample],
    features: Sequence[Tensor],
) -> Refit:
    fit, select = samples
    fitted = fit.fitted(features[0], rough.weights, head, _STEPS)
    values = weighted.values(fitted.weights.clamp(-_LARGEST, _LARGEST))
    written = {name: float(rounded(value)) for name, value in values.items()}
    weights = weighted.signs * torch.tensor(list(written.values()))
    return Refit(
        program=place,
        constants=written,
        fit_iou=fit.iou(features[0], weights, head),
        select_iou=select.iou(features[1], weights, head),
        unfitted_select_iou=select.iou(features[1], weighted.weights, head),
    )


class _Sample:
    """Rows of texts with the heads' weights there."""

    def __init__(
        self, texts: Sequence[Text], recording: Recording, max_cells: int, seed: int
    ) -> None:
        # Features are computed on whole texts, so it costs to take few rows of many.
        number, cells = 0, 0
        while number < len(texts) and (number < _MIN_TEXTS or cells < 2 * max_cells):
            cells += num_cells(len(texts[number]), recording.causal)
            number += 1
        draw = torch.Generator().manual_seed(seed)
        share = share_for(texts[:number], max_cells)
        self.rows = Rows(texts[:number], share=share, generator=draw)
        self.actual = torch.cat(
            [self.rows.gather(recording.layer(layer, range(number))) for layer in recording.layers],
            1,
        )  # (cells, heads)
        valid = self.rows.valid.float()
        # Where heads look on the whole counts most; beside it, all keys a little.
        self._density = self.actual.mean(1) + 0.02 * valid
        self._row_density = self.rows.row_sums(self._density)[:, None]
        logarithms = self.actual.clamp(min=_LEAST).log()
        means = self.rows.row_sums(logarithms * self._density[:, None]) / self._row_density
        self._logarithms = (logarithms - means[self.rows.cell_row]) * self._density[:, None]

    def least_squares(self, features: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """Weights by least squares on logarithms, (terms, heads), for features (cells, terms)."""
        means = self.rows.weighted_row_sums(self._density[None], features)[0] / self._row_density
        squares = (features * self._density[:, None]).T @ features
        squares -= (means * self._row_density).T @ means
        squares += torch.diag(1e-3 * squares.diag() + 1e-4)
        wanted = self._logarithms if heads is None else self._logarithms[:, heads]
        weights: Tensor = torch.linalg.solve(squares, features.T @ wanted)
        return weights

    def ious(self, features: Tensor, weights: Tensor) -> Tensor:
        """The IoU of each head with the pattern of its weights (terms, heads): (heads,)."""
        scores = (features @ weights).masked_fill_(~self.rows.valid[:, None], -torch.inf)
        for block in self.rows.blocks:
            in_rows = scores[block.cells].view(block.num_rows, block.width, -1)
            scores[block.cells] = in_rows.softmax(1).flatten(0, 1)
        return self.rows.iou(scores, self.actual)

    def better(self, features: Tensor, head: int, starts: Sequence[Tensor]) -> Tensor:
        """Of several weights (terms,) those that are nearest to a head."""
        return max(starts, key=lambda weights: self.iou(features, weights, head))

    def fitted(
        self, features: Tensor, start: Tensor, head: int, steps: int, *, surprise: float = 0.0
    ) -> Fitted:
        """Weights fitted to a head."""
        actual = self.actual[:, head].contiguous()
        return fit_weights(self.rows, features, actual, start, steps=steps, surprise=surprise)

    def iou(self, features: Tensor, weights: Tensor, head: int) -> float:
        """Mean IoU of the pattern that weights (terms,) give with a head."""
        pattern = self.rows.softmax(features @ weights)
        return float(self.rows.iou(pattern[:, None], self.actual[:, head, None]))
