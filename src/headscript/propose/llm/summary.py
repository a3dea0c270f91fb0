"""What a head does on the fit texts, as a prompt shows it: counted facts, and pairs of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from torch import Tensor

from headscript.language import Text
from headscript.packing import num_cells
from headscript.propose.llm.contrasts import Contrasts
from headscript.propose.llm.drawing import Drawing
from headscript.propose.llm.facts import Facts, count_facts
from headscript.propose.llm.observed import Observed, observe
from headscript.propose.llm.pairs import pair_lines
from headscript.propose.llm.showing import estimated_tokens, weight

SUMMARY_TOKENS = 4_000
"""What a summary may cost, in tokens as `estimated_tokens` counts them."""

_CELLS = 150_000  # of the texts that are looked at, at most about
_FACTS_SHARE = 0.5  # of the tokens, at most


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
    chosen = _sample(texts, seed)
    observed = observe([texts[i] for i in chosen], [patterns[i] for i in chosen])
    if not observed:
        return ""
    facts, drawing = count_facts(observed), Drawing(observed)
    lines = [f"Counted over {facts.rows} queries of {len(observed)} texts:"]
    left = budget_tokens - estimated_tokens(lines[0])
    allowed = left * (1 - _FACTS_SHARE)
    for line in _fact_lines(observed, facts, drawing):
        cost = estimated_tokens(line) + 1
        if left - cost >= allowed:
            lines.append(line)
            left -= cost
    told = pair_lines(observed, drawing.aside(), drawing.aside_in_words(), left, Random(seed))
    for seen in observed:
        seen.text.forget()
    return "\n".join([*lines, *told]) if len(lines) > 1 or told else ""


def _fact_lines(observed: Sequence[Observed], facts: Facts, drawing: Drawing) -> Iterator[str]:
    """The facts in words, the most telling ones first."""
    yield from facts.lines()
    yield from facts.piece_lines()
    yield (
        f"- Apart from the first token and the token itself lies {weight(facts.rest / facts.rows)} "
        "of the weight. Shares of that, and how many times what keys of the same distances draw on "
        "average:"
    )
    yield from drawing.lines()
    named = drawing.aside_in_words()
    contrasts = Contrasts(observed, drawing.aside(), named or "sinks")
    if named:
        left = contrasts.total / facts.rows
        yield f"- With {named} set aside too, {weight(left)} of the weight is left. Shares of that:"
    yield from contrasts.lines()
    differing = list(contrasts.query_lines())
    if differing:
        yield (
            "- Queries that differ from others: their weight, and in brackets what other queries "
            "put there at the same places of a text (on classes and relations: on keys of the same "
            "distances):"
        )
        yield from differing


def _sample(texts: Sequence[Text], seed: int) -> list[int]:
    """Texts of about `_CELLS` cells in all, drawn with `seed`, in their order."""
    order = list(range(len(texts)))
    Random(seed).shuffle(order)
    taken: list[int] = []
    cells = 0
    for index in order:
        size = num_cells(len(texts[index]), texts[index].causal)
        if not taken or cells + size <= _CELLS:
            taken.append(index)
            cells += size
    return sorted(taken)
