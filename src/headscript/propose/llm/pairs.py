"""Texts with places marked, and pairs of tokens and whole rows of a head's pattern on them.

Half of the pairs or more come from what is left when the first token, the token itself and the
sinks are set aside, which would else crowd out the rest; the others from everything. Both are drawn
in strata, bands of weight, so that medium weights are seen beside strong ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from headscript.propose.llm.observed import Observed
from headscript.propose.llm.showing import (
    SHOWN_TOKENS,
    cell,
    estimated_tokens,
    marked_text,
    strongest_keys,
    weight,
)

TOP_SHARE = 0.025
"""The share of weights, strongest first, that pairs are drawn from."""

_EDGES = (0.5, 0.25, 0.12, 0.06, 0.03)
"""Lower ends of the bands of weight; what is weaker is one more band."""
_TEXTS = 5  # texts that pairs are shown of
_LEAST = 0.01  # a weaker weight is not worth a line
_APART_SHARE = 0.65  # of the room for pairs
_APART, _ANY = "Set apart:", "Any:"
_ROWS = 2  # whole rows shown, of different texts
_ROW_KEYS = 12
_ROW_LEAST = 0.02


@dataclass(frozen=True)
class Pair:
    """One weight of a pattern."""

    query: int
    key: int
    weight: float


def pair_lines(
    observed: Sequence[Observed], aside: Sequence[Tensor], named: str, budget: float, draw: Random
) -> list[str]:
    """Some of the texts with pairs, within `budget` tokens; `aside` (n,) marks a text's sinks."""
    left = [seen.apart & ~flags for seen, flags in zip(observed, aside, strict=True)]
    every = [seen.apart.clone() for seen in observed]
    for seen, cells in zip(observed, every, strict=True):
        cells[seen.begin :, 0] = True
        cells.diagonal()[seen.begin :] = True
    bar, bar_left = _bar(observed, every), _bar(observed, left)
    long_enough = [i for i, seen in enumerate(observed) if len(seen.text) >= 4]
    chosen = sorted(draw.sample(long_enough, min(_TEXTS, len(long_enough))))
    lines = _heading(named)
    room = budget - sum(estimated_tokens(line) + 1 for line in lines)
    number_of_lines = len(lines)
    titles = sum(estimated_tokens(title) + 1 for title in (_APART, _ANY))
    for number, index in enumerate(chosen):
        seen = observed[index]
        share = room / (len(chosen) - number)  # what one text leaves, the next may use
        opening = [f"Text {number + 1}: {marked_text(seen.text.surfaces)}"]
        if number < _ROWS:
            opening += _row_line(seen, every[index], left[index], number)
        spent = sum(estimated_tokens(line) + 1 for line in opening)
        within = share - spent - titles
        kept = _told(
            seen, strongest_pairs(seen.pattern, left[index], bar_left), within * _APART_SHARE, draw
        )
        used = sum(cost for *_, cost in kept)
        already = {(pair.query, pair.key) for pair, *_ in kept}
        others = [
            pair
            for pair in strongest_pairs(seen.pattern, every[index], bar)
            if (pair.query, pair.key) not in already
        ]
        # No more of these than of the others, where there are others.
        most = within - used if not kept else min(within - used, used)
        plain = _told(seen, others, most, draw)
        used += sum(cost for *_, cost in plain)
        if kept or plain:
            lines += opening
            for title, told in ((_APART, kept), (_ANY, plain)):
                if told:
                    told.sort(key=lambda item: (item[0].query, item[0].key))
                    lines += [title, *(line for _, line, _ in told)]
            room -= spent + used + titles
    return lines if len(lines) > number_of_lines else []


def _bar(observed: Sequence[Observed], cells: Sequence[Tensor]) -> float:
    """The weight that the strongest of all those in cells (n, n) reach."""
    weights = torch.cat(
        [seen.pattern[inside] for seen, inside in zip(observed, cells, strict=True)]
    )
    if not len(weights):
        return 1.0
    return float(weights.topk(max(1, round(TOP_SHARE * len(weights)))).values[-1])


def _heading(named: str) -> list[str]:
    set_aside = "the first token" + (
        f", the token itself, {named}" if named else " and the token itself"
    )
    return [
        "Texts, with a mark such as [20] before the token at that place (places count from 0), and "
        "pairs as 'place query -> place key weight'. 'Set apart' are pairs from the strongest "
        f"{100 * TOP_SHARE:g} % of what is left without {set_aside}; 'any' from the strongest "
        f"{100 * TOP_SHARE:g} % of all weights."
    ]


def strongest_pairs(pattern: Tensor, cells: Tensor, least: float) -> list[Pair]:
    """The weights of a pattern (n, n) among `cells` (n, n) from `least`, in the part printed."""
    strong = cells & (pattern >= max(least, _LEAST))
    strong[SHOWN_TOKENS:] = False
    strong[:, SHOWN_TOKENS:] = False
    return [
        Pair(query, key, float(pattern[query, key])) for query, key in strong.nonzero().tolist()
    ]


def _told(
    seen: Observed, pairs: Sequence[Pair], budget: float, draw: Random
) -> list[tuple[Pair, str, int]]:
    """Pairs that `budget` has room for, drawn in strata: each with its line and what it costs."""
    told = []
    left = budget
    surfaces = seen.text.surfaces
    for pair in _in_strata(pairs, draw):
        line = f"{cell(surfaces, pair.query)} -> {cell(surfaces, pair.key)} {weight(pair.weight)}"
        cost = estimated_tokens(line) + 1
        if cost > left:
            break
        left -= cost
        told.append((pair, line, cost))
    return told


def _in_strata(pairs: Sequence[Pair], draw: Random) -> list[Pair]:
    """The pairs so that any number of the first ones has all bands of weight, strongest first."""
    strata: dict[int, list[Pair]] = {}
    for pair in pairs:
        strata.setdefault(sum(pair.weight < edge for edge in _EDGES), []).append(pair)
    for members in strata.values():
        draw.shuffle(members)
    ordered: list[Pair] = []
    queues = [strata[name] for name in sorted(strata)]
    while any(queues):
        ordered += [queue.pop() for queue in queues if queue]
    return ordered


def _row_line(seen: Observed, every: Tensor, left: Tensor, number: int) -> list[str]:
    """One whole row: first an ordinary one, then one with much weight on what is left."""
    n = min(len(seen.text), SHOWN_TOKENS)
    begin = max(seen.begin, n // 2)  # of the later queries, which have keys to choose from
    if n - begin < 2:
        return []
    rows = seen.pattern[begin:n]
    if number == 0:
        value = -torch.xlogy(rows, rows).sum(1)
        wanted = value.median()
    else:
        value = (rows * left[begin:n]).sum(1)
        wanted = value.quantile(0.85)
    query = begin + int((value - wanted).abs().argmin())
    row = seen.pattern[query]
    keys = strongest_keys(row, seen.text.surfaces, number=_ROW_KEYS, least=_ROW_LEAST)
    return [f"Whole row of {cell(seen.text.surfaces, query)}, keys from {_ROW_LEAST:g}: {keys}"]
