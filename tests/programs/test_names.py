"""Names in programs: what is said by a name is what is said outright, to all that reads it."""

import pytest
import torch
from tests.random_patterns import random_texts

from headscript.programs import Program
from headscript.programs.bank import Bank
from headscript.programs.reading import read_terms

SUM = "sink * text.first - recency * log(text.distance + 1)"
FORMS = {
    "one name": f"p = softmax({SUM})\n    return p",
    "the scores": f"scores = {SUM}\n    return softmax(scores)",
    "several names": f"scores = {SUM}\n    p = softmax(scores)\n    return p",
    "names of names": f"a = {SUM}\n    b = a\n    c = softmax(b)\n    d = c\n    return d",
    "a mask": f"view = text.allowed\n    p = softmax({SUM}, view)\n    return p",
    "parts": "far = text.distance + 1\n    near = log(far)\n"
    "    p = softmax(sink * text.first - recency * near)\n    return p",
}


def program(body: str) -> Program:
    return Program.parse(f"def attend(text, sink=3.0, recency=0.5):\n    {body}\n")


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS.keys())
def test_a_log_linear_program_stays_one_behind_names(body):
    plain, named = program(f"return softmax({SUM})"), program(body)
    assert named.log_linear is not None
    assert named.prefix_consistent
    assert named._plan.is_softmax
    assert read_terms(named) == read_terms(plain)
    texts = random_texts([1, 9, 24])
    bank = Bank([plain, named])
    together = bank.patterns(bank.group([0, 1]), bank.features(texts))
    for number, text in enumerate(texts):
        torch.testing.assert_close(named(text), plain(text))
        n = len(text)
        torch.testing.assert_close(together[number, 1, :n, :n], plain(text))


def test_a_name_for_a_pattern_without_constants():
    program = Program.parse(
        "def attend(text):\n    p = softmax(key(text.rarity))\n    q = p\n    return q\n"
    )
    plain = Program.parse("def attend(text):\n    return softmax(key(text.rarity))\n")
    (text,) = random_texts([12])
    assert torch.equal(program(text), plain(text))
    assert program.key == plain.key


MIXTURES = {
    "of two": ("where(query(text.is_comma), {a}, {b})", "where(query(text.is_comma), a, b)"),
    "of one twice": ("0.5 * {a} + 0.5 * {a}", "0.5 * a + 0.5 * a"),
    "within scores": ("softmax(sink * {a} + {b})", "softmax(sink * a + b)"),
}


@pytest.mark.parametrize(("outright", "by_name"), MIXTURES.values(), ids=MIXTURES.keys())
def test_mixtures_of_named_patterns(outright, by_name):
    a, b = f"softmax({SUM})", "softmax(recency * text.previous(1))"
    named = program(f"a = {a}\n    b = {b}\n    m = {by_name}\n    return m")
    plain = program(f"return {outright.format(a=a, b=b)}")
    assert named.log_linear is plain.log_linear is None
    assert named.prefix_consistent
    assert named._plan.is_softmax is plain._plan.is_softmax
    for text in random_texts([1, 9, 24]):
        torch.testing.assert_close(named(text), plain(text))
