"""Passes that programs cannot follow are refused in a sentence, and others go on."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.models.networks import padded, some_ids
from tests.replacement.passes import generate, left_as_it_was, logits_of
from tests.replacement.programs import model_of, programs_for

from headscript.errors import HeadscriptError
from headscript.replacement import replaced


def test_a_layer_called_by_itself_is_refused() -> None:
    model = model_of("opt")
    with replaced(model, programs_for(model)) as network:
        network(torch.tensor([some_ids(9)]))
        with pytest.raises(HeadscriptError, match="called by itself"):
            network.model.decoder(torch.tensor([some_ids(9, seed=1)]))


def test_nesting_is_refused_and_the_outer_one_goes_on() -> None:
    model = model_of("gpt2")
    ids, mask = padded((9,))
    with left_as_it_was(model.network), replaced(model, programs_for(model)):
        before = logits_of(model.network, ids, mask)
        with (
            pytest.raises(HeadscriptError, match="replaced already"),
            replaced(model, {model.heads[0]: programs_for(model)[model.heads[0]]}),
        ):
            pytest.fail("it was let in")
        assert torch.equal(logits_of(model.network, ids, mask), before)


def test_input_that_does_not_say_its_tokens() -> None:
    model = model_of("llama-2-groups")
    ids = torch.tensor([some_ids(6)])
    embedded = model.network.get_input_embeddings()(ids)
    square = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    old = model.network(ids, use_cache=True).past_key_values
    other = model_of("llama-2-groups", seed=1)
    with left_as_it_was(model.network), replaced(model, programs_for(model)) as network:
        foreign = network(ids, use_cache=True).past_key_values
        for given, words in (
            ({"inputs_embeds": embedded}, "needs input_ids, not inputs_embeds"),
            ({"input_ids": ids, "attention_mask": square}, "not one of queries and keys"),
            ({"input_ids": ids, "attention_mask": torch.ones(1, 5)}, "is for 5 tokens"),
            ({"input_ids": ids, "past_key_values": old}, "start with a new cache"),
            ({"input_ids": ids.expand(2, -1), "past_key_values": foreign}, "holds 1 texts and 2"),
            ({"input_ids": ids, "position_ids": torch.tensor([[0, 1, 2] * 2])}, "one text a row"),
        ):
            with pytest.raises(HeadscriptError, match=words):
                network(**given)
    with replaced(other, programs_for(other)), pytest.raises(HeadscriptError, match="new cache"):
        other.network(ids, past_key_values=foreign)


def test_a_text_longer_than_the_context() -> None:
    model = model_of("gpt2")
    with left_as_it_was(model.network), replaced(model, programs_for(model)) as network:
        network(torch.tensor([some_ids(64)]))
        with pytest.raises(HeadscriptError, match="65 tokens is longer than the 64"):
            network(torch.tensor([some_ids(65)]))
        ids = torch.tensor([some_ids(60)])
        with pytest.raises(HeadscriptError, match="65 tokens is longer than the 64"):
            generate(network, ids, torch.ones_like(ids))


def test_another_attention_implementation_set_underneath() -> None:
    model = model_of("llama-2-groups")
    with left_as_it_was(model.network), replaced(model, programs_for(model)) as network:
        network.set_attn_implementation("eager")
        with pytest.raises(HeadscriptError, match="implementation was changed"):
            network(torch.tensor([some_ids(6)]))


def test_a_copy_of_a_model_with_replaced_heads_is_refused() -> None:
    model = model_of("gpt2")
    ids, mask = padded((6,))
    with replaced(model, programs_for(model)) as network:
        twin = copy.deepcopy(network)
        with pytest.raises(HeadscriptError, match="copy of a model with replaced heads"):
            twin(ids)
        logits_of(network, ids, mask)


def test_compiling_is_refused() -> None:
    model = model_of("llama-2-groups")
    ids = torch.tensor([some_ids(6)])
    with left_as_it_was(model.network), replaced(model, programs_for(model)) as network:
        compiled = torch.compile(network, backend="eager")
        with pytest.raises(Exception, match=r"cannot be compiled by torch\.compile"):
            compiled(ids)
        network(ids)
    torch._dynamo.reset()
