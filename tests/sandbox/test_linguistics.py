"""The sandbox's spaCy says what the real one says."""

from typing import Any

import pytest

from headscript.language.linguistics import load_pipeline, pipeline_name
from headscript.programs.sentences import parse_of
from headscript.sandbox.linguistics import FIELDS, FLAGS
from headscript.sandbox.pipeline import spacy_modules

pytestmark = pytest.mark.skipif(
    pipeline_name() is None, reason="needs spaCy and an English pipeline"
)

TEXT = 'Lily and her mom, Anna Smith, flew to Paris in 2019. "It was not far," she said.'


@pytest.fixture(scope="module")
def real() -> Any:
    return load_pipeline()(TEXT)


@pytest.fixture(scope="module")
def own() -> Any:
    modules = spacy_modules(parse_of)
    spacy: Any = modules["spacy"]
    return spacy.load("en_core_web_sm")(TEXT)


def words(tokens: Any) -> list[int]:
    return [token.i for token in tokens]


def test_tokens(real: Any, own: Any) -> None:
    assert len(own) == len(real)
    assert str(own) == own.text == real.text
    for mine, theirs in zip(own, real, strict=True):
        for name in FIELDS:
            if name not in ("head", "morph", "flags"):
                assert getattr(mine, name) == getattr(theirs, name), name
        for name in FLAGS:
            assert getattr(mine, name) == bool(getattr(theirs, name)), name
        assert mine.head.i == theirs.head.i
        assert mine.lower_ == theirs.lower_
        assert mine.morph.to_dict() == theirs.morph.to_dict()
        assert mine.morph.get("Number") == theirs.morph.get("Number")
        assert mine.text_with_ws == theirs.text_with_ws
        assert (mine.prefix_, mine.suffix_) == (theirs.prefix_, theirs.suffix_)


def test_the_tree(real: Any, own: Any) -> None:
    for mine, theirs in zip(own, real, strict=True):
        for name in ("children", "lefts", "rights", "ancestors", "subtree", "conjuncts"):
            assert words(getattr(mine, name)) == words(getattr(theirs, name)), name
        assert (mine.n_lefts, mine.n_rights) == (theirs.n_lefts, theirs.n_rights)
        assert (mine.left_edge.i, mine.right_edge.i) == (theirs.left_edge.i, theirs.right_edge.i)
        assert mine.sent.text == theirs.sent.text
        for other in (0, 5):
            assert mine.is_ancestor(own[other]) == theirs.is_ancestor(real[other])
    assert own[3].nbor().i == 4


def test_spans(real: Any, own: Any) -> None:
    for name in ("sents", "ents", "noun_chunks"):
        mine, theirs = list(getattr(own, name)), list(getattr(real, name))
        assert theirs
        for left, right in zip(mine, theirs, strict=True):
            assert (left.text, left.start, left.end) == (right.text, right.start, right.end)
            assert (left.start_char, left.end_char) == (right.start_char, right.end_char)
            assert left.root.i == right.root.i
            assert left.lemma_ == right.lemma_
            if name == "ents":
                assert left.label_ == right.label_
    assert own[2:5].text == real[2:5].text
    assert own[2:5][1].i == 3
    assert own[3] in own[2:5]
    assert own[7] not in own[2:5]
    assert own.char_span(0, 4).text == "Lily"
    assert own.char_span(0, 3) is None


def test_what_is_not_there_says_so(own: Any) -> None:
    with pytest.raises(AttributeError, match=r"no token\.vector"):
        _ = own[0].vector
    with pytest.raises(AttributeError):
        _ = own[0].is_pronoun  # spaCy does not have it either
