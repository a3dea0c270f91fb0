"""Whether what a file holds is attention: rows that are distributions over allowed tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from headscript.attention_files.text import AttentionText
from headscript.errors import HeadscriptError
from headscript.heads import Head

TOLERANCE = 1e-3
"""How far a row's sum may be from 1, ..."""
COARSEST = 0.02
"""... and how far at most where the file holds few digits."""
_AHEAD = 1e-6  # weight on later tokens that a mask may leave


@dataclass(frozen=True)
class Ahead:
    """The most weight that a text's patterns give to a token after the query."""

    text: AttentionText
    weight: float
    head: Head

    @property
    def causal(self) -> bool:
        """Whether it is none."""
        return self.weight <= _AHEAD


def check_text(text: AttentionText) -> Ahead:
    """Look at all patterns of a text.

    Raises HeadscriptError naming the head where one has a weight that is no finite number from 0
    up, or a row that does not sum to 1 within `TOLERANCE` or what rounding in the file explains.
    """
    later = torch.ones(text.num_tokens, text.num_tokens, dtype=torch.bool).triu(1)
    most = Ahead(text, 0.0, Head(0, 0))
    for layer, weights in enumerate(text.layers()):
        _check_layer(text, layer, weights)
        ahead = weights.masked_fill(~later, 0).flatten(1).amax(1)  # (heads,)
        if float(ahead.max()) > most.weight:
            most = Ahead(text, float(ahead.max()), Head(layer, int(ahead.argmax())))
    return most


def is_causal(found: list[Ahead], asked: bool | None) -> bool:
    """Whether the texts' attention is a decoder's; `asked` is what a person says of it.

    Raises HeadscriptError where a decoder's would look ahead, and where texts do not agree.
    """
    looking = next((each for each in found if not each.causal), None)
    if asked is False or looking is None:
        return asked is not False
    if asked:
        raise HeadscriptError(
            f"{looking.head} gives weight {looking.weight:.3g} to a later token in "
            f"{looking.text.place}, so this is no decoder's attention."
        )
    other = next((each for each in found if each.causal), None)
    if other is not None:
        raise HeadscriptError(
            f"{looking.text.place} has weight on later tokens, as in an encoder, and "
            f"{other.text.place} has none, as in a decoder; are they of one model? If so, say "
            "--encoder."
        )
    return False


def distributions(text: AttentionText, causal: bool) -> Iterator[Tensor]:
    """Each layer's patterns (heads, n, n), with rows that sum to 1 over the allowed tokens."""
    for weights in text.layers():
        allowed = weights.clamp(min=0)
        allowed = allowed.tril() if causal else allowed
        yield allowed / allowed.sum(-1, keepdim=True)


def _check_layer(text: AttentionText, layer: int, weights: Tensor) -> None:
    finite = weights.isfinite().flatten(1).all(1)
    if not finite.all():
        raise HeadscriptError(
            f"{_of(text, layer, ~finite)} has NaN or infinity; save it from a model in float32."
        )
    negative = (weights < -TOLERANCE).flatten(1).any(1)
    if negative.any():
        raise HeadscriptError(
            f"{_of(text, layer, negative)} has weights below 0, as scores have before the softmax; "
            "save what comes after it."
        )
    off = (weights.sum(-1) - 1).abs()  # (heads, n)
    if not (off > TOLERANCE).any():
        return
    wrong = off > _tolerance(weights)
    if not wrong.any():
        return
    head, row = wrong.nonzero()[0].tolist()
    what = _of(text, layer, wrong.any(1))
    if ((weights[head].sum(0) - 1).abs() <= TOLERANCE).all():
        raise HeadscriptError(
            f"{what} has columns that sum to 1, and rows that do not; swap its last two axes, "
            "queries come first."
        )
    raise HeadscriptError(
        f"{what} is no distribution over the tokens: row {row} sums to "
        f"{float(weights[head, row].sum()):.4g}, not 1; save whole patterns, without cut, masked "
        "or padded tokens."
    )


def _of(text: AttentionText, layer: int, heads: Tensor) -> str:
    """A subject: the first of some heads (heads,)."""
    return f"The attention of {Head(layer, int(heads.nonzero()[0]))} in {text.place}"


def _tolerance(weights: Tensor) -> float:
    """How far rounding may have moved a row's sum: each weight by half of its last digit.

    Few digits are told by all weights having no more; half-precision numbers have two or three.
    """
    n = weights.shape[-1]
    for kind, last in ((torch.bfloat16, 2**-8), (torch.float16, 2**-11)):
        if torch.equal(weights.to(kind).float(), weights):
            return min(COARSEST, max(TOLERANCE, last + n * 2**-25))
    for digits in range(1, 7):
        scaled = weights.double() * 10**digits
        if ((scaled - scaled.round()).abs() <= 1e-6 * 10**digits).all():
            return min(COARSEST, max(TOLERANCE, 0.5 * 10.0**-digits * n))
    return TOLERANCE
