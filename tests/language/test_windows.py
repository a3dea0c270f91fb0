"""Parts of a text say the same as the whole: its last rows, its end, some of its tokens."""

import ast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import calls, own_entries, properties, texts

from headscript.language import Text
from headscript.programs.interpreter import Scope, _build
from headscript.programs.terms import parse_expression

PROPERTIES = own_entries("token property")
RELATIONS = own_entries("relation")
NEAR = [entry for entry in PROPERTIES if entry.reach is not None]


def rows_of(value: torch.Tensor, text: Text) -> torch.Tensor:
    """A relation with all its rows, also where they are alike."""
    return value.float().expand(len(text) - text.first_query, len(text))


@pytest.mark.parametrize("entry", RELATIONS + PROPERTIES, ids=lambda entry: entry.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_rows_from_a_query_on_are_those_of_the_whole(entry, data):
    text = data.draw(texts(causal=data.draw(st.booleans())))
    expression = parse_expression(data.draw(calls(entry)))
    first = data.draw(st.integers(0, len(text) - 1))
    later = text.from_first_query(first)
    if entry.kind == "token property":  # whole all the same: programs look at it from both sides
        assert torch.equal(expression(later), expression(text))
        assert later.of_queries(expression(later)).shape == (len(text) - first, 1)
    else:
        assert torch.equal(
            rows_of(expression(later), later), rows_of(expression(text), text)[first:]
        )


@pytest.mark.parametrize("entry", NEAR, ids=lambda entry: entry.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_reach_is_no_longer_than_is_said(entry, data):
    """Also of what properties are given to it: their reach comes on top."""
    assert_reach(parse_part(data.draw(calls(entry))), data)


@settings(max_examples=150, deadline=None)
@given(st.data(), properties)
def test_the_reach_of_an_expression(data, said):
    assert_reach(parse_part(said), data)


def parse_part(said: str):
    return _build(ast.parse(said, mode="eval").body, {})


def assert_reach(part, data) -> None:
    if part.reach is None:
        return
    text = data.draw(texts(max_size=20))
    count = data.draw(st.integers(1, len(text)))
    whole = part.evaluate(Scope(text, {}))
    end = part.evaluate(Scope(text.tail(part.reach + count), {}))
    assert torch.equal(end[-count:], whole[-count:])
    if part.reach == 0:
        places = data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=6))
        assert torch.equal(part.evaluate(Scope(text.chosen(places), {})), whole[places])


@pytest.mark.parametrize("entry", NEAR, ids=lambda entry: entry.name)
def test_near_properties_have_a_reach_of_few_tokens(entry):
    assert 0 <= entry.reach <= 2


@given(texts(min_size=2), st.data())
def test_parts_are_texts_of_the_same_kind(text, data):
    length = data.draw(st.integers(1, len(text)))
    table = torch.randn(64, 3)
    text = Text(
        text.surfaces,
        text.token_ids,
        text.vocabulary_size,
        causal=text.causal,
        special=text.special,
        embeddings=table[text.token_ids],
    )
    places = list(range(len(text)))
    for part, kept in (
        (text.prefix(length), places[:length]),
        (text.tail(length), places[-length:]),
        (text.from_first_query(length - 1), places),
        (text.chosen(places[::-2]), places[::-2]),
    ):
        assert part.surfaces == tuple(text.surfaces[place] for place in kept)
        assert part.special == tuple(text.special[place] for place in kept)
        assert torch.equal(part.token_ids, text.token_ids[kept])
        assert torch.equal(part.embeddings, text.embeddings[kept])
        assert (part.causal, part.vocabulary_size) == (text.causal, text.vocabulary_size)
    assert text.from_first_query(length - 1).rows == slice(length - 1, len(text))
