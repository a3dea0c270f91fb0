import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.programs.strategies import terms, texts
from tests.random_patterns import random_patterns, random_texts

from headscript.packing import unpack
from headscript.programs.terms import Term, parse_expression
from headscript.rows import Rows, share_for
from headscript.similarity import iou

COUNTS = (1, 9, 2, 17, 8, 24)
both_ways = pytest.mark.parametrize("causal", [True, False], ids=["decoder", "encoder"])
counts = st.lists(st.integers(1, 20), min_size=1, max_size=5).filter(lambda found: max(found) > 1)


def cells_of(rows: Rows):
    """Where each cell that is not padding lies: (cell, text, query, key)."""
    for cell in rows.valid.nonzero().squeeze(1).tolist():
        row = int(rows.cell_row[cell])
        yield cell, int(rows.row_text[row]), int(rows.row_query[row]), int(rows.cell_key[cell])


@given(counts=counts, causal=st.booleans())
@settings(deadline=None)
def test_every_pair_a_query_may_look_at_is_a_cell_once(counts, causal):
    rows = Rows(random_texts(counts, causal=causal))
    found = sorted(place for _, *place in cells_of(rows))
    expected = [
        [text, query, key]
        for text, count in enumerate(counts)
        for query in range(1 if causal else 0, count)
        for key in range(query + 1 if causal else count)
    ]
    assert found == expected
    assert rows.num_cells >= len(expected)


@given(counts=counts, causal=st.booleans(), seed=st.integers(0, 99))
@settings(deadline=None)
def test_each_row_of_a_softmax_sums_to_one_and_padding_is_nothing(counts, causal, seed):
    rows = Rows(random_texts(counts, causal=causal))
    scores = 30 * torch.randn(rows.num_cells, generator=torch.Generator().manual_seed(seed))
    weights = rows.softmax(scores)
    torch.testing.assert_close(rows.row_sums(weights), torch.ones(rows.num_rows))
    assert weights[~rows.valid].abs().sum() == 0
    assert (weights >= 0).all()


@given(counts=counts, causal=st.booleans(), share=st.sampled_from([0.4, 0.7, 1.0]))
@settings(deadline=None)
def test_what_is_gathered_is_what_was_recorded(counts, causal, share):
    texts = random_texts(counts, causal=causal)
    packed = random_patterns(texts, heads=3)
    rows = Rows(texts, share=share, generator=torch.Generator().manual_seed(1))
    gathered = rows.gather(packed)
    whole = [unpack(cells, len(text), causal) for cells, text in zip(packed, texts, strict=True)]
    for cell, text, query, key in cells_of(rows):
        assert gathered[cell].equal(whole[text][:, query, key])
    assert gathered[~rows.valid].abs().sum() == 0


@given(
    first=texts(min_size=2),
    second=texts(min_size=1),
    chosen=st.lists(terms, min_size=1, max_size=4),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_columns_are_the_features_of_the_terms(first, second, chosen, data):
    rows = Rows([first, second])
    columns = rows.columns(chosen)
    assert columns.shape == (rows.num_cells, len(chosen))
    features = [torch.stack([term.feature(text) for term in chosen], 2) for text in rows.texts]
    for cell, text, query, key in cells_of(rows):
        torch.testing.assert_close(columns[cell], features[text][query, key], equal_nan=True)


@given(counts=counts, causal=st.booleans(), share=st.sampled_from([0.4, 1.0]))
@settings(deadline=None)
def test_lanes_hold_the_same_cells(counts, causal, share):
    draw = torch.Generator().manual_seed(1)
    rows = Rows(random_texts(counts, causal=causal), share=share, generator=draw)
    lanes = rows.lanes
    assert int(lanes.inside.sum()) == int(rows.valid.sum())
    assert lanes.num_cells == int(lanes.starts[-1])
    values = torch.randn(3, rows.num_cells, generator=draw) * rows.valid
    spread = lanes.spread(values)
    assert lanes.collect(spread).equal(values)
    assert spread[:, ~lanes.inside].abs().sum() == 0
    torch.testing.assert_close(lanes.row_sums(spread)[:, :-1], rows.row_sums(values.T).T)
    # Sixteen rows side by side: a key of each, then the next key of each.
    cell = torch.arange(lanes.num_cells)
    group = torch.bucketize(cell, lanes.starts, right=True) - 1
    inner = cell - lanes.starts[group]
    key = lanes.spread(rows.cell_key[None].float())[0].long()
    assert (key == torch.where(lanes.inside, inner // 16, 0)).all()


@given(chosen=st.lists(terms, min_size=1, max_size=4), first=texts(min_size=2), second=texts())
@settings(deadline=None, max_examples=40)
def test_columns_in_lanes_are_those_of_the_rows(chosen, first, second):
    rows = Rows([first, second])
    expected = rows.columns(chosen)
    found = rows.lanes.collect(rows.lanes.columns(chosen))
    torch.testing.assert_close(found.T, expected * rows.valid[:, None], equal_nan=True)
    into = rows.lanes.room(len(chosen))
    assert rows.lanes.columns(chosen, into=into) is into


def test_properties_of_a_token_alone_are_those_of_its_text():
    rows = Rows(random_texts(COUNTS))
    for expression in ("text.is_comma", "text.rarity", "text.one_of(' the', ',')", "text.position"):
        each = [parse_expression(expression)(text).float() for text in rows.texts]
        assert rows.tokens(expression).equal(torch.cat(each))
    assert parse_expression("text.one_of(' the') & text.is_comma").reach == 0
    assert parse_expression("text.after(text.is_comma)").reach == 1
    assert parse_expression("text.position").reach is None


def test_padding_has_no_feature_and_columns_are_not_shared():
    rows = Rows(random_texts(COUNTS))
    term = Term("text.is_comma", "text.distance", "text.rarity")
    column = rows.column(term)
    assert column[~rows.valid].abs().sum() == 0
    before = column.clone()
    column += 1
    assert rows.column(term).equal(before)
    plain = rows.column(Term(relation="text.distance"))
    plain += 1
    assert not rows.column(Term(relation="text.distance")).equal(plain)


def test_what_is_released_is_computed_again_alike():
    rows = Rows(random_texts(COUNTS))
    chosen = [Term("text.is_comma", "text.latest(text.is_name)", "text.one_of(' the')")]
    before = rows.columns(chosen)
    rows.release(["text.is_comma"])
    assert not any(text._values for text in rows.texts)
    assert rows.columns(chosen).equal(before)


@both_ways
def test_iou_on_all_rows_is_the_score_of_the_pattern(causal):
    texts = random_texts(COUNTS, causal=causal)
    actual, predicted = (random_patterns(texts, heads=4, seed=seed) for seed in (0, 1))
    rows = Rows(texts)
    estimate = rows.iou(rows.gather(predicted), rows.gather(actual))
    exact = torch.stack([iou(a, b) for a, b in zip(predicted, actual, strict=True)]).mean(0)
    torch.testing.assert_close(estimate, exact)
    perfect = rows.iou(rows.gather(actual), rows.gather(actual))
    torch.testing.assert_close(perfect, torch.ones(4))


@both_ways
def test_iou_on_a_sample_of_rows_is_near_and_finite(causal):
    texts = random_texts([2, *[30] * 20], causal=causal)
    actual, predicted = (random_patterns(texts, heads=4, seed=seed) for seed in (0, 1))
    exact = torch.stack([iou(a, b) for a, b in zip(predicted, actual, strict=True)]).mean(0)
    for seed in range(5):
        rows = Rows(texts, share=0.2, generator=torch.Generator().manual_seed(seed))
        estimate = rows.iou(rows.gather(predicted), rows.gather(actual))
        assert (estimate - exact).abs().max() < 0.06


@both_ways
def test_weighted_sums_are_plain_sums(causal):
    rows = Rows(random_texts(COUNTS, causal=causal))
    draw = torch.Generator().manual_seed(0)
    weights = torch.rand(2, rows.num_cells, generator=draw) * rows.valid
    features = torch.randn(rows.num_cells, 3, generator=draw)
    expected = torch.stack([rows.row_sums(row[:, None] * features) for row in weights])
    torch.testing.assert_close(rows.weighted_row_sums(weights, features), expected)


def test_the_sample_follows_its_seed():
    texts = random_texts([40] * 5)
    one, two, other = (
        Rows(texts, share=0.5, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert one.row_query.equal(two.row_query)
    assert not (one.num_rows == other.num_rows and bool(one.row_query.equal(other.row_query)))
    assert 60 < one.num_rows < 140


def test_the_share_keeps_to_the_cells_asked_for():
    texts = random_texts([40] * 5)
    assert share_for(texts, 10**9) == 1
    assert share_for(texts, 820) == pytest.approx(820 / (5 * 40 * 41 / 2))
