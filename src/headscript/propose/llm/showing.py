"""How tokens, weights and sizes are written in a prompt."""

from __future__ import annotations

import json
import re

from torch import Tensor

_PIECES = re.compile(r"[A-Za-z]+|[0-9]|\n|[^\sA-Za-z0-9]")
_LETTERS = 7  # of a word, that a tokenizer is taken to need one token for
_MARK_EVERY = 20

SHOWN_TOKENS = 130
"""How much of a text's beginning is printed; nothing later is spoken of by its place."""


def estimated_tokens(text: str) -> int:
    """About how many tokens a text costs, whoever reads it: rather too many than too few.

    Counted are words (long ones by the seven letters), digits, line breaks, and every other sign by
    itself. Tokenizers differ, and many join digits or a sign with its neighbour.
    """
    return sum(-(-len(piece) // _LETTERS) for piece in _PIECES.findall(text))


def shown(surface: str) -> str:
    """A token in quotes, with its spaces and line breaks visible: `" the"`, `"\\n"`."""
    return json.dumps(surface, ensure_ascii=False)


def weight(value: float) -> str:
    """A weight or share in two decimals: `0.42`."""
    return f"{value:.2f}"


def cell(surfaces: tuple[str, ...], place: int) -> str:
    """A token with its place in the text: `12 " cat"`."""
    return f"{place} {shown(surfaces[place])}"


def marked_text(surfaces: tuple[str, ...]) -> str:
    """A text as it reads, in quotes, places marked now and then; a long one cut."""
    told = []
    for place, surface in enumerate(surfaces[:SHOWN_TOKENS]):
        if place and place % _MARK_EVERY == 0:
            told.append(f"[{place}]")
        told.append(surface)
    more = " ..." if len(surfaces) > SHOWN_TOKENS else ""
    return shown("".join(told)) + more


def strongest_keys(
    row: Tensor, surfaces: tuple[str, ...], *, number: int = 3, least: float = 0.05
) -> str:
    """Where one query looks: its strongest keys with their weights, (n,) in, one line out."""
    values, places = row.topk(min(number, len(row)))
    told = [
        f"{cell(surfaces, place)} {weight(value)}"
        for value, place in zip(values.tolist(), places.tolist(), strict=True)
        if value >= least
    ]
    return ", ".join(told) or f"nowhere with {least:g} or more"
