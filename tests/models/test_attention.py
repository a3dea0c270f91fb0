import gc

import pytest
import torch
from tests.models.networks import DECODERS, FAMILIES, network_of, padded, tokenizer
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPTJConfig,
    GptOssConfig,
    MambaConfig,
)

from headscript.errors import HeadscriptError
from headscript.heads import Head
from headscript.models import ATTENTION_NAME, Model, observed
from headscript.models import attention as door


def eager_patterns(network, ids, mask) -> dict[int, torch.Tensor]:
    """What the family's own eager attention returns, by layer."""
    network.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = network(ids, attention_mask=mask, output_attentions=True).attentions
    network.set_attn_implementation("sdpa" if network._supports_sdpa else "eager")
    kinds = getattr(network.config, "layer_types", None) or [""] * network.config.num_hidden_layers
    layers = [layer for layer, kind in enumerate(kinds) if kind != "conv"]
    return dict(zip(layers, (a for a in attentions if a is not None), strict=True))


def watch(network, ids, mask, *, layers=None):
    seen: dict[int, torch.Tensor] = {}
    with torch.no_grad(), observed(network, layers, seen.__setitem__):
        logits = network(ids, attention_mask=mask).logits
    return seen, logits


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_patterns_and_output_are_the_network_s_own(family, side):
    network = network_of(family)
    ids, mask = padded(side=side)
    with torch.no_grad():
        plain = network(ids, attention_mask=mask).logits
    expected = eager_patterns(network, ids, mask)
    seen, logits = watch(network, ids, mask)

    real = mask.bool()
    assert seen.keys() == expected.keys()
    for layer, weights in seen.items():
        assert weights.dtype == torch.float32
        difference = (weights - expected[layer]).abs()
        assert difference.transpose(1, 2)[real].max() < 1e-5, layer
        # Distinct heads and uneven rows, or the comparison would prove little.
        assert weights[0].std() > 1e-3
    difference = (logits - plain)[real].abs().max()
    assert difference == 0 if network._supports_sdpa else difference < 1e-5 * plain.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_mix_the_values_give_what_eager_attention_gives(family):
    network = network_of(family)
    ids, mask = padded()
    expected = eager_patterns(network, ids, mask)
    network.set_attn_implementation("eager")
    with torch.no_grad():
        eager = network(ids, attention_mask=mask).logits
    network.set_attn_implementation("sdpa" if network._supports_sdpa else "eager")
    seen: dict[int, torch.Tensor] = {}
    with (
        torch.no_grad(),
        observed(network, None, seen.__setitem__, mixed_by_weights=True),
    ):
        logits = network(ids, attention_mask=mask).logits
    real = mask.bool()
    assert (logits - eager)[real].abs().max() < 1e-5 * eager.abs().max()
    for layer, weights in seen.items():
        assert (weights - expected[layer]).abs().transpose(1, 2)[real].max() < 1e-5


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral"])
def test_a_sliding_window_hides_what_lies_outside(family):
    network = network_of(family)
    seen, _ = watch(network, *padded((12,)))
    widths = [int(seen[layer][0, :, 11].ne(0).any(0).sum()) for layer in sorted(seen)]
    kinds = getattr(network.config, "layer_types", None) or ["sliding_attention"] * 3
    assert widths == [4 if kind == "sliding_attention" else 12 for kind in kinds]


def test_a_soft_cap_bounds_the_scores():
    seen, _ = watch(network_of("gemma2"), *padded((12,)))
    rows = seen[1][0][:, 11]  # a full layer's last row: scores within +-0.5 differ by at most 1
    assert (rows.amax(-1) / rows.amin(-1)).max() <= torch.e + 1e-4


def test_only_the_layers_asked_for_are_seen():
    network = network_of("llama-2-groups")
    seen, _ = watch(network, *padded(), layers=[1])
    assert list(seen) == [1]
    assert seen[1].shape == (2, 4, 12, 12)


@pytest.mark.parametrize("family", ["gpt2", "llama-2-groups", "gemma2", "gemma3", "lfm2"])
def test_a_cache_changes_nothing(family):
    network = network_of(family)
    ids, mask = padded((10,))
    whole, _ = watch(network, ids, mask)
    pieces: dict[int, list[torch.Tensor]] = {}

    def keep(layer, weights):
        pieces.setdefault(layer, []).append(weights)

    with torch.no_grad(), observed(network, None, keep):
        past = network(ids[:, :6], use_cache=True).past_key_values
        for i in range(6, 10):
            past = network(ids[:, i : i + 1], past_key_values=past, use_cache=True).past_key_values
    for layer, parts in pieces.items():
        for row, part in enumerate(parts[1:], start=6):
            keys = part.shape[-1]  # a sliding layer's cache has dropped the oldest keys
            expected = whole[layer][:, :, row : row + 1, row + 1 - keys : row + 1]
            torch.testing.assert_close(part, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["gpt2", "llama-2-groups", "bert"])
def test_half_precision_keeps_output_and_gives_float32_rows(family, dtype):
    network = network_of(family).to(dtype)
    ids, mask = padded()
    with torch.no_grad():
        plain = network(ids, attention_mask=mask).logits
    seen, logits = watch(network, ids, mask)
    assert torch.equal(logits, plain)
    for weights in seen.values():
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 12))


def test_the_implementation_is_restored_also_after_an_exception():
    network = network_of("gemma2")
    before = network.config._attn_implementation
    inside = []

    def interrupt(*_):
        inside.append(network.config._attn_implementation)
        raise KeyError

    with pytest.raises(KeyError), observed(network, None, interrupt):
        network(padded()[0])
    assert inside == [ATTENTION_NAME]
    assert network.config._attn_implementation == before == "eager"
    assert not network.base_model._forward_pre_hooks
    assert not network._forward_pre_hooks


def test_nothing_is_kept_of_a_network_that_is_gone():
    gc.collect()
    before = len(door._doors)
    network = network_of("gpt2")
    opened = observed(network, None, lambda *_: None)
    opened.__enter__()
    assert len(door._doors) > before
    opened.__exit__(None, None, None)
    assert len(door._doors) == before


@pytest.mark.parametrize("family", ["distilbert", "albert", "bert"])
def test_layers_without_a_number_are_counted_anew_in_every_pass(family):
    network = network_of(family)
    ids, _ = padded()
    seen: list[int] = []

    def interrupt(layer, _):
        seen.append(layer)
        if len(seen) == 2:
            raise KeyError

    with torch.no_grad(), observed(network, None, interrupt):
        with pytest.raises(KeyError):
            network(ids)
        network(ids)
        network.base_model(ids)
    assert seen == [0, 1, 0, 1, 2, 0, 1, 2]


def test_doors_of_two_networks_and_of_one_inside_another_do_not_mix():
    one, two = network_of("gpt2"), network_of("gpt2", seed=1)
    ids, mask = padded((8,))
    seen_one, seen_two, inner = [], [], []
    with torch.no_grad(), observed(one, [0], lambda *a: seen_one.append(a)):
        with observed(two, [1, 2], lambda *a: seen_two.append(a)):
            one(ids)
            two(ids)
        with observed(one, [2], lambda *a: inner.append(a)):
            one(ids)
        one(ids)
    assert [layer for layer, _ in seen_one] == [0, 0]
    assert [layer for layer, _ in seen_two] == [1, 2]
    assert [layer for layer, _ in inner] == [2]
    assert mask.all()


def test_gradients_flow_through_the_output_and_not_into_the_patterns():
    network = network_of("llama-2-groups")
    ids, mask = padded((8,))
    seen: dict[int, torch.Tensor] = {}
    with observed(network, None, seen.__setitem__):
        network(ids, attention_mask=mask).logits.sum().backward()
    assert not any(weights.requires_grad for weights in seen.values())
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_wrapped_with_its_heads(family):
    model = Model.of(network_of(family), tokenizer(), name=family)
    assert model.causal is (family in DECODERS)
    assert model.heads_per_layer == ((4, 0, 4) if family == "lfm2" else (4, 4, 4))
    assert model.heads[0] == Head(0, 0)
    assert len(model.heads) == sum(model.heads_per_layer)
    # RoBERTa's positions begin behind the padding token, whose id is 0 here.
    assert model.max_tokens == {"roberta": 63, "distilbert": 512}.get(family, 64)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GPTJConfig(vocab_size=64, n_embd=32, n_layer=2, n_head=4, rotary_dim=4), "dispatch"),
        (BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4), "dispatch"),
        (MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2), "no attention heads"),
        (
            GptOssConfig(
                vocab_size=64,
                hidden_size=32,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                num_local_experts=2,
                num_experts_per_tok=1,
                head_dim=8,
                pad_token_id=0,
            ),
            "learned sink",
        ),
    ],
    ids=["gpt-j", "bloom", "mamba", "gpt-oss"],
)
def test_other_architectures_are_refused_with_those_that_work(config, reason):
    network = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(HeadscriptError, match=reason) as refused:
        Model.of(network, tokenizer())
    assert "Llama" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_network_that_answers_nan_is_refused():
    network = network_of("gpt2")
    with torch.no_grad():
        network.transformer.h[1].ln_2.weight[0] = torch.nan
    with pytest.raises(HeadscriptError, match="NaN or infinity"):
        Model.of(network, tokenizer())
