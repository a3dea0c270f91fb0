"""The library that comes with the package."""

from collections import Counter
from pathlib import Path

import pytest

from headscript.heads import Head
from headscript.library.entries import STARTER, Library
from headscript.texts import Trace, load_texts, repeating, split_documents


@pytest.fixture(scope="module")
def starter() -> Library:
    return Library.load()


def test_it_is_of_fewer_than_a_thousand_programs_that_say_what_they_do(starter: Library):
    assert starter.name == "starter"
    assert 500 < len(starter) < 1000
    for entry in starter.entries:
        assert entry.explanation
        assert entry.category
        assert entry.origins
        assert entry.iou is not None


def test_programs_of_each_origin_are_in_it(starter: Library):
    origins = [origin for entry in starter.entries for origin in entry.origins]
    assert {origin.model for origin in origins} == {"smollm2-135m", "stories260k", "minilm-l6"}
    assert not [origin for origin in origins if "/" in origin.model]
    written = {(each.model, each.head) for each in origins if each.proposer == "llm"}
    assert len(written) >= 120
    layers = Counter((model, Head.parse(head).layer) for model, head in written)
    assert len([layer for layer in layers if layer[0] == "smollm2-135m"]) == 30
    assert len([layer for layer in layers if layer[0] == "stories260k"]) == 5


def test_it_knows_the_texts_that_its_programs_come_from(starter: Library, shared: Path):
    """Built-in stories, seed 0: its fit and select texts, and whatever repeats these."""
    assert starter.texts is not None
    known = [Trace.parse(text) for text in starter.texts]
    splits = split_documents(load_texts("stories"), seed=0)
    used = [document.text for document in [*splits.fit, *splits.select]]
    assert all(repeating(used, known))
    assert not any(repeating([document.text for document in splits.test], known))
    other = split_documents(load_texts("stories"), seed=1)
    seen = sum(repeating([document.text for document in other.test], known))
    ids = {document.id for document in [*splits.fit, *splits.select]}
    assert seen == sum(document.id in ids for document in other.test) > 20
    excerpts = load_texts(shared / "data" / "text" / "tinystories_excerpts.jsonl")
    held_out = [document.text for document in excerpts if document.part == "test"]
    assert not any(repeating(held_out, known))
    others = [text.text for name in ("code", "maths") for text in load_texts(name)]
    assert not any(repeating(others, known))


def test_it_is_as_it_would_be_written(starter: Library, tmp_path: Path):
    starter.save(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == STARTER.read_bytes()
