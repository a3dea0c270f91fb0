"""Answers scored with shared prompts are those of one whole pass each."""

from __future__ import annotations

from random import Random

import pytest
import torch
from tests.models.networks import DECODERS, network_of, tokenizer

from headscript.evaluation.answers import Likelihood, Pair, Scorer
from headscript.heads import Head
from headscript.models import Model
from headscript.programs import Program
from headscript.programs.bank import Bank
from headscript.replacement import replaced

NEAR = Program.parse(
    "def attend(text, first=1.5, near=0.4):\n"
    '    """Rests on the first token and prefers nearer ones."""\n'
    "    return softmax(first * text.first - near * log(text.distance + 1))\n"
)
SAME = Program.parse(
    "def attend(text, same=2.0, back=3.0):\n"
    '    """Looks at the same token, and one back."""\n'
    "    return softmax(same * text.same_token + back * text.previous(1))\n"
)
FEW = {Head(0, 1): NEAR, Head(2, 3): SAME}
MANY = FEW | {Head(0, head): SAME for head in (0, 2, 3)} | {Head(2, 0): NEAR}


def model_of(family: str) -> Model:
    return Model.of(network_of(family), tokenizer(), name=family)


def some_pairs(seed: int = 0) -> list[Pair]:
    """Prompts of 1 to 20 tokens with 1 to 4 answers of 1 to 7; a pair comes twice."""
    draw = Random(seed)

    def words(most: int) -> tuple[int, ...]:
        return tuple(draw.randint(4, 63) for _ in range(draw.randint(1, most)))

    prompts = [words(20) for _ in range(7)]
    pairs = [Pair(prompt, words(7)) for prompt in prompts for _ in range(draw.randint(1, 4))]
    pairs.append(pairs[3])
    draw.shuffle(pairs)
    return pairs


@torch.no_grad()
def one_by_one(model: Model, pairs: list[Pair]) -> list[Likelihood]:
    """From a pass without padding, without a cache, over prompt and answer."""
    found = []
    for prompt, answer in pairs:
        logits = model.network(torch.tensor([prompt + answer]), use_cache=False).logits[0]
        logits = logits[len(prompt) - 1 : -1].double()
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])
        found.append(Likelihood(float(chosen.sum()), logits.argmax(-1).tolist() == list(answer)))
    return found


def assert_alike(found: list[Likelihood], expected: list[Likelihood]) -> None:
    sums = torch.tensor([one.log_likelihood for one in found])
    assert sums == pytest.approx([one.log_likelihood for one in expected], abs=1e-4)
    assert [one.greedy for one in found] == [one.greedy for one in expected]


@pytest.mark.parametrize("family", DECODERS)
def test_answers_are_those_of_whole_passes(family: str) -> None:
    model, pairs = model_of(family), some_pairs()
    untouched, few, many = Scorer(model, [{}, FEW, MANY], batch_size=5)(pairs)
    assert_alike(untouched, one_by_one(model, pairs))
    with replaced(model, FEW):
        assert_alike(few, one_by_one(model, pairs))
    with replaced(model, MANY):
        assert_alike(many, one_by_one(model, pairs))
    assert few != untouched
    assert many != few


def test_greedy_answers_are_known_as_such() -> None:
    model = model_of("llama-2-groups")
    prompt = (7, 12, 9, 30)
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(3):
            ids.append(int(model.network(torch.tensor([ids])).logits[0, -1].argmax()))
    right, other = tuple(ids[4:]), (*ids[4:6], (ids[6] + 1) % 64)
    ((first, second),) = Scorer(model, [{}])([Pair(prompt, right), Pair(prompt, other)])
    assert first.greedy
    assert not second.greedy
    assert first.log_likelihood > second.log_likelihood


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    model, pairs = model_of("llama-2-groups"), some_pairs(1)
    expected = Scorer(model, [FEW])(pairs)
    assert_alike(Scorer(model, [FEW], batch_size)(pairs)[0], expected[0])


def test_batches_hold_no_more_answers_than_asked_for_and_all_are_reported() -> None:
    pairs, sizes = some_pairs(2), list[int]()
    done: list[int] = []
    scorer = Scorer(model_of("llama-2-groups"), [{}, FEW], batch_size=4)
    for batch in scorer._batches(pairs):
        sizes.append(sum(map(len, batch.values())))
        assert sizes[-1] <= 4 or len(batch) == 1  # the answers to a prompt stay together
    assert sum(sizes) == len(pairs)
    assert 4 <= len(sizes) < len({pair.prompt for pair in pairs})
    scorer(pairs, done.append)
    assert done == [sum(sizes[: number + 1]) for number in range(len(sizes))]


def test_features_are_computed_once_for_all_assignments(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs, calls = model_of("llama-2-groups"), some_pairs(), []
    compute = Bank.features

    def counted(self, texts, before=None):
        calls.append(len(texts))
        return compute(self, texts, before)

    monkeypatch.setattr(Bank, "features", counted)
    Scorer(model, [MANY])(pairs)
    alone = list(calls)
    calls.clear()
    Scorer(model, [{}, FEW, MANY])(pairs)
    assert calls == alone


def test_assignments_may_give_a_head_different_programs() -> None:
    model, pairs = model_of("llama-2-groups"), some_pairs()
    other = {Head(0, 1): SAME}
    found = Scorer(model, [FEW, other])(pairs)
    for assignment, likelihoods in zip((FEW, other), found, strict=True):
        with replaced(model, assignment):
            assert_alike(likelihoods, one_by_one(model, pairs))


def test_the_network_is_left_as_it_was() -> None:
    model = model_of("llama-2-groups")
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    Scorer(model, [{}, MANY])(some_pairs())
    after = model.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert model.network.config._attn_implementation == "sdpa"
    assert not model.network.training
    assert not model.network._forward_pre_hooks
    assert not model.network.base_model._forward_pre_hooks
