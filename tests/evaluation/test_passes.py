"""One model on the same texts again and again: what is left out changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.models.networks import DECODERS, network_of, some_ids, tokenizer
from torch import Tensor

from headscript.evaluation.passes import NOTHING, Batch, Passes, batches
from headscript.evaluation.sweep import Setting, Sweep
from headscript.heads import Head
from headscript.models import Model, observed
from headscript.replacement import replaced

LENGTHS = (9, 14, 11)


def model_of(family: str) -> Model:
    return Model.of(network_of(family), tokenizer(), name=family)


def a_batch() -> Batch:
    return Batch.of(range(3), [some_ids(length, seed=length) for length in LENGTHS], padding=0)


def own_patterns(model: Model, batch: Batch) -> dict[str, Tensor]:
    """The model's own patterns (B, n, n) on a batch, by the name of the head."""
    found: dict[str, Tensor] = {}

    def keep(layer: int, weights: Tensor) -> None:
        for head in range(weights.shape[1]):
            found[str(Head(layer, head))] = weights[:, head]

    with torch.no_grad(), observed(model.network, None, keep):
        model.network(batch.ids, attention_mask=batch.mask, use_cache=False)
    return found


def uniform(num_tokens: int) -> Tensor:
    whole = torch.ones(num_tokens, num_tokens).tril()
    return whole / whole.sum(1, keepdim=True)


@pytest.mark.parametrize("family", DECODERS)
def test_a_pass_is_that_of_the_replaced_model(family: str) -> None:
    model, batch = model_of(family), a_batch()
    heads = [model.heads[1], model.heads[-1]]
    placed = frozenset((head, "uniform") for head in heads)
    even = dict.fromkeys(heads, lambda text: uniform(len(text)))
    with replaced(model, even) as network, torch.no_grad():
        wanted = network(batch.ids, attention_mask=batch.mask, use_cache=False).logits
    with Passes(model) as passes:
        found = passes.logits(batch, placed, {"uniform": uniform(max(LENGTHS))})
        untouched = passes.logits(batch)
    with torch.no_grad():
        plain = model.network(batch.ids, attention_mask=batch.mask, use_cache=False).logits
    for one, other in ((found, wanted), (untouched, plain)):
        torch.testing.assert_close(batch.predicting(one), batch.predicting(other))
    assert (batch.predicting(found) - batch.predicting(plain)).abs().max() > 1e-3


@pytest.mark.parametrize("family", DECODERS)
def test_passes_that_go_on_from_others_give_the_same(family: str) -> None:
    model, batch = model_of(family), a_batch()
    patterns = {"uniform": uniform(max(LENGTHS)), "silent": torch.zeros(14, 14)}
    low, high = model.heads[1], model.heads[-1]
    first, second = frozenset({(low, "uniform")}), frozenset({(low, "uniform"), (high, "silent")})
    with Passes(model) as passes:
        wanted = {placed: passes.logits(batch, placed, patterns) for placed in (first, second)}
        _, start = passes.traced(batch)
        found, trace = passes.traced(batch, first, patterns, after=start)
        torch.testing.assert_close(found, wanted[first])
        for after in (start, trace):
            found = passes.logits(batch, second, patterns, after=after)
            torch.testing.assert_close(found, wanted[second])
        # Back to fewer heads, and to none.
        _, trace = passes.traced(batch, second, patterns, after=trace)
        found = passes.logits(batch, first, patterns, after=trace)
        torch.testing.assert_close(found, wanted[first])
        torch.testing.assert_close(passes.logits(batch, NOTHING, after=trace), passes.logits(batch))


def counted(model: Model) -> tuple[list[int], Callable[[], None]]:
    """The layers whose attention runs, and how to stop counting."""
    ran: list[int] = []

    def count(number: int) -> Callable[..., None]:
        return lambda *_: ran.append(number)

    hooks = [
        layer.self_attn.register_forward_hook(count(number))
        for number, layer in enumerate(model.network.model.layers)
    ]

    def stop() -> None:
        for hook in hooks:
            hook.remove()

    return ran, stop


def test_layers_below_the_first_change_are_left_out_and_come_back() -> None:
    model, batch = model_of("llama-2-groups"), a_batch()
    silent = {"silent": torch.zeros(14, 14)}
    layers = list(model.network.model.layers)
    with Passes(model) as passes:
        _, trace = passes.traced(batch)
        ran, stop = counted(model)
        passes.logits(batch, frozenset({(Head(2, 1), "silent")}), silent, after=trace)
        assert ran == [2]
        ran.clear()
        passes.logits(batch, frozenset({(Head(0, 1), "silent")}), silent, after=trace)
        assert ran == [0, 1, 2]
        ran.clear()
        with pytest.raises(KeyError):
            passes.logits(batch, frozenset({(Head(1, 0), "not there")}), {}, after=trace)
        assert ran == []
        passes.logits(batch)
        assert ran == [0, 1, 2]
        stop()
    assert not any("forward" in layer.__dict__ for layer in layers)
    assert model.network.config._attn_implementation == "sdpa"


def test_where_leaving_out_would_change_the_result_nothing_is_left_out() -> None:
    """A layer that looks at what the one before did, and not only at what it gave out."""
    model, batch = model_of("llama-2-groups"), a_batch()
    layers: Any = model.network.model.layers
    told: list[Tensor] = []
    layers[0].self_attn.register_forward_hook(lambda module, args, output: told.append(output[0]))
    layers[2].register_forward_hook(
        lambda module, args, output: output + 100 * len(told) if told else output
    )
    layers[2].register_forward_hook(lambda *_: told.clear())
    with Passes(model) as passes:
        _, trace = passes.traced(batch)
        assert trace.outputs == {}
        placed = frozenset({(Head(2, 1), "silent")})
        silent = {"silent": torch.zeros(14, 14)}
        torch.testing.assert_close(
            passes.logits(batch, placed, silent, after=trace),
            passes.logits(batch, placed, silent),
        )


@pytest.mark.parametrize("family", DECODERS)
def test_heads_replaced_by_their_own_patterns_cost_nothing(family: str) -> None:
    model = model_of(family)
    texts = [some_ids(length, seed=length) for length in (9, 14, 11, 2)]
    placed = frozenset((head, str(head)) for head in model.heads)
    setting = Setting("cost", "own", 1.0, len(placed), placed)
    nothing = Setting("cost", "own", 0.0, 0, NOTHING)
    sweep = Sweep(model, texts, seed=0)
    own, none = sweep.points("", [setting, nothing], lambda batch: (own_patterns(model, batch), {}))
    assert abs(own.perplexity_increase) < 1e-5
    assert own.kl < 1e-6
    assert own.top1_agreement == 1
    assert (none.perplexity_increase, none.kl, none.top1_agreement) == (0, 0, 1)
    assert none.ci95 == none.kl_ci95 == (0, 0)


def test_a_pattern_that_turns_out_to_be_missing_is_missing_on_all_texts() -> None:
    model = model_of("llama-2-groups")
    texts = [some_ids(length) for length in (10, 20, 30)]
    silent, even = Head(0, 0), Head(1, 0)
    both = frozenset({(silent, "silent"), (even, "even")})

    def patterns_of(batch: Batch) -> tuple[dict[str, Tensor], dict[str, str]]:
        n = batch.ids.shape[1]
        if n == 30:
            return {"even": uniform(n)}, {"silent": "too long", "unused": "never asked for"}
        return {"even": uniform(n), "silent": torch.zeros(n, n)}, {}

    sweep = Sweep(model, texts, seed=0)
    (point,) = sweep.points("", [Setting("cost", "x", 0.2, 2, both)], patterns_of)
    assert sweep.failures == {"silent": "too long"}
    assert (point.heads, point.coverage) == (1, 0.5)
    alone = Setting("cost", "x", 0.1, 1, frozenset({(even, "even")}))
    (wanted,) = Sweep(model, texts, seed=0).points("", [alone], patterns_of)
    assert point.perplexity_increase == wanted.perplexity_increase
    assert point.ci95 == wanted.ci95


def test_batches_hold_texts_of_like_length_and_all_of_them() -> None:
    texts = [some_ids(length) for length in (5, 30, 6, 4, 29, 7)]
    found = list(batches(texts, 24, padding=0))
    assert [batch.members for batch in found] == [(3, 0, 2), (5,), (4,), (1,)]
    for batch in found:
        assert batch.mask.sum(1).tolist() == [len(text) for text in batch.texts]
        assert [texts[member] for member in batch.members] == [list(t) for t in batch.texts]
    first = found[0]
    assert first.predicted.tolist() == [*texts[3][1:], *texts[0][1:], *texts[2][1:]]
    assert first.text_of.tolist() == [0] * 3 + [1] * 4 + [2] * 5
