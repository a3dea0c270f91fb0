"""With heads replaced, text goes on token by token as it would be read whole, with any cache."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.models.networks import padded, some_ids
from tests.replacement.passes import assert_alike, generate, logits_of
from tests.replacement.programs import model_of, programs_for
from torch import Tensor
from transformers import DynamicCache

from headscript.models import observed
from headscript.replacement import replaced

CACHED = ["gpt2", "llama-1-group", "llama-2-groups", "gemma2", "gemma3", "qwen3", "mistral"]
CACHED += ["gpt-neox", "opt", "lfm2"]
"""Among them windows of 4 tokens, which texts outgrow."""


@pytest.mark.parametrize("first", [1, 3, 6])
@pytest.mark.parametrize("family", CACHED)
def test_token_by_token_is_as_the_whole(family: str, first: int) -> None:
    model = model_of(family)
    ids = torch.tensor([some_ids(14)])
    with replaced(model, programs_for(model, every=first % 2 + 1)), torch.no_grad():
        whole = model.network(ids, use_cache=False).logits
        cache, found = None, []
        for start, stop in [(0, first), *((i, i + 1) for i in range(first, 14))]:
            done = model.network(ids[:, start:stop], past_key_values=cache, use_cache=True)
            cache = done.past_key_values
            found.append(done.logits)
    assert_alike(torch.cat(found, 1), whole)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("cuts", [(6,), (1, 2, 12), (9, 13)])
@pytest.mark.parametrize("family", ["gpt2", "llama-2-groups", "gemma3", "mistral"])
def test_a_prompt_in_pieces_is_as_in_one(family: str, cuts: tuple[int, ...], side: str) -> None:
    model = model_of(family)
    ids, mask = padded((14, 9, 11), side)
    places = (mask.cumsum(1) - 1).clamp_min(0)
    with replaced(model, programs_for(model)), torch.no_grad():
        whole = logits_of(model.network, ids, mask, position_ids=places, use_cache=False)
        cache, found, start = None, [], 0
        for stop in (*cuts, 14):
            done = model.network(
                ids[:, start:stop],
                attention_mask=mask[:, :stop],
                position_ids=places[:, start:stop],
                past_key_values=cache,
                use_cache=True,
            )
            cache, start = done.past_key_values, stop
            found.append(done.logits)
    assert_alike(torch.cat(found, 1)[mask.bool()], whole[mask.bool()])


@pytest.mark.parametrize("family", CACHED)
def test_generation_is_the_same_with_each_kind_of_cache(family: str) -> None:
    model = model_of(family)
    ids, mask = padded((7, 4, 6), "left")
    plain = generate(model.network, ids, mask)
    with replaced(model, programs_for(model)):
        uncached = generate(model.network, ids, mask, use_cache=False)
        assert torch.equal(generate(model.network, ids, mask, use_cache=True), uncached)
        if family != "lfm2":  # its convolutions have no static cache
            static = generate(model.network, ids, mask, cache_implementation="static")
            assert torch.equal(static, uncached)
    assert not torch.equal(uncached, plain)
    assert torch.equal(generate(model.network, ids, mask), plain)


@pytest.mark.parametrize("family", ["gpt2", "llama-2-groups", "gemma2", "gemma3", "mistral"])
def test_beam_search_is_the_same_with_and_without_a_cache(family: str) -> None:
    model = model_of(family)
    ids, mask = padded((7, 4), "left")
    options: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2, "output_scores": True}
    options |= {"return_dict_in_generate": True, "do_sample": False, "min_new_tokens": 8}
    options |= {"max_new_tokens": 8, "pad_token_id": 0, "attention_mask": mask}
    network: Any = model.network
    with replaced(model, programs_for(model)):
        cached, uncached = (network.generate(ids, use_cache=c, **options) for c in (True, False))
    assert torch.equal(cached.sequences, uncached.sequences)
    assert_alike(cached.sequences_scores, uncached.sequences_scores)
    assert cached.beam_indices[:, 1:8].max() > 0  # beams did change their places


@pytest.mark.parametrize("family", ["llama-2-groups", "gemma3"])
def test_guessed_tokens_that_are_taken_back_leave_no_trace(family: str) -> None:
    """Prompt lookup runs guesses through the model and crops the cache to what was right."""
    model = model_of(family)
    ids = torch.tensor([[5, 6, 7, 5, 6, 8, 5, 6]])
    with replaced(model, programs_for(model)):
        plain = generate(model.network, ids, torch.ones_like(ids))
        guessed = generate(model.network, ids, torch.ones_like(ids), prompt_lookup_num_tokens=3)
    assert torch.equal(guessed, plain)


def test_a_copied_cache_goes_on_by_itself() -> None:
    model = model_of("llama-2-groups")
    ids = torch.tensor([some_ids(10)])
    with replaced(model, programs_for(model)), torch.no_grad():
        whole = model.network(ids, use_cache=False).logits[:, 6:]
        cache = model.network(ids[:, :6], use_cache=True).past_key_values
        own = copy.deepcopy(cache)
        own.batch_repeat_interleave(3)
        own.batch_select_indices(torch.tensor([2, 0]))
        model.network(torch.tensor([[9, 9]]), past_key_values=cache)
        found = model.network(ids[:, 6:].expand(2, -1), past_key_values=own).logits
    assert isinstance(own, DynamicCache)
    assert_alike(found, whole.expand(2, -1, -1))


def test_a_changed_mask_of_cached_tokens_is_followed() -> None:
    model = model_of("llama-2-groups")
    ids = torch.tensor([some_ids(8)])
    cut = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    seen: dict[int, Tensor] = {}
    with replaced(model, programs_for(model)) as network, torch.no_grad():
        cache = network(ids[:, :5], use_cache=True).past_key_values
        with observed(network, [0], seen.__setitem__):
            network(ids[:, 5:], attention_mask=cut, past_key_values=cache)
            found = dict(seen)
            network(ids[:, 2:])
    torch.testing.assert_close(found[0][..., 2:], seen[0][:, :, 3:])
    assert not found[0][..., :2].any()


def test_an_attention_mask_that_a_static_cache_carries_may_be_given_as_is() -> None:
    model = model_of("gemma3")
    ids, mask = padded((7, 5), "left")
    with replaced(model, programs_for(model)):
        for new in (1, 12):
            kinds = [
                generate(model.network, ids, mask, max_new_tokens=new, min_new_tokens=new, **kind)
                for kind in ({"use_cache": False}, {"cache_implementation": "static"})
            ]
            assert torch.equal(*kinds)
