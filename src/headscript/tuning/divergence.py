"""How far a network's next-token distribution is from the original's, and its gradient.

Of the original, the likeliest tokens of each place are kept and all others are one further outcome:
a small part of the room, and a lower bound of the divergence that is tight where little is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

KEPT = 64
"""How many tokens of the original's distribution are kept at each place."""
_CHUNK = 64  # places at a time: their probabilities stay in cache
_LEAST = 1e-6  # of the outcome "any other token", which may have no weight at all


@dataclass(frozen=True)
class Targets:
    """The original's distribution at some places."""

    tokens: Tensor
    """(places, k) int32, the likeliest tokens."""
    weights: Tensor
    """(places, k) their probabilities, float32."""

    @classmethod
    def of(cls, logits: Tensor, kept: int = KEPT) -> Targets:
        """The targets of logits (places, vocabulary)."""
        found, tokens = [], []
        for chunk in torch.split(logits, _CHUNK):
            best = chunk.float().softmax(-1).topk(min(kept, chunk.shape[-1]))
            found.append(best.values.cpu())
            tokens.append(best.indices.int().cpu())
        return cls(torch.cat(tokens), torch.cat(found))


def divergence(logits: Tensor, targets: Targets) -> Tensor:
    """Kullback-Leibler divergence of logits (places, vocabulary) from targets, in nats.

    The mean over places of KL(original || network), over the kept tokens and the rest as one.
    """
    tokens = targets.tokens.to(logits.device).long()
    weights = targets.weights.to(logits.device).float()
    found: Tensor = _Divergence.apply(logits, tokens, weights)  # type: ignore[no-untyped-call]
    return found


class _Divergence(torch.autograd.Function):
    """In chunks, the gradient computed on the way: the probabilities are never there as a whole."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
        gradient = torch.empty_like(logits)
        total = torch.zeros((), device=logits.device, dtype=torch.float64)
        for start in range(0, len(logits), _CHUNK):
            part = slice(start, start + _CHUNK)
            wanted, at = weights[part], tokens[part]
            given = logits[part].float().softmax(-1)
            kept = given.gather(1, at)
            rest = (1 - wanted.sum(1, keepdim=True)).clamp_min(_LEAST)
            given_rest = (1 - kept.sum(1, keepdim=True)).clamp_min(_LEAST)
            total += (wanted * (wanted.clamp_min(1e-12) / kept.clamp_min(1e-12)).log()).sum()
            total += (rest * (rest / given_rest).log()).sum()
            given *= 1 - rest / given_rest
            gradient[part] = given.scatter_(1, at, kept - wanted).to(gradient.dtype)
        ctx.save_for_backward(gradient)
        ctx.places = len(logits)
        return (total / max(len(logits), 1)).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (grad / max(ctx.places, 1)).to(gradient.dtype), None, None
