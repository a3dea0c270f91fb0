"""Entries by spaCy: alignment of its words with tokens, and what is said where it is missing."""

import pytest

from headscript.errors import HeadscriptError
from headscript.language import Text, linguistics
from headscript.programs import Program
from headscript.programs.terms import parse_expression

SURFACES = [
    " <s>",
    "Tom",
    " Hanks",
    " ran",
    " quick",
    "ly",
    " to",
    " the",
    " red",
    " house",
    ".",
    "\n",
]
SPECIAL = [surface == " <s>" for surface in SURFACES]


@pytest.fixture
def text():
    if linguistics.pipeline_name() is None:
        pytest.skip("needs spaCy and an English pipeline (the extra linguistics)")
    return Text(SURFACES, range(len(SURFACES)), 100, special=SPECIAL)


def holding(flags):
    return [surface for surface, flag in zip(SURFACES, flags.tolist(), strict=True) if flag]


def test_words_are_aligned_with_tokens(text):
    assert holding(text.pos("ADV")) == [" quick", "ly"]
    assert holding(text.pos("VERB")) == [" ran"]
    assert holding(text.entity("PERSON")) == ["Tom", " Hanks"]
    assert holding(text.dependency("nsubj")) == [" Hanks"]
    assert holding(text.dependency_head[SURFACES.index("ly")]) == [" ran"]
    assert holding(text.dependency_child[SURFACES.index(" to")]) == [" house"]
    assert holding(text.within_word[SURFACES.index("ly")]) == [" quick", "ly"]
    assert not text.dependency_head[[0, -1]].any()  # a special token, a line break
    assert not text.dependency_head[SURFACES.index(" ran")].any()  # the root has no head


def test_lemmas(text):
    text = Text([" He", " runs", ".", " She", " ran"], range(5), 100)
    assert text.same_lemma.nonzero().tolist() == [[1, 4], [4, 1]]


def test_programs_over_a_parse_are_labelled(text):
    program = Program.parse(
        "def attend(text, head=3.0):\n"
        "    return softmax(head * text.dependency_head, text.allowed)\n"
    )
    assert not program.prefix_consistent
    assert program.entries == {"dependency_head", "allowed"}
    assert program(text).shape == (len(text), len(text))
    assert parse_expression("text.pos('NOUN')").is_condition


def test_a_missing_pipeline_is_one_sentence(text, monkeypatch):
    monkeypatch.setenv(linguistics.PIPELINE_VARIABLE, "no_such_pipeline")
    with pytest.raises(HeadscriptError, match="no pipeline 'no_such_pipeline'"):
        _ = Text(["a"], [1], 2).dependency_head


def test_missing_spacy_is_one_sentence(monkeypatch):
    monkeypatch.setattr(linguistics, "find_spec", lambda name: None)
    with pytest.raises(HeadscriptError, match="pip install 'headscript"):
        _ = Text(["a"], [1], 2).dependency_head
    monkeypatch.setattr(linguistics, "find_spec", lambda name: name if name == "spacy" else None)
    monkeypatch.delenv(linguistics.PIPELINE_VARIABLE, raising=False)
    with pytest.raises(HeadscriptError, match="spacy download"):
        _ = Text(["a"], [1], 2).dependency_head
    # A program is still read and checked; only its value needs spaCy.
    program = Program.parse("def attend(text):\n    return softmax(1.0 * text.dependency_head)\n")
    with pytest.raises(HeadscriptError, match="spacy download"):
        program(Text(["a"], [1], 2))
