"""How alike two attention patterns are, and how alike two simple patterns would be by chance.

Patterns are packed as in `headscript.packing`: (..., cells) of one text. All patterns here have
rows that sum to 1 over the keys a query may look at, where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from headscript.kernels import common_float, compare
from headscript.language import Text
from headscript.packing import pack_rows

BASELINES = (
    "first token",
    "previous token",
    "the token itself",
    "uniform",
    "random token",
    "random column",
    "mean by position",
)

LONGEST_MEAN = 512
"""Positions that a mean pattern by position knows; beyond them it is uniform."""

_AT_ONCE = 2**15  # pairs that are scored at once: they stay in a cache, and in one thread


def iou(predicted: Tensor, actual: Tensor) -> Tensor:
    """IoU(A, B) = sum of min / sum of max over the cells, the last axis; any nonnegative patterns.

    A pattern with NaN or infinity scores 0.
    """
    lesser = torch.minimum(predicted, actual).sum(-1)
    greater = torch.maximum(predicted, actual).sum(-1)
    return _finite(lesser / greater)


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """`iou` of all pairs of (programs, cells) and (heads, cells): (programs, heads).

    Rows need not sum to 1: with masses a and b, the sum of all cells, the cell by cell minimum sums
    to (a + b - L1) / 2 and the maximum to (a + b + L1) / 2.
    """
    found = compare(first, second)
    score = found.distance.new_empty(found.distance.shape, dtype=common_float(first, second))
    step = max(_AT_ONCE // max(len(second), 1), 1)
    for begin in range(0, len(first), step):
        rows = slice(begin, begin + step)
        mass, distance = found.first[rows, None] + found.second, found.distance[rows]
        score[rows] = _finite((mass - distance) / (mass + distance))
    return score.to(first.device)


def _finite(score: Tensor) -> Tensor:
    return torch.nan_to_num(score, nan=0.0, posinf=0.0, neginf=0.0)


def bootstrap_interval(
    values: Sequence[float], *, seed: int, resamples: int = 2_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of `values`, one a text."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return float(sample.mean()), float(sample.mean())
    generator = np.random.default_rng(seed)
    means = sample[generator.integers(0, len(sample), (resamples, len(sample)))].mean(1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def mean_bootstrap_interval(
    table: Tensor, *, seed: int, resamples: int = 2_000, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean over heads and texts of (heads, texts), texts resampled together."""
    return bootstrap_interval(table.mean(0).tolist(), seed=seed, resamples=resamples, level=level)


def baseline_patterns(text: Text, generator: torch.Generator) -> dict[str, Tensor]:
    """The baselines on a text that know nothing of the head, each packed (cells,).

    "random token" looks, for each query, at one allowed key; "random column" at one key for the
    whole text (queries before it at themselves).
    """
    n = len(text)
    allowed = text.allowed.float()
    column = int(torch.randint(n, (1,), generator=generator))
    one_column = torch.zeros(n, n)
    one_column[:, column] = 1
    if text.causal:
        one_column[:column] = torch.eye(n)[:column]
    tokens = torch.multinomial(allowed, 1, generator=generator).squeeze(1)
    previous = torch.zeros(n, n)
    previous[torch.arange(n), (torch.arange(n) - 1).clamp(min=0)] = 1
    whole = {
        "first token": torch.nn.functional.one_hot(torch.zeros(n, dtype=torch.long), n).float(),
        "previous token": previous,
        "the token itself": torch.eye(n),
        "uniform": allowed / allowed.sum(1, keepdim=True),
        "random token": torch.nn.functional.one_hot(tokens, n).float(),
        "random column": one_column,
    }
    return {name: pack_rows(pattern, text.causal) for name, pattern in whole.items()}


class MeanByPosition:
    """Each head's mean pattern by query and key position, streamed over texts.

    Sums are kept as (heads, n, n), where n is `longest` or LONGEST_MEAN, whichever is less: what is
    kept of a head takes a megabyte at most. A query that no text reached, or that stands beyond,
    falls back to uniform attention.
    """

    def __init__(self, heads: int, longest: int, causal: bool) -> None:
        self.longest = min(longest, LONGEST_MEAN)
        self._sum = torch.zeros(heads, self.longest, self.longest)
        self._causal = causal

    def add(self, patterns: Tensor) -> None:
        """Take in the patterns (heads, n, n) of a text."""
        n = min(patterns.shape[-1], self.longest)
        self._sum[:, :n, :n] += patterns[:, :n, :n]

    def packed(self, num_tokens: int) -> Tensor:
        """The mean patterns on the first `num_tokens` positions, packed: (heads, cells)."""
        allowed = torch.ones(num_tokens, num_tokens)
        if self._causal:
            allowed = allowed.tril()
        uniform = allowed / allowed.sum(1)[:, None]
        n = min(num_tokens, self.longest)
        width = n if self._causal else num_tokens  # of the rows that are known
        rows = torch.zeros(len(self._sum), n, width)
        rows[:, :, :n] = self._sum[:, :n, :n]
        total = rows.sum(-1, keepdim=True)
        rows = torch.where(total > 0, rows / total.clamp(min=1e-12), uniform[:n, :width])
        known = pack_rows(rows, causal=True) if self._causal else rows.flatten(1)
        beyond = pack_rows(uniform, self._causal)[known.shape[1] :]
        return torch.cat([known, beyond.expand(len(known), -1)], 1)
