"""Rank correlation, against values known from elsewhere."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headscript.evaluation.correlation import spearman, spearman_interval

numbers = st.lists(st.integers(-50, 50), min_size=3, max_size=12)


def test_known_values() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 21, 400]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 1, 0]) == pytest.approx(-1)
    # scipy.stats.spearmanr gives these two; the second has ties in both lists.
    assert spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.8207826816681233)
    assert spearman([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(0.9486832980505138)
    # IQ and hours of television, the textbook example: 1 - 6 * 194 / (10 * 99).
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(iq, hours) == pytest.approx(-29 / 165)


def test_where_it_is_not_defined() -> None:
    assert spearman([], []) is None
    assert spearman([1], [2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman_interval([1, 1, 1], [1, 2, 3], seed=0) is None
    with pytest.raises(ValueError, match="2 != 1"):
        spearman([1, 2], [1])


@given(numbers)
@settings(deadline=None)
def test_only_the_order_counts(values: list[int]) -> None:
    other = list(range(len(values)))
    found = spearman(values, other)
    stretched = spearman([math.exp(value / 10) for value in values], [x**3 for x in other])
    if found is None:
        assert stretched is None
    else:
        assert stretched == pytest.approx(found)
        assert spearman([-value for value in values], other) == pytest.approx(-found)
        assert spearman(other, values) == pytest.approx(found)


def test_the_interval_holds_the_value_and_narrows() -> None:
    few = [0.0, 1.0, 2.0, 4.0, 3.0, 5.0, 7.0, 6.0]
    many = [value + 8 * block for block in range(12) for value in few]
    for values in (few, many):
        value = spearman(list(range(len(values))), values)
        interval = spearman_interval(list(range(len(values))), values, seed=1)
        assert value is not None
        assert interval is not None
        assert interval[0] <= value <= interval[1]
    short, long = (spearman_interval(list(range(len(v))), v, seed=1) for v in (few, many))
    assert short is not None
    assert long is not None
    assert long[1] - long[0] < short[1] - short[0]
