import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.random_patterns import random_patterns, random_texts

from headscript.packing import num_cells, unpack
from headscript.similarity import (
    BASELINES,
    LONGEST_MEAN,
    MeanByPosition,
    baseline_patterns,
    bootstrap_interval,
    iou,
    mean_bootstrap_interval,
    pairwise_iou,
)

both_ways = pytest.mark.parametrize("causal", [True, False], ids=["decoder", "encoder"])


def test_bounds():
    (pattern,) = random_patterns(random_texts([12]), 2)
    assert iou(pattern, pattern).tolist() == [1, 1]
    apart = torch.zeros(2, 4), torch.zeros(2, 4)
    apart[0][:, 0] = apart[1][:, 1] = 1
    assert iou(*apart).tolist() == [0, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_scores_nothing(value):
    pattern = torch.tensor([1.0, 0.5, 0.5])
    broken = torch.tensor([1.0, value, 0.5])
    assert float(iou(broken, pattern)) == 0
    assert float(iou(torch.zeros(3), torch.zeros(3))) == 0


@given(
    programs=st.integers(0, 9),
    heads=st.integers(0, 9),
    cells=st.integers(1, 99),
    kind=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_all_pairs_score_as_each_alone_whatever_their_rows_sum_to(
    programs, heads, cells, kind, seed
):
    draw = torch.Generator().manual_seed(seed)
    first, second = (
        (3 * torch.rand(rows, cells, generator=draw) - 1).clamp(min=0).to(kind)
        for rows in (programs, heads)
    )
    if programs and heads > 1:
        first[0], second[0] = 0, 0  # two that hold nothing
        second[1, cells // 2] = math.nan
    found = pairwise_iou(first, second)
    alone = iou(first.double()[:, None], second.double())
    assert found.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), alone, atol=2e-6, rtol=0)


def test_what_is_infinite_is_like_nothing():
    first, second = torch.eye(3), torch.eye(3)
    first[1, 1] = math.inf
    assert pairwise_iou(first, second).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_an_interval_holds_the_mean_and_follows_its_seed():
    values = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    low, high = bootstrap_interval(values, seed=0)
    assert low < sum(values) / 40 < high
    assert (low, high) == bootstrap_interval(values, seed=0)
    assert (low, high) != bootstrap_interval(values, seed=1)
    narrow = bootstrap_interval(values, seed=0, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert bootstrap_interval([0.3], seed=0) == (0.3, 0.3)
    assert bootstrap_interval([0.3] * 9, seed=0) == pytest.approx((0.3, 0.3))


def test_an_interval_is_as_wide_as_the_normal_one():
    draw = torch.Generator().manual_seed(1)
    values = torch.randn(400, generator=draw)
    low, high = bootstrap_interval(values.tolist(), seed=0)
    assert high - low == pytest.approx(2 * 1.96 * float(values.std()) / 20, rel=0.1)


def test_an_interval_covers_the_truth_as_often_as_it_says():
    draw = torch.Generator().manual_seed(2)
    covered = 0
    for seed in range(200):
        sample = torch.rand(30, generator=draw).tolist()
        low, high = bootstrap_interval(sample, seed=seed, resamples=300)
        covered += low < 0.5 < high
    assert 0.89 <= covered / 200 <= 0.99


def test_an_interval_over_heads_resamples_texts():
    """Heads that rise and fall together are no more certain than one of them."""
    one = torch.rand(30, generator=torch.Generator().manual_seed(3))
    assert mean_bootstrap_interval(one.expand(9, 30), seed=0) == pytest.approx(
        bootstrap_interval(one.tolist(), seed=0)
    )


@both_ways
def test_baselines_are_patterns_and_what_they_are_called(causal):
    (text,) = random_texts([11], causal=causal)
    found = baseline_patterns(text, torch.Generator().manual_seed(0))
    assert (*found, "mean by position") == BASELINES
    whole = {name: unpack(cells, 11, causal) for name, cells in found.items()}
    for pattern in whole.values():
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        assert (pattern * ~text.allowed).sum() == 0
    assert whole["first token"][:, 0].sum() == 11
    assert whole["previous token"].diagonal(-1).sum() == 10
    assert whole["the token itself"].equal(torch.eye(11))
    assert whole["uniform"].equal(text.allowed / text.allowed.sum(1, keepdim=True))
    assert whole["random token"].max(1).values.eq(1).all()
    column = int(whole["random column"][-1].argmax())
    assert (whole["random column"][column:, column] == 1).all()


def test_random_baselines_follow_the_generator():
    (text,) = random_texts([30])
    one, same, other = (
        baseline_patterns(text, torch.Generator().manual_seed(seed))["random token"]
        for seed in (0, 0, 1)
    )
    assert one.equal(same)
    assert not one.equal(other)


@both_ways
def test_the_mean_by_position_is_a_mean(causal):
    texts = random_texts([6, 6, 9], causal=causal)
    patterns = [
        unpack(cells, len(text), causal)
        for cells, text in zip(random_patterns(texts, 2), texts, strict=True)
    ]
    mean = MeanByPosition(2, 12, causal)
    for pattern in patterns:
        mean.add(pattern)
    if causal:  # where it is the same mean for every length
        expected = torch.stack([pattern[:, :6, :6] for pattern in patterns]).mean(0)
        torch.testing.assert_close(unpack(mean.packed(6), 6, causal), expected)
    for count in (1, 6, 9, 12, 15):
        packed = mean.packed(count)
        assert packed.shape == (2, num_cells(count, causal))
        rows = unpack(packed, count, causal).sum(-1)
        torch.testing.assert_close(rows, torch.ones(2, count))
    far = unpack(mean.packed(15), 15, causal)[0, 14]
    torch.testing.assert_close(far, torch.full((15,), 1 / 15))


@both_ways
def test_the_mean_by_position_knows_so_many_positions_and_no_more(causal):
    n = LONGEST_MEAN + 8
    pattern = torch.eye(n)[None]
    mean = MeanByPosition(1, n, causal)
    mean.add(pattern)
    (found,) = unpack(mean.packed(n), n, causal)
    assert found[:LONGEST_MEAN].equal(pattern[0, :LONGEST_MEAN])
    allowed = torch.ones(n, n).tril() if causal else torch.ones(n, n)
    uniform = allowed / allowed.sum(1, keepdim=True)
    torch.testing.assert_close(found[LONGEST_MEAN:], uniform[LONGEST_MEAN:])
