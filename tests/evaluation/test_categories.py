"""Each category on a pattern that is made to be of it."""

import pytest
import torch
from tests.random_patterns import random_patterns, random_texts

from headscript.evaluation.categories import CATEGORIES, Behaviour
from headscript.language import Text
from headscript.packing import unpack

WORDS = (
    "Once| there| was| a| girl| named| Lily|.| Lily| had| a| red| hat|,| and| she| liked| the| hat"
    "|.| One| day|,| Tom| asked| Lily| for| the| hat|.| She| said| no|,| but| Tom| took| it|."
).split("|")


def story(causal: bool = True) -> Text:
    vocabulary = sorted(set(WORDS))
    ids = [vocabulary.index(word) for word in WORDS]
    return Text(WORDS, ids, len(vocabulary), causal=causal)


def towards(text: Text, wanted: torch.Tensor) -> torch.Tensor:
    """Nine tenths of each row on the wanted keys, where there are any; else on all alike."""
    wanted = (wanted & text.allowed).float()
    wanted = torch.where(wanted.sum(1, keepdim=True) > 0, wanted, text.allowed.float())
    even: torch.Tensor = text.allowed / text.allowed.sum(1, keepdim=True)
    return 0.9 * wanted / wanted.sum(1, keepdim=True) + 0.1 * even


def category(text: Text, *patterns: torch.Tensor) -> list[str]:
    behaviour = Behaviour.of_nothing(len(patterns))
    behaviour.add(torch.stack(patterns), text)
    return behaviour.categories()


@pytest.mark.parametrize("causal", [True, False], ids=["decoder", "encoder"])
def test_patterns_made_for_a_category_are_of_it(causal):
    text = story(causal)
    n = len(text)
    far = text.distance > 2
    sentence = text.same_sentence & far & ~text.is_punctuation & ~text.first
    assert category(
        text,
        towards(text, text.first),
        towards(text, text.previous(1)),
        torch.eye(n),
        towards(text, text.same_word),
        towards(text, text.is_punctuation.expand(n, n) & far),
        towards(text, sentence),
        text.allowed / text.allowed.sum(1, keepdim=True),
    ) == [
        "first token",
        "sequential",
        "sequential",
        "same token",
        "delimiter",
        "syntactic",
        "broad",
    ]


def test_an_encoder_s_last_token_is_a_delimiter():
    text = story(causal=False)
    assert category(text, towards(text, text.last)) == ["delimiter"]


def test_what_is_none_of_these_is_mixed():
    text = story()
    places = torch.arange(len(text))
    # One key somewhere in the sentence before: not near, no mark, no word of its own sentence.
    wanted = (text.sentence_distance == 1) & (places % 7 == 3) & ~text.is_punctuation
    pattern = 0.5 * towards(text, wanted) + 0.25 * torch.eye(len(text))
    pattern = pattern + 0.25 * towards(text, text.first)
    even = text.allowed / text.allowed.sum(1, keepdim=True)
    assert category(text, 0.9 * even + 0.1 * pattern) == ["broad"]
    assert category(text, towards(text, wanted & ~text.first)) == ["mixed"]


def test_texts_are_summed_and_short_ones_say_nothing():
    text = story()
    behaviour = Behaviour.of_nothing(1)
    behaviour.add(torch.ones(1, 1, 1), text.prefix(1))
    behaviour.add(text.prefix(4).allowed[None] / 2, text.prefix(4))
    assert behaviour.categories() == ["mixed"]
    behaviour.add(towards(text, text.first)[None], text)
    assert behaviour.categories() == ["first token"]


def test_every_answer_is_a_known_category():
    texts = random_texts([20, 30])
    behaviour = Behaviour.of_nothing(6)
    for text, weights in zip(texts, random_patterns(texts, 6), strict=True):
        behaviour.add(unpack(weights, len(text), True), text)
    assert set(behaviour.categories()) <= set(CATEGORIES)
