"""What a head does on the fit texts, as a prompt shows it: counted facts, and pairs of tokens.

The pairs come from the strongest 2.5 % of all weights, and from the strongest 2.5 % of those that
lie neither on the first token nor on the token itself, which would else crowd out the rest. They
are drawn in strata, bands of weight, so that medium weights are seen beside strong ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from headscript.language import Text
from headscript.packing import num_cells, unpack
from headscript.propose.llm.facts import count_facts
from headscript.propose.llm.showing import cell, estimated_tokens, shown, weight

TOP_SHARE = 0.025
"""The share of weights, strongest first, that pairs are drawn from."""
SUMMARY_TOKENS = 4_000
"""What a summary may cost, in tokens as `estimated_tokens` counts them."""

_EDGES = (0.5, 0.25, 0.12, 0.06, 0.03)
"""Lower ends of the bands of weight; what is weaker is one more band."""
_TEXTS = 6  # texts that pairs are shown of
_SHOWN_TOKENS = 150  # of a text's beginning
_FACT_CELLS = 150_000  # of the texts that facts are counted on, at most about
_FACTS_SHARE = 0.5  # of the tokens, at most
_LEAST = 0.01  # a weaker weight is not worth a line
_PLAIN = 5  # pairs on the first token or the token itself, in a text without others


@dataclass(frozen=True)
class Pair:
    """One weight of a pattern."""

    query: int
    key: int
    weight: float


def summarise(
    texts: Sequence[Text],
    patterns: Sequence[Tensor],
    *,
    budget_tokens: int = SUMMARY_TOKENS,
    seed: int = 0,
) -> str:
    """Describe a head by its patterns, packed (cells,) a text; the same for the same input.

    The lines cost at most `budget_tokens`, as `estimated_tokens` counts them.
    """
    chosen = _sample(texts, _FACT_CELLS, seed)
    facts = count_facts([texts[i] for i in chosen], [patterns[i] for i in chosen])
    for index in chosen:
        texts[index].forget()
    lines = [f"Counted over {facts.rows} queries of {len(chosen)} texts:"]
    left = budget_tokens - estimated_tokens(lines[0])
    allowed = left * (1 - _FACTS_SHARE)
    for line in facts.lines():
        cost = estimated_tokens(line) + 1
        if left - cost < allowed:
            break
        lines.append(line)
        left -= cost
    told = _tell_pairs(texts, patterns, left, seed)
    return "\n".join([*lines, *told]) if len(lines) > 1 or told else ""


def _sample(texts: Sequence[Text], max_cells: int, seed: int) -> list[int]:
    """Texts of about `max_cells` cells in all, drawn with `seed`, in their order."""
    order = list(range(len(texts)))
    Random(seed).shuffle(order)
    taken: list[int] = []
    cells = 0
    for index in order:
        size = num_cells(len(texts[index]), texts[index].causal)
        if not taken or cells + size <= max_cells:
            taken.append(index)
            cells += size
    return sorted(taken)


def strongest_pairs(text: Text, pattern: Tensor, least: float, least_apart: float) -> list[Pair]:
    """The weights of (n, n) from `least`; apart from first token and diagonal, `least_apart`."""
    n = len(text)
    bar = torch.full((n, n), max(least_apart, _LEAST))
    bar[:, 0] = max(least, _LEAST)
    bar.fill_diagonal_(max(least, _LEAST))
    strong = pattern >= bar.clamp(max=max(least, _LEAST))
    if text.causal:
        strong[0] = False
    return [
        Pair(query, key, float(pattern[query, key])) for query, key in strong.nonzero().tolist()
    ]


def _thresholds(texts: Sequence[Text], patterns: Sequence[Tensor]) -> tuple[float, float]:
    """The weights that the strongest 2.5 % reach: of all cells below the first row of a decoder,
    and of those neither on the first token nor on the diagonal."""
    everywhere, apart = [], []
    for text, packed in zip(texts, patterns, strict=True):
        n = len(text)
        query = unpack(torch.ones_like(packed), n, text.causal).bool()
        if text.causal:
            query[0] = False
        pattern = unpack(packed, n, text.causal)
        everywhere.append(pattern[query])
        query[:, 0] = False
        query.fill_diagonal_(False)
        apart.append(pattern[query])
    return _top(torch.cat(everywhere)), _top(torch.cat(apart))


def _top(weights: Tensor) -> float:
    if not len(weights):
        return 1.0
    number = max(1, round(TOP_SHARE * len(weights)))
    return float(weights.topk(number).values[-1])


def _tell_pairs(
    texts: Sequence[Text], patterns: Sequence[Tensor], budget: float, seed: int
) -> list[str]:
    draw = Random(seed)
    sampled = _sample(texts, _FACT_CELLS, seed)
    thresholds = _thresholds([texts[i] for i in sampled], [patterns[i] for i in sampled])
    long_enough = [i for i in sampled if len(texts[i]) >= 4] or sampled
    chosen = sorted(draw.sample(long_enough, min(_TEXTS, len(long_enough))))
    heading = (
        f"Pairs drawn from the strongest {100 * TOP_SHARE:g} % of weights, as 'place query -> "
        "place key weight' (places count from 0):"
    )
    lines = [heading]
    left = budget - estimated_tokens(heading) - 1
    for number, index in enumerate(chosen):
        text = texts[index]
        share = left / (len(chosen) - number)  # what one text leaves, the next may use
        opening = f"Text {number + 1}: {_beginning(text)}"
        cost = estimated_tokens(opening) + 1
        pattern = unpack(patterns[index], len(text), text.causal)
        told: list[tuple[Pair, str]] = []
        for pair in _in_strata(strongest_pairs(text, pattern, *thresholds), draw):
            line = (
                f"{cell(text.surfaces, pair.query)} -> {cell(text.surfaces, pair.key)} "
                f"{weight(pair.weight)}"
            )
            if cost + estimated_tokens(line) + 1 > share:
                break
            cost += estimated_tokens(line) + 1
            told.append((pair, line))
        if told:
            told.sort(key=lambda item: (item[0].query, item[0].key))
            lines += [opening, *(line for _, line in told)]
            left -= cost
    return lines if len(lines) > 1 else []


def _beginning(text: Text) -> str:
    """A text as it reads, line breaks and quotes visible; a long one cut."""
    more = " ..." if len(text) > _SHOWN_TOKENS else ""
    return shown("".join(text.surfaces[:_SHOWN_TOKENS])) + more


def _in_strata(pairs: Sequence[Pair], draw: Random) -> list[Pair]:
    """The pairs so that any number of the first ones has all bands of weight, strongest first.

    Those on the first token or the token itself, whose shares are told as facts, are one stratum,
    and of a text that has others hardly more than these.
    """
    strata: dict[int, list[Pair]] = {}
    for pair in pairs:
        band = sum(pair.weight < edge for edge in _EDGES)
        strata.setdefault(-1 if pair.key in (0, pair.query) else band, []).append(pair)
    for members in strata.values():
        draw.shuffle(members)
    if -1 in strata:
        del strata[-1][_PLAIN + sum(map(len, strata.values())) - len(strata[-1]) :]
    ordered: list[Pair] = []
    queues = [strata[name] for name in sorted(strata)]
    while any(queues):
        ordered += [queue.pop() for queue in queues if queue]
    return ordered
