"""What fails while heads are replaced leaves nothing behind, in the network or the next pass."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from tests.models.networks import padded, some_ids
from tests.replacement.passes import left_as_it_was, logits_of
from tests.replacement.programs import model_of, programs_for
from torch import Tensor
from transformers import DynamicCache

from headscript.errors import HeadscriptError
from headscript.language import Text
from headscript.models import ATTENTION_NAME, observed
from headscript.replacement import Assignment, replaced


@pytest.mark.parametrize("family", ["llama-2-groups", "gemma2", "bert"])
def test_an_exception_inside_restores_everything(family: str) -> None:
    model = model_of(family)
    with left_as_it_was(model.network):
        with contextlib.suppress(KeyError), replaced(model, programs_for(model)) as network:
            assert network is model.network
            network(padded((5,))[0])
            assert network.config._attn_implementation == ATTENTION_NAME
            raise KeyError
        broken: Any = {model.heads[-1]: lambda text: 1 / 0}
        with pytest.raises(ZeroDivisionError), replaced(model, broken):
            model.network(padded((5,))[0])


def test_a_pass_that_failed_is_no_part_of_the_next() -> None:
    model = model_of("llama-2-groups")
    head = model.heads[-1]
    fails = [True]

    def sometimes(text: Text) -> Tensor:
        if fails[0]:
            raise KeyError
        return torch.eye(len(text))

    ids = torch.tensor([some_ids(8)])
    some: Assignment = [*list(programs_for(model).items())[:-1], (head, sometimes)]
    with replaced(model, some), torch.no_grad():
        cache = DynamicCache(config=model.network.config)
        with pytest.raises(KeyError):
            model.network(ids[:, :5], past_key_values=cache)
        fails[0] = False
        with pytest.raises(HeadscriptError, match="start with a new cache"):
            model.network(ids[:, 5:], past_key_values=cache)
        model.network(ids)


def test_a_pass_that_was_interrupted_is_no_part_of_the_next() -> None:
    model = model_of("llama-2-groups")
    ids, mask = padded((9,))
    with replaced(model, programs_for(model)):
        expected = logits_of(model.network, ids, mask)

    def interrupted(layer: int, weights: Tensor) -> None:
        raise KeyboardInterrupt

    with replaced(model, programs_for(model)):
        with pytest.raises(KeyboardInterrupt), observed(model.network, [1], interrupted):
            model.network(torch.tensor([some_ids(30)]))
        assert torch.equal(logits_of(model.network, ids, mask), expected)
        states = model.network.base_model(ids).last_hidden_state
        assert torch.equal(model.network.lm_head(states), expected)
