"""Programs in the place of heads change the patterns and nothing else, however a model is run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import dispatch_model  # type: ignore[import-untyped]
from tests.models.networks import FAMILIES, padded, some_ids, tokenizer
from tests.replacement.passes import TOLERANCE, assert_alike, generate, logits_of
from tests.replacement.programs import model_of, programs_for
from torch import Tensor

from headscript.heads import Head
from headscript.language import Text
from headscript.models import Model, observed
from headscript.replacement import Replacement, replaced

LENGTHS = (13, 4, 9, 1, 13, 7, 2, 11)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_with_no_head_replaced_nothing_changes(family: str, side: str) -> None:
    model = model_of(family)
    ids, mask = padded((13, 9), side)
    plain = logits_of(model.network, ids, mask)
    with replaced(model, {}):
        found = logits_of(model.network, ids, mask)
    real = mask.bool()
    if model.network._supports_sdpa:
        assert torch.equal(found[real], plain[real])
    else:
        assert_alike(found[real], plain[real], 1e-5)


def recorded(
    model: Model, lengths: tuple[int, ...]
) -> tuple[dict[Head, Callable[[Text], Tensor]], dict[Head, Callable[[Text], Tensor]]]:
    """For every head, its own pattern on texts by their tokens, and a wrong one: all on itself."""
    seen: dict[tuple[int, ...], dict[int, Tensor]] = {}
    for seed, n in enumerate(lengths):
        ids = some_ids(n, seed=seed)
        layers = seen.setdefault(tuple(ids), {})
        with torch.no_grad(), observed(model.network, None, layers.__setitem__):
            model.network(torch.tensor([ids]))

    def own(head: Head) -> Callable[[Text], Tensor]:
        return lambda text: seen[tuple(text.token_ids.tolist())][head.layer][0, head.head]

    return {head: own(head) for head in model.heads}, {
        head: lambda text: torch.eye(len(text)) for head in model.heads
    }


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_s_own_recorded_pattern_changes_nothing(family: str, side: str) -> None:
    """In Gemma 2 and 3 and Mistral the windows are shorter than the texts."""
    model = model_of(family)
    own, wrong = recorded(model, (13, 9))
    ids, mask = padded((13, 9), side)
    real = mask.bool()
    plain = logits_of(model.network, ids, mask)[real]
    for some in (own, {head: own[head] for head in model.heads[1::3]}):
        with replaced(model, some):
            assert_alike(logits_of(model.network, ids, mask)[real], plain)
    for head in model.heads:  # a look that could not fail would prove nothing
        with replaced(model, {**own, head: wrong[head]}):
            found = logits_of(model.network, ids, mask)[real]
        # The last layer of a network without a head on top of it may have heads that hardly count.
        assert float((found - plain).abs().max()) > TOLERANCE, head


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_alone_is_as_in_a_batch_of_eight(family: str, every: int, side: str) -> None:
    model = model_of(family)
    ids, mask = padded(LENGTHS, side)
    with replaced(model, programs_for(model, every=every)):
        together = logits_of(model.network, ids, mask)
        for row, n in enumerate(LENGTHS):
            alone = torch.tensor([some_ids(n, seed=row)])
            found = logits_of(model.network, alone, torch.ones_like(alone))[0]
            assert_alike(together[row][mask[row].bool()], found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["gpt2", "llama-2-groups", "gemma2", "gemma3", "bert"])
def test_half_precision_is_near_full(family: str, dtype: torch.dtype) -> None:
    model = model_of(family)
    ids, mask = padded((13, 9))
    half: Any = copy.deepcopy(model.network)
    half.to(dtype)
    model.network.load_state_dict(half.state_dict())  # the same rounded weights in float32
    low = Model.of(half, tokenizer(), name="half")
    plain = logits_of(model.network, ids, mask)[mask.bool()]
    drift = (logits_of(half, ids, mask)[mask.bool()] - plain).abs().mean()
    with replaced(model, programs_for(model)), replaced(low, programs_for(low)):
        full = logits_of(model.network, ids, mask)[mask.bool()]
        found = logits_of(half, ids, mask)[mask.bool()]
    assert float((found - full).abs().mean()) <= 2 * float(drift)
    assert float((full - plain).abs().mean()) > 4 * float(drift)


@pytest.mark.parametrize("family", ["llama-2-groups", "gemma2", "mistral", "bert"])
def test_whoever_observes_sees_what_the_programs_say(family: str) -> None:
    model = model_of(family)
    programs = programs_for(model, every=2)
    ids, mask = padded((9,))
    plain: dict[int, Tensor] = {}
    inside: dict[int, Tensor] = {}
    around: dict[int, Tensor] = {}
    with observed(model.network, [0], plain.__setitem__):
        logits_of(model.network, ids, mask)
    with replaced(model, programs), observed(model.network, None, inside.__setitem__):
        logits_of(model.network, ids, mask)
    with observed(model.network, None, around.__setitem__), replaced(model, programs):
        logits_of(model.network, ids, mask)
    text = Replacement(model, programs)._read(ids[0].tolist())
    window = getattr(model.network.config, "sliding_window", None)
    kinds = getattr(model.network.config, "layer_types", None)
    for head in model.heads:
        pattern = inside[head.layer][0, head.head]
        assert torch.equal(pattern, around[head.layer][0, head.head])
        torch.testing.assert_close(pattern.sum(-1), torch.ones(9))
        if head in programs:
            expected = programs[head](text)
            if window and (kinds is None or kinds[head.layer] == "sliding_attention"):
                expected = expected * (text.distance < window)
                expected = expected / expected.sum(-1, keepdim=True)
            torch.testing.assert_close(pattern, expected)
        elif head.layer == 0:
            torch.testing.assert_close(pattern, plain[0][0, head.head])


@pytest.mark.parametrize("family", ["llama-2-groups", "gpt2"])
def test_layers_with_a_device_map(family: str) -> None:
    model = model_of(family)
    ids, mask = padded((7, 4), "left")
    with replaced(model, programs_for(model)):
        expected = logits_of(model.network, ids, mask), generate(model.network, ids, mask)
    blocks = [name for name, _ in model.network.named_modules() if name.endswith((".0", ".1"))]
    places = dict.fromkeys([name for name in blocks if name.count(".") == 2], "cpu") | {"": "cpu"}
    dispatch_model(model.network, places, main_device="cpu", force_hooks=True)
    assert hasattr(model.network, "_hf_hook")
    with replaced(model, programs_for(model)):
        assert torch.equal(logits_of(model.network, ids, mask), expected[0])
        assert torch.equal(generate(model.network, ids, mask), expected[1])


def test_two_models_at_the_same_time() -> None:
    one, two = model_of("llama-2-groups"), model_of("gpt2")
    ids, mask = padded((9,))
    other = dict(zip(two.heads, reversed(programs_for(two).values()), strict=True))
    with replaced(one, programs_for(one)):
        first = logits_of(one.network, ids, mask)
    with replaced(two, other):
        second = logits_of(two.network, ids, mask)
    with replaced(one, programs_for(one)), replaced(two, other):
        for _ in range(2):
            assert torch.equal(logits_of(one.network, ids, mask), first)
            assert torch.equal(logits_of(two.network, ids, mask), second)
