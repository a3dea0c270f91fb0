"""What a program that is said to be prefix-consistent knows of later tokens: nothing."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.programs.random_programs import programs
from tests.programs.strategies import SURFACES, texts

from headscript.language import Text
from headscript.programs import Program, ProgramError


def program(returned: str) -> Program:
    return Program.parse(f"def attend(text, w=0.5):\n    return {returned}\n", "p")


def going_on(text: Text, place: int, draw: st.DataObject) -> Text:
    """A text of the same length with other tokens after a place."""
    count = len(text) - place - 1
    ids = text.token_ids[: place + 1].tolist()
    ids += draw.draw(st.lists(st.integers(0, len(SURFACES) - 1), min_size=count, max_size=count))
    surfaces = [SURFACES[number] for number in ids]
    return Text(surfaces, ids, len(SURFACES), special=[each == "<s>" for each in surfaces])


def value(source: Program, text: Text) -> torch.Tensor:
    """What a program returns, a pattern or not."""
    found: torch.Tensor = source._plan.evaluate(text, source.constants)
    return found.float().expand(len(text), len(text))


@settings(max_examples=400, deadline=None)
@given(programs(), texts(min_size=2), st.data())
@example(program("where(text.at(5), 1.0, 0.0)"), Text(["a"] * 7, range(7), 40), None)
def test_later_tokens_change_no_row_and_have_no_weight(source, text, data):
    if not source.prefix_consistent:
        return
    place = len(text) // 2 if data is None else data.draw(st.integers(0, len(text) - 2))
    found = value(source, text)
    # Beyond the query is 0, or NaN where that met what is infinite: such a program is refused.
    later = found.triu(1)
    assert torch.equal(later[~later.isnan()], torch.zeros_like(later)[~later.isnan()])
    if data is not None:
        other = value(source, going_on(text, place, data))
        rows = slice(place + 1)
        torch.testing.assert_close(
            found[rows, rows], other[rows, rows], rtol=0, atol=0, equal_nan=True
        )


@pytest.mark.parametrize(
    ("returned", "consistent"),
    [
        ("where(text.at(5), 1.0, 0.0)", False),
        ("1.0 * text.at(5)", False),
        ("w * softmax(w * text.first) + (1 - w) * text.at(5)", False),
        ("where(query(text.is_comma), softmax(text.first * w), text.nth(text.is_comma, 1))", False),
        ("softmax(w * text.first) ** w", False),  # 0 to the power of 0 is 1
        ("softmax(w * text.first) * 0 + 0.1", False),
        ("1.0 * text.sentence_start", False),
        ("1.0 * text.previous(-1)", False),
        ("softmax(w * text.first, text.within(3))", False),
        ("softmax(w * text.first, softmax(text.distance) > 0)", False),
        ("softmax(w * text.first)", True),
        ("softmax(w * text.first, text.allowed)", True),
        ("softmax(w * text.first, text.earlier | text.itself)", True),
        ("softmax(w * text.at(5))", True),
        ("1.0 * text.itself", True),
        ("text.first * 1.0", True),
        ("text.previous(1) + text.first * query(text.position < 1)", True),
        ("w * softmax(w * text.first) + (1 - w) * text.itself", True),
        ("softmax(text.distance) * query(text.rarity) + softmax(-text.distance) / 2", True),
        ("where(query(text.is_comma), softmax(text.distance), text.first)", True),
        ("where(text.allowed, text.at(0), 0)", True),
        ("minimum(softmax(text.distance), text.itself) - sqrt(text.itself) ** 2", True),
    ],
)
def test_what_is_returned_is_looked_at(returned, consistent):
    assert program(returned).prefix_consistent is consistent


def test_what_may_look_ahead_is_refused_on_the_text_where_it_does():
    text = Text(list("abcdefg"), list(range(7)), 40)
    with pytest.raises(ProgramError, match="looks at tokens after the query, which a decoder"):
        program("where(text.at(5), 1.0, 0.0)")(text)
    # One of which this is not known beforehand works where it does not.
    alone = program("where(text.at(0), 1.0, 0.0)")
    assert not alone.prefix_consistent
    assert alone(text)[:, 0].tolist() == [1.0] * 7
