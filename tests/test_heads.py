import pytest
from hypothesis import given
from hypothesis import strategies as st

from headscript.errors import HeadscriptError
from headscript.heads import Head, parse_heads


@given(st.integers(0, 500), st.integers(0, 500))
def test_a_head_is_read_back_from_its_name(layer: int, head: int) -> None:
    assert Head.parse(str(Head(layer, head))) == Head(layer, head)


@pytest.mark.parametrize("name", ["L5H3", "L05H03", "l5h3", " L5H3 "])
def test_spellings_of_one_head(name: str) -> None:
    assert Head.parse(name) == Head(5, 3)


def test_names_sort_as_heads_do() -> None:
    heads = [Head(layer, head) for layer in range(12) for head in range(12)]
    assert sorted(heads, key=str) == heads


@pytest.mark.parametrize("name", ["", "L5", "5H3", "L5H", "L-1H0", "L5H3x", "L5 H3"])
def test_what_is_not_a_head_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(HeadscriptError, match="write it like L5H3"):
        Head.parse(name)


def test_all_heads_of_layers_of_different_size() -> None:
    expected = [Head(0, 0), Head(0, 1), Head(2, 0)]
    assert parse_heads("all", [2, 0, 1]) == expected
    assert parse_heads(" ALL ", [2, 0, 1]) == expected


def test_heads_and_layers_come_sorted_and_once() -> None:
    assert parse_heads("L1, L0H1,L1H0,l0h1", [2, 2]) == [Head(0, 1), Head(1, 0), Head(1, 1)]


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        ("L2", "There is no layer 2: the model has 2 layers, L0 to L1."),
        ("L7H0", "There is no layer 7: the model has 2 layers, L0 to L1."),
        ("L0H0,L1H3", "There is no head L01H03: layer 1 has 3 heads, H0 to H2."),
        ("", "'' is not the name of a head; write it like L5H3."),
        ("L0H0,", "'' is not the name of a head; write it like L5H3."),
        ("sinks", "'sinks' is not the name of a head; write it like L5H3."),
    ],
)
def test_a_head_that_is_not_there(selection: str, sentence: str) -> None:
    with pytest.raises(HeadscriptError) as caught:
        parse_heads(selection, [2, 3])
    assert str(caught.value) == sentence
