"""Gradients go through programs in the place of heads."""

from __future__ import annotations

from itertools import pairwise

import torch
from tests.models.networks import padded
from tests.replacement.programs import model_of, programs_for

from headscript.models import attention as door
from headscript.replacement import Replacement


def test_gradients_reach_the_weights_and_the_constants() -> None:
    model = model_of("llama-2-groups")
    source = Replacement(model, programs_for(model))
    source.constants = source.bank.constants().requires_grad_()
    ids, mask = padded((11, 9))
    with door.mixing(model.network, source):
        model.network(ids, attention_mask=mask).logits[mask.bool()].square().mean().backward()
    assert source.constants.grad is not None
    for start, stop in pairwise(source.bank.first_constant):
        assert bool((source.constants.grad[start:stop] != 0).any())
    # No head attends by its own queries and keys any more; all else is used.
    for name, parameter in model.network.named_parameters():
        unused = "q_proj" in name or "k_proj" in name
        assert (parameter.grad is None or not parameter.grad.any()) == unused, name


def test_inference_mode_before_does_not_spoil_gradients_after() -> None:
    model = model_of("llama-2-groups")
    programs = programs_for(model)
    ids, mask = padded((11, 9))
    source = Replacement(model, programs)
    with door.mixing(model.network, source):
        with torch.inference_mode():
            model.network(ids, attention_mask=mask)
            model.network(ids[:1, :3])
        source.constants = source.bank.constants().requires_grad_()
        model.network(ids, attention_mask=mask).logits.mean().backward()
        model.network(ids[:1, :3]).logits.mean().backward()
    assert source.constants.grad is not None
    assert bool(source.constants.grad.any())
