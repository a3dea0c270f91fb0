"""Rank correlation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation of two lists of numbers; ties share their mean rank.

    None where it is not defined: fewer than two numbers, or a list whose numbers are all the same.
    """
    if len(first) != len(second):
        raise ValueError(f"the lists must be of one length, but {len(first)} != {len(second)}")
    ranks = np.stack([_ranks(np.asarray(values, dtype=np.float64)) for values in (first, second)])
    if ranks.shape[1] < 2:
        return None
    ranks -= ranks.mean(1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(1))
    if not spread.all():
        return None
    return float((ranks[0] * ranks[1]).sum() / spread.prod())


def spearman_interval(
    first: Sequence[float], second: Sequence[float], *, seed: int, resamples: int = 2_000
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of `spearman`, pairs resampled; None where undefined."""
    if spearman(first, second) is None:
        return None
    draw = np.random.default_rng(seed)
    pairs = np.stack([np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)])
    found = []
    for _ in range(resamples):
        chosen = pairs[:, draw.integers(0, pairs.shape[1], pairs.shape[1])]
        value = spearman(chosen[0].tolist(), chosen[1].tolist())
        if value is not None:
            found.append(value)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    mean: np.ndarray = (last - (counts - 1) / 2)[places]
    return mean
