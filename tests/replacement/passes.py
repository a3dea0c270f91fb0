"""Passes of padded texts through a network, and what shows that it was left as it was."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from tests.models.networks import padded
from torch import Tensor
from transformers import PreTrainedModel

from headscript.models import attention as door

TOLERANCE = 1e-4


def logits_of(network: PreTrainedModel, ids: Tensor, mask: Tensor, **more: Any) -> Tensor:
    """Logits in float32; positions are those of the tokens, padding left out."""
    accepted = inspect.signature(network.forward).parameters
    counts_itself = hasattr(network, "roberta")
    if "position_ids" in accepted and not counts_itself and not bool(mask[:, 0].all()):
        more["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        logits: Tensor = network(ids, attention_mask=mask, **more).logits.float()
    return logits


def generate(network: Any, ids: Tensor, mask: Tensor, **more: Any) -> Tensor:
    """Twelve tokens, none of which ends the text."""
    settings = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12, "pad_token_id": 0}
    found: Tensor = network.generate(ids, attention_mask=mask, **{**settings, **more})
    return found


def assert_alike(one: Tensor, other: Tensor, tolerance: float = TOLERANCE) -> None:
    """Alike within the tolerance, or that part of the largest value where values are large."""
    assert one.shape == other.shape
    scale = max(1.0, float(other.abs().max()))
    assert float((one - other).abs().max()) <= tolerance * scale


def state_of(network: PreTrainedModel) -> tuple[Any, ...]:
    """All that replacing touches of a network."""
    return (
        network.config._attn_implementation,
        [module in door._doors for module in network.modules()],
        [list(module._forward_pre_hooks) for module in network.modules()],
        [list(module._forward_hooks) for module in network.modules()],
    )


@contextmanager
def left_as_it_was(network: PreTrainedModel) -> Iterator[None]:
    ids, mask = padded((8,))
    state, plain = state_of(network), logits_of(network, ids, mask)
    yield
    assert state_of(network) == state
    assert torch.equal(logits_of(network, ids, mask), plain)
