"""A head's patterns on some texts, beside what the distances alone would let one expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.language import Text
from headscript.packing import unpack

_EXACT = 8  # distances with an average of their own; farther ones share one by half octaves
_SIDES = 64  # numbers of averages, for keys before the query and as many for keys after it


@dataclass
class Observed:
    """One text and a head's pattern on it, (n, n).

    `apart` marks the cells that a query may look at and that lie neither on the first token nor on
    the token itself; a decoder's first row has none. `expected` (n, n) shares out the weight that
    each row has there as the head's rows do on average at the same distances.
    """

    text: Text
    pattern: Tensor
    apart: Tensor
    expected: Tensor

    @property
    def begin(self) -> int:
        """The first query that has a choice."""
        return 1 if self.text.causal else 0


def observe(texts: Sequence[Text], patterns: Sequence[Tensor]) -> list[Observed]:
    """The texts that have a query with a choice, with their patterns, packed (cells,) a text."""
    told = []
    for text, packed in zip(texts, patterns, strict=True):
        n = len(text)
        if n < 2:
            continue
        places = torch.arange(n)
        apart = places[:, None] != places[None, :]
        if text.causal:
            apart = apart.tril()
        apart[:, 0] = False
        pattern = unpack(packed, n, text.causal).double()
        told.append(Observed(text, pattern, apart, pattern))
    for seen, expected in zip(
        told, expected_weights(told, [seen.apart for seen in told]), strict=True
    ):
        seen.expected = expected
    return told


def expected_weights(observed: Sequence[Observed], cells: Sequence[Tensor]) -> list[Tensor]:
    """The weight that each row has on the cells (n, n), spread as rows do on average by distance.

    What a class of keys draws beyond this, it does not owe to being near.
    """
    totals = torch.zeros(2 * _SIDES, dtype=torch.float64)
    numbers = torch.zeros(2 * _SIDES, dtype=torch.float64)
    bands = [_distance_bands(len(seen.text)) for seen in observed]
    for seen, inside, band in zip(observed, cells, bands, strict=True):
        chosen = band[inside]
        totals += torch.bincount(chosen, seen.pattern[inside], 2 * _SIDES)
        numbers += torch.bincount(chosen, minlength=2 * _SIDES)
    usual = totals / numbers.clamp(min=1)
    found = []
    for seen, inside, band in zip(observed, cells, bands, strict=True):
        spread = usual[band] * inside
        mass = (seen.pattern * inside).sum(1, keepdim=True)
        found.append(spread / spread.sum(1, keepdim=True).clamp(min=1e-12) * mass)
    return found


def _distance_bands(n: int) -> Tensor:
    """The number of the average that each cell (n, n) shares in, by distance and side."""
    places = torch.arange(n)
    signed = places[:, None] - places[None, :]
    far = torch.ceil(2 * torch.log2(signed.abs().clamp(min=1) / _EXACT)).long() + _EXACT
    band = torch.where(signed.abs() <= _EXACT, signed.abs(), far)
    return torch.where(signed < 0, band + _SIDES, band)
