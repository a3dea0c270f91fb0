"""Programs in the place of heads change the patterns and nothing else, however a model is run."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model  # type: ignore[import-untyped]
from tests.models.networks import FAMILIES, network_of, some_ids, tokenizer
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.language import Text
from headscript.models import ATTENTION_NAME, Model, load_model, observed
from headscript.models import attention as door
from headscript.programs import Program
from headscript.replacement import Assignment, Replacement, replaced

RECENT = '''
def attend(text, sink=2.5, recency=0.8, words=1.7, news=1.2, rare=0.3):
    """Rests on the first token; the nearer the stronger."""
    return softmax(
        sink * text.first
        - recency * log(text.distance + 1)
        + words * key(text.one_of("w5", "w9", "w13", "w21", "w33", "w40", "w41"))
        + news * query(text.is_new) * text.previous(1)
        - rare * query(log(text.position + 1)) * key(text.rarity) * text.within(4)
    )
'''
LOOKUP = '''
def attend(text, same=3.0, latest=1.5, second=2.0, after=0.7):
    """Looks for what followed the same token, and for landmarks."""
    landmarks = text.one_of("w5", "w9", "w13", "w21", "w33", "w40")
    return softmax(
        same * text.after_same
        + latest * text.latest(landmarks)
        + second * text.nth(landmarks, 2)
        + after * key(text.after(landmarks)) * text.same_word
    )
'''
BENT = '''
def attend(text, wide=3.0, height=1.1, floor=-0.4):
    """Not a sum of constants times features."""
    near = where(text.distance < wide, height, floor)
    return softmax(maximum(near, exp(-text.distance / 3)) * (1 + text.same_token) + text.first)
'''
SHARED = '''
def attend(text, own=0.3, sharp=1.5):
    """A part of the weight for the token itself, and the rest by likeness and number."""
    rest = softmax(sharp * text.similarity - 0.1 * text.between(text.is_new))
    return own * text.itself + (1 - own) * rest
'''
SOURCES = (RECENT, LOOKUP, BENT, SHARED)
BOTH_WAYS = [
    source.replace("\n    )\n", ",\n        text.allowed,\n    )\n").replace(
        "text.first)\n", "text.first, text.allowed)\n"
    )
    for source in (RECENT, BENT)
]
LENGTHS = (13, 4, 9, 1, 13, 7, 2, 11)
TOLERANCE = 1e-4


def model_of(family: str, *, seed: int = 0) -> Model:
    return Model.of(network_of(family, seed=seed), tokenizer(), name=family)


def programs_for(model: Model, *, every: int = 1) -> dict[Head, Program]:
    """Programs of all kinds, one for every head, or every second one, ..."""
    sources = SOURCES if model.causal else BOTH_WAYS
    heads = model.heads[::every]
    return {
        head: Program.parse(sources[place % len(sources)], str(head))
        for place, head in enumerate(heads)
    }


def padded(lengths: tuple[int, ...], side: str = "right") -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, n in enumerate(lengths):
        place = slice(0, n) if side == "right" else slice(max(lengths) - n, None)
        ids[row, place] = torch.tensor(some_ids(n, seed=row))
        mask[row, place] = 1
    return ids, mask


def logits_of(network: PreTrainedModel, ids: Tensor, mask: Tensor, **more: Any) -> Tensor:
    """Logits in float32; positions are those of the tokens, padding left out."""
    accepted = inspect.signature(network.forward).parameters
    counts_itself = hasattr(network, "roberta")
    if "position_ids" in accepted and not counts_itself and not bool(mask[:, 0].all()):
        more["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
    with torch.no_grad():
        logits: Tensor = network(ids, attention_mask=mask, **more).logits.float()
    return logits


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


# What comes out ----------------------------------------------------------------------------------


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


# Generation --------------------------------------------------------------------------------------

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


def generate(network: Any, ids: Tensor, mask: Tensor, **more: Any) -> Tensor:
    """Twelve tokens, none of which ends the text."""
    settings = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12, "pad_token_id": 0}
    found: Tensor = network.generate(ids, attention_mask=mask, **{**settings, **more})
    return found


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


# Around it ---------------------------------------------------------------------------------------


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


# What is refused ---------------------------------------------------------------------------------


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


def refused(model: Model, assignment: Any, words: str, **more: Any) -> None:
    with (
        left_as_it_was(model.network),
        pytest.raises(HeadscriptError, match=words) as told,
        replaced(model, assignment, **more),
    ):
        model.network(torch.tensor([some_ids(6)]))
    assert str(told.value).endswith(".")
    assert "\n" not in str(told.value)


def test_heads_that_cannot_be_replaced() -> None:
    model = model_of("gpt2")
    program = Program.parse(RECENT)
    refused(model, [(Head(0, 0), program), (Head(0, 0), program)], "L00H00 is assigned two")
    refused(model, {Head(0, 4): program}, "gpt2 has no head L00H04")
    refused(model, {Head(3, 0): program}, "has no head L03H00")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (lambda text: torch.full((len(text), len(text)), torch.nan), "no attention pattern"),
        (lambda text: torch.eye(len(text)) * torch.inf, "no attention pattern"),
        (lambda text: torch.eye(len(text)) / 2, "no attention pattern"),
        (lambda text: 2 * torch.eye(len(text)) - torch.eye(len(text))[:, [0]], "no attention"),
        (lambda text: torch.full((len(text), len(text)), 1 / len(text)), "after the query"),
        (lambda text: torch.eye(len(text) + 1), r"\(7, 7\) on a text of 6 tokens, not \(6, 6\)"),
        (lambda text: text.is_new, r"gives \(6,\) on a text"),
        (lambda text: "nothing", "gives str"),
    ],
)
def test_functions_that_give_no_pattern(pattern: Any, words: str) -> None:
    model = model_of("gpt2")
    refused(model, {**programs_for(model), Head(1, 2): pattern}, words)


NOT_FINITE = [
    "softmax(-c * log(text.distance))",  # infinite where the key is the query
    "softmax(c * key(log(text.position)) * text.first * -1)",
    "softmax(exp(c * 1000 * text.distance))",
]
NO_PATTERN = [
    "c * text.itself * 0.5",
    "c * text.itself - text.first",
    "softmax(c * text.first) * 2",
]


@pytest.mark.parametrize("length", [6, 40])  # few rows and many are evaluated in two ways
@pytest.mark.parametrize("result", [*NOT_FINITE, *NO_PATTERN])
def test_programs_that_give_no_pattern(result: str, length: int) -> None:
    model = model_of("llama-2-groups")
    bad = Program.parse(f'def attend(text, c=1.0):\n    """Bad."""\n    return {result}\n', "bad")
    with (
        left_as_it_was(model.network),
        pytest.raises(HeadscriptError, match=r"^bad gives no attention pattern"),
        replaced(model, {**programs_for(model), Head(2, 1): bad}),
    ):
        model.network(torch.tensor([some_ids(length)]))


def test_programs_that_see_the_future_need_a_word() -> None:
    """Also cached, an admitted one says of a token what it says of the text so far."""
    model = model_of("llama-2-groups")
    source = (
        'def attend(text, c=1.5, d=0.3):\n    """Bad."""\n    return softmax(c * text.last{})\n'
    )
    program = Program.parse(source.format(" - d * text.distance"), "bad")
    assert not program.prefix_consistent
    refused(model, {Head(0, 0): program}, "not prefix-consistent")
    ahead = Program.parse(
        'def attend(text):\n    """Bad."""\n    return softmax(text.first * 1.0, ~text.earlier)\n'
    )
    refused(model, {Head(0, 0): ahead}, "later tokens|after the query", allow_inconsistent=True)
    ids = torch.tensor([some_ids(9)])
    with replaced(model, {Head(0, 0): program}, allow_inconsistent=True), torch.no_grad():
        whole = model.network(ids).logits[:, -1]
        cache = model.network(ids[:, :8], use_cache=True).past_key_values
        step = model.network(ids[:, 8:], past_key_values=cache).logits[:, -1]
        seen: dict[int, Tensor] = {}
        with observed(model.network, [0], seen.__setitem__):
            model.network(ids)
    text = Replacement(model, {})._read(ids[0].tolist())
    torch.testing.assert_close(seen[0][0, 0], program(text))
    assert whole.shape == step.shape


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


# Pretrained --------------------------------------------------------------------------------------

STORY = "Once upon a time, there was a little girl named Lily. She had a red ball. One day, Lily"


def check_pretrained(model: Model) -> None:
    ids = torch.tensor([model.encode(STORY)])
    plain = logits_of(model.network, ids, torch.ones_like(ids))
    seen: dict[int, Tensor] = {}
    with torch.no_grad(), observed(model.network, None, seen.__setitem__):
        model.network(ids)

    def own(head: Head) -> Callable[[Text], Tensor]:
        return lambda text: seen[head.layer][0, head.head]

    with replaced(model, {}):
        assert torch.equal(logits_of(model.network, ids, torch.ones_like(ids)), plain)
    with replaced(model, {head: own(head) for head in model.heads}):
        found = logits_of(model.network, ids, torch.ones_like(ids))
    assert float((found - plain).abs().max()) < TOLERANCE

    short = model.encode("One day, a dog")
    batch = torch.zeros(2, ids.shape[1], dtype=torch.long)
    batch[0], batch[1, -len(short) :] = ids, torch.tensor(short)
    mask = torch.ones_like(batch)
    mask[1, : -len(short)] = 0
    with replaced(model, programs_for(model, every=5)):
        together = generate(model.network, batch, mask)
        uncached = generate(model.network, batch, mask, use_cache=False)
        alone = generate(model.network, torch.tensor([short]), torch.ones(1, len(short)))
    assert torch.equal(together, uncached)
    assert torch.equal(together[1, -12:], alone[0, -12:])
    assert torch.equal(logits_of(model.network, ids, torch.ones_like(ids)), plain)


def test_stories260k(shared: Path) -> None:
    check_pretrained(load_model(shared / "models" / "stories260k"))


@pytest.mark.real
def test_smollm2() -> None:
    check_pretrained(load_model("smollm2-135m"))
